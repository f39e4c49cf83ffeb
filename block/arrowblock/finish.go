package arrowblock

import (
	"cmp"
	"io"
	"math"
	"slices"
	"strconv"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

// How large sections may grow. A query decodes whole chunks, and only those it needs.
const (
	maxNodesAChunk  = 64<<10 - 1 // so that a frame's number in its chunk fits 16 bits
	maxNodesShared  = 12 << 10   // of several services: who asks for one of them reads the others too, 90 KB in all
	maxRowsAChunk   = 256 << 10
	maxTotalsAChunk = 16 << 10
)

// Names of the sections that are there once.
const (
	headersName      = "headers.arrow"
	sampleLabelsName = "sample_labels.arrow"
	sourcesName      = "sources.arrow"
	groupsName       = "groups.arrow"
	servicesName     = "services.arrow"
	labelsName       = "labels.arrow"
	seriesName       = "series.arrow"
	mappingsName     = "mappings.arrow"
	indexName        = "index.arrow"
)

// order says how numbers given in the order of arrival become numbers in the order of
// content.
type order struct {
	old []uint32 // by new number
	new []uint32 // by old number
}

func orderBy(n int, compare func(a, b uint32) int) order {
	o := order{make([]uint32, n), make([]uint32, n)}
	for i := range o.old {
		o.old[i] = uint32(i)
	}
	slices.SortFunc(o.old, compare)
	for i, old := range o.old {
		o.new[old] = uint32(i)
	}
	return o
}

// finisher lays out and writes what a Builder has gathered.
type finisher struct {
	b     *Builder
	enc   *encoder
	pack  *packer
	alone *packer // of Output.RollupsAlone; nil

	rollups        []Rollup
	maxWindowBytes int64

	services, groups, series, mappings, labels, headers order

	nodeOf []uint32 // by stack number
	spans  []Span   // of nodes, by new service number

	info Info
}

// Finish is [Builder.FinishTo] of a block without rollups.
func (b *Builder) Finish(w io.Writer) (block.Meta, error) { return b.FinishTo(Output{Block: w}) }

// FinishTo writes the block and returns what there is to say of it in HEAD: Meta without IDs
// and Level. Rollups that no block can have are profile.ErrInvalid. The Builder is spent:
// Add, Finish and FinishTo panic after it.
func (b *Builder) FinishTo(out Output) (block.Meta, error) {
	b.mustBeOpen()
	f, err := newFinisher(b, out)
	if err != nil {
		return block.Meta{}, err
	}
	b.finished = true
	f.info = Info{Range: b.cfg.Range, Profiles: int64(b.profiles), Samples: b.samples, Raw: true}
	f.fillTimes()
	f.sort()
	for _, step := range []func() error{f.writeStacks, f.writeGroups, f.writeTables} {
		if err := step(); err != nil {
			return block.Meta{}, err
		}
	}
	return f.writeTail()
}

// sort decides the numbers of everything but nodes.
func (f *finisher) sort() {
	b := f.b
	f.services = orderBy(len(b.services.all), func(x, y uint32) int { return cmp.Compare(b.services.all[x], b.services.all[y]) })
	f.groups = orderBy(len(b.groups.all), func(x, y uint32) int { return b.groups.all[x].Compare(b.groups.all[y].Group) })
	f.series = orderBy(len(b.series.all), func(x, y uint32) int {
		s, t := &b.series.all[x], &b.series.all[y]
		return cmp.Or(
			cmp.Compare(f.groups.new[s.group], f.groups.new[t.group]),
			cmp.Compare(f.services.new[s.service], f.services.new[t.service]),
			s.labels.Compare(t.labels),
		)
	})
	mappings := b.symbols.mappings
	f.mappings = orderBy(len(mappings), func(x, y uint32) int { return mappings[x].key().compare(mappings[y].key()) })
	f.labels = orderBy(len(b.labels.all), func(x, y uint32) int {
		return slices.CompareFunc(b.labels.all[x], b.labels.all[y], SampleLabel.compare)
	})
	f.headers = orderBy(len(b.headers.all), func(x, y uint32) int {
		h, i := &b.headers.all[x], &b.headers.all[y]
		return cmp.Or(
			cmp.Compare(f.mappingNumber(h.Main), f.mappingNumber(i.Main)),
			slices.Compare(h.Comments, i.Comments),
			cmp.Compare(h.DropFrames, i.DropFrames),
			cmp.Compare(h.KeepFrames, i.KeepFrames),
			cmp.Compare(h.DocURL, i.DocURL),
		)
	})
}

// mappingNumber is how sections name a mapping: 0 for none, else one more than its place.
func (f *finisher) mappingNumber(old int) uint32 {
	if old < 0 {
		return 0
	}
	return f.mappings.new[old] + 1
}

// writeGroups writes the rows and totals of each group, and then the rollups' ends.
func (f *finisher) writeGroups() error {
	var rollups []*rollupWriter
	for n, old := range f.groups.old {
		w := newRowWriter(f, n, f.b.groups.all[old])
		if err := w.writeAll(); err != nil {
			return err
		}
		f.info.Rows += int64(w.written)
		rollups = append(rollups, w.rollups)
	}
	return closeRollups(rollups)
}

// writeTables writes what few queries need: headers, sample labels, sources.
func (f *finisher) writeTables() error {
	for _, step := range []func() error{f.writeHeaders, f.writeSampleLabels, f.writeSources} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (f *finisher) writeHeaders() error {
	if f.alone != nil {
		if err := f.writeHeadersTo(f.alone, nil); err != nil {
			return err
		}
	}
	return f.writeHeadersTo(f.pack, f.headers.old)
}

func (f *finisher) writeHeadersTo(pack *packer, headers []uint32) error {
	var comments, drop, keep, url texts
	offsets := []int32{0}
	var main []uint32
	for _, old := range headers {
		h := &f.b.headers.all[old]
		for _, c := range h.Comments {
			comments.add(c)
		}
		offsets = append(offsets, int32(comments.len()))
		drop.add(h.DropFrames)
		keep.add(h.KeepFrames)
		url.add(h.DocURL)
		main = append(main, f.mappingNumber(h.Main))
	}
	return f.sectionOf([]*packer{pack}, section{name: headersName}, nil,
		list("comments", offsets, comments.column("")),
		drop.column("drop_frames"), keep.column("keep_frames"), url.column("doc_url"),
		numbers("main_mapping", main))
}

func (f *finisher) writeSampleLabels() error {
	if f.alone != nil {
		if err := f.writeSampleLabelsTo(f.alone, f.labels.old[:1]); err != nil { // the empty set
			return err
		}
	}
	return f.writeSampleLabelsTo(f.pack, f.labels.old)
}

func (f *finisher) writeSampleLabelsTo(pack *packer, sets []uint32) error {
	var key, str, unit texts
	var num []int64
	var isNum []uint8
	offsets := []int32{0}
	for _, old := range sets {
		for _, l := range f.b.labels.all[old] {
			key.add(l.Key)
			str.add(l.Str)
			unit.add(l.Unit)
			num = append(num, l.Num)
			isNum = append(isNum, bit(l.IsNum))
		}
		offsets = append(offsets, int32(key.len()))
	}
	return f.sectionOf([]*packer{pack}, section{name: sampleLabelsName}, nil, list("labels", offsets, structure("",
		key.column("key"), str.column("str"), numbers("num", num), unit.column("unit"), numbers("is_num", isNum))))
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

func (f *finisher) writeSources() error {
	var sources []Source
	for s := range f.b.sources {
		sources = append(sources, s)
	}
	slices.SortFunc(sources, func(a, b Source) int {
		return cmp.Or(a.ID.Compare(b.ID), cmp.Compare(a.Day, b.Day), cmp.Compare(a.Profile, b.Profile), cmp.Compare(a.Rejected, b.Rejected))
	})
	var id, rejected, file texts
	var day []uint32
	for _, s := range sources {
		id.add(s.ID.String())
		day = append(day, uint32(s.Day))
		file.add(s.Profile)
		rejected.add(s.Rejected)
	}
	return f.section(section{name: sourcesName}, nil,
		id.column("id"), numbers("day", day), file.column("profile"), rejected.column("rejected"))
}

// writeTail writes what everyone who opens the block needs, and the directory.
func (f *finisher) writeTail() (block.Meta, error) {
	for _, p := range []*packer{f.pack, f.alone} {
		if p == nil {
			continue
		}
		if err := p.beginTail(); err != nil {
			return block.Meta{}, err
		}
	}
	for _, step := range []func() error{f.writeGroupTable, f.writeServices, f.writeSeries, f.writeMappings} {
		if err := step(); err != nil {
			return block.Meta{}, err
		}
	}
	if err := f.writeIndex(f.pack, f.info); err != nil {
		return block.Meta{}, err
	}
	meta := block.Meta{
		Day:      block.DayOfMillis(f.b.from),
		MinTime:  f.info.MinTime,
		MaxTime:  f.info.MaxTime,
		Size:     f.pack.out.n,
		Tail:     f.pack.out.n - f.pack.tail,
		CRC:      f.pack.out.crc,
		Rows:     f.info.Rows,
		Profiles: f.info.Profiles,
		Types:    f.types(),
	}
	if f.alone != nil {
		alone := f.info
		alone.Raw, alone.Rows = false, 0
		if err := f.writeIndex(f.alone, alone); err != nil {
			return block.Meta{}, err
		}
		meta.R4 = &block.Rollup{Size: f.alone.out.n, Tail: f.alone.out.n - f.alone.tail, CRC: f.alone.out.crc}
	}
	return meta, nil
}

func (f *finisher) fillTimes() {
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	for _, g := range f.b.groups.all {
		for i := range g.profiles {
			ms := floorMillis(g.profiles[i].nanos)
			first, last = min(first, ms), max(last, ms)
		}
	}
	if first > last {
		first, last = f.b.from, f.b.from
	}
	f.info.MinTime, f.info.MaxTime = first, last
}

func (f *finisher) types() block.Types {
	var types block.Types
	for _, g := range f.b.groups.all {
		types = append(types, g.Types()...)
	}
	slices.SortFunc(types, profile.Type.Compare)
	return slices.Compact(types)
}

func (f *finisher) writeGroupTable() error {
	var name, typ, unit, periodType, periodUnit, byDefault texts
	var delta []uint8
	offsets := []int32{0}
	for _, old := range f.groups.old {
		g := f.b.groups.all[old]
		name.add(g.Name)
		for _, v := range g.SampleTypes {
			typ.add(v.Type)
			unit.add(v.Unit)
		}
		offsets = append(offsets, int32(typ.len()))
		periodType.add(g.Period.Type)
		periodUnit.add(g.Period.Unit)
		delta = append(delta, bit(g.Delta))
		byDefault.add(g.DefaultSampleType)
	}
	return f.section(section{name: groupsName}, nil,
		name.column("name"),
		list("sample_types", offsets, structure("", typ.column("type"), unit.column("unit"))),
		periodType.column("period_type"), periodUnit.column("period_unit"),
		numbers("delta", delta), byDefault.column("default_sample_type"))
}

func (f *finisher) writeServices() error {
	var name texts
	var from, to []uint32
	for n, old := range f.services.old {
		name.add(f.b.services.all[old])
		from = append(from, uint32(f.spans[n].From))
		to = append(to, uint32(f.spans[n].To))
	}
	return f.section(section{name: servicesName}, nil, name.column("name"), numbers("node_from", from), numbers("node_to", to))
}

// writeSeries writes the distinct labels, sorted, and the series, which point to them.
func (f *finisher) writeSeries() error {
	var all profile.Labels
	for i := range f.b.series.all {
		all = append(all, f.b.series.all[i].labels...)
	}
	slices.SortFunc(all, compareLabels)
	all = slices.Compact(all)
	number := make(map[profile.Label]uint32, len(all))
	var name, value texts
	for i, l := range all {
		number[l] = uint32(i)
		name.add(l.Name)
		value.add(l.Value)
	}
	if err := f.section(section{name: labelsName}, nil, name.column("name"), value.column("value")); err != nil {
		return err
	}
	var group, service, labels []uint32
	offsets := []int32{0}
	for _, old := range f.series.old {
		s := &f.b.series.all[old]
		group = append(group, f.groups.new[s.group])
		service = append(service, f.services.new[s.service])
		for _, l := range s.labels {
			labels = append(labels, number[l])
		}
		offsets = append(offsets, int32(len(labels)))
	}
	return f.section(section{name: seriesName}, nil,
		numbers("group", group), numbers("service", service), list("labels", offsets, numbers("", labels)))
}

func compareLabels(a, b profile.Label) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Value, b.Value))
}

func (f *finisher) writeMappings() error {
	var start, limit, offset []uint64
	var file, buildID texts
	var flags []uint8
	for _, old := range f.mappings.old {
		m := &f.b.symbols.mappings[old]
		start, limit, offset = append(start, m.Start), append(limit, m.Limit), append(offset, m.Offset)
		file.add(m.File)
		buildID.add(m.BuildID)
		flags = append(flags, m.flags())
	}
	return f.section(section{name: mappingsName}, nil,
		numbers("start", start), numbers("limit", limit), numbers("offset", offset),
		file.column("file"), buildID.column("build_id"), numbers("flags", flags))
}

// writeIndex writes the directory of all other sections, and the block's facts, and ends the block.
func (f *finisher) writeIndex(pack *packer, info Info) error {
	var name texts
	var off, length, first []uint64
	var crc, rows, minSeries, maxSeries, minT, maxT []uint32
	for _, s := range pack.sections {
		name.add(s.name)
		off, length, first = append(off, uint64(s.off)), append(length, uint64(s.length)), append(first, s.first)
		crc, rows = append(crc, s.crc), append(rows, uint32(s.rows))
		minSeries, maxSeries = append(minSeries, s.minSeries), append(maxSeries, s.maxSeries)
		minT, maxT = append(minT, s.minT), append(maxT, s.maxT)
	}
	facts := append(info.facts(pack.tail), fact{rollupsFact, joinRollups(f.rollups)})
	if err := f.sectionOf([]*packer{pack}, section{name: indexName}, facts,
		name.column("name"), numbers("offset", off), numbers("length", length), numbers("crc32c", crc),
		numbers("rows", rows), numbers("first", first),
		numbers("min_series", minSeries), numbers("max_series", maxSeries),
		numbers("min_t", minT), numbers("max_t", maxT)); err != nil {
		return err
	}
	return pack.finish()
}

// facts are the block's facts as the index carries them.
func (i Info) facts(tail int64) []fact {
	var facts []fact
	for _, f := range []struct {
		key   string
		value int64
	}{
		{"version", 1},
		{"from_ms", i.Range.From.UnixMilli()},
		{"to_ms", i.Range.To.UnixMilli()},
		{"min_ms", i.MinTime},
		{"max_ms", i.MaxTime},
		{"profiles", i.Profiles},
		{"samples", i.Samples},
		{"rows", i.Rows},
		{"nodes", i.Nodes},
		{"tail", tail},
		{"raw", int64(bit(i.Raw))},
	} {
		facts = append(facts, fact{f.key, strconv.FormatInt(f.value, 10)})
	}
	return facts
}

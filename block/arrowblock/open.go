package arrowblock

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

// Tail says how to open a block with one request: what HEAD tells of its last bytes.
// The zero Tail means that nothing is known, and costs one or two more requests.
type Tail struct {
	Bytes int64  // to fetch from the end
	CRC   uint32 // their CRC32C
}

// guessedTail is what is read of a block of which nothing is known. The tail of a
// minute's block of 80 targets has about 15 KiB.
const guessedTail = 64 << 10

// maxVersion is the newest format that this package reads.
const maxVersion = 1

// end is the last bytes of a block, as many as have been read so far.
type end struct {
	src  block.Source
	from int64
	data []byte
}

// extend reads more, so that the bytes from off on are there.
func (e *end) extend(ctx context.Context, off int64) error {
	if off >= e.from {
		return nil
	}
	more, err := readRange(ctx, e.src, off, e.from-off)
	if err != nil {
		return err
	}
	e.from, e.data = off, append(more[:len(more):len(more)], e.data...)
	return nil
}

// section returns a section that lies within what has been read.
func (e *end) section(s *section) ([]byte, error) {
	if s.off < e.from || s.length > int64(len(e.data))-(s.off-e.from) {
		return nil, fmt.Errorf("section %s at %d: its %d bytes are not in the block's tail, which begins at %d: %w", s.name, s.off, s.length, e.from, block.ErrCorrupt)
	}
	data := e.data[s.off-e.from:][:s.length:s.length]
	return data, s.check(data)
}

// check compares a section's bytes with their checksum.
func (s *section) check(data []byte) error {
	if got := castagnoli(data); got != s.crc {
		return fmt.Errorf("section %s at %d: CRC32C of its %d bytes is %08x, not %08x: %w", s.name, s.off, s.length, got, s.crc, block.ErrCorrupt)
	}
	return nil
}

// readRange reads exactly n bytes.
func readRange(ctx context.Context, src block.Source, off, n int64) ([]byte, error) {
	data, err := src.ReadRange(ctx, off, n)
	if err != nil {
		return nil, fmt.Errorf("read [%d, %d) of an Arrow block: %w", off, off+n, err)
	}
	if int64(len(data)) != n {
		return nil, fmt.Errorf("read [%d, %d) of an Arrow block: got %d bytes: %w", off, off+n, len(data), block.ErrCorrupt)
	}
	return data, nil
}

// Open reads a block's tail. Bytes that are not an Arrow block, or not the one that
// tail describes, are block.ErrCorrupt.
func Open(ctx context.Context, src block.Source, tail Tail) (*Block, error) {
	e, err := readEnd(ctx, src, tail)
	if err != nil {
		return nil, err
	}
	index, ok := parseTrailer(e.data)
	if !ok || index.off < 0 || index.length < 0 || index.off > src.Size()-index.length {
		return nil, fmt.Errorf("last %d of %d bytes: no trailer of an Arrow block: %w", zipEndBytes+trailerBytes, src.Size(), block.ErrCorrupt)
	}
	if err := e.extend(ctx, index.off); err != nil {
		return nil, err
	}
	dec, err := newDecoder()
	if err != nil {
		return nil, err
	}
	b := &Block{src: src, zstd: dec, index: index}
	if err := b.open(ctx, e, &b.index); err != nil {
		return nil, err
	}
	return b, nil
}

// newDecoder makes a zstd decoder that several goroutines may use. Buffers never grow
// beyond what was made for them.
func newDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true))
}

func readEnd(ctx context.Context, src block.Source, tail Tail) (*end, error) {
	size := src.Size()
	n := min(size, guessedTail)
	if tail.Bytes != 0 {
		n = tail.Bytes
	}
	if n < int64(zipEndBytes+trailerBytes) || n > size {
		return nil, fmt.Errorf("tail of %d bytes in an object of %d is not an Arrow block's: %w", n, size, block.ErrCorrupt)
	}
	data, err := readRange(ctx, src, size-n, n)
	if err != nil {
		return nil, err
	}
	if tail.Bytes != 0 {
		if got := castagnoli(data); got != tail.CRC {
			return nil, fmt.Errorf("last %d of %d bytes: CRC32C is %08x, not %08x: %w", n, size, got, tail.CRC, block.ErrCorrupt)
		}
	}
	return &end{src, size - n, data}, nil
}

// open reads all that the tail holds.
func (b *Block) open(ctx context.Context, e *end, index *section) error {
	s, err := b.tailStream(e, index)
	if err != nil {
		return err
	}
	from, err := b.readFacts(s)
	if err != nil {
		return err
	}
	if err := b.readDirectory(s, index); err != nil {
		return err
	}
	if err := e.extend(ctx, from); err != nil {
		return err
	}
	for _, table := range []struct {
		name string
		read func(*stream) error
	}{
		{groupsName, b.readGroups},
		{servicesName, b.readServices},
		{labelsName, b.readLabels},
		{seriesName, b.readSeries},
		{mappingsName, b.readMappings},
	} {
		section, err := b.named(table.name)
		if err != nil {
			return err
		}
		s, err := b.tailStream(e, section)
		if err != nil {
			return err
		}
		if err := table.read(s); err != nil {
			return err
		}
	}
	return b.readChunks()
}

func (b *Block) tailStream(e *end, s *section) (*stream, error) {
	data, err := e.section(s)
	if err != nil {
		return nil, err
	}
	return parseStream(s.name, s.off, data, b.zstd)
}

// named finds a section that every block has.
func (b *Block) named(name string) (*section, error) {
	for i := range b.sections {
		if b.sections[i].name == name {
			return &b.sections[i], nil
		}
	}
	return nil, fmt.Errorf("section %s is missing: %w", name, block.ErrCorrupt)
}

// readFacts reads the block's facts from its index, and where the tail begins.
func (b *Block) readFacts(s *stream) (tail int64, err error) {
	read := func(key string) (v int64) {
		if err == nil {
			if v, err = strconv.ParseInt(s.fact(key), 10, 64); err != nil {
				err = s.corrupt("fact %s is %q, not a number", key, s.fact(key))
			}
		}
		return v
	}
	version := read("version")
	from, to := read("from_ms"), read("to_ms")
	b.info = Info{
		Range:    profile.TimeRange{From: time.UnixMilli(from).UTC(), To: time.UnixMilli(to).UTC()},
		MinTime:  read("min_ms"),
		MaxTime:  read("max_ms"),
		Profiles: read("profiles"),
		Samples:  read("samples"),
		Rows:     read("rows"),
		Nodes:    read("nodes"),
	}
	tail = read("tail")
	b.info.Raw = s.fact("raw") != "0"
	for _, name := range strings.Fields(s.fact(rollupsFact)) {
		r, ok := parseRollup(name)
		if n := len(b.rollups); n > 0 && b.rollups[n-1].Compare(r) >= 0 || n == maxRollups {
			return 0, s.corrupt("rollups %q are not in order, or too many", s.fact(rollupsFact))
		}
		if ok {
			b.rollups = append(b.rollups, rollupTable{Rollup: r})
		}
	}
	switch {
	case err != nil:
	case version < 1 || version > maxVersion:
		err = s.corrupt("version %d of the format, this program reads up to %d", version, maxVersion)
	case from >= to || b.info.Nodes < 0 || b.info.Nodes > math.MaxUint32 || b.info.Rows < 0 || b.info.Profiles < 0 || tail < 0 || tail > s.at:
		err = s.corrupt("facts that cannot be true: %v, tail at %d", b.info, tail)
	}
	return tail, err
}

// readDirectory reads where the sections are.
func (b *Block) readDirectory(s *stream, index *section) error {
	names, err := s.decodeStrings("name")
	if err != nil {
		return err
	}
	var off, length, first []uint64
	var crc, rows, minSeries, maxSeries, minT, maxT []uint32
	if err := firstError(
		decodeInto(s, &off, "offset"), decodeInto(s, &length, "length"), decodeInto(s, &first, "first"),
		decodeInto(s, &crc, "crc32c"), decodeInto(s, &rows, "rows"),
		decodeInto(s, &minSeries, "min_series"), decodeInto(s, &maxSeries, "max_series"),
		decodeInto(s, &minT, "min_t"), decodeInto(s, &maxT, "max_t"),
	); err != nil {
		return err
	}
	b.sections = make([]section, s.rows)
	for i := range b.sections {
		if off[i] > uint64(index.off) || length[i] > uint64(index.off)-off[i] || rows[i] > maxRows {
			return s.corrupt("section %s: %d bytes at %d, %d rows", names.at(i), length[i], off[i], rows[i])
		}
		b.sections[i] = section{
			name: names.at(i), off: int64(off[i]), length: int64(length[i]), crc: crc[i], rows: int(rows[i]), first: first[i],
			minSeries: minSeries[i], maxSeries: maxSeries[i], minT: minT[i], maxT: maxT[i],
		}
	}
	return nil
}

// decodeInto is decodeNumbers into a variable.
func decodeInto[T number](s *stream, to *[]T, path ...string) (err error) {
	*to, err = decodeNumbers[T](s, path...)
	return err
}

// narrowInto is decodeNarrow into a variable.
func narrowInto[T uint32 | int64](s *stream, to *[]T, path ...string) (err error) {
	*to, err = decodeNarrow[T](s, path...)
	return err
}

// stringsInto is decodeStrings into a variable.
func stringsInto(s *stream, to **textView, path ...string) (err error) {
	*to, err = s.decodeStrings(path...)
	return err
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *Block) readGroups(s *stream) error {
	var name, typ, unit, periodType, periodUnit, byDefault *textView
	var delta []uint8
	offsets, err := s.decodeList("sample_types")
	if err := firstError(err,
		stringsInto(s, &name, "name"),
		stringsInto(s, &typ, "sample_types", "item", "type"), stringsInto(s, &unit, "sample_types", "item", "unit"),
		stringsInto(s, &periodType, "period_type"), stringsInto(s, &periodUnit, "period_unit"),
		decodeInto(s, &delta, "delta"), stringsInto(s, &byDefault, "default_sample_type"),
	); err != nil {
		return err
	}
	b.groups = make([]Group, s.rows)
	for i := range b.groups {
		g := &b.groups[i]
		*g = Group{
			Name:              name.at(i),
			Period:            profile.ValueType{Type: periodType.at(i), Unit: periodUnit.at(i)},
			Delta:             delta[i] != 0,
			DefaultSampleType: byDefault.at(i),
		}
		for k := offsets[i]; k < offsets[i+1]; k++ {
			g.SampleTypes = append(g.SampleTypes, profile.ValueType{Type: typ.at(int(k)), Unit: unit.at(int(k))})
		}
		if len(g.SampleTypes) == 0 {
			return s.corrupt("group %d, %s, has no sample types", i, g.Name)
		}
	}
	return nil
}

// readServices reads the services, whose nodes follow one another without a gap.
func (b *Block) readServices(s *stream) error {
	var name *textView
	var from, to []uint32
	if err := firstError(stringsInto(s, &name, "name"), decodeInto(s, &from, "node_from"), decodeInto(s, &to, "node_to")); err != nil {
		return err
	}
	b.services = make([]Service, s.rows)
	next := uint32(0)
	for i := range b.services {
		if from[i] != next || to[i] <= from[i] {
			return s.corrupt("service %d, %s, has nodes [%d, %d), the one before ends at %d", i, name.at(i), from[i], to[i], next)
		}
		b.services[i] = Service{name.at(i), Span{uint64(from[i]), uint64(to[i])}}
		next = to[i]
	}
	if int64(next) != b.info.Nodes {
		return s.corrupt("services have %d nodes, the block has %d", next, b.info.Nodes)
	}
	return nil
}

func (b *Block) readLabels(s *stream) error {
	var name, value *textView
	if err := firstError(stringsInto(s, &name, "name"), stringsInto(s, &value, "value")); err != nil {
		return err
	}
	b.labels = make([]profile.Label, s.rows)
	for i := range b.labels {
		b.labels[i] = profile.Label{Name: name.at(i), Value: value.at(i)}
		if i > 0 && compareLabels(b.labels[i-1], b.labels[i]) >= 0 {
			return s.corrupt("label %d, %v, does not come after %v", i, b.labels[i], b.labels[i-1])
		}
	}
	return nil
}

// readSeries reads the series and turns their labels about into postings.
func (b *Block) readSeries(s *stream) error {
	var group, service, label []uint32
	offsets, err := s.decodeList("labels")
	if err := firstError(err, decodeInto(s, &group, "group"), decodeInto(s, &service, "service"), decodeInto(s, &label, "labels", "item")); err != nil {
		return err
	}
	b.postingEnds = make([]uint32, len(b.labels))
	for _, l := range label {
		if int(l) >= len(b.labels) {
			return s.corrupt("label %d of %d", l, len(b.labels))
		}
		b.postingEnds[l]++
	}
	sum := uint32(0)
	for i, n := range b.postingEnds {
		b.postingEnds[i] = sum // for now where they begin
		sum += n
	}
	b.postings = make([]uint32, len(label))
	all := make(profile.Labels, len(label))
	b.series = make([]Series, s.rows)
	for i := range b.series {
		if int(group[i]) >= len(b.groups) || int(service[i]) >= len(b.services) {
			return s.corrupt("series %d: group %d of %d, service %d of %d", i, group[i], len(b.groups), service[i], len(b.services))
		}
		from, to := offsets[i], offsets[i+1]
		labels := all[from:to:to]
		for k, l := range label[from:to] {
			if labels[k] = b.labels[l]; k > 0 && labels[k-1].Name >= labels[k].Name {
				return s.corrupt("series %d: label %s does not come after %s", i, labels[k].Name, labels[k-1].Name)
			}
			b.postings[b.postingEnds[l]] = uint32(i)
			b.postingEnds[l]++
		}
		b.series[i] = Series{int(group[i]), int(service[i]), labels}
		if i > 0 && b.compareSeries(&b.series[i-1], &b.series[i]) >= 0 {
			return s.corrupt("series %d does not come after the one before", i)
		}
	}
	return nil
}

func (b *Block) readMappings(s *stream) error {
	var start, limit, offset []uint64
	var flags []uint8
	var file, buildID *textView
	if err := firstError(
		decodeInto(s, &start, "start"), decodeInto(s, &limit, "limit"), decodeInto(s, &offset, "offset"),
		stringsInto(s, &file, "file"), stringsInto(s, &buildID, "build_id"), decodeInto(s, &flags, "flags"),
	); err != nil {
		return err
	}
	b.mappings = make([]Mapping, s.rows)
	for i := range b.mappings {
		m := &b.mappings[i]
		*m = Mapping{Start: start[i], Limit: limit[i], Offset: offset[i], File: file.at(i), BuildID: buildID.at(i)}
		m.setFlags(flags[i])
	}
	return nil
}

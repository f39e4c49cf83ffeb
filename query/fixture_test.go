package query

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/block/pprofblock"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// sent is a profile that a client has sent.
type sent struct {
	name   string
	labels profile.Labels
	time   time.Time
	body   []byte
}

func (s sent) parse(t testing.TB) *pprof.Profile {
	t.Helper()
	p, err := pprof.ParseData(s.body)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// types are the profile types that s has.
func (s sent) types(t testing.TB) []profile.Type {
	p := s.parse(t)
	var types []profile.Type
	for _, v := range p.SampleType {
		types = append(types, profile.Type{
			Name: s.name, Sample: profile.ValueType{Type: v.Type, Unit: v.Unit},
			Period: profile.ValueType{Type: p.PeriodType.Type, Unit: p.PeriodType.Unit}, Delta: p.DurationNanos != 0,
		})
	}
	return types
}

// house is a bucket with a catalog, in which blocks are put as uploads and compactors
// do it, and a Querier.
type house struct {
	bkt  *bucket.Memory
	cat  *catalog.Catalog
	q    *Querier
	now  time.Time // by the bucket's clock
	keys []string  // of blocks, as they were put

	rollups []arrowblock.Rollup // of Arrow blocks
}

// newHouse has a Querier that remembers nothing, so that every test sees what it did.
func newHouse() *house {
	h := &house{bkt: bucket.Mem(), now: time.Date(2026, 8, 21, 12, 0, 30, 0, time.UTC), rollups: testRollups}
	h.bkt.Clock = func() time.Time { return h.now }
	h.cat = catalog.New(h.bkt, catalog.Config{})
	h.q = h.querier(h.bkt, Config{SnapshotTTL: -1, IndexCacheBytes: -1, RangeCacheBytes: -1, SumCacheBytes: -1, TailCacheBytes: -1})
	return h
}

func (h *house) querier(bkt bucket.Bucket, cfg Config) *Querier {
	cfg.Now = func() time.Time { return h.now }
	if cfg.Timeout == 0 {
		cfg.Timeout = 15 * time.Minute // under the race detector on a busy machine a query takes its time
	}
	return New(catalog.New(bkt, catalog.Config{}), bkt, cfg)
}

// putL0 uploads a pprof block.
func (h *house) putL0(t testing.TB, profiles ...sent) string {
	t.Helper()
	b := pprofblock.NewBuilder(block.NewID(h.now), "test", h.now)
	for _, s := range profiles {
		p := s.parse(t)
		e := pprofblock.Entry{
			Name: s.name, Labels: s.labels, MinTime: s.time, MaxTime: s.time.Add(time.Duration(p.DurationNanos)), Samples: int64(len(p.Sample)),
			PeriodType: profile.ValueType{Type: p.PeriodType.Type, Unit: p.PeriodType.Unit},
		}
		for _, v := range p.SampleType {
			e.SampleTypes = append(e.SampleTypes, profile.ValueType{Type: v.Type, Unit: v.Unit})
		}
		if err := b.Add(e, s.body); err != nil {
			t.Fatal(err)
		}
	}
	key := b.Key(profile.DefaultTenant, 0, h.now.Truncate(time.Minute)).String()
	h.put(t, key, b.Bytes())
	return key
}

// putArrow commits an Arrow block for each UTC day of the profiles.
func (h *house) putArrow(t testing.TB, profiles ...sent) []string {
	t.Helper()
	days := map[block.Day][]sent{}
	for _, s := range profiles {
		days[block.DayOf(s.time)] = append(days[block.DayOf(s.time)], s)
	}
	var keys []string
	var metas []block.Meta
	for _, day := range slices.Sorted(maps.Keys(days)) {
		meta, body := buildArrow(t, day, days[day], h.rollups)
		meta.ID, meta.Level = block.NewID(h.now), block.L1
		keys = append(keys, meta.Key(profile.DefaultTenant, 0))
		h.put(t, keys[len(keys)-1], body)
		metas = append(metas, meta)
	}
	h.commit(t, metas)
	return keys
}

// commit seals all minutes up to a day ago, and gathers what comes later as stragglers
// of them: blocks of any content may be committed, while what is put into L0 stays there.
func (h *house) commit(t testing.TB, metas []block.Meta) {
	t.Helper()
	head, err := h.cat.Head(t.Context(), profile.DefaultTenant, 0)
	if err != nil {
		t.Fatal(err)
	}
	var change catalog.Change = catalog.Seal{From: head.Sealed, To: catalog.MinuteOf(h.now.Add(-24 * time.Hour)), Out: metas}
	if head.Seq > 0 {
		change = catalog.Sweep{Sweep: head.Sweep, To: head.Sealed, Out: metas}
	}
	if _, err := h.cat.Commit(t.Context(), profile.DefaultTenant, 0, change); err != nil {
		t.Fatal(err)
	}
}

// testRollups are what blocks of tests have, of short windows so that ranges hold some.
var testRollups = []arrowblock.Rollup{
	{Axis: arrowblock.BySeries, Window: 15 * time.Minute},
	{Axis: arrowblock.BySeries, Window: time.Hour},
	{Axis: arrowblock.ByService, Window: 15 * time.Minute},
	{Axis: arrowblock.ByService, Window: time.Hour},
	{Axis: arrowblock.ByService, Window: 24 * time.Hour},
}

func newBuilder(t testing.TB, day block.Day, profiles []sent) *arrowblock.Builder {
	t.Helper()
	b, err := arrowblock.NewBuilder(arrowblock.Config{Range: day.Range()})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range profiles {
		if _, err := b.AddPprof(arrowblock.Key{Name: s.name, Labels: s.labels, Time: s.time}, s.body); err != nil {
			t.Fatal(err)
		}
	}
	b.AddSource(arrowblock.Source{ID: block.NewID(time.Now()), Day: day})
	return b
}

func buildArrow(t testing.TB, day block.Day, profiles []sent, rollups []arrowblock.Rollup) (block.Meta, []byte) {
	t.Helper()
	var body bytes.Buffer
	meta, err := newBuilder(t, day, profiles).FinishTo(arrowblock.Output{Block: &body, Rollups: rollups})
	if err != nil {
		t.Fatal(err)
	}
	return meta, body.Bytes()
}

func (h *house) put(t testing.TB, key string, body []byte) {
	t.Helper()
	if err := h.bkt.Create(t.Context(), key, bytes.NewReader(body), int64(len(body))); err != nil {
		t.Fatal(err)
	}
	h.keys = append(h.keys, key)
}

func request(t testing.TB, selector, typ string, from, to time.Time) Request {
	t.Helper()
	sel, err := profile.ParseSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	if sel.Type, err = profile.ParseTypePattern(typ); err != nil {
		t.Fatal(err)
	}
	return Request{Tenant: profile.DefaultTenant, Selector: sel, Range: profile.TimeRange{From: from, To: to}}
}

func mustLabels(pairs ...string) profile.Labels {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	ls, err := profile.LabelsFromMap(m)
	if err != nil {
		panic(err)
	}
	return ls
}

// fleet draws random profiles of a few series, as rich as pprof allows.
type fleet struct {
	rng   *rand.Rand
	start time.Time
	span  time.Duration
}

func (f fleet) profiles(t testing.TB, n int) []sent {
	all := make([]sent, n)
	for i := range all {
		all[i] = f.profile(t)
	}
	return all
}

func (f fleet) profile(t testing.TB) sent {
	t.Helper()
	p := &pprof.Profile{}
	s := sent{
		labels: mustLabels("service_name", f.pick("api", "web", "db"), "pod", f.pick("a", "b", "c", "d"), "zone", f.pick("", "x")),
		time:   f.start.Add(time.Duration(f.rng.Int64N(int64(f.span)))),
	}
	switch f.rng.IntN(3) {
	case 0, 1:
		s.name = "process_cpu"
		p.SampleType = []*pprof.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}}
		p.PeriodType, p.Period = &pprof.ValueType{Type: "cpu", Unit: "nanoseconds"}, 10_000_000
		p.DurationNanos = int64(1+f.rng.IntN(10)) * 1e9
	case 2:
		s.name = "memory"
		p.SampleType = []*pprof.ValueType{{Type: "alloc_objects", Unit: "count"}, {Type: "alloc_space", Unit: "bytes"}, {Type: "inuse_objects", Unit: "count"}, {Type: "inuse_space", Unit: "bytes"}}
		p.PeriodType, p.Period = &pprof.ValueType{Type: "space", Unit: "bytes"}, 512<<10
		p.DefaultSampleType = "inuse_objects"
	}
	p.TimeNanos = s.time.UnixNano()
	for range f.rng.IntN(3) {
		p.Comments = append(p.Comments, f.pick("one", "two", "three"))
	}
	p.DocURL, p.DropFrames = "https://example.org/doc", "runtime\\..*"
	f.fill(p)
	s.body = write(t, p)
	return s
}

func write(t testing.TB, p *pprof.Profile) []byte {
	t.Helper()
	var body bytes.Buffer
	if err := p.Write(&body); err != nil {
		t.Fatal(err)
	}
	return body.Bytes()
}

func (f fleet) pick(words ...string) string { return words[f.rng.IntN(len(words))] }

// fill adds mappings, locations and samples.
func (f fleet) fill(p *pprof.Profile) {
	slide := uint64(f.rng.IntN(4)) << 20 // where the loader has put the binaries this time
	p.Mapping = []*pprof.Mapping{
		{ID: 1, Start: 0x400000 + slide, Limit: 0x480000 + slide, Offset: 0x1000, File: "/bin/api", BuildID: "b1", HasFunctions: true, HasFilenames: true, HasLineNumbers: true, HasInlineFrames: true},
		{ID: 2, Start: 0x7f0000000000 + slide, Limit: 0x7f0000100000 + slide, File: "/lib/libc.so", BuildID: "b2"},
		{ID: 3, Start: 0x7f0010000000 + slide, Limit: 0x7f0010100000 + slide, File: "/lib/noid.so"},
	}
	for i := range 12 {
		p.Function = append(p.Function, &pprof.Function{
			ID: uint64(i + 1), Name: fmt.Sprintf("f%d", i), SystemName: fmt.Sprintf("sys.f%d", i), Filename: fmt.Sprintf("/src/%d.go", i/3), StartLine: int64(10 * i),
		})
	}
	for i := range 30 {
		l := &pprof.Location{ID: uint64(i + 1)}
		switch {
		case i < 18: // symbolized; some with inlined functions
			l.Mapping = p.Mapping[0]
			l.Address = l.Mapping.Start + uint64(i)*16
			for j := range 1 + i%3 {
				l.Line = append(l.Line, pprof.Line{Function: p.Function[(i+5*j)%12], Line: int64(100 + i - j), Column: int64(i % 2)})
			}
		case i < 22: // without symbols
			l.Mapping = p.Mapping[1]
			l.Address = l.Mapping.Start + uint64(i)*16
		case i < 25:
			l.Mapping = p.Mapping[2]
			l.Address = l.Mapping.Start + uint64(i)*16
		case i < 28: // without a mapping, as in interpreted languages
			l.Line = []pprof.Line{{Function: p.Function[i%12], Line: int64(i)}}
		default:
			l.Address = 0xdead0000 + uint64(i)
		}
		p.Location = append(p.Location, l)
	}
	for range f.rng.IntN(40) {
		s := &pprof.Sample{}
		for range 1 + f.rng.IntN(6) {
			s.Location = append(s.Location, p.Location[f.rng.IntN(len(p.Location))])
		}
		n := f.rng.Int64N(20)
		for k := range p.SampleType {
			s.Value = append(s.Value, n*int64(1+k*9_999_999))
		}
		if f.rng.IntN(8) == 0 { // not proportional, and sometimes negative
			s.Value[len(s.Value)-1] = f.rng.Int64N(1000) - 100
		}
		if f.rng.IntN(4) == 0 {
			s.Label = map[string][]string{"span": {f.pick("s1", "s2")}}
		}
		if f.rng.IntN(6) == 0 {
			s.NumLabel = map[string][]int64{"bytes": {int64(f.rng.IntN(3)) * 16}}
			s.NumUnit = map[string][]string{"bytes": {"bytes"}}
		}
		p.Sample = append(p.Sample, s)
	}
}

// reference is what google/pprof makes of the profiles that are asked for.
type reference struct {
	profiles []sent
	merged   *pprof.Profile // nil when nothing is asked for
}

// refer chooses among the profiles in the plainest way, each once.
func refer(t testing.TB, all []sent, req Request) reference {
	t.Helper()
	var r reference
	seen := map[string]bool{}
	var chosen []*pprof.Profile
	for _, s := range all {
		ms := s.time.Truncate(time.Millisecond)
		if ms.Before(req.Range.From) || !ms.Before(req.Range.To) || !req.Selector.Matches(s.labels) ||
			!slices.ContainsFunc(s.types(t), req.Selector.Type.Matches) {
			continue
		}
		id := fmt.Sprint(s.name, s.labels, s.time.UnixMilli(), xxhash.Sum64(s.body))
		if !seen[id] {
			seen[id] = true
			r.profiles = append(r.profiles, s)
			chosen = append(chosen, s.parse(t))
		}
	}
	slices.SortFunc(chosen, func(a, b *pprof.Profile) int { return int(a.TimeNanos - b.TimeNanos) })
	if len(chosen) == 0 {
		return r
	}
	var err error
	if r.merged, err = pprof.Merge(chosen); err != nil {
		t.Fatal(err)
	}
	return r
}

// canonical is a profile's samples as text, independent of the numbers of things and
// of where binaries were loaded; the values of one column.
func canonical(p *pprof.Profile, column int) map[string]int64 {
	samples := map[string]int64{}
	for _, s := range p.Sample {
		var b strings.Builder
		for _, l := range s.Location {
			address := l.Address
			if l.Mapping != nil {
				address -= l.Mapping.Start
				fmt.Fprintf(&b, "%s %s %x %x ", l.Mapping.File, l.Mapping.BuildID, l.Mapping.Offset, l.Mapping.Limit-l.Mapping.Start)
			}
			fmt.Fprintf(&b, "%x", address)
			for _, line := range l.Line {
				f := line.Function
				fmt.Fprintf(&b, " [%s %s %s %d] %d:%d", f.Name, f.SystemName, f.Filename, f.StartLine, line.Line, line.Column)
			}
			b.WriteByte(';')
		}
		for _, key := range slices.Sorted(maps.Keys(s.Label)) {
			values := slices.Clone(s.Label[key])
			sort.Strings(values)
			fmt.Fprintf(&b, " %s=%q", key, values)
		}
		for _, key := range slices.Sorted(maps.Keys(s.NumLabel)) {
			fmt.Fprintf(&b, " %s=%d%q", key, s.NumLabel[key], s.NumUnit[key])
		}
		samples[b.String()] += s.Value[column]
	}
	maps.DeleteFunc(samples, func(_ string, v int64) bool { return v == 0 })
	return samples
}

// byFunction is a profile's call tree by function: the total of each path of names.
func byFunction(p *pprof.Profile, column int) map[string]int64 {
	paths := map[string]int64{"": 0}
	for _, s := range p.Sample {
		path := ""
		paths[""] += s.Value[column]
		for _, l := range slices.Backward(s.Location) {
			var names []string
			for _, line := range slices.Backward(l.Line) {
				names = append(names, line.Function.Name)
			}
			if len(names) == 0 {
				names = []string{unnamed(l)}
			}
			for _, name := range names {
				path += ";" + name
				paths[path] += s.Value[column]
			}
		}
	}
	return paths
}

func unnamed(l *pprof.Location) string {
	if l.Mapping == nil {
		return fmt.Sprintf("[unknown]+0x%x", l.Address)
	}
	return fmt.Sprintf("%s+0x%x", l.Mapping.File[strings.LastIndexByte(l.Mapping.File, '/')+1:], l.Address-l.Mapping.Start)
}

package arrowblock

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

// Random profiles, merged: the same samples as google/pprof's Merge, in all and service by service.
func TestBlockOfRandomProfilesHoldsWhatMergeMakes(t *testing.T) {
	for seed := range uint64(30) {
		inputs := randomInputs(t, seed, 12)
		b, _ := finish(t, buildOf(t, inputs))
		compareSamples(t, gotSamples(t, b, 0), wantSamples(t, profilesOf(inputs, nil)...))
		if err := b.Verify(t.Context()); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// The same profiles give the same bytes in whatever order they were added, even though
// what is interned first then differs.
func TestOrderOfAddDoesNotMatter(t *testing.T) {
	inputs := randomInputs(t, 7, 20)
	heap := randomInputs(t, 8, 5)
	for i := range heap {
		heap[i].key.Name = "memory"
	}
	inputs = append(inputs, heap...)
	sources := []Source{
		{ID: block.ID{1}, Day: block.DayOf(day)},
		{ID: block.ID{2}, Day: block.DayOf(day), Rejected: "no ZIP"},
		{ID: block.ID{1}, Day: block.DayOf(day), Profile: "3.pb.gz", Rejected: "gzip: unexpected EOF"},
	}
	var want []byte
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 2))
		r.Shuffle(len(inputs), func(i, j int) { inputs[i], inputs[j] = inputs[j], inputs[i] })
		r.Shuffle(len(sources), func(i, j int) { sources[i], sources[j] = sources[j], sources[i] })
		b := buildOf(t, inputs)
		for _, s := range append(sources, sources[0]) {
			b.AddSource(s)
		}
		opened, data := finish(t, b)
		if want == nil {
			want = data
		}
		if !bytes.Equal(data, want) {
			t.Fatalf("order %d gives other bytes", seed)
		}
		got, err := opened.Sources(t.Context())
		if err != nil || len(got) != len(sources) {
			t.Fatalf("Sources = %v, %v", got, err)
		}
		for _, s := range got {
			if !slices.Contains(sources, s) {
				t.Errorf("source %v was not added", s)
			}
		}
	}
}

// What a profile carries beside its samples comes back, to the nanosecond.
func TestTotalsKeepWhatProfilesCarry(t *testing.T) {
	inputs := randomInputs(t, 3, 15)
	b, _ := finish(t, buildOf(t, inputs))
	totals, err := b.Totals(t.Context(), 0, Span{0, uint64(len(b.Series()))})
	if err != nil {
		t.Fatal(err)
	}
	headers, err := b.Headers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if totals.Len() != len(inputs) {
		t.Fatalf("%d profiles, want %d", totals.Len(), len(inputs))
	}
	byHash := map[uint64]input{}
	for _, in := range inputs {
		byHash[xxhash.Sum64(in.body)] = in
	}
	for i := range totals.Len() {
		in, ok := byHash[totals.Hash[i]]
		if !ok {
			t.Fatalf("profile %d has the hash %x of none", i, totals.Hash[i])
		}
		p, h := in.profile, headers[totals.Header[i]]
		if got := day.UnixNano() + int64(totals.T[i])*1e6 + int64(totals.Nanos[i]); got != p.TimeNanos {
			t.Errorf("time %d, want %d", got, p.TimeNanos)
		}
		if totals.DurationNanos[i] != p.DurationNanos || totals.Period[i] != p.Period || int(totals.Samples[i]) != len(p.Sample) {
			t.Errorf("duration %d, period %d, samples %d, want %d, %d, %d", totals.DurationNanos[i], totals.Period[i], totals.Samples[i],
				p.DurationNanos, p.Period, len(p.Sample))
		}
		if !slices.Equal(h.Comments, p.Comments) || h.DropFrames != p.DropFrames || h.KeepFrames != p.KeepFrames || h.DocURL != p.DocURL {
			t.Errorf("header %+v, want that of %v", h, p)
		}
		if m := b.Mappings()[h.Main]; m.File != p.Mapping[0].File && m.BuildID == "" || m.BuildID != p.Mapping[0].BuildID {
			t.Errorf("main mapping %+v, want %+v", m, p.Mapping[0])
		}
		if got := b.Series()[totals.Series[i]].Labels; !got.Equal(in.key.Labels) {
			t.Errorf("labels %v, want %v", got, in.key.Labels)
		}
		sums := make([]int64, 2)
		for _, s := range p.Sample {
			sums[0] += s.Value[0]
			sums[1] += s.Value[1]
		}
		if totals.Values[0][i] != sums[0] || totals.Values[1][i] != sums[1] {
			t.Errorf("sums %d %d, want %v", totals.Values[0][i], totals.Values[1][i], sums)
		}
	}
	g := b.Groups()[0]
	want := Group{
		"process_cpu",
		[]profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		profile.ValueType{Type: "cpu", Unit: "nanoseconds"},
		true, "cpu",
	}
	if !reflect.DeepEqual(g, want) {
		t.Errorf("group %+v, want %+v", g, want)
	}
}

// tiny is a profile of one sample.
func tiny() *pprof.Profile {
	fn := &pprof.Function{ID: 1, Name: "main.main", SystemName: "main.main", Filename: "main.go"}
	loc := &pprof.Location{ID: 1, Address: 0x1234, Line: []pprof.Line{{Function: fn, Line: 7}}}
	return &pprof.Profile{
		SampleType: []*pprof.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		PeriodType: &pprof.ValueType{Type: "cpu", Unit: "nanoseconds"},
		TimeNanos:  day.UnixNano() + 1234567,
		Sample:     []*pprof.Sample{{Location: []*pprof.Location{loc}, Value: []int64{3, 30}}},
		Location:   []*pprof.Location{loc},
		Function:   []*pprof.Function{fn},
	}
}

// A profile that arrives twice counts once; one that differs in series, name, time or
// content is another.
func TestRepeatedProfilesCountOnce(t *testing.T) {
	key := Key{Name: "process_cpu", Labels: labels(t, "job", "a")}
	body := encode(t, tiny())
	later := tiny()
	later.TimeNanos += 1e6
	more := tiny()
	more.Sample[0].Value[0]++
	for _, tt := range []struct {
		name  string
		key   Key
		body  []byte
		added bool
	}{
		{"the same", key, body, false},
		{"the same, its time given too", Key{Name: "process_cpu", Labels: labels(t, "job", "a"), Time: day.Add(time.Millisecond)}, body, false},
		{"of another series", Key{Name: "process_cpu", Labels: labels(t, "job", "b")}, body, true},
		{"of another name", Key{Name: "wall", Labels: labels(t, "job", "a")}, body, true},
		{"of another time", Key{Name: "process_cpu", Labels: labels(t, "job", "a"), Time: day.Add(time.Hour)}, body, true},
		{"taken later", key, encode(t, later), true},
		{"with other values", key, encode(t, more), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBuilder(t)
			add(t, b, key, body)
			added, err := b.AddPprof(tt.key, tt.body)
			if err != nil || added != tt.added {
				t.Fatalf("added %v, %v; want %v", added, err, tt.added)
			}
			want := 1
			if tt.added {
				want = 2
			}
			if b.Profiles() != want || b.Repeated() != 2-want {
				t.Errorf("Profiles = %d, Repeated = %d, want %d, %d", b.Profiles(), b.Repeated(), want, 2-want)
			}
		})
	}
}

// A profile's time is its own unless another is given, to the nanosecond.
func TestTimeOfProfiles(t *testing.T) {
	own := day.Add(1234567 * time.Nanosecond)
	for _, tt := range []struct {
		name       string
		own, given time.Time
		want       time.Time // zero: ErrInvalid
	}{
		{"its own", own, time.Time{}, own},
		{"both, of the same millisecond", own, own.Add(1), own.Add(1)},
		{"another is given", own, day.Add(5*time.Hour + 7), day.Add(5*time.Hour + 7)},
		{"none of its own", time.Time{}, day.Add(time.Second), day.Add(time.Second)},
		{"none at all", time.Time{}, time.Time{}, time.Time{}},
		{"a millisecond too early", day.Add(-time.Millisecond), time.Time{}, time.Time{}},
		{"a nanosecond too early", day.Add(-1), time.Time{}, time.Time{}},
		{"the last nanosecond", day.Add(24*time.Hour - 1), time.Time{}, day.Add(24*time.Hour - 1)},
		{"too late", day.Add(24 * time.Hour), time.Time{}, time.Time{}},
		{"given too late", own, day.Add(24 * time.Hour), time.Time{}},
		{"given in another age", own, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), time.Time{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := tiny()
			p.TimeNanos = 0
			if !tt.own.IsZero() {
				p.TimeNanos = tt.own.UnixNano()
			}
			b := newBuilder(t)
			_, err := b.AddPprof(Key{Name: "x", Time: tt.given}, encode(t, p))
			if tt.want.IsZero() {
				if !errors.Is(err, profile.ErrInvalid) {
					t.Fatalf("err = %v, want ErrInvalid", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			opened, _ := finish(t, b)
			totals, err := opened.Totals(t.Context(), 0, Span{0, 1})
			if err != nil {
				t.Fatal(err)
			}
			if got := day.Add(time.Duration(totals.T[0])*time.Millisecond + time.Duration(totals.Nanos[0])); !got.Equal(tt.want) {
				t.Errorf("time %v, want %v", got, tt.want)
			}
		})
	}
}

// An Add that fails leaves no trace.
func TestFailedAddChangesNothing(t *testing.T) {
	inputs := randomInputs(t, 5, 6)
	_, want := finish(t, buildOf(t, inputs))
	b := newBuilder(t)
	late := tiny()
	late.TimeNanos = day.Add(48 * time.Hour).UnixNano()
	for _, in := range inputs {
		for name, err := range map[string]error{
			"garbage":  second(b.AddPprof(in.key, []byte("not a pprof"))),
			"half":     second(b.AddPprof(in.key, in.body[:len(in.body)/2])),
			"late":     second(b.AddPprof(in.key, encode(t, late))),
			"nameless": second(b.AddPprof(Key{Labels: in.key.Labels}, in.body)),
		} {
			if !errors.Is(err, profile.ErrInvalid) {
				t.Fatalf("%s: err = %v, want ErrInvalid", name, err)
			}
		}
		add(t, b, in.key, in.body)
	}
	if _, got := finish(t, b); !bytes.Equal(got, want) {
		t.Error("failed adds left traces in the block")
	}
}

func second[T any](_ T, err error) error { return err }

func TestTooDeepStacksAreRefused(t *testing.T) {
	deep := func(n int) *profile.Profile {
		p := &profile.Profile{
			Strings:     []string{"", "x"},
			SampleTypes: []profile.ValueTypeRef{{Type: 1, Unit: 1}},
			TimeNanos:   day.UnixNano(),
			Locations:   []profile.Location{{Address: 1, Mapping: -1}, {Address: 2, Mapping: -1}},
			Values:      []int64{1},
		}
		for i := range n {
			p.LocationRefs = append(p.LocationRefs, uint32(i%2))
		}
		p.LocationEnds = []uint32{uint32(n)}
		return p
	}
	b := newBuilder(t)
	if _, err := b.Add(Key{Name: "x"}, deep(maxDepth+1), 1); !errors.Is(err, profile.ErrInvalid) {
		t.Fatalf("err = %v, want ErrInvalid", err)
	}
	for i, n := range []int{maxDepth, 0, 1, maxDepth - 1} {
		if _, err := b.Add(Key{Name: "x"}, deep(n), uint64(i)); err != nil {
			t.Fatal(err)
		}
	}
	opened, _ := finish(t, b)
	if err := opened.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The two long stacks begin alike at the leaf, so from the root on they share nothing.
	if got, want := opened.Info().Nodes, int64(1+maxDepth+maxDepth-1); got != want {
		t.Errorf("%d nodes, want %d", got, want)
	}
}

// Blocks with nothing in them, or next to nothing, are blocks.
func TestEmptyBlocks(t *testing.T) {
	noSamples, noLocations, zeros := tiny(), tiny(), tiny()
	noSamples.Sample = nil
	noLocations.Sample[0].Location = nil
	zeros.Sample[0].Value = []int64{0, 0}
	for _, tt := range []struct {
		name  string
		p     *pprof.Profile
		rows  int64
		nodes int64
	}{
		{"no profile", nil, 0, 0},
		{"no samples", noSamples, 0, 1},
		{"a sample without locations", noLocations, 1, 1},
		{"only zeros", zeros, 0, 1},
		{"one sample", tiny(), 1, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBuilder(t)
			b.AddSource(Source{ID: block.ID{9}, Day: block.DayOf(day), Rejected: "empty"})
			if tt.p != nil {
				add(t, b, Key{Name: "x"}, encode(t, tt.p))
			}
			opened, _ := finish(t, b)
			if err := opened.Verify(t.Context()); err != nil {
				t.Fatal(err)
			}
			i := opened.Info()
			if i.Rows != tt.rows || i.Nodes != tt.nodes {
				t.Errorf("%d rows of %d nodes, want %d of %d", i.Rows, i.Nodes, tt.rows, tt.nodes)
			}
			if tt.p != nil {
				compareSamples(t, gotSamples(t, opened, 0), wantSamples(t, tt.p))
			}
			for _, s := range opened.Services() {
				if s.Name != profile.UnknownService {
					t.Errorf("service %q, want %q", s.Name, profile.UnknownService)
				}
			}
		})
	}
}

// Meta tells what is true of the block, and its tail opens it in one read.
func TestMetaOpensInOneRead(t *testing.T) {
	inputs := randomInputs(t, 11, 20)
	b := buildOf(t, inputs)
	var buf bytes.Buffer
	meta, err := b.Finish(&buf)
	if err != nil {
		t.Fatal(err)
	}
	meta.Level = block.L1
	if err := meta.Validate(); err != nil {
		t.Fatal(err)
	}
	src := &countedSource{Bytes: buf.Bytes()}
	opened, err := Open(t.Context(), src, Tail{meta.Tail, meta.CRC})
	if err != nil {
		t.Fatal(err)
	}
	if src.reads != 1 {
		t.Errorf("opened with %d reads, want 1", src.reads)
	}
	for _, tail := range []Tail{{}, {Bytes: meta.Size, CRC: castagnoli(buf.Bytes())}} {
		if again, err := Open(t.Context(), src, tail); err != nil || again.Info() != opened.Info() {
			t.Errorf("Open with %v: %v", tail, err)
		}
	}
	i := opened.Info()
	if meta.Rows != i.Rows || meta.Profiles != i.Profiles || meta.MinTime != i.MinTime || meta.MaxTime != i.MaxTime || meta.Day != block.DayOf(day) {
		t.Errorf("meta %+v does not agree with %+v", meta, i)
	}
	if want := opened.Groups()[0].Types(); len(meta.Types) != len(want) {
		t.Errorf("types %v, want %v", meta.Types, want)
	}
	if _, err := Open(t.Context(), src, Tail{meta.Tail, meta.CRC + 1}); !errors.Is(err, block.ErrCorrupt) {
		t.Errorf("with another CRC: %v, want ErrCorrupt", err)
	}
}

// countedSource counts requests.
type countedSource struct {
	block.Bytes
	reads int
}

func (s *countedSource) ReadRange(ctx context.Context, off, n int64) ([]byte, error) {
	s.reads++
	return s.Bytes.ReadRange(ctx, off, n)
}

// Labels, their values and the series that have them are found; so is nothing else.
func TestPostings(t *testing.T) {
	b, _ := finish(t, buildOf(t, randomInputs(t, 13, 40)))
	if got, want := b.LabelNames(), []string{"pod", "service_name"}; !slices.Equal(got, want) {
		t.Errorf("names %v, want %v", got, want)
	}
	if got, want := b.LabelValues("service_name"), []string{"api", "cache", "db"}; !slices.Equal(got, want) {
		t.Errorf("values %v, want %v", got, want)
	}
	for _, name := range []string{"pod", "service_name", "", "zzz"} {
		for _, value := range append(b.LabelValues(name), "", "nobody") {
			var want []uint32
			for i, s := range b.Series() {
				if value != "" && s.Labels.Get(name) == value {
					want = append(want, uint32(i))
				}
			}
			if got := b.Postings(name, value); !slices.Equal(got, want) {
				t.Errorf("postings of %s=%s: %v, want %v", name, value, got, want)
			}
		}
	}
	for i, s := range b.Series() {
		if b.Services()[s.Service].Name != s.Labels.Service() {
			t.Errorf("series %d is of service %s, want %s", i, b.Services()[s.Service].Name, s.Labels.Service())
		}
	}
}

// Rows come as asked: these spans, these columns, whatever the chunks.
func TestRowsComeBySpan(t *testing.T) {
	b, _ := finish(t, buildOf(t, randomInputs(t, 17, 30)))
	totals, err := b.Totals(t.Context(), 0, Span{0, uint64(len(b.Series()))})
	if err != nil {
		t.Fatal(err)
	}
	var spans []Span
	for i := 0; i < totals.Len(); i += 3 {
		spans = append(spans, Span{totals.FirstRow[i], totals.FirstRow[i+1]})
	}
	sums := make([]int64, len(spans))
	rows := make([]uint64, len(spans))
	for r, err := range b.Rows(t.Context(), 0, spans, Columns{Values: []int{1}}) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Labels != nil {
			t.Error("labels were not asked for")
		}
		rows[r.Span] += uint64(r.Len())
		for _, v := range r.Values(nil, 1) {
			sums[r.Span] += v
		}
		nodes := b.Services()[b.Series()[totals.Series[3*r.Span]].Service].Nodes
		self := make([]int64, nodes.Len())
		if err := r.AddTo(self, nodes.From, 1); err != nil {
			t.Error(err)
		}
		if got := sum(self); got != sum(r.Values(nil, 1)) {
			t.Errorf("AddTo adds up to %d", got)
		}
		if r.Len() > 0 {
			if err := r.AddTo(self[:0], nodes.From, 1); !errors.Is(err, block.ErrCorrupt) {
				t.Errorf("AddTo outside of the service: %v, want ErrCorrupt", err)
			}
		}
	}
	for i, s := range spans {
		if rows[i] != s.Len() || sums[i] != totals.Values[1][3*i] {
			t.Errorf("span %d: %d rows of %d, sum %d, want %d", i, rows[i], s.Len(), sums[i], totals.Values[1][3*i])
		}
	}
	for name, bad := range map[string][]Span{
		"descending": {{5, 6}, {3, 4}},
		"reversed":   {{5, 4}},
		"outside":    {{0, b.raw[0].rows + 1}},
	} {
		for _, err := range b.Rows(t.Context(), 0, bad, Columns{}) {
			if !errors.Is(err, profile.ErrInvalid) {
				t.Errorf("%s: %v, want ErrInvalid", name, err)
			}
		}
	}
}

func sum(values []int64) (n int64) {
	for _, v := range values {
		n += v
	}
	return n
}

// Totals of some series are those series' part of all.
func TestTotalsBySeries(t *testing.T) {
	b, _ := finish(t, buildOf(t, randomInputs(t, 19, 40)))
	n := uint64(len(b.Series()))
	all, err := b.Totals(t.Context(), 0, Span{0, n})
	if err != nil {
		t.Fatal(err)
	}
	for from := range n + 1 {
		for to := from; to <= n; to++ {
			got, err := b.Totals(t.Context(), 0, Span{from, to})
			if err != nil {
				t.Fatal(err)
			}
			want := 0
			for i, s := range all.Series {
				if uint64(s) < from || uint64(s) >= to {
					continue
				}
				if got.Hash[want] != all.Hash[i] || got.FirstRow[want] != all.FirstRow[i] || got.Values[1][want] != all.Values[1][i] {
					t.Fatalf("series [%d, %d): profile %d is not profile %d of all", from, to, want, i)
				}
				want++
			}
			if got.Len() != want || len(got.FirstRow) != want+1 {
				t.Fatalf("series [%d, %d): %d profiles, want %d", from, to, got.Len(), want)
			}
		}
	}
}

// flatProfile is a profile of random stacks over locations that are nothing but addresses.
func flatProfile(r *rand.Rand, locations, samples, depth int) *profile.Profile {
	p := &profile.Profile{
		Strings:     []string{"", "count", "bytes"},
		SampleTypes: []profile.ValueTypeRef{{Type: 1, Unit: 1}, {Type: 2, Unit: 2}},
		TimeNanos:   day.UnixNano() + r.Int64N(1e12),
	}
	for i := range locations {
		p.Locations = append(p.Locations, profile.Location{Address: uint64(i), Mapping: -1})
	}
	for range samples {
		for range 1 + r.IntN(depth) {
			p.LocationRefs = append(p.LocationRefs, uint32(r.IntN(locations)))
		}
		p.LocationEnds = append(p.LocationEnds, uint32(len(p.LocationRefs)))
		n := 1 + r.Int64N(10)
		p.Values = append(p.Values, n, -8*n)
	}
	return p
}

// A service larger than a chunk of stacks, and a group larger than one of rows, come
// back whole; small services share a chunk, but not with a large one.
func TestManyChunks(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	b := newBuilder(t)
	want := map[string]int64{}
	for i, service := range []string{"a-small", "b-large", "c-small", "d-small", "b-large", "b-large"} {
		samples := 500
		if service == "b-large" {
			samples = 120_000
		}
		p := flatProfile(r, 3000, samples, 4)
		if _, err := b.Add(Key{Name: "x", Labels: labels(t, "job", service)}, p, uint64(i)); err != nil {
			t.Fatal(err)
		}
		for k := 0; k < len(p.Values); k += 2 {
			want[service] += p.Values[k]
		}
	}
	opened, _ := finish(t, b)
	if err := opened.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(opened.chunks) < 4 || len(opened.raw[0].chunks) != 2 {
		t.Errorf("%d chunks of stacks and %d of rows are not many", len(opened.chunks), len(opened.raw[0].chunks))
	}
	for n, of := range map[int]int{0: 1, 2: 1, 3: 1} {
		if from, to := opened.chunksOf(opened.services[n].Nodes); to-from != of {
			t.Errorf("%s lies in %d chunks of stacks, want %d", opened.services[n].Name, to-from, of)
		}
	}
	if a, _ := opened.chunksOf(opened.services[0].Nodes); opened.chunks[a].nodes.rows > maxNodesShared {
		t.Errorf("a small service lies in a chunk of %d nodes", opened.chunks[a].nodes.rows)
	}
	for n, s := range opened.Services() {
		tree, totals := flameGraph(t, opened, "x", 0, n)
		if totals[0] != want[s.Name] {
			t.Errorf("%s adds up to %d, want %d", s.Name, totals[0], want[s.Name])
		}
		if _, other := flameGraph(t, opened, "x", 1, n); other[0] != -8*want[s.Name] {
			t.Errorf("%s, second sample type: %d, want %d", s.Name, other[0], -8*want[s.Name])
		}
		if uint64(tree.Len()) != s.Nodes.Len() {
			t.Errorf("%s has %d nodes, %d of them with values", s.Name, s.Nodes.Len(), tree.Len())
		}
	}
}

// Decoding the stacks that have values gives what decoding all and pruning gives, wherever chunks end.
func TestTreesHaveWhatHasValues(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 2))
	b := newBuilder(t)
	for i, service := range []string{"a-small", "b-large", "c-small"} {
		samples := 300
		if service == "b-large" {
			samples = 40_000
		}
		if _, err := b.Add(Key{Name: "x", Labels: labels(t, "job", service)}, flatProfile(r, 2000, samples, 4), uint64(i)); err != nil {
			t.Fatal(err)
		}
	}
	opened, _ := finish(t, b)
	for _, one := range []int{0, 3, 50, 1000} { // node in so many has a value
		sym := NewSymbols()
		services := []int{2, 0, 1}
		stacks, err := opened.Stacks(t.Context(), sym, services...)
		if err != nil {
			t.Fatal(err)
		}
		want, self := make([]*Tree, len(stacks)), make([][][]int64, len(stacks))
		for i, s := range stacks {
			want[i] = NewTree(s, 2)
			for k, column := range want[i].Self {
				for node := range column {
					if one > 0 && r.IntN(one) == 0 {
						column[node] = int64(k + node)
					}
				}
				self[i] = append(self[i], slices.Clone(column))
			}
			want[i].Prune()
		}
		packed, err := opened.PackedStacks(t.Context(), services...)
		if err != nil {
			t.Fatal(err)
		}
		got, err := packed.Trees(sym, self)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if !equalTrees(got[i], want[i]) {
				t.Errorf("one node in %d with a value: service %d has %d nodes, want %d, or others", one, services[i], got[i].Len(), want[i].Len())
			}
		}
	}
}

// A Block may be read by many at once, all into the same Symbols.
func TestConcurrentReads(t *testing.T) {
	inputs := randomInputs(t, 41, 30)
	b, _ := finish(t, buildOf(t, inputs))
	sym := NewSymbols()
	var wg sync.WaitGroup
	trees := make([][]*Stacks, 8)
	for i := range trees {
		wg.Go(func() {
			var err error
			if trees[i], err = b.Stacks(context.Background(), sym, 0, 1, 2); err != nil {
				t.Error(err)
			}
			if _, err := b.Totals(context.Background(), 0, Span{0, 100}); err != nil {
				t.Error(err)
			}
			for _, err := range b.Rows(context.Background(), 0, []Span{{0, b.raw[0].rows}}, Columns{Values: []int{0}}) {
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, stacks := range trees {
		if !reflect.DeepEqual(stacks, trees[0]) {
			t.Fatal("stacks differ")
		}
	}
}

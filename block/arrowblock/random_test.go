package arrowblock

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	pprof "github.com/google/pprof/profile"
)

// randomProfile makes a profile of everything that pprof knows, out of so few words that
// profiles have much in common: inlined and folded locations, several mappings at
// shifting addresses, locations without lines or without a mapping, labels with
// units, samples that are equal, that are zero and that cancel each other out.
func randomProfile(r *rand.Rand) *pprof.Profile {
	p := &pprof.Profile{
		SampleType:        []*pprof.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		DefaultSampleType: "cpu",
		PeriodType:        &pprof.ValueType{Type: "cpu", Unit: "nanoseconds"},
		Period:            10000000 + int64(r.IntN(2)),
		TimeNanos:         day.UnixNano() + r.Int64N(24*3600*1e9),
		DurationNanos:     1e9 + r.Int64N(1e9),
		DropFrames:        pick(r, "", "alloc.*"),
		KeepFrames:        pick(r, "", "main.*"),
		DocURL:            pick(r, "", "https://example.com/doc"),
	}
	for range r.IntN(3) {
		p.Comments = append(p.Comments, pick(r, "a comment", "another", ""))
	}
	for i := range 1 + r.IntN(4) {
		start := uint64(0x400000*(i+1)) + uint64(r.IntN(4))<<32
		p.Mapping = append(p.Mapping, &pprof.Mapping{
			ID: uint64(i + 1), Start: start, Limit: start + 0x1000*uint64(1+i) + uint64(r.IntN(0x1000)), Offset: uint64(i%2) * 0x1000,
			File: pick(r, "/bin/app", "/lib/libc.so", ""), BuildID: pick(r, "", "abc", "def"),
			HasFunctions: r.IntN(2) == 0, HasFilenames: true, HasLineNumbers: r.IntN(2) == 0, HasInlineFrames: r.IntN(3) == 0,
		})
	}
	for i := range 1 + r.IntN(12) {
		name := fmt.Sprintf("fn%d", r.IntN(10))
		p.Function = append(p.Function, &pprof.Function{
			ID: uint64(i + 1), Name: name, SystemName: pick(r, name, "_Z"+name, ""), Filename: pick(r, "a.go", "b.go", ""), StartLine: int64(r.IntN(3)),
		})
	}
	for i := range 1 + r.IntN(20) {
		l := &pprof.Location{ID: uint64(i + 1), Address: uint64(r.IntN(8)) * 16, IsFolded: r.IntN(8) == 0}
		if r.IntN(5) > 0 {
			l.Mapping = p.Mapping[r.IntN(len(p.Mapping))]
			l.Address += l.Mapping.Start
		}
		for range r.IntN(4) {
			l.Line = append(l.Line, pprof.Line{Function: p.Function[r.IntN(len(p.Function))], Line: int64(r.IntN(4)) - 1, Column: int64(r.IntN(2))})
		}
		p.Location = append(p.Location, l)
	}
	for range r.IntN(60) {
		s := &pprof.Sample{}
		for range r.IntN(8) {
			s.Location = append(s.Location, p.Location[r.IntN(len(p.Location))])
		}
		n := r.Int64N(5) - 1
		s.Value = []int64{n, n * 10000000}
		if r.IntN(20) == 0 {
			s.Value[1] = r.Int64() - r.Int64()
		}
		if r.IntN(2) == 0 {
			s.Label = map[string][]string{pick(r, "thread", "span"): []string{pick(r, "main", "worker"), "x"}[:1+r.IntN(2)]}
		}
		if r.IntN(2) == 0 {
			s.NumLabel = map[string][]int64{"bytes": {1 + r.Int64N(3), 7}}
			s.NumUnit = map[string][]string{"bytes": {pick(r, "bytes", "kilobytes"), "bytes"}}
		}
		p.Sample = append(p.Sample, s)
		if r.IntN(10) == 0 {
			back := *s
			back.Value = []int64{-s.Value[0], -s.Value[1]}
			p.Sample = append(p.Sample, &back)
		}
	}
	return p
}

func pick(r *rand.Rand, words ...string) string { return words[r.IntN(len(words))] }

// input is a profile on its way into a block.
type input struct {
	key     Key
	body    []byte
	profile *pprof.Profile
}

// randomInputs makes profiles of a few series and services.
func randomInputs(tb testing.TB, seed uint64, n int) []input {
	tb.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	inputs := make([]input, n)
	for i := range inputs {
		p := randomProfile(r)
		body := encode(tb, p)
		p, err := pprof.ParseData(body) // as it is after a trip over the wire
		if err != nil {
			tb.Fatal(err)
		}
		inputs[i] = input{Key{
			Name:   "process_cpu",
			Labels: labels(tb, "service_name", pick(r, "api", "db", "cache"), "pod", pick(r, "0", "1")),
		}, body, p}
	}
	return inputs
}

func buildOf(tb testing.TB, inputs []input) *Builder {
	tb.Helper()
	b := newBuilder(tb)
	for _, in := range inputs {
		add(tb, b, in.key, in.body)
	}
	return b
}

func profilesOf(inputs []input, of func(input) bool) []*pprof.Profile {
	var profiles []*pprof.Profile
	for _, in := range inputs {
		if of == nil || of(in) {
			profiles = append(profiles, in.profile)
		}
	}
	return slices.Clip(profiles)
}

package query

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/profile"
)

var start = time.Date(2026, 8, 20, 20, 0, 0, 0, time.UTC)

// layouts are ways in which the same profiles may lie in a bucket. Duplicates lie in
// a second block, as when a client's retry lands beside its first attempt.
var layouts = map[string]func(t testing.TB, h *house, all []sent){
	"pprof blocks": func(t testing.TB, h *house, all []sent) {
		for part := range slices.Chunk(all, 7) {
			h.putL0(t, part...)
		}
		h.putL0(t, all[:5]...)
	},
	"Arrow blocks": func(t testing.TB, h *house, all []sent) {
		for part := range slices.Chunk(all, 20) {
			h.putArrow(t, part...)
		}
		h.putArrow(t, all[:10]...)
	},
	"both": func(t testing.TB, h *house, all []sent) {
		h.putArrow(t, all[:len(all)/2]...)
		h.putL0(t, all[len(all)/2:]...)
		h.putL0(t, all[:10]...)
	},
}

// Every answer is what google/pprof makes of the same profiles, wherever they lie.
func TestAgainstGooglePprof(t *testing.T) {
	for name, layOut := range layouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(7, 8))
			all := fleet{rng, start, 8 * time.Hour}.profiles(t, 60)
			h := newHouse()
			layOut(t, h, all)
			for range 40 {
				req := randomRequest(t, rng, all)
				want := refer(t, all, req)
				what := fmt.Sprintf("%s [%s, %s)", req.Selector, formatTime(req.Range.From), formatTime(req.Range.To))
				if _, err := h.q.Tree(t.Context(), TreeRequest{Request: req}); want.merged == nil && errors.Is(err, ErrNoType) {
					continue // no block of the range has the type
				}
				checkPprof(t, h, what, req, want)
				checkTree(t, h, what, req, want)
				checkSeries(t, h, what, req, want)
				checkLists(t, h, what, req, want)
			}
		})
	}
}

// randomRequest asks for a name or one type of it, often with the range's ends on a
// profile's very time.
func randomRequest(t testing.TB, rng *rand.Rand, all []sent) Request {
	selectors := []string{
		`{}`, `{service_name="api"}`, `{service_name="web", pod="a"}`, `{pod=~"a|b"}`, `{pod!="a"}`, `{zone=""}`, `{zone="x", pod=~"[ab]"}`,
		`{service_name=~"a.*"}`, `{service_name!~"a.*"}`, `{pod="nobody"}`, `{nolabel=""}`,
	}
	types := []string{
		"process_cpu", "memory", "process_cpu/samples", "memory/alloc_space", "process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta",
	}
	from := start.Add(time.Duration(rng.Int64N(int64(8 * time.Hour))))
	to := from.Add(time.Duration(1 + rng.Int64N(int64(6*time.Hour))))
	if rng.IntN(2) == 0 {
		from = all[rng.IntN(len(all))].time.Truncate(time.Millisecond)
		to = from.Add(time.Duration(1+rng.IntN(3)) * time.Millisecond)
	}
	if rng.IntN(4) == 0 {
		from, to = start, start.Add(8*time.Hour)
	}
	return request(t, selectors[rng.IntN(len(selectors))], types[rng.IntN(len(types))], from, to)
}

// columnsOf are the columns of the merged profile that a type pattern names.
func columnsOf(p *pprof.Profile, name string, pattern profile.TypePattern) []int {
	var columns []int
	for i, v := range p.SampleType {
		typ := profile.Type{
			Name: name, Sample: profile.ValueType{Type: v.Type, Unit: v.Unit},
			Period: profile.ValueType{Type: p.PeriodType.Type, Unit: p.PeriodType.Unit}, Delta: p.DurationNanos != 0,
		}
		if pattern.Matches(typ) {
			columns = append(columns, i)
		}
	}
	return columns
}

func checkPprof(t *testing.T, h *house, what string, req Request, want reference) {
	t.Helper()
	answer, err := h.q.Pprof(t.Context(), req)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	var wire bytes.Buffer
	if err := answer.Profile.Write(&wire); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	got, err := pprof.ParseData(wire.Bytes())
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if answer.Stats.Profiles != len(want.profiles) || answer.Stats.Partial() || answer.Stats.OK != answer.Stats.Blocks {
		t.Errorf("%s: stats %+v, want %d profiles", what, answer.Stats, len(want.profiles))
	}
	if want.merged == nil {
		if len(got.Sample) != 0 {
			t.Errorf("%s: %d samples of nothing", what, len(got.Sample))
		}
		return
	}
	if err := got.CheckValid(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	w := want.merged
	columns := columnsOf(w, want.profiles[0].name, req.Selector.Type)
	if len(got.SampleType) != len(columns) {
		t.Fatalf("%s: sample types %v, want %d", what, got.SampleType, len(columns))
	}
	for i, column := range columns {
		if *got.SampleType[i] != *w.SampleType[column] {
			t.Errorf("%s: sample type %v, want %v", what, got.SampleType[i], w.SampleType[column])
		}
		compareMaps(t, what, canonical(got, i), canonical(w, column))
	}
	if got.TimeNanos != w.TimeNanos || got.DurationNanos != w.DurationNanos || got.Period != w.Period || *got.PeriodType != *w.PeriodType {
		t.Errorf("%s: time %d, duration %d, period %d %v, want %d, %d, %d %v", what, got.TimeNanos, got.DurationNanos, got.Period, got.PeriodType,
			w.TimeNanos, w.DurationNanos, w.Period, w.PeriodType)
	}
	if g, w := slices.Sorted(slices.Values(got.Comments)), slices.Sorted(slices.Values(w.Comments)); !slices.Equal(g, w) {
		t.Errorf("%s: comments %q, want %q", what, g, w)
	}
	if got.DocURL != w.DocURL || got.DropFrames != w.DropFrames || len(columns) > 1 && got.DefaultSampleType != w.DefaultSampleType {
		t.Errorf("%s: doc %q, drop %q, default %q, want %q, %q, %q", what, got.DocURL, got.DropFrames, got.DefaultSampleType, w.DocURL, w.DropFrames, w.DefaultSampleType)
	}
	if len(w.Mapping) > 0 && (len(got.Mapping) != len(w.Mapping) || got.Mapping[0].File != w.Mapping[0].File) {
		t.Errorf("%s: mappings %v, want %v", what, got.Mapping, w.Mapping)
	}
}

// defaultColumn is the one that a tree is of.
func defaultColumn(p *pprof.Profile, columns []int) int {
	for _, c := range columns {
		if p.SampleType[c].Type == p.DefaultSampleType {
			return c
		}
	}
	return columns[len(columns)-1]
}

func checkTree(t *testing.T, h *house, what string, req Request, want reference) {
	t.Helper()
	tree, err := h.q.Tree(t.Context(), TreeRequest{Request: req})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	paths := map[string]int64{"": 0}
	if want.merged != nil {
		column := defaultColumn(want.merged, columnsOf(want.merged, want.profiles[0].name, req.Selector.Type))
		paths = byFunction(want.merged, column)
		if tree.Type.Sample.Type != want.merged.SampleType[column].Type {
			t.Errorf("%s: tree of %s, want %s", what, tree.Type, want.merged.SampleType[column].Type)
		}
	}
	got := tree.paths()
	if len(got) != len(tree.Depth) {
		t.Errorf("%s: %d nodes have %d paths", what, len(tree.Depth), len(got))
	}
	maps.DeleteFunc(got, func(path string, v int64) bool { return path != "" && v == 0 })
	maps.DeleteFunc(paths, func(path string, v int64) bool { return path != "" && v == 0 })
	compareMaps(t, what+" tree", got, paths)
	siblings := map[string]string{} // the last child of a path
	var path []string
	for i := range tree.Depth {
		path = append(path[:tree.Depth[i]], tree.Frames[tree.Frame[i]].Name)
		parent := fmt.Sprint(path[:tree.Depth[i]])
		if last, ok := siblings[parent]; ok && last >= path[len(path)-1] && i > 0 {
			t.Fatalf("%s: child %q of %s comes after %q", what, path[len(path)-1], parent, last)
		}
		siblings[parent] = path[len(path)-1]
		delete(siblings, fmt.Sprint(path))
	}
}

func checkSeries(t *testing.T, h *house, what string, req Request, want reference) {
	t.Helper()
	list, err := h.q.Series(t.Context(), SeriesRequest{Request: req, Step: 10 * time.Minute, By: []string{"pod", "zone"}})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	got, sums := map[string]int64{}, map[string]int64{}
	for _, s := range list.Series {
		for _, p := range s.Points {
			got[fmt.Sprint(s.Labels, p.Time)] += p.Value
		}
	}
	for _, s := range want.profiles {
		p := s.parse(t)
		column := defaultColumn(p, columnsOf(p, s.name, req.Selector.Type))
		var by profile.Labels
		for _, l := range s.labels {
			if l.Name != "service_name" {
				by = append(by, l)
			}
		}
		key := fmt.Sprint(by, s.time.Truncate(10*time.Minute).UnixMilli())
		sums[key] += 0
		for _, sample := range p.Sample {
			sums[key] += sample.Value[column]
		}
	}
	compareMaps(t, what+" series", got, sums)
}

func checkLists(t *testing.T, h *house, what string, req Request, want reference) {
	t.Helper()
	types, names, pods := map[profile.Type]bool{}, map[string]bool{}, map[string]bool{}
	for _, s := range want.profiles {
		for _, typ := range s.types(t) {
			types[typ] = types[typ] || req.Selector.Type.Matches(typ)
		}
		for _, l := range s.labels {
			names[l.Name] = true
		}
		pods[s.labels.Get("pod")] = true
	}
	maps.DeleteFunc(types, func(_ profile.Type, matches bool) bool { return !matches })
	typeList, err := h.q.Types(t.Context(), req)
	if wantTypes := slices.SortedFunc(maps.Keys(types), profile.Type.Compare); err != nil || !slices.Equal(typeList.Types, wantTypes) {
		t.Errorf("%s: types %v and %v, want %v", what, typeList.Types, err, wantTypes)
	}
	nameList, err := h.q.LabelNames(t.Context(), req)
	ofSeries := slices.DeleteFunc(slices.Clone(nameList.Words), func(name string) bool { return slices.Contains(nameList.OfSamples, name) })
	if wantNames := slices.Sorted(maps.Keys(names)); err != nil || !slices.Equal(ofSeries, wantNames) {
		t.Errorf("%s: label names %v, of samples %v, and %v, want %v of series", what, nameList.Words, nameList.OfSamples, err, wantNames)
	}
	for _, name := range nameList.OfSamples {
		if name != "span" && name != "bytes" {
			t.Errorf("%s: no sample has the label %s", what, name)
		}
	}
	podList, err := h.q.LabelValues(t.Context(), req, "pod")
	if wantPods := slices.Sorted(maps.Keys(pods)); err != nil || !slices.Equal(podList.Words, wantPods) {
		t.Errorf("%s: pods %v and %v, want %v", what, podList.Words, err, wantPods)
	}
}

func compareMaps(t *testing.T, what string, got, want map[string]int64) {
	t.Helper()
	differences := 0
	for key, v := range want {
		if got[key] != v {
			t.Errorf("%s: %q is %d, want %d", what, key, got[key], v)
			differences++
		}
		if differences > 3 {
			t.FailNow()
		}
	}
	for key, v := range got {
		if _, known := want[key]; !known {
			t.Errorf("%s: %q is %d, want none", what, key, v)
			differences++
		}
		if differences > 3 {
			t.FailNow()
		}
	}
}

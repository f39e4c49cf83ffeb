package query

import (
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

// counter is a profile of what was counted by function since a program began.
func counter(t testing.TB, at time.Time, pod string, counts map[string]int64) sent {
	t.Helper()
	p := &pprof.Profile{
		SampleType: []*pprof.ValueType{{Type: "alloc_space", Unit: "bytes"}, {Type: "inuse_space", Unit: "bytes"}},
		PeriodType: &pprof.ValueType{Type: "space", Unit: "bytes"}, Period: 1, TimeNanos: at.UnixNano(),
	}
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		id := uint64(len(p.Function) + 1)
		f := &pprof.Function{ID: id, Name: name}
		l := &pprof.Location{ID: id, Address: id, Line: []pprof.Line{{Function: f}}}
		p.Function, p.Location = append(p.Function, f), append(p.Location, l)
		p.Sample = append(p.Sample, &pprof.Sample{Location: []*pprof.Location{l}, Value: []int64{counts[name], 1}})
	}
	return sent{"memory", mustLabels("job", "api", "pod", pod), at, write(t, p)}
}

// Of what is counted since programs began, the difference is what was counted in the
// range, by function and over time, whatever blocks the profiles lie in and however often
// programs began anew; and both of what is stored can be asked.
func TestDifference(t *testing.T) {
	h := newHouse()
	rng := rand.New(rand.NewPCG(1, 2))
	grown, latest := map[string]int64{}, map[string]int64{}
	var total int64
	var l0, arrow []sent
	for _, pod := range []string{"a", "b", "c"} {
		counts := map[string]int64{}
		for i := range 40 {
			before, restarted := maps.Clone(counts), false
			if pod != "a" && i > 5 && rng.IntN(8) == 0 { // it begins anew
				counts, restarted = map[string]int64{}, true
			}
			for range 3 {
				counts[fmt.Sprintf("f%d", rng.IntN(6))] += 1 + rng.Int64N(100)
			}
			if restarted && countsOf(counts) < countsOf(before) {
				before = nil // who has as much as before is taken to have run on
			}
			for name, n := range counts {
				if i > 0 {
					grown[name] += n - before[name]
					total += n - before[name]
				}
			}
			p := counter(t, start.Add(time.Duration(i)*10*time.Second), pod, counts)
			if rng.IntN(2) == 0 {
				l0 = append(l0, p)
			} else {
				arrow = append(arrow, p)
			}
		}
		for name, n := range counts {
			latest[name] += n
		}
	}
	h.putL0(t, l0...)
	h.putArrow(t, arrow[:len(arrow)/2]...)
	h.putArrow(t, arrow[len(arrow)/2:]...)
	req := request(t, "{}", "memory/alloc_space", start, start.Add(time.Hour))
	for aggregate, want := range map[Aggregate]map[string]int64{Difference: grown, Last: latest} {
		tree, err := h.q.Tree(t.Context(), TreeRequest{Request: req, Aggregate: aggregate})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int64{}
		for i, frame := range tree.Frame {
			if name := tree.Frames[frame].Name; tree.Self[i] != 0 {
				got[name] += tree.Self[i]
			}
		}
		if !maps.Equal(got, want) || tree.Type.Delta != (aggregate == Difference) {
			t.Errorf("aggregate %d: %v of %s, want %v", aggregate, got, tree.Type, want)
		}
	}
	list, err := h.q.Series(t.Context(), SeriesRequest{Request: req, Step: time.Minute, Aggregate: Difference})
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, p := range list.Series[0].Points {
		if p.Value < 0 {
			t.Errorf("at %d: %d", p.Time, p.Value)
		}
		sum += p.Value
	}
	if sum != total {
		t.Errorf("over time %d, in the tree %d", sum, total)
	}
}

func countsOf(counts map[string]int64) (n int64) {
	for _, v := range counts {
		n += v
	}
	return n
}

// Only what is counted since a program began has differences.
func TestDifferenceIsRefused(t *testing.T) {
	h := newHouse()
	h.putL0(t, counter(t, start, "a", map[string]int64{"f": 1}))
	req := request(t, "{}", "memory/inuse_space", start, start.Add(time.Hour))
	if _, err := h.q.Tree(t.Context(), TreeRequest{Request: req, Aggregate: Difference}); !errors.Is(err, profile.ErrInvalid) {
		t.Errorf("tree: %v", err)
	}
	if _, err := h.q.Series(t.Context(), SeriesRequest{Request: req, Aggregate: Difference}); !errors.Is(err, profile.ErrInvalid) {
		t.Errorf("series: %v", err)
	}
	one := request(t, "{}", "memory/alloc_space", start, start.Add(time.Hour))
	if tree, err := h.q.Tree(t.Context(), TreeRequest{Request: one, Aggregate: Difference}); err != nil || tree.Total[0] != 0 {
		t.Errorf("a single profile has grown by %v, %v", tree.Total, err)
	}
}

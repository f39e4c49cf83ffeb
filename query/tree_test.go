package query

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/coldframe/coldframe/profile"
)

var cpuType = profile.Type{
	Name:   "process_cpu",
	Sample: profile.ValueType{Type: "cpu", Unit: "nanoseconds"},
	Period: profile.ValueType{Type: "cpu", Unit: "nanoseconds"},
	Delta:  true,
}

// treeOf builds a tree from folded stacks, "a;b;c": value.
func treeOf(stacks map[string]int64) *Tree {
	self := map[string]int64{"": 0}
	names := map[string]bool{"": true}
	for stack, v := range stacks {
		self[stack] += v
		for stack != "" {
			self[stack] += 0
			i := max(strings.LastIndexByte(stack, ';'), 0)
			names[strings.TrimPrefix(stack[i:], ";")] = true
			stack = stack[:i]
		}
	}
	t := &Tree{Type: cpuType, Range: profile.TimeRange{From: time.Unix(1787306400, 0), To: time.Unix(1787310000, 0)}}
	numbers := map[string]uint32{}
	for _, name := range slices.SortedFunc(keys(names), cmp.Compare[string]) {
		numbers[name] = uint32(len(t.Frames))
		t.Frames = append(t.Frames, Frame{Name: name})
		if name == "" {
			t.Frames[0].Kind = RootFrame
		}
	}
	// ';' becomes the smallest character, so that sorting gives preorder.
	paths := slices.SortedFunc(keys(self), func(a, b string) int {
		return cmp.Compare(strings.ReplaceAll(a, ";", "\x00"), strings.ReplaceAll(b, ";", "\x00"))
	})
	for _, path := range paths {
		total := int64(0)
		for other, v := range self {
			if path == "" || other == path || strings.HasPrefix(other, path+";") {
				total += v
			}
		}
		depth := uint32(0)
		if path != "" {
			depth = uint32(strings.Count(path, ";") + 1)
		}
		t.Depth = append(t.Depth, depth)
		t.Frame = append(t.Frame, numbers[path[strings.LastIndexByte(path, ';')+1:]])
		t.Self = append(t.Self, self[path])
		t.Total = append(t.Total, total)
	}
	return t
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func randomStacks(rng *rand.Rand) map[string]int64 {
	stacks := map[string]int64{}
	for range 1 + rng.IntN(40) {
		var path []string
		for range 1 + rng.IntN(6) {
			path = append(path, string(rune('a'+rng.IntN(5))))
		}
		stacks[strings.Join(path, ";")] += rng.Int64N(20)
	}
	return stacks
}

// paths gives each node's total by the names from the root.
func (t *Tree) paths() map[string]int64 {
	paths := map[string]int64{}
	var path []string
	for i := range t.Depth {
		path = append(path[:t.Depth[i]], t.Frames[t.Frame[i]].Name)
		paths[strings.Join(path, ";")] = t.Total[i]
	}
	return paths
}

// Pruning keeps the largest nodes with their callers and leaves every total alone.
func TestPrune(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		stacks := randomStacks(rng)
		tree := treeOf(stacks)
		before := tree.paths()
		maxNodes, minShare := 1+rng.IntN(len(before)+3), []float64{0, 0.01, 0.1, 0.5}[rng.IntN(4)]
		tree.Prune(maxNodes, minShare)
		after := tree.paths()
		what := fmt.Sprintf("Prune(%d, %g) of %v", maxNodes, minShare, stacks)
		if len(after) != len(tree.Depth) || len(after) > maxNodes {
			t.Fatalf("%s left %d nodes of %d paths", what, len(tree.Depth), len(after))
		}
		if tree.Cut != len(before)-len(after) {
			t.Errorf("%s says that it cut %d of %d nodes, %d are left", what, tree.Cut, len(before), len(after))
		}
		least := int64(1) << 62
		for path, total := range after {
			if before[path] != total {
				t.Errorf("%s: total of %q is %d, was %d", what, path, total, before[path])
			}
			if path != "" {
				least = min(least, total)
			}
			if float64(total) < minShare*float64(before[""]) && path != "" {
				t.Errorf("%s kept %q with %d of %d", what, path, total, before[""])
			}
		}
		for path, total := range before {
			if _, kept := after[path]; kept {
				continue
			}
			if total > least {
				t.Errorf("%s cut %q with %d and kept one with %d", what, path, total, least)
			}
			if len(after) < maxNodes && float64(total) >= minShare*float64(before[""]) {
				t.Errorf("%s cut %q with %d, though there was room", what, path, total)
			}
		}
	}
}

func TestTop(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		stacks := randomStacks(rng)
		self, total, sum := map[string]int64{}, map[string]int64{}, int64(0)
		for stack, v := range stacks {
			functions := strings.Split(stack, ";")
			self[functions[len(functions)-1]] += v
			slices.Sort(functions)
			for _, f := range slices.Compact(functions) {
				total[f] += v
			}
			sum += v
		}
		top := treeOf(stacks).Top(ByTotal, 0)
		if top.Total != sum || top.Count != len(total) || len(top.Functions) != len(total) {
			t.Fatalf("top of %v: total %d of %d functions, want %d of %d", stacks, top.Total, top.Count, sum, len(total))
		}
		for i, f := range top.Functions {
			if f.Self != self[f.Name] || f.Total != total[f.Name] {
				t.Errorf("top of %v: %s has %d and %d, want %d and %d", stacks, f.Name, f.Self, f.Total, self[f.Name], total[f.Name])
			}
			if i > 0 && f.Total > top.Functions[i-1].Total {
				t.Errorf("top of %v: %s is out of order", stacks, f.Name)
			}
		}
		if cut := treeOf(stacks).Top(BySelf, 2); len(cut.Functions) > 2 || cut.Count != top.Count || cut.Total != sum {
			t.Errorf("top 2 of %v: %d functions of %d, total %d", stacks, len(cut.Functions), cut.Count, cut.Total)
		}
	}
}

func TestTexts(t *testing.T) {
	tree := treeOf(map[string]int64{"main;work": 60e6, "main;work;runtime;malloc\n": 30e6, "main;idle": 5e6, "main;a b": 5e6})
	var got bytes.Buffer
	if err := tree.WriteFolded(&got); err != nil {
		t.Fatal(err)
	}
	want := `main;a b 5000000
main;idle 5000000
main;work 60000000
main;work;runtime;malloc  30000000
`
	if got.String() != want {
		t.Errorf("folded:\n%swant\n%s", got.String(), want)
	}

	got.Reset()
	if err := tree.Top(BySelf, 2).WriteText(&got); err != nil {
		t.Fatal(err)
	}
	want = `Type: process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta
Range: 2026-08-21T10:00:00Z to 2026-08-21T11:00:00Z
Total: 100ms
Showing 2 of 6 functions
      self   self%    sum%      total  total%
      60ms  60.00%  60.00%       90ms  90.00%  work
      30ms  30.00%  90.00%       30ms  30.00%  malloc 
`
	if got.String() != want {
		t.Errorf("top:\n%swant\n%s", got.String(), want)
	}

	got.Reset()
	tree.Prune(100, 0.2)
	if err := tree.WriteText(&got); err != nil {
		t.Fatal(err)
	}
	want = `Type: process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta
Range: 2026-08-21T10:00:00Z to 2026-08-21T11:00:00Z
Total: 100ms
      self   self%      total  total%
         0   0.00%      100ms 100.00%  main
      10ms  10.00%       10ms  10.00%    (other)
      60ms  60.00%       90ms  90.00%    work
         0   0.00%       30ms  30.00%      runtime
      30ms  30.00%       30ms  30.00%        malloc 
`
	if got.String() != want {
		t.Errorf("tree:\n%swant\n%s", got.String(), want)
	}
}

func TestFormatValue(t *testing.T) {
	for _, c := range []struct {
		v    int64
		unit string
		want string
	}{
		{0, "nanoseconds", "0"},
		{999, "nanoseconds", "999ns"},
		{1_234_567, "nanoseconds", "1.23ms"},
		{-90e9, "nanoseconds", "-1.5mins"},
		{3 << 20, "bytes", "3MB"},
		{1000, "bytes", "1000B"},
		{1_000_000, "count", "1000000"},
		{5000, "milliseconds", "5s"},
	} {
		if got := formatValue(c.v, c.unit); got != c.want {
			t.Errorf("formatValue(%d, %s) = %s, want %s", c.v, c.unit, got, c.want)
		}
	}
}

// The JSON that is written by hand is the one that encoding/json would write.
func TestTreeJSON(t *testing.T) {
	tree := treeOf(randomStacks(rand.New(rand.NewPCG(5, 6))))
	tree.Frames[1].Name = "quote\"\u2028<&>"
	tree.Self[1], tree.Cut = -1<<63, 7
	var got bytes.Buffer
	if err := tree.WriteJSON(&got); err != nil {
		t.Fatal(err)
	}
	s := loadSpec(t)
	s.check(t, "tree", s.at("components", "schemas", "Flamegraph"), got.Bytes())
	var back struct {
		Total  int64
		Cut    int
		Frames struct{ Name, File, Binary []string }
		Nodes  struct {
			Depth, Frame []uint32
			Self, Total  []int64
		}
	}
	if err := json.Unmarshal(got.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if back.Total != tree.Total[0] || back.Cut != 7 || back.Frames.Name[1] != tree.Frames[1].Name ||
		!slices.Equal(back.Nodes.Depth, tree.Depth) || !slices.Equal(back.Nodes.Frame, tree.Frame) ||
		!slices.Equal(back.Nodes.Self, tree.Self) || !slices.Equal(back.Nodes.Total, tree.Total) {
		t.Errorf("JSON %s is not the tree %+v", got.String(), tree)
	}
}

// kthLargest finds what sorting finds.
func TestKthLargest(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		numbers := make([]uint64, 1+rnd.IntN(300))
		width := 1 + rnd.IntN(64)
		for i := range numbers {
			numbers[i] = rnd.Uint64() >> (64 - width)
		}
		sorted := slices.Sorted(slices.Values(numbers))
		k := 1 + rnd.IntN(len(numbers))
		want := sorted[len(sorted)-k]
		wantLarger := len(sorted) - sort.Search(len(sorted), func(i int) bool { return sorted[i] > want })
		if got, larger := kthLargest(numbers, k); got != want || larger != wantLarger {
			t.Fatalf("number %d of %v is %d with %d larger, want %d with %d", k, sorted, got, larger, want, wantLarger)
		}
	}
}

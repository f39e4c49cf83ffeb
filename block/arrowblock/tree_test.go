package arrowblock

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// testFrames is how many frames the trees of these tests are made of.
const testFrames = 9

func testSymbols() *Symbols {
	sym := NewSymbols()
	for i := range testFrames {
		fn := sym.internFunction(&Function{Name: fmt.Sprint("fn", i)}, uint64(i)*0x9E3779B97F4A7C15)
		lines := []Line{{Function: fn}}
		sym.internFrame(&frame{mapping: -1}, lines, frameKey(&frame{mapping: -1}, lines))
	}
	return sym
}

// treeOf lays out stacks, written as frames from the root, the slow and obvious way.
func treeOf(sym *Symbols, values map[string][]int64) *Tree {
	stacks := slices.SortedFunc(maps.Keys(values), func(a, b string) int {
		return slices.CompareFunc([]rune(a), []rune(b), func(x, y rune) int { return sym.Compare(FrameID(x), FrameID(y)) })
	})
	t := &Tree{Stacks: Stacks{Depth: []uint16{0}, Frame: []FrameID{0}}, Self: make([][]int64, 2)}
	for k := range t.Self {
		t.Self[k] = []int64{0}
	}
	before := []rune(nil)
	for _, s := range stacks {
		stack := []rune(s)
		shared := 0
		for shared < min(len(before), len(stack)) && before[shared] == stack[shared] {
			shared++
		}
		for d := shared; d < len(stack); d++ {
			t.Depth, t.Frame = append(t.Depth, uint16(d+1)), append(t.Frame, FrameID(stack[d]))
			for k := range t.Self {
				t.Self[k] = append(t.Self[k], 0)
			}
		}
		for k := range t.Self {
			t.Self[k][t.Len()-1] += values[s][k]
		}
		before = stack
	}
	return t
}

// stacksOf is the way back.
func stacksOf(t *Tree) map[string][]int64 {
	values := map[string][]int64{}
	path := []rune{}
	for i, d := range t.Depth {
		if d > 0 {
			path = append(path[:d-1], rune(t.Frame[i]))
		} else {
			path = path[:0]
		}
		var self []int64
		for k := range t.Self {
			self = append(self, t.Self[k][i])
		}
		if !allZero(self) {
			values[string(path)] = self
		}
	}
	return values
}

func randomStacks(r *rand.Rand, n int) map[string][]int64 {
	values := map[string][]int64{}
	for range n {
		var stack []rune
		for range r.IntN(6) {
			stack = append(stack, rune(1+r.IntN(testFrames)))
		}
		values[string(stack)] = []int64{r.Int64N(4), r.Int64N(3)}
	}
	return values
}

func equalTrees(a, b *Tree) bool {
	return slices.Equal(a.Depth, b.Depth) && slices.Equal(a.Frame, b.Frame) && slices.EqualFunc(a.Self, b.Self, slices.Equal[[]int64])
}

// Merging trees adds up the values of equal stacks, and gives the tree that all the
// stacks together would have given.
func TestMergeAddsUp(t *testing.T) {
	sym := testSymbols()
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 3))
		all := map[string][]int64{}
		var trees []*Tree
		for range r.IntN(6) {
			stacks := randomStacks(r, r.IntN(40))
			for s, v := range stacks {
				all[s] = []int64{v[0], v[1]}
			}
			trees = append(trees, treeOf(sym, stacks))
		}
		want := map[string][]int64{}
		for _, tree := range trees {
			for s, v := range stacksOf(tree) {
				if want[s] == nil {
					want[s] = make([]int64, 2)
				}
				want[s][0] += v[0]
				want[s][1] += v[1]
			}
		}
		got := Merge(sym, trees...)
		if len(trees) == 0 {
			if got.Len() != 0 {
				t.Fatalf("nothing merges to %d nodes", got.Len())
			}
			continue
		}
		if !maps.EqualFunc(stacksOf(got), want, slices.Equal[[]int64]) {
			t.Fatalf("seed %d: got %v, want %v", seed, stacksOf(got), want)
		}
		for s := range all { // the layout is canonical: that of all stacks, with or without values
			all[s] = []int64{0, 0}
			if v := want[s]; v != nil {
				all[s] = v
			}
		}
		if whole := treeOf(sym, all); !equalTrees(got, whole) {
			t.Fatalf("seed %d: merged\n%v %v\nlaid out at once\n%v %v", seed, got.Depth, got.Frame, whole.Depth, whole.Frame)
		}
		r.Shuffle(len(trees), func(i, j int) { trees[i], trees[j] = trees[j], trees[i] })
		if !equalTrees(Merge(sym, trees...), got) {
			t.Fatalf("seed %d: another order merges to another tree", seed)
		}
	}
}

// MergeStacks says where each node went.
func TestMergeStacksTellsWhereNodesWent(t *testing.T) {
	sym := testSymbols()
	r := rand.New(rand.NewPCG(1, 4))
	var dst Stacks
	var ofA, ofB []uint32
	for range 200 {
		a, b := treeOf(sym, randomStacks(r, 30)), treeOf(sym, randomStacks(r, 30))
		ofA, ofB = MergeStacks(sym, &dst, &a.Stacks, &b.Stacks, ofA, ofB)
		for _, from := range []struct {
			s  *Stacks
			of []uint32
		}{{&a.Stacks, ofA}, {&b.Stacks, ofB}} {
			if len(from.of) != from.s.Len() {
				t.Fatalf("%d nodes told of %d", len(from.of), from.s.Len())
			}
			for i, n := range from.of {
				if dst.Depth[n] != from.s.Depth[i] || dst.Frame[n] != from.s.Frame[i] || i > 0 && n <= from.of[i-1] {
					t.Fatalf("node %d went to %d, which is another", i, n)
				}
			}
		}
	}
}

// Pruning keeps what has values in it or below, and totals count what is below.
func TestPruneAndTotals(t *testing.T) {
	sym := testSymbols()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 5))
		tree := treeOf(sym, randomStacks(r, 30))
		stacks := stacksOf(tree)
		want := treeOf(sym, stacks)
		tree.Prune()
		if !equalTrees(tree, want) {
			t.Fatalf("seed %d: pruned to %v %v, want %v %v", seed, tree.Depth, tree.Frame, want.Depth, want.Frame)
		}
		for k := range 2 {
			totals := tree.Totals(k)
			for i := range tree.Len() {
				end := i + 1
				for end < tree.Len() && tree.Depth[end] > tree.Depth[i] {
					end++
				}
				if got := sum(tree.Self[k][i:end]); totals[i] != got {
					t.Fatalf("seed %d: total of node %d is %d, want %d", seed, i, totals[i], got)
				}
			}
		}
	}
}

// Frames whose hashes collide stay apart, and have an order that content decides.
func TestCollidingFramesStayApart(t *testing.T) {
	var sym *Symbols
	build := func(names ...string) map[string]FrameID {
		sym = NewSymbols()
		ids := map[string]FrameID{}
		for _, name := range names {
			fn := sym.internFunction(&Function{Name: name}, 42) // the same hash for all
			id := sym.internFrame(&frame{mapping: -1}, []Line{{Function: fn}}, 42)
			sym.frameHash[id] = 42
			ids[name] = id
		}
		return ids
	}
	for _, names := range [][]string{{"a", "b", "c"}, {"c", "a", "b"}, {"b", "c", "a", "a", "c"}} {
		ids := build(names...)
		if len(sym.frames) != 4 || sym.NumFunctions() != 3 {
			t.Fatalf("%d frames of %d functions, want 3 of 3", len(sym.frames)-1, sym.NumFunctions())
		}
		order := slices.SortedFunc(maps.Keys(ids), func(x, y string) int { return sym.Compare(ids[x], ids[y]) })
		if !slices.Equal(order, []string{"a", "b", "c"}) {
			t.Errorf("order %v is not that of the content", order)
		}
	}
}

// The canonical order is part of the format: these hashes must never change.
func TestCanonicalHashes(t *testing.T) {
	sym := NewSymbols()
	m := sym.internMapping(Mapping{Start: 0x400000, Limit: 0x401234, Offset: 0x1000, File: "/bin/app", BuildID: "abc", HasFunctions: true})
	fn := Function{Name: "main.main", SystemName: "main.main", Filename: "main.go", StartLine: 3}
	hash := hashOfFunction(fn)
	lines := []Line{{sym.internFunction(&fn, hash), 7, 2}}
	f := frame{address: 0x123, mapping: int32(m), folded: true}
	id := sym.internFrame(&f, lines, frameKey(&f, lines))
	for _, tt := range []struct {
		name      string
		got, want uint64
	}{
		{"mapping", sym.mappingHash[m], 0xa69a26ce0627d8bd},
		{"function", hash, 0xc03b9adbdad54a60},
		{"frame", sym.frameHash[id], 0xce0b6a6a2d69a209},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: hash %#016x, want %#016x", tt.name, tt.got, tt.want)
		}
	}
}

// Interned mappings are represented by the same one in whatever order they come.
func TestMappingsAreRepresentedByOne(t *testing.T) {
	same := []Mapping{
		{Start: 0x2000, Limit: 0x3000, BuildID: "x", File: "b"},
		{Start: 0x1000, Limit: 0x1fff, BuildID: "x", File: "c"},
		{Start: 0x0000, Limit: 0x1000, BuildID: "x"},
		{Start: 0x1000, Limit: 0x2000, BuildID: "x", File: "a"},
	}
	others := []Mapping{
		{Start: 0x1000, Limit: 0x2001, BuildID: "x", File: "c"},
		{Start: 0x1000, Limit: 0x2000, Offset: 1, BuildID: "x", File: "c"},
		{Start: 0x1000, Limit: 0x2000, File: "x"},
		{Start: 0x1000, Limit: 0x2000, BuildID: "x", File: "c", HasFunctions: true},
	}
	r := rand.New(rand.NewPCG(1, 6))
	for range 50 {
		all := append(slices.Clone(same), others...)
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		sym := NewSymbols()
		for _, m := range all {
			sym.internMapping(m)
		}
		got := slices.SortedFunc(slices.Values(sym.Mappings()), func(a, b Mapping) int { return a.key().compare(b.key()) })
		want := slices.SortedFunc(slices.Values(append([]Mapping{same[1]}, others...)), func(a, b Mapping) int {
			return cmp.Or(a.key().compare(b.key()))
		})
		if !slices.Equal(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
}

func hashOfFunction(f Function) uint64 {
	return hashFunction(xxhash.Sum64String(f.Name), xxhash.Sum64String(f.SystemName), xxhash.Sum64String(f.Filename), f.StartLine)
}

package query

import (
	"cmp"
	"math"
	"slices"

	"github.com/coldframe/coldframe/profile"
)

// Function is a line of a [Top].
type Function struct {
	Frame
	Self  int64 // spent in the function itself
	Total int64 // in it and all it called; on a stack that holds it several times, once

	BaseSelf, BaseTotal int64 // the same of what it is compared with
}

// Top is a tree's functions with their values, or files, binaries, addresses or lines when
// the tree is of these.
type Top struct {
	Type      profile.Type
	Range     profile.TimeRange
	Total     int64 // of all samples
	Filtered  int64
	Base      *Comparison // nil when nothing is compared
	Count     int         // functions there are; Functions may be cut
	Functions []Function
	Stats     Stats
}

// Comparison is what is known of the base of a comparison beside its nodes.
type Comparison struct {
	Range           profile.TimeRange
	Total, Filtered int64
	// Scale and BaseScale are the factors that make both sides' totals equal: the smaller one
	// is scaled up, the other's factor is 1. In an absolute comparison both are 1.
	Scale, BaseScale float64
}

// Diff is how much more a value is than the base's, after scaling.
func (c *Comparison) Diff(value, base int64) int64 {
	if c.Scale == 1 && c.BaseScale == 1 {
		return value - base
	}
	return int64(math.Round(float64(value)*c.Scale - float64(base)*c.BaseScale))
}

// Order says what a Top is ordered by, largest first.
type Order int

// Equal ones are ordered by the other value, then by name.
const (
	BySelf Order = iota
	ByTotal
	// ByDiff orders a comparison by how much the self values differ, in either direction,
	// after the smaller side was scaled up.
	ByDiff
)

// Top lists the tree's functions, at most limit of them; 0 means all. It wants a
// tree that was not pruned.
func (t *Tree) Top(order Order, limit int) *Top {
	top := &Top{Type: t.Type, Range: t.Range, Filtered: t.Filtered, Base: t.Comparison(), Stats: t.Stats}
	if len(t.Depth) == 0 {
		return top
	}
	top.Total = t.Total[0]
	functions := t.Functions()
	top.Functions = slices.DeleteFunc(functions, func(f Function) bool { return f.Kind == LabelFrame || f.Kind == RootFrame })
	top.Count = len(top.Functions)
	slices.SortFunc(top.Functions, func(a, b Function) int { return top.compare(order, &a, &b) })
	if limit > 0 && limit < len(top.Functions) {
		top.Functions = top.Functions[:limit]
	}
	return top
}

// Functions are the values of each frame, in the order of Frames; the first is the root's and
// has none. It wants a tree that was not pruned.
func (t *Tree) Functions() []Function {
	functions := make([]Function, len(t.Frames))
	for i, f := range t.Frames {
		functions[i].Frame = f
	}
	onStack := make([]uint32, len(t.Frames)) // how often each frame is on the stack
	var stack []uint32
	for i := 1; i < len(t.Depth); i++ {
		for uint32(len(stack)) >= t.Depth[i] {
			onStack[stack[len(stack)-1]]--
			stack = stack[:len(stack)-1]
		}
		f := &functions[t.Frame[i]]
		again := onStack[t.Frame[i]] > 0
		f.Self += t.Self[i]
		if !again {
			f.Total += t.Total[i]
		}
		if t.Compared() {
			f.BaseSelf += t.BaseSelf[i]
			if !again {
				f.BaseTotal += t.BaseTotal[i]
			}
		}
		onStack[t.Frame[i]]++
		stack = append(stack, t.Frame[i])
	}
	return functions
}

func (t *Top) compare(order Order, a, b *Function) int {
	self, total := cmp.Compare(magnitude(b.Self), magnitude(a.Self)), cmp.Compare(magnitude(b.Total), magnitude(a.Total))
	if t.Base != nil {
		self = cmp.Or(self, cmp.Compare(magnitude(b.BaseSelf), magnitude(a.BaseSelf)))
		total = cmp.Or(total, cmp.Compare(magnitude(b.BaseTotal), magnitude(a.BaseTotal)))
	}
	switch order {
	case ByTotal:
		self, total = total, self
	case ByDiff:
		self = cmp.Or(cmp.Compare(magnitude(t.diff(b)), magnitude(t.diff(a))), self)
	}
	return cmp.Or(self, total, a.Frame.compare(&b.Frame))
}

// diff is how much more the function itself has than in the base.
func (t *Top) diff(f *Function) int64 {
	if t.Base == nil {
		return f.Self
	}
	return t.Base.Diff(f.Self, f.BaseSelf)
}

// Edge is a pair of frames of which one called the other.
type Edge struct {
	Caller, Callee uint32 // in Tree.Frames
	Value          int64  // of the stacks that have the call, each counted once
}

// Edges lists the calls of the tree, by caller and callee: with Top's functions they are its
// call graph. It wants a tree that was not pruned.
func (t *Tree) Edges() []Edge {
	type call struct{ caller, callee uint32 }
	values, onStack := map[call]int64{}, map[call]int{}
	var path []uint32
	for i, depth := range t.Depth {
		for uint32(len(path)) > depth {
			if n := len(path); n > 2 {
				onStack[call{path[n-2], path[n-1]}]--
			}
			path = path[:len(path)-1]
		}
		path = append(path, t.Frame[i])
		if depth < 2 {
			continue
		}
		c := call{path[depth-1], path[depth]}
		if onStack[c] == 0 {
			values[c] += t.Total[i]
		}
		onStack[c]++
	}
	edges := make([]Edge, 0, len(values))
	for c, v := range values {
		edges = append(edges, Edge{c.caller, c.callee, v})
	}
	slices.SortFunc(edges, func(a, b Edge) int {
		return cmp.Or(cmp.Compare(a.Caller, b.Caller), cmp.Compare(a.Callee, b.Callee))
	})
	return edges
}

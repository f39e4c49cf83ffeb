package query

import (
	"cmp"
	"slices"
	"sort"

	"github.com/coldframe/coldframe/profile"
)

// Frame is one function as people know it.
type Frame struct {
	Name   string // the function's name, or BINARY+0xADDRESS where it has none
	File   string // its source file; empty when unknown or when several are merged
	Binary string // its mapping's last path element; the same
}

// Tree is a call tree by function: the samples of many profiles, callers above
// callees. Nodes are columns in preorder: a node comes before its children and its
// subtree is contiguous; children are ordered by the names of their frames.
//
// Node 0 is the root, of depth 0 and frame 0, which stands for no function.
type Tree struct {
	Type  profile.Type
	Range profile.TimeRange

	Frames []Frame
	Depth  []uint32
	Frame  []uint32 // in Frames
	Self   []int64
	Total  []int64 // of the node and everything below it, including what was cut

	Cut   int // nodes that [Tree.Prune] left out
	Stats Stats
}

// Prune keeps at most maxNodes nodes, those with the largest totals, and of them
// none whose total is less than minShare of the root's. What it cuts stays in the
// totals of its callers. The tree's arrays are used again.
func (t *Tree) Prune(maxNodes int, minShare float64) {
	if len(t.Depth) == 0 {
		return
	}
	least, ties := t.threshold(max(maxNodes, 1), minShare)
	kept, closed := 0, uint32(0) // closed: the depth of the last node cut, which cuts all that is deeper; 0 for none
	for i, depth := range t.Depth {
		if closed > 0 && depth > closed {
			continue
		}
		closed = 0
		switch total := magnitude(t.Total[i]); {
		case i == 0 || total > least:
		case total == least && ties > 0:
			ties--
		default:
			closed = depth
			continue
		}
		t.Depth[kept], t.Frame[kept], t.Self[kept], t.Total[kept] = depth, t.Frame[i], t.Self[i], t.Total[i]
		kept++
	}
	t.Cut += len(t.Depth) - kept
	t.Depth, t.Frame, t.Self, t.Total = t.Depth[:kept], t.Frame[:kept], t.Self[:kept], t.Total[:kept]
	t.dropUnusedFrames()
}

// threshold finds the total of the smallest nodes to keep and how many of exactly
// that total there is room for, the root not counted.
func (t *Tree) threshold(maxNodes int, minShare float64) (least uint64, ties int) {
	floor := uint64(minShare * float64(magnitude(t.Total[0])))
	if float64(floor) < minShare*float64(magnitude(t.Total[0])) {
		floor++
	}
	if len(t.Depth) <= maxNodes {
		return floor, len(t.Depth)
	}
	totals := make([]uint64, len(t.Total)-1)
	for i, v := range t.Total[1:] {
		totals[i] = magnitude(v)
	}
	slices.Sort(totals)
	if maxNodes == 1 {
		return max(floor, totals[len(totals)-1]), 0
	}
	least = totals[len(totals)-(maxNodes-1)]
	if least < floor {
		return floor, len(totals)
	}
	larger := len(totals) - sort.Search(len(totals), func(i int) bool { return totals[i] > least })
	return least, maxNodes - 1 - larger
}

func (t *Tree) dropUnusedFrames() {
	renumbered := make([]uint32, len(t.Frames))
	used := t.Frames[:1]
	for i := 1; i < len(t.Frame); i++ {
		renumbered[t.Frame[i]] = 1
	}
	for f := 1; f < len(t.Frames); f++ {
		if renumbered[f] == 1 {
			renumbered[f] = uint32(len(used))
			used = append(used, t.Frames[f])
		}
	}
	t.Frames = used
	for i, f := range t.Frame {
		t.Frame[i] = renumbered[f]
	}
}

func magnitude(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
}

// Function is a line of a [Top].
type Function struct {
	Frame
	Self  int64 // spent in the function itself
	Total int64 // in it and all it called; on a stack that holds it several times, once
}

// Top is a tree's functions with their values.
type Top struct {
	Type      profile.Type
	Range     profile.TimeRange
	Total     int64 // of all samples
	Count     int   // functions there are; Functions may be cut
	Functions []Function
	Stats     Stats
}

// Order says what a Top is ordered by, largest first.
type Order int

// Equal ones are ordered by the other value, then by name.
const (
	BySelf Order = iota
	ByTotal
)

// Top lists the tree's functions, at most limit of them; 0 means all. It wants a
// tree that was not pruned.
func (t *Tree) Top(order Order, limit int) *Top {
	top := &Top{Type: t.Type, Range: t.Range, Stats: t.Stats}
	if len(t.Depth) == 0 {
		return top
	}
	top.Total = t.Total[0]
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
		f := t.Frame[i]
		functions[f].Self += t.Self[i]
		if onStack[f] == 0 {
			functions[f].Total += t.Total[i]
		}
		onStack[f]++
		stack = append(stack, f)
	}
	top.Functions = functions[1:]
	top.Count = len(top.Functions)
	slices.SortFunc(top.Functions, order.compare)
	if limit > 0 && limit < len(top.Functions) {
		top.Functions = top.Functions[:limit]
	}
	return top
}

func (o Order) compare(a, b Function) int {
	self, total := cmp.Compare(magnitude(b.Self), magnitude(a.Self)), cmp.Compare(magnitude(b.Total), magnitude(a.Total))
	if o == ByTotal {
		self, total = total, self
	}
	return cmp.Or(self, total, cmp.Compare(a.Name, b.Name))
}

package query

import (
	"math/bits"
	"slices"

	"github.com/coldframe/coldframe/profile"
)

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

	// Values of the request's Base; nil when there is none.
	BaseSelf, BaseTotal []int64

	BaseRange profile.TimeRange
	Absolute  bool // the comparison is of values as they are

	Filtered, BaseFiltered int64 // values of the stacks that filters and Sandwich left out

	Cut   int // nodes that [Tree.Prune] left out
	Stats Stats
}

// Compared says whether the tree has a base.
func (t *Tree) Compared() bool { return t.BaseTotal != nil }

// Comparison tells of the base; nil when there is none.
func (t *Tree) Comparison() *Comparison {
	if !t.Compared() {
		return nil
	}
	c := &Comparison{Range: t.BaseRange, Total: t.BaseTotal[0], Filtered: t.BaseFiltered, Scale: 1, BaseScale: 1}
	v, b := float64(magnitude(t.Total[0])), float64(magnitude(c.Total))
	switch {
	case v == 0 || b == 0 || t.Absolute:
	case v < b:
		c.Scale = b / v
	default:
		c.BaseScale = v / b
	}
	return c
}

// weight is what decides whether a node is worth showing: its total, or the base's where
// that is larger.
func (t *Tree) weight(i int) uint64 {
	w := magnitude(t.Total[i])
	if t.Compared() {
		w = max(w, magnitude(t.BaseTotal[i]))
	}
	return w
}

// columns are all of the tree's columns of values.
func (t *Tree) columns() []*[]int64 {
	if t.Compared() {
		return []*[]int64{&t.Self, &t.Total, &t.BaseSelf, &t.BaseTotal}
	}
	return []*[]int64{&t.Self, &t.Total}
}

// Prune keeps at most maxNodes nodes, those with the largest totals, and of them
// none whose total is less than minShare of the root's. What it cuts stays in the
// totals of its callers. The tree's arrays are used again.
func (t *Tree) Prune(maxNodes int, minShare float64) {
	if len(t.Depth) == 0 {
		return
	}
	least, ties := t.threshold(max(maxNodes, 1), minShare)
	columns := t.columns()
	kept, closed := 0, uint32(0) // closed: the depth of the last node cut, which cuts all that is deeper; 0 for none
	for i, depth := range t.Depth {
		if closed > 0 && depth > closed {
			continue
		}
		closed = 0
		switch weight := t.weight(i); {
		case i == 0 || weight > least:
		case weight == least && ties > 0:
			ties--
		default:
			closed = depth
			continue
		}
		t.Depth[kept], t.Frame[kept] = depth, t.Frame[i]
		for _, column := range columns {
			(*column)[kept] = (*column)[i]
		}
		kept++
	}
	t.Cut += len(t.Depth) - kept
	t.Depth, t.Frame = t.Depth[:kept], t.Frame[:kept]
	for _, column := range columns {
		*column = (*column)[:kept]
	}
	t.dropUnusedFrames()
}

// threshold finds the weight of the smallest nodes to keep and how many of exactly
// that weight there is room for, the root not counted.
func (t *Tree) threshold(maxNodes int, minShare float64) (least uint64, ties int) {
	whole := float64(t.weight(0))
	floor := uint64(minShare * whole)
	if float64(floor) < minShare*whole {
		floor++
	}
	if len(t.Depth) <= maxNodes {
		return floor, len(t.Depth)
	}
	weights := make([]uint64, len(t.Depth)-1)
	for i := range weights {
		weights[i] = t.weight(i + 1)
	}
	if maxNodes == 1 {
		return max(floor, slices.Max(weights)), 0
	}
	least, larger := kthLargest(weights, maxNodes-1)
	if least < floor {
		return floor, len(weights)
	}
	return least, maxNodes - 1 - larger
}

// kthLargest finds the k-th largest of some numbers, 1 being the first, and how many are larger than it. It
// looks at them a byte after the other, and changes their order: sorting all takes several times as long.
func kthLargest(numbers []uint64, k int) (kth uint64, larger int) {
	bytes := (bits.Len64(slices.Max(numbers)) + 7) / 8
	for shift := 8 * (bytes - 1); shift >= 0; shift -= 8 {
		var count [256]int
		for _, n := range numbers {
			count[byte(n>>shift)]++
		}
		digit := 255
		for ; larger+count[digit] < k; digit-- {
			larger += count[digit]
		}
		kth |= uint64(digit) << shift
		numbers = slices.DeleteFunc(numbers, func(n uint64) bool { return byte(n>>shift) != byte(digit) })
	}
	return kth, larger
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

package arrowblock

import "slices"

// MergeStacks merges the stacks of a and b, whose frames are of sym, into dst in one
// linear walk. It returns for every node of a and of b its number in dst. The slices of
// dst, ofA and ofB are used again; dst must be neither a nor b.
func MergeStacks(sym *Symbols, dst, a, b *Stacks, ofA, ofB []uint32) (nodesOfA, nodesOfB []uint32) {
	m := merger{
		depth: slices.Grow(dst.Depth[:0], a.Len()+b.Len())[:a.Len()+b.Len()],
		frame: slices.Grow(dst.Frame[:0], a.Len()+b.Len())[:a.Len()+b.Len()],
	}
	ofA = slices.Grow(ofA[:0], a.Len())[:a.Len()]
	ofB = slices.Grow(ofB[:0], b.Len())[:b.Len()]
	i, j := 0, 0
	for i < a.Len() && j < b.Len() {
		switch da, db := a.Depth[i], b.Depth[j]; {
		case da == db && a.Frame[i] == b.Frame[j]:
			m.depth[m.n], m.frame[m.n] = da, a.Frame[i]
			ofA[i], ofB[j] = uint32(m.n), uint32(m.n)
			m.n++
			i++
			j++
		// The deeper node hangs below one that both have or that came before: its turn is
		// first. Of siblings the smaller is first, with all that is below it.
		case da > db || da == db && sym.less(a.Frame[i], b.Frame[j]):
			i = m.take(a, i, ofA)
		default:
			j = m.take(b, j, ofB)
		}
	}
	m.takeRest(a, i, ofA)
	m.takeRest(b, j, ofB)
	dst.Depth, dst.Frame = m.depth[:m.n], m.frame[:m.n]
	return ofA, ofB
}

// merger writes the result of a merge.
type merger struct {
	depth []uint16
	frame []FrameID
	n     int
}

// take copies the subtree of s at node i, which only s has, and returns where it ends.
func (m *merger) take(s *Stacks, i int, of []uint32) int {
	end := i + 1
	for end < s.Len() && s.Depth[end] > s.Depth[i] {
		end++
	}
	m.copy(s, i, end, of)
	return end
}

func (m *merger) takeRest(s *Stacks, i int, of []uint32) { m.copy(s, i, s.Len(), of) }

func (m *merger) copy(s *Stacks, from, to int, of []uint32) {
	copy(m.depth[m.n:], s.Depth[from:to])
	copy(m.frame[m.n:], s.Frame[from:to])
	for k := from; k < to; k++ {
		of[k] = uint32(m.n)
		m.n++
	}
}

// Tree is stacks with values: Self[k][i] is the value of sample type k of node i
// itself, without its children.
type Tree struct {
	Stacks
	Self [][]int64
}

// NewTree returns a tree of stacks with types columns of zeros. The stacks are shared, not copied.
func NewTree(s *Stacks, types int) *Tree {
	t := &Tree{Stacks: *s, Self: make([][]int64, types)}
	for k := range t.Self {
		t.Self[k] = make([]int64, s.Len())
	}
	return t
}

// Merge merges trees, whose frames are of sym and which have the same sample types, into
// one: the values of equal stacks are added. The trees are left as they are, but the
// result may be one of them.
func Merge(sym *Symbols, trees ...*Tree) *Tree {
	if len(trees) == 0 {
		return &Tree{}
	}
	var ofA, ofB []uint32
	for len(trees) > 1 { // by pairs, so that no node is walked more than log2 times
		next := make([]*Tree, 0, (len(trees)+1)/2)
		for i := 0; i+1 < len(trees); i += 2 {
			var merged Tree
			merged, ofA, ofB = mergePair(sym, trees[i], trees[i+1], ofA, ofB)
			next = append(next, &merged)
		}
		if len(trees)%2 == 1 {
			next = append(next, trees[len(trees)-1])
		}
		trees = next
	}
	return trees[0]
}

func mergePair(sym *Symbols, a, b *Tree, ofA, ofB []uint32) (t Tree, _, _ []uint32) {
	ofA, ofB = MergeStacks(sym, &t.Stacks, &a.Stacks, &b.Stacks, ofA, ofB)
	t.Self = make([][]int64, len(a.Self))
	for k := range t.Self {
		self := make([]int64, t.Len())
		for i, n := range ofA {
			self[n] = a.Self[k][i]
		}
		for i, n := range ofB {
			self[n] += b.Self[k][i]
		}
		t.Self[k] = self
	}
	return t, ofA, ofB
}

// Prune drops the nodes that have nothing but zeros in them and below. The root stays. The arrays of
// the stacks are left as they are, for they may be shared; those of values are used again.
func (t *Tree) Prune() {
	keep := t.alive()
	if !slices.Contains(keep, false) {
		return
	}
	t.Depth, t.Frame = slices.Clone(t.Depth), slices.Clone(t.Frame)
	t.compact(keep)
}

// compact drops the nodes that are not to be kept, in place. Frames that are not there yet stay so.
func (t *Tree) compact(keep []bool) {
	n := 0
	for i, k := range keep {
		if !k {
			continue
		}
		t.Depth[n] = t.Depth[i]
		if t.Frame != nil {
			t.Frame[n] = t.Frame[i]
		}
		for _, self := range t.Self {
			self[n] = self[i]
		}
		n++
	}
	t.Depth = t.Depth[:n]
	if t.Frame != nil {
		t.Frame = t.Frame[:n]
	}
	for k := range t.Self {
		t.Self[k] = t.Self[k][:n]
	}
}

// alive says of each node whether anything in it or below is not zero.
func (t *Tree) alive() []bool {
	keep := make([]bool, t.Len())
	below := make([]bool, t.height()+1) // by depth: whether a child met so far is alive
	for i := t.Len() - 1; i >= 0; i-- {
		d := t.Depth[i]
		live := i == 0 || below[d+1]
		below[d+1] = false
		for _, self := range t.Self {
			live = live || self[i] != 0
		}
		keep[i] = live
		below[d] = below[d] || live
	}
	return keep
}

// height is one more than the greatest depth.
func (t *Tree) height() int {
	if t.Len() == 0 {
		return 0
	}
	return int(slices.Max(t.Depth)) + 1
}

// Totals returns the cumulative values of a sample type: of each node and all below it.
func (t *Tree) Totals(sampleType int) []int64 {
	totals := make([]int64, t.Len())
	below := make([]int64, t.height()+1) // by depth: what the children met so far add up to
	for i := t.Len() - 1; i >= 0; i-- {
		d := int(t.Depth[i])
		totals[i] = t.Self[sampleType][i] + below[d+1]
		below[d+1] = 0
		below[d] += totals[i]
	}
	return totals
}

package arrowblock

// Stacks are the stack traces of a service in depth-first preorder. Node 0 is the
// root: depth 0, no frame. Children stand in canonical order.
type Stacks struct {
	Depth []uint16
	Frame []FrameID
}

// Len is the number of nodes.
func (s *Stacks) Len() int { return len(s.Depth) }

// MergeStacks merges the stacks of a and b, whose frames are of sym, into dst in one linear walk.
// It returns for every node of a and of b its number in dst. dst, ofA and ofB are used again;
// none may be a or b.
func MergeStacks(sym *Symbols, dst, a, b *Stacks, ofA, ofB []uint32) (nodesOfA, nodesOfB []uint32) {
	panic("soon")
}

// Tree is stacks with values: Self[k][i] is the value of sample type k of node i
// itself, without its children.
type Tree struct {
	Stacks
	Self [][]int64
}

// NewTree returns a tree of stacks with types columns of zeros. The stacks are shared, not copied.
func NewTree(s *Stacks, types int) *Tree { panic("soon") }

// Merge merges trees, whose frames are of sym and which have the same sample types, into
// one: the values of equal stacks are added. The trees are left as they are, but the
// result may be one of them.
func Merge(sym *Symbols, trees ...*Tree) *Tree { panic("soon") }

// Prune drops the nodes that have nothing but zeros in them and below.
func (t *Tree) Prune() { panic("soon") }

// Totals returns the cumulative values of a sample type: of each node and all below it.
func (t *Tree) Totals(sampleType int) []int64 { panic("soon") }

package pyroscope

import (
	"slices"

	"github.com/coldframe/coldframe/query"
)

// defaultMaxNodes and mostNodes bound a flame graph, as Pyroscope's defaults do.
const (
	defaultMaxNodes = 8 << 10
	mostNodes       = 1 << 17
)

// nodesOf reads how many nodes are asked for; none or 0 are the default.
func nodesOf(asked int64) int {
	if asked <= 0 {
		return defaultMaxNodes
	}
	return int(min(asked, mostNodes))
}

// flamebearer is a tree as Pyroscope's clients draw it: level by level, a few numbers for
// each node. These are offset, total, self and the place of its name in names; in a
// comparison offset, total, self of the left side, the same of the right side, name.
// Offsets are counted from the end of the node before it.
type flamebearer struct {
	names   []string
	levels  [][]int64
	total   int64 // of both sides
	maxSelf int64
	left    int64 // ticks of either side in a comparison
	right   int64
}

// bear makes a flamebearer of at most maxNodes nodes. What is left out stays as a node
// that is called other. It uses up the tree.
func bear(t *query.Tree, maxNodes int) *flamebearer {
	t.Prune(maxNodes, 0)
	b := &bearer{tree: t, numbers: map[string]int64{}}
	b.number("total")
	b.walk()
	b.encode()
	if t.Compared() {
		b.left, b.right = t.BaseTotal[0], t.Total[0]
		b.total = b.left + b.right
	} else {
		b.total = t.Total[0]
	}
	return &b.flamebearer
}

type bearer struct {
	flamebearer
	tree    *query.Tree
	numbers map[string]int64
	ends    []at // by depth: where the next child on the path begins
}

// at is a place on the horizontal axis of either side.
type at struct{ left, right int64 }

func (b *bearer) number(name string) int64 {
	n, known := b.numbers[name]
	if !known {
		n = int64(len(b.names))
		b.numbers[name] = n
		b.names = append(b.names, name)
	}
	return n
}

// walk puts each node after its parent's self value and the siblings before it.
func (b *bearer) walk() {
	t := b.tree
	rests := b.rests()
	b.ends = []at{{}}
	for i, depth := range t.Depth {
		name := "total"
		if i > 0 {
			name = t.Frames[t.Frame[i]].Name
		}
		base := at{}
		if t.Compared() {
			base = at{t.BaseTotal[i], t.BaseSelf[i]}
		}
		b.node(int(depth), name, base.left, base.right, t.Total[i], t.Self[i])
		if rest := rests[i]; rest.left > 0 || rest.right > 0 {
			b.node(int(depth)+1, "other", rest.left, rest.left, rest.right, rest.right)
		}
	}
}

// rests are what nodes have that neither they themselves nor their children have: the
// values of what was left out.
func (b *bearer) rests() []at {
	t := b.tree
	rests := make([]at, len(t.Depth))
	var path []int
	for i, depth := range t.Depth {
		rests[i].right = t.Total[i] - t.Self[i]
		if t.Compared() {
			rests[i].left = t.BaseTotal[i] - t.BaseSelf[i]
		}
		path = append(path[:depth], i)
		if depth == 0 {
			continue
		}
		parent := &rests[path[depth-1]]
		parent.right -= t.Total[i]
		if t.Compared() {
			parent.left -= t.BaseTotal[i]
		}
	}
	return rests
}

// node adds a node at the end of its parent's children so far. Its own will begin
// after its self value.
func (b *bearer) node(depth int, name string, leftTotal, leftSelf, total, self int64) {
	for len(b.levels) <= depth {
		b.levels = append(b.levels, nil)
	}
	begin := b.ends[depth]
	b.ends[depth] = at{begin.left + leftTotal, begin.right + total}
	b.ends = append(b.ends[:depth+1], at{begin.left + leftSelf, begin.right + self})
	b.maxSelf = max(b.maxSelf, self, leftSelf)
	if b.tree.Compared() {
		b.levels[depth] = append(b.levels[depth], begin.left, leftTotal, leftSelf, begin.right, total, self, b.number(name))
	} else {
		b.levels[depth] = append(b.levels[depth], begin.right, total, self, b.number(name))
	}
}

// encode turns places into distances from the end of the node before.
func (b *bearer) encode() {
	width, offsets := 4, []int{0}
	if b.tree.Compared() {
		width, offsets = 7, []int{0, 3}
	}
	for _, level := range b.levels {
		for _, o := range offsets {
			end := int64(0)
			for node := range slices.Chunk(level, width) {
				begin := node[o]
				node[o], end = begin-end, begin+node[o+1]
			}
		}
	}
}

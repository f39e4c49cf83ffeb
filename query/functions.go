package query

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/coldframe/coldframe/block/arrowblock"
)

// Tree merges the selected profiles into a call tree by function. Of a type pattern
// that leaves several sample types it takes the default one.
func (q *Querier) Tree(ctx context.Context, req Request) (*Tree, error) {
	tree := &Tree{}
	stats, err := q.answer(ctx, req, func(ctx context.Context, r *run) error {
		*tree = Tree{Frames: []Frame{{}}, Depth: []uint32{0}, Frame: []uint32{0}, Self: []int64{0}, Total: []int64{0}}
		s, err := r.sel(ctx)
		if err != nil {
			return err
		}
		c, err := s.chooseTypes(req.Selector.Type)
		if err != nil || c == nil {
			return err
		}
		c = c.single()
		tree.Type = c.typ(0)
		r.keep(s, c)
		m, err := r.merge(ctx, s, c, false)
		if err != nil {
			return err
		}
		m.tree.Prune()
		tree.fold(m.sym, m.tree)
		return nil
	})
	tree.Range, tree.Stats = req.Range, stats
	return tree, err
}

// fold makes t of a tree of locations: each location becomes one node for each
// function inlined there, and siblings of one name become one node.
func (t *Tree) fold(sym *arrowblock.Symbols, locations *arrowblock.Tree) {
	f := folder{
		names:    map[string]uint32{"": 0},
		children: newChildMap(locations.Len()),
		parents:  []uint32{0},
		frames:   []uint32{0},
		self:     []int64{0},
		of:       make([]frameList, sym.Len()),
		tree:     t,
	}
	self := locations.Self[0]
	f.self[0] = self[0]
	var targets []uint32 // the node that each location on the path ends in
	for i := 1; i < locations.Len(); i++ {
		depth := int(locations.Depth[i])
		target := uint32(0)
		if depth > 1 {
			target = targets[depth-2]
		}
		for _, frame := range f.framesOf(sym, locations.Frame[i]) {
			target = f.child(target, frame)
		}
		targets = append(targets[:depth-1], target)
		f.self[target] += self[i]
	}
	f.emit()
}

// folder makes a tree of functions. Its nodes are numbered as they are met, parents
// before children.
type folder struct {
	tree     *Tree
	names    map[string]uint32 // of tree.Frames
	of       []frameList       // by FrameID, made when met
	children childMap
	parents  []uint32
	frames   []uint32
	self     []int64
}

// frameList are the frames of a location, the outermost caller first.
type frameList []uint32

func (f *folder) framesOf(sym *arrowblock.Symbols, id arrowblock.FrameID) frameList {
	if f.of[id] != nil {
		return f.of[id]
	}
	location := sym.Frame(id)
	binary := ""
	if location.Mapping >= 0 {
		binary = path.Base(sym.Mappings()[location.Mapping].File)
	}
	list := make(frameList, 0, max(1, len(location.Lines)))
	for _, line := range slices.Backward(location.Lines) {
		function := sym.Function(line.Function)
		list = append(list, f.number(Frame{cmp.Or(function.Name, function.SystemName), function.Filename, binary}, location.Address))
	}
	if len(list) == 0 {
		list = append(list, f.number(Frame{Binary: binary}, location.Address))
	}
	f.of[id] = list
	return list
}

// number gives frames of one name one number. What they do not agree in is left empty.
func (f *folder) number(frame Frame, address uint64) uint32 {
	if frame.Binary == "." || frame.Binary == "/" { // what path.Base makes of no name
		frame.Binary = ""
	}
	if frame.Name == "" {
		frame.Name = fmt.Sprintf("%s+0x%x", cmp.Or(frame.Binary, "[unknown]"), address)
	}
	n, known := f.names[frame.Name]
	if !known {
		n = uint32(len(f.tree.Frames))
		f.names[frame.Name] = n
		f.tree.Frames = append(f.tree.Frames, frame)
		return n
	}
	same := &f.tree.Frames[n]
	if same.File != frame.File {
		same.File = ""
	}
	if same.Binary != frame.Binary {
		same.Binary = ""
	}
	return n
}

// child is the node of a frame below a node, made when there is none.
func (f *folder) child(parent, frame uint32) uint32 {
	n, found := f.children.find(parent, frame, uint32(len(f.parents)))
	if !found {
		f.parents = append(f.parents, parent)
		f.frames = append(f.frames, frame)
		f.self = append(f.self, 0)
	}
	return n
}

// emit writes the nodes into the tree in preorder, children by name.
func (f *folder) emit() {
	t, n := f.tree, len(f.parents)
	rank := f.sortFrames()

	// Nodes by the ranks of their frames, then by parent: both by counting.
	byRank := countingSort(n, len(t.Frames), func(i uint32) uint32 { return rank[f.frames[i]] }, nil)
	byParent := countingSort(n, n, func(i uint32) uint32 { return f.parents[i] }, byRank)
	firstChild := make([]uint32, n+1)
	for _, parent := range f.parents[1:] {
		firstChild[parent+1]++
	}
	for i := range n {
		firstChild[i+1] += firstChild[i]
	}
	byParent = slices.DeleteFunc(byParent, func(i uint32) bool { return i == 0 })

	total := slices.Clone(f.self)
	for i := n - 1; i > 0; i-- {
		total[f.parents[i]] += total[i]
	}
	t.Depth, t.Frame = make([]uint32, 0, n), make([]uint32, 0, n)
	t.Self, t.Total = make([]int64, 0, n), make([]int64, 0, n)
	type visit struct{ node, depth uint32 }
	stack := []visit{{0, 0}}
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		t.Depth = append(t.Depth, v.depth)
		t.Frame = append(t.Frame, rank[f.frames[v.node]])
		t.Self = append(t.Self, f.self[v.node])
		t.Total = append(t.Total, total[v.node])
		for _, child := range slices.Backward(byParent[firstChild[v.node]:firstChild[v.node+1]]) {
			stack = append(stack, visit{child, v.depth + 1})
		}
	}
}

// sortFrames orders the tree's frames by name, the root's first, and tells where each
// went.
func (f *folder) sortFrames() (rank []uint32) {
	order := make([]uint32, len(f.tree.Frames))
	for i := range order {
		order[i] = uint32(i)
	}
	frames := f.tree.Frames
	slices.SortFunc(order[1:], func(a, b uint32) int { return cmp.Compare(frames[a].Name, frames[b].Name) })
	sorted, rank := make([]Frame, len(frames)), make([]uint32, len(frames))
	for to, from := range order {
		sorted[to], rank[from] = frames[from], uint32(to)
	}
	f.tree.Frames = sorted
	return rank
}

// countingSort orders the numbers below n, taken in the order given or ascending, by
// a key below keys. It is stable.
func countingSort(n, keys int, key func(uint32) uint32, order []uint32) []uint32 {
	at := make([]uint32, keys+1)
	for i := range uint32(n) {
		at[key(i)+1]++
	}
	for k := range keys {
		at[k+1] += at[k]
	}
	sorted := make([]uint32, n)
	for i := range uint32(n) {
		if order != nil {
			i = order[i]
		}
		sorted[at[key(i)]] = i
		at[key(i)]++
	}
	return sorted
}

// childMap finds a node by its parent and frame. It is an open hash table: a Go map of
// the same takes three times as long, and this is most of what folding costs.
type childMap struct {
	slots []childSlot
	used  int
}

type childSlot struct {
	key  uint64 // parent<<32 | frame; 0 is empty, for frame 0 is nobody's child
	node uint32
}

func newChildMap(nodes int) childMap {
	size := 1 << 8
	for size < nodes {
		size <<= 1
	}
	return childMap{slots: make([]childSlot, size)}
}

// find returns the node of a key, or enters the fresh one.
func (m *childMap) find(parent, frame, fresh uint32) (node uint32, found bool) {
	if 2*m.used >= len(m.slots) {
		m.grow()
	}
	slot := m.slot(uint64(parent)<<32 | uint64(frame))
	if slot.key != 0 {
		return slot.node, true
	}
	*slot = childSlot{uint64(parent)<<32 | uint64(frame), fresh}
	m.used++
	return fresh, false
}

// slot is where a key is, or where it belongs.
func (m *childMap) slot(key uint64) *childSlot {
	mask := uint64(len(m.slots) - 1)
	hash := key * 0x9e3779b97f4a7c15 // Fibonacci hashing: the high bits are well mixed
	for i := hash >> 20; ; i++ {
		if s := &m.slots[i&mask]; s.key == key || s.key == 0 {
			return s
		}
	}
}

func (m *childMap) grow() {
	old := m.slots
	m.slots = make([]childSlot, 2*len(old))
	for _, s := range old {
		if s.key != 0 {
			*m.slot(s.key) = s
		}
	}
}

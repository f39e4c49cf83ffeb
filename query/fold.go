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
		s, err := r.selectProfiles(ctx)
		if err != nil {
			return err
		}
		c, err := s.chooseTypes(req.Selector.Type)
		if err != nil || c == nil {
			return err
		}
		c = c.single()
		tree.Type = c.typ(0)
		s.keep(c)
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
	f := newFolder(sym, locations.Len())
	self := locations.Self[0]
	f.nodes[0].self = self[0]
	var path []uint32 // the node that each location on the path ends in
	for i := 1; i < locations.Len(); i++ {
		depth := int(locations.Depth[i])
		node := uint32(0)
		if depth > 1 {
			node = path[depth-2]
		}
		for _, frame := range f.framesOf(locations.Frame[i]) {
			node = f.child(node, frame)
		}
		path = append(path[:depth-1], node)
		f.nodes[node].self += self[i]
	}
	f.emit(t)
}

// folder makes a tree of functions. Its nodes are numbered as they are met, parents
// before children.
type folder struct {
	frames     []Frame
	binaries   []int32           // by frame: in which mapping it lies, or severalBinaries
	names      map[string]uint32 // of frames
	ofFunction []uint32          // frame of each of the symbols' functions; 0: not met
	ofLocation []frameSpan       // by FrameID; empty: not met
	lists      []uint32          // frames, the outermost caller of a location first

	sym    *arrowblock.Symbols
	nodes  []foldedNode
	crowds map[childKey]uint32 // the children of nodes that have more than fewChildren
}

type foldedNode struct {
	parent, frame uint32
	child         uint32 // the latest one; 0: none
	sibling       uint32 // the one before it; 0: none
	children      uint32 // how many
	self          int64
}

type childKey struct{ parent, frame uint32 }

// fewChildren are found sooner by looking at each than in a map. Nearly all nodes of
// call trees have fewer.
const fewChildren = 16

// severalBinaries marks a function that is in more than one.
const severalBinaries = -2

func newFolder(sym *arrowblock.Symbols, nodes int) *folder {
	f := &folder{
		frames:     []Frame{{}},
		binaries:   []int32{-1},
		names:      map[string]uint32{"": 0},
		ofFunction: make([]uint32, sym.NumFunctions()),
		ofLocation: make([]frameSpan, sym.Len()),
		sym:        sym,
		nodes:      make([]foldedNode, 1, nodes),
		crowds:     map[childKey]uint32{},
	}
	return f
}

// frameSpan are the frames of a location, in folder.lists.
type frameSpan struct{ from, to uint32 }

func (f *folder) framesOf(id arrowblock.FrameID) []uint32 {
	if span := f.ofLocation[id]; span.to > 0 {
		return f.lists[span.from:span.to]
	}
	from := len(f.lists)
	location := f.sym.Frame(id)
	for _, line := range slices.Backward(location.Lines) {
		frame := f.function(line.Function)
		if frame == 0 {
			frame = f.unnamed(location)
		}
		f.lists = append(f.lists, frame)
	}
	if len(location.Lines) == 0 {
		f.lists = append(f.lists, f.unnamed(location))
	}
	for _, frame := range f.lists[from:] {
		f.lies(frame, int32(location.Mapping))
	}
	f.ofLocation[id] = frameSpan{uint32(from), uint32(len(f.lists))}
	return f.lists[from:]
}

// function is the frame of a function, 0 if that has no name.
func (f *folder) function(id uint32) uint32 {
	if f.ofFunction[id] == 0 {
		function := f.sym.Function(id)
		f.ofFunction[id] = f.frame(cmp.Or(function.Name, function.SystemName), function.Filename)
	}
	return f.ofFunction[id]
}

// unnamed is the frame of a location without a function.
func (f *folder) unnamed(location arrowblock.Frame) uint32 {
	return f.frame(fmt.Sprintf("%s+0x%x", cmp.Or(f.binary(int32(location.Mapping)), "[unknown]"), location.Address), "")
}

// frame is the frame of a name. Those of one name are one; their file stays only if
// they agree.
func (f *folder) frame(name, file string) uint32 {
	n, known := f.names[name]
	if !known {
		n = uint32(len(f.frames))
		f.names[name] = n
		f.frames = append(f.frames, Frame{Name: name, File: file})
		f.binaries = append(f.binaries, -1)
	} else if f.frames[n].File != file {
		f.frames[n].File = ""
	}
	return n
}

// lies notes that a frame was met in a mapping, -1 being none.
func (f *folder) lies(frame uint32, mapping int32) {
	switch f.binaries[frame] {
	case mapping, severalBinaries:
	case -1:
		f.binaries[frame] = mapping
	default:
		if f.binary(mapping) != f.binary(f.binaries[frame]) {
			f.binaries[frame] = severalBinaries
		}
	}
}

// binary is the last path element of a mapping's file.
func (f *folder) binary(mapping int32) string {
	if mapping < 0 || f.sym.Mappings()[mapping].File == "" {
		return ""
	}
	return path.Base(f.sym.Mappings()[mapping].File)
}

// child is the node of a frame below a node, made when there is none.
func (f *folder) child(parent, frame uint32) uint32 {
	p := &f.nodes[parent]
	if p.children <= fewChildren {
		for c := p.child; c != 0; c = f.nodes[c].sibling {
			if f.nodes[c].frame == frame {
				return c
			}
		}
	} else if c, known := f.crowds[childKey{parent, frame}]; known {
		return c
	}
	n := uint32(len(f.nodes))
	p.children++
	switch {
	case p.children == fewChildren+1:
		for c := p.child; c != 0; c = f.nodes[c].sibling {
			f.crowds[childKey{parent, f.nodes[c].frame}] = c
		}
		fallthrough
	case p.children > fewChildren:
		f.crowds[childKey{parent, frame}] = n
	}
	sibling := p.child
	p.child = n
	f.nodes = append(f.nodes, foldedNode{parent: parent, frame: frame, sibling: sibling})
	return n
}

// emit writes the nodes into t in preorder, children by name.
func (f *folder) emit(t *Tree) {
	for i := range f.frames {
		f.frames[i].Binary = f.binary(f.binaries[i])
	}
	rank := f.sortFrames()
	n := len(f.nodes)
	total := make([]int64, n)
	for i := n - 1; i > 0; i-- {
		total[i] += f.nodes[i].self
		total[f.nodes[i].parent] += total[i]
	}
	total[0] += f.nodes[0].self

	t.Frames = f.frames
	t.Depth, t.Frame = make([]uint32, 0, n), make([]uint32, 0, n)
	t.Self, t.Total = make([]int64, 0, n), make([]int64, 0, n)
	type visit struct{ node, rank, depth uint32 }
	stack := []visit{{}}
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		node := &f.nodes[v.node]
		t.Depth = append(t.Depth, v.depth)
		t.Frame = append(t.Frame, v.rank)
		t.Self = append(t.Self, node.self)
		t.Total = append(t.Total, total[v.node])
		first := len(stack)
		for c := node.child; c != 0; c = f.nodes[c].sibling {
			stack = append(stack, visit{c, rank[f.nodes[c].frame], v.depth + 1})
		}
		if len(stack)-first > 1 { // the smallest is popped first
			slices.SortFunc(stack[first:], func(a, b visit) int { return cmp.Compare(b.rank, a.rank) })
		}
	}
}

// sortFrames orders the frames by name, the root's first, and tells where each went.
func (f *folder) sortFrames() (rank []uint32) {
	order := make([]uint32, len(f.frames))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order[1:], func(a, b uint32) int { return cmp.Compare(f.frames[a].Name, f.frames[b].Name) })
	sorted, rank := make([]Frame, len(order)), make([]uint32, len(order))
	for to, from := range order {
		sorted[to], rank[from] = f.frames[from], uint32(to)
	}
	f.frames = sorted
	return rank
}

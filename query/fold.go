package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
)

// Tree merges the selected profiles into a call tree. Of a type pattern that leaves
// several sample types it takes the default one.
func (q *Querier) Tree(ctx context.Context, req TreeRequest) (*Tree, error) {
	tree := &Tree{}
	if err := req.validate(); err != nil {
		return nil, err
	}
	stats, err := q.answer(ctx, "tree", req.Request, func(ctx context.Context, r *run) error {
		sides := []*side{{run: r}}
		if req.Base != nil {
			sides = append(sides, &side{run: r.base(*req.Base)})
		}
		r.alone = r.alone || req.Aggregate != Sum // others know only their own blocks
		g, gctx := errgroup.WithContext(ctx)
		for _, s := range sides {
			s.by, s.apart = req.Labels, len(req.Labels) > 0
			s.step = req.Step.Milliseconds()
			if req.Aggregate == Sum {
				s.sums = windowsOf(req.Step)
			}
			g.Go(func() error { return s.read(gctx, req.Aggregate) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
		*tree = Tree{Type: sides[0].typ}
		return tree.fold(sides, req.View)
	})
	tree.Range, tree.Stats = req.Range, stats
	if req.Base != nil {
		tree.BaseRange, tree.Absolute = req.Base.Range, req.Absolute
	}
	return tree, err
}

// side is one side of a comparison, or the only one.
type side struct {
	*run
	typ      profile.Type // zero: nothing was selected
	merged   *merged      // nil: the same
	sieve    *sieve
	filtered int64

	before *side // what is taken from it, for differences; nil: nothing
}

// read selects and merges what the side asks for, without the stacks that are filtered out.
func (s *side) read(ctx context.Context, a Aggregate) error {
	selected, err := s.selectProfiles(ctx)
	if err != nil {
		return err
	}
	c, err := selected.chooseTypes(s.req.Selector.Type)
	if err != nil || c == nil {
		return err
	}
	c = c.single()
	selected.keep(c)
	s.typ = c.typ(0)
	if err := a.counts(s.typ); err != nil {
		return err
	}
	switch a {
	case Last:
		selected = selected.latest(c, s.step)
	case Difference:
		s.typ.Delta = true
		var first *selection
		selected, first = selected.ends(c)
		s.before = &side{run: s.run}
		if err := s.before.gather(ctx, first, c); err != nil {
			return err
		}
	}
	return s.gather(ctx, selected, c)
}

// gather merges what was selected, without the stacks that are filtered out.
func (s *side) gather(ctx context.Context, selected *selection, c *choice) (err error) {
	if s.merged, err = s.merge(ctx, selected, c, false); err != nil {
		return err
	}
	if !s.grouped() {
		s.merged.groups = []labelGroup{{tree: s.merged.tree}}
	}
	s.sieve = newSieve(s.req.Filters, s.merged.sym)
	for _, g := range s.merged.groups {
		s.filtered += s.sieve.strain(g.tree)[0]
		g.tree.Prune()
	}
	return nil
}

// What a node and a frame take while a tree is made and ordered.
const (
	drawnBytes = 80
	frameBytes = 300
)

// fold makes t of what was read.
func (t *Tree) fold(sides []*side, v View) error {
	capacity, functions := 0, 0
	for _, s := range sides {
		if s.merged == nil {
			continue
		}
		functions = max(functions, s.merged.sym.NumFunctions())
		for _, g := range s.merged.groups {
			capacity += g.tree.Len()
		}
		if t.Type = cmp.Or(t.Type, s.typ); t.Type.Sample != s.typ.Sample {
			return serve.Field("base_query", fmt.Errorf("%s cannot be compared with %s: %w", t.Type, s.typ, profile.ErrInvalid))
		}
	}
	if err := sides[0].reserve(drawnBytes*int64(capacity)+frameBytes*int64(functions), "the call tree"); err != nil {
		return err
	}
	made := newTrie(newFrameTable(v.Frames, functions), capacity)
	for column, s := range sides {
		if s.merged == nil {
			continue
		}
		s.fold(made, column, 1, v)
		if s.before != nil {
			s.before.fold(made, column, -1, v)
			s.filtered = max(0, s.filtered-s.before.filtered)
			made.floor(column)
		}
	}
	made.emit(t, len(sides) > 1)
	t.Filtered = sides[ofAnswer].filtered
	if t.Compared() {
		t.BaseFiltered = sides[ofBase].filtered
	}
	t.turn(v)
	return nil
}

// fold adds a side's values, times a sign, to a column of a trie.
func (s *side) fold(made *trie, column int, sign int64, v View) {
	f := newFolder(made, s.sieve)
	for _, g := range s.merged.groups {
		if g.tree.Len() == 1 && g.tree.Self[0][0] == 0 {
			continue
		}
		root := uint32(0)
		if v.grouped() {
			frame := Frame{Name: g.labels.String(), Kind: LabelFrame, Labels: g.labels}
			root = made.child(0, made.table.number(&frame))
		}
		f.fold(g.tree, column, root, sign)
	}
}

// trie is a tree under construction. Its nodes are numbered as they are met, parents
// before children; node 0 is the root.
type trie struct {
	table  *frameTable
	nodes  []trieNode
	values [2][]int64          // self values by node: of the answer and of its base
	crowds map[childKey]uint32 // the children of nodes that have more than fewChildren
}

type trieNode struct {
	parent, frame uint32
	child         uint32 // the latest one; 0: none
	sibling       uint32 // the one before it; 0: none
	children      uint32 // how many
}

type childKey struct{ parent, frame uint32 }

// Columns of a trie's values.
const (
	ofAnswer = iota
	ofBase
)

// fewChildren are found sooner by looking at each than in a map. Nearly all nodes of
// call trees have fewer.
const fewChildren = 16

func newTrie(table *frameTable, capacity int) *trie {
	t := &trie{table: table, nodes: make([]trieNode, 1, capacity+1), crowds: map[childKey]uint32{}}
	t.values[ofAnswer] = make([]int64, 1, capacity+1)
	return t
}

// add adds a value to a node.
func (t *trie) add(column int, node uint32, value int64) {
	if value == 0 {
		return
	}
	values := &t.values[column]
	if int(node) >= len(*values) {
		*values = append(*values, make([]int64, len(t.nodes)-len(*values))...)
	}
	(*values)[node] += value
}

// floor makes what is below nothing nothing.
func (t *trie) floor(column int) {
	for i, v := range t.values[column] {
		t.values[column][i] = max(v, 0)
	}
}

// child is the node of a frame below a node, made when there is none.
func (t *trie) child(parent, frame uint32) uint32 {
	p := &t.nodes[parent]
	if p.children <= fewChildren {
		for c := p.child; c != 0; c = t.nodes[c].sibling {
			if t.nodes[c].frame == frame {
				return c
			}
		}
	} else if c, known := t.crowds[childKey{parent, frame}]; known {
		return c
	}
	n := uint32(len(t.nodes))
	p.children++
	switch {
	case p.children == fewChildren+1:
		for c := p.child; c != 0; c = t.nodes[c].sibling {
			t.crowds[childKey{parent, t.nodes[c].frame}] = c
		}
		fallthrough
	case p.children > fewChildren:
		t.crowds[childKey{parent, frame}] = n
	}
	sibling := p.child
	p.child = n
	t.nodes = append(t.nodes, trieNode{parent: parent, frame: frame, sibling: sibling})
	return n
}

// emit writes the nodes into t in preorder, children in the order of their frames.
func (t *trie) emit(to *Tree, compared bool) {
	frames, rank := t.table.sorted()
	n := len(t.nodes)
	to.Frames, to.BaseSelf, to.BaseTotal = frames, nil, nil
	order := t.preorder(to, rank)
	for column, dst := range [][2]*[]int64{{&to.Self, &to.Total}, {&to.BaseSelf, &to.BaseTotal}} {
		if column == ofBase && !compared {
			break
		}
		self := append(t.values[column], make([]int64, n-len(t.values[column]))...)
		total := slices.Clone(self)
		for i := n - 1; i > 0; i-- {
			total[t.nodes[i].parent] += total[i]
		}
		*dst[0], *dst[1] = make([]int64, n), make([]int64, n)
		for i, node := range order {
			(*dst[0])[i], (*dst[1])[i] = self[node], total[node]
		}
	}
}

// preorder writes the tree's shape and returns its nodes in that order.
func (t *trie) preorder(to *Tree, rank []uint32) []uint32 {
	n := len(t.nodes)
	order := make([]uint32, 0, n)
	to.Depth, to.Frame = make([]uint32, 0, n), make([]uint32, 0, n)
	type visit struct{ node, rank, depth uint32 }
	stack := []visit{{}}
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		order = append(order, v.node)
		to.Depth, to.Frame = append(to.Depth, v.depth), append(to.Frame, v.rank)
		first := len(stack)
		for c := t.nodes[v.node].child; c != 0; c = t.nodes[c].sibling {
			stack = append(stack, visit{c, rank[t.nodes[c].frame], v.depth + 1})
		}
		if len(stack)-first > 1 { // the smallest is popped first
			slices.SortFunc(stack[first:], func(a, b visit) int { return cmp.Compare(b.rank, a.rank) })
		}
	}
	return order
}

// folder makes frames of the locations of one Symbols: each location becomes one frame
// for each function inlined there, and siblings of one frame become one node.
type folder struct {
	*trie
	sieve      *sieve
	ofLocation []frameSpan // by FrameID; empty: not met
	ofFunction []uint32    // by function, where functions are what tells frames apart; 0: not met
	lists      []uint32    // frames, the outermost caller of a location first
	kinds      []FrameKind // by mapping: of frames there that have a function
	place      Frame       // the one that is looked at
}

// frameSpan are the frames of a location, in folder.lists. met tells an empty one from none.
type frameSpan struct {
	from, to uint32
	met      bool
}

func newFolder(t *trie, s *sieve) *folder {
	mappings := s.sym.Mappings()
	f := &folder{trie: t, sieve: s, ofLocation: make([]frameSpan, s.sym.Len()), kinds: make([]FrameKind, len(mappings))}
	for i := range mappings {
		if isKernel(mappings[i].File) {
			f.kinds[i] = KernelFrame
		}
	}
	if t.table.key == FrameByFunction {
		f.ofFunction = make([]uint32, s.sym.NumFunctions())
	}
	return f
}

// fold adds a tree of locations below a node of the trie. Nodes without a value and
// any below should have been pruned.
func (f *folder) fold(locations *arrowblock.Tree, column int, root uint32, sign int64) {
	self := locations.Self[0]
	collapse := f.table.key&FrameByFunction == 0
	path := []uint32{root} // the node that each location on the path ends in
	for i := range locations.Len() {
		depth := int(locations.Depth[i])
		if depth > 0 {
			node := path[depth-1]
			for _, frame := range f.framesOf(locations.Frame[i]) {
				if collapse && f.nodes[node].frame == frame {
					continue
				}
				node = f.child(node, frame)
			}
			path = append(path[:depth], node)
		}
		f.add(column, path[depth], sign*self[i])
	}
}

func (f *folder) framesOf(id arrowblock.FrameID) []uint32 {
	span := &f.ofLocation[id]
	if !span.met {
		from := len(f.lists)
		location := f.sieve.sym.Frame(id)
		if !f.appendKnown(&location) {
			placesOf(f.sieve, &location, &f.place, f.append)
		}
		*span = frameSpan{uint32(from), uint32(len(f.lists)), true}
	}
	return f.lists[span.from:span.to]
}

// appendKnown does what placesOf does with append, sooner, for a location whose functions were all met
// before; false: one was not.
func (f *folder) appendKnown(l *arrowblock.Frame) bool {
	if f.ofFunction == nil || len(f.sieve.frames) > 0 || len(l.Lines) == 0 {
		return false
	}
	for _, line := range l.Lines {
		if f.ofFunction[line.Function] == 0 {
			return false
		}
	}
	at := &f.place
	at.Address, at.Mapping, at.BuildID, at.Kind = l.Address, "", "", FunctionFrame
	if l.Mapping >= 0 {
		m := &f.sieve.sym.Mappings()[l.Mapping]
		at.Mapping, at.BuildID, at.Kind = m.File, m.BuildID, f.kinds[l.Mapping]
	}
	for i, line := range slices.Backward(l.Lines) {
		at.Line, at.Inlined = line.Line, i < len(l.Lines)-1
		n := f.ofFunction[line.Function]
		f.table.frames[n].agreeOnPlace(at)
		f.lists = append(f.lists, n)
	}
	return true
}

// append adds the number of a place's frame to the lists.
func (f *folder) append(place *Frame, function int) {
	if function < 0 || f.ofFunction == nil || place.Name == "" {
		f.lists = append(f.lists, f.table.number(place))
		return
	}
	n := f.ofFunction[function]
	if n == 0 {
		n = f.table.number(place)
		f.ofFunction[function] = n
	} else {
		f.table.frames[n].agree(place)
	}
	f.lists = append(f.lists, n)
}

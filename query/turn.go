package query

// turn makes the tree that a view's Sandwich and Invert ask for, of a tree whose nodes
// all have values.
func (t *Tree) turn(v View) {
	if v.Sandwich == "" && !v.Invert {
		return
	}
	cut := newCutter(t, v)
	to := newTrie(&frameTable{frames: t.Frames}, len(t.Depth))
	var path []uint32 // frames
	for i, depth := range t.Depth {
		path = append(path[:depth], t.Frame[i])
		at := cut.enter(i)
		if t.Self[i] == 0 && (!t.Compared() || t.BaseSelf[i] == 0) {
			continue
		}
		node := uint32(0)
		if at.group {
			node = to.child(0, path[1])
		}
		switch {
		case at.from < 0:
			t.Filtered += t.Self[i]
			if t.Compared() {
				t.BaseFiltered += t.BaseSelf[i]
			}
			continue
		case v.Invert:
			for k := at.to - 1; k >= at.from; k-- {
				node = to.child(node, path[k])
			}
		default:
			for k := at.from; k < at.to; k++ {
				node = to.child(node, path[k])
			}
		}
		to.add(ofAnswer, node, t.Self[i])
		if t.Compared() {
			to.add(ofBase, node, t.BaseSelf[i])
		}
	}
	to.emit(t, t.Compared())
	t.dropUnusedFrames()
}

// cutter finds what of each path of a tree a view shows.
type cutter struct {
	tree     *Tree
	view     View
	sandwich []bool // by frame: is it the one
	last     []int  // by depth: where on the path the sandwich's frame was last; 0: nowhere
}

// cut is the part [from, to) of a path, by depth; from is -1 when nothing is shown. group says
// that a frame of labels stands above it.
type cut struct {
	from, to int
	group    bool
}

func newCutter(t *Tree, v View) *cutter {
	c := &cutter{tree: t, view: v, sandwich: make([]bool, len(t.Frames))}
	for i := range t.Frames {
		f := &t.Frames[i]
		c.sandwich[i] = v.Sandwich != "" && f.Name == v.Sandwich && f.Kind != LabelFrame
	}
	return c
}

// enter goes to the next node of the tree in preorder.
func (c *cutter) enter(i int) cut {
	depth := int(c.tree.Depth[i])
	last := 0
	if depth > 0 {
		last = c.last[depth-1]
	}
	if c.sandwich[c.tree.Frame[i]] {
		last = depth
	}
	c.last = append(c.last[:depth], last)
	whole := cut{1, depth + 1, c.view.grouped() && depth > 0}
	if whole.group {
		whole.from = 2
	}
	switch {
	case c.view.Sandwich == "":
	case last == 0:
		whole.from = -1
	case c.view.Invert:
		whole.to = last + 1
	default:
		whole.from = last
	}
	return whole
}

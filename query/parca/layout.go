package parca

import "slices"

// layout is the nodes of a tree that are shown, in rows: the root first, then level by
// level, the children of one node side by side.
type layout struct {
	nodes    []int    // in the tree, by row
	parent   []int32  // rows; -1 of the root
	children [][2]int // rows [from, to)
	offset   []int64  // where the row begins, in units of the root's value
	value    []int64  // as shown, with all below it
	self     []int64
	diff     []int64
	depth    []uint32
}

// lay leaves out the children that are too small beside their parents.
func (d *drawing) lay() *layout {
	kept, parents := d.kept()
	order := make([]int, len(kept)) // of kept, level by level
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(d.Depth[kept[a]]) - int(d.Depth[kept[b]]) })
	row := make([]int, len(kept))
	for r, i := range order {
		row[i] = r
	}
	l := &layout{}
	for r, i := range order {
		node := kept[i]
		value, diff := d.scaled(d.Total[node], d.baseTotal(node))
		self, _ := d.scaled(d.Self[node], d.baseSelf(node))
		l.nodes, l.depth = append(l.nodes, node), append(l.depth, d.Depth[node])
		l.value, l.self, l.diff = append(l.value, value), append(l.self, self), append(l.diff, diff)
		l.children = append(l.children, [2]int{})
		if r == 0 {
			l.parent, l.offset = append(l.parent, -1), append(l.offset, 0)
			continue
		}
		p := row[parents[i]]
		of := &l.children[p]
		if of[1] == 0 {
			*of = [2]int{r, r}
		}
		offset := l.offset[p]
		if of[1] > of[0] {
			offset = l.offset[r-1] + l.value[r-1]
		}
		of[1] = r + 1
		l.parent, l.offset = append(l.parent, int32(p)), append(l.offset, offset)
	}
	return l
}

// kept are the nodes to show in the order of the tree, and the place of each one's parent
// among them. It counts what is left out.
func (d *drawing) kept() (kept, parents []int) {
	var path []int        // places in kept
	closed := uint32(0)   // depth of the last node left out, below which all are; 0 for none
	var weights []float64 // by depth
	for i, depth := range d.Depth {
		if closed > 0 && depth > closed {
			continue
		}
		closed = 0
		value, diff := d.scaled(d.Total[i], d.baseTotal(i))
		weight := float64(max(value, value-diff)) // of the larger side
		if depth > 0 && d.threshold > 0 && weight <= weights[depth-1]*d.threshold {
			closed = depth
			d.trimmed += value
			continue
		}
		weights = append(weights[:depth], weight)
		path = append(path[:depth], len(kept))
		parent := 0
		if depth > 0 {
			parent = path[depth-1]
		}
		kept, parents = append(kept, i), append(parents, parent)
	}
	return kept, parents
}

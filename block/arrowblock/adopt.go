package arrowblock

// Adopt returns a tree of other Symbols as one of s, which gets the frames that the tree's nodes have. The tree is
// left as it is and shares nothing with the result but its depths. from must not grow meanwhile; it may be adopted
// from by several at once.
func (s *Symbols) Adopt(from *Symbols, t *Tree) *Tree {
	adopted := &Tree{Stacks: Stacks{Depth: t.Depth, Frame: make([]FrameID, t.Len())}, Self: make([][]int64, len(t.Self))}
	for k, self := range t.Self {
		adopted.Self[k] = append([]int64(nil), self...)
	}
	a := adopter{to: s, from: from, functions: make([]uint32, len(from.functions)), mappings: make([]int32, len(from.mappings))}
	frames := make([]FrameID, len(from.frames)) // 0: not met
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, m := range from.mappings { // all, for one that no frame of the tree has may stand for its equals
		a.mappings[i] = int32(s.internMapping(m))
	}
	for i, f := range t.Frame {
		if f != 0 && frames[f] == 0 {
			frames[f] = a.frame(&from.frames[f])
		}
		adopted.Frame[i] = frames[f]
	}
	return adopted
}

// adopter takes over what frames are made of.
type adopter struct {
	to, from  *Symbols
	functions []uint32 // one more than the number in to; 0: not met
	mappings  []int32  // the number in to
	lines     []Line
}

func (a *adopter) frame(f *frame) FrameID {
	a.lines = a.lines[:0]
	for _, l := range a.from.lines[f.lineFrom:f.lineTo] {
		n := &a.functions[l.Function]
		if *n == 0 {
			*n = 1 + a.to.internFunction(&a.from.functions[l.Function], a.from.functionHash[l.Function])
		}
		l.Function = *n - 1
		a.lines = append(a.lines, l)
	}
	adopted := frame{address: f.address, mapping: -1, folded: f.folded}
	if f.mapping >= 0 {
		adopted.mapping = a.mappings[f.mapping]
	}
	return a.to.internFrame(&adopted, a.lines, frameKey(&adopted, a.lines))
}

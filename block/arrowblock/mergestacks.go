package arrowblock

import (
	"context"
	"fmt"
	"math"
	"math/bits"
)

// picked says which nodes of a service's merged stacks an input has: one bit a node. Merging
// keeps the order of nodes, so that the i-th bit that is set is the input's node i.
type picked []uint64

func newPicked(numbers []uint32, nodes int) picked {
	p := make(picked, (nodes+63)/64)
	for _, n := range numbers {
		p[n/64] |= 1 << (n % 64)
	}
	return p
}

// appendNumbers appends the numbers of the nodes, those of the service counting from first.
func (p picked) appendNumbers(dst []uint32, first uint32) []uint32 {
	for i, word := range p {
		for ; word != 0; word &= word - 1 {
			dst = append(dst, first+uint32(i*64+bits.TrailingZeros64(word)))
		}
	}
	return dst
}

// writeStacks merges and writes the stacks, some services at a time.
func (m *merging) writeStacks(ctx context.Context) error {
	chunk := newChunkWriter(m.finisher)
	m.spans = make([]Span, len(m.services.old))
	next := uint64(0)
	for from := 0; from < len(m.spans); {
		to := m.servicesAtATime(from)
		trees, err := m.readStacks(ctx, from, to)
		if err != nil {
			return err
		}
		chunk.makeRoom()
		for s := from; s < to; s++ {
			tree := m.mergeService(s, trees[s-from])
			m.spans[s] = Span{next, next + uint64(tree.Len())}
			if next = m.spans[s].To; next > math.MaxUint32 {
				return fmt.Errorf("blocks have more than %d nodes together", uint32(math.MaxUint32))
			}
			if err := chunk.add(tree); err != nil {
				return err
			}
		}
		if m.b.symbols.SizeBytes() > m.mostSymbolBytes {
			chunk.forgetSymbols()
		}
		from = to
	}
	m.info.Nodes = int64(next)
	return chunk.flush()
}

// servicesAtATime returns where the services end that are to be read together with
// the one at from.
func (m *merging) servicesAtATime(from int) (to int) {
	nodes := uint64(0)
	for to = from; to < len(m.spans); to++ {
		for _, in := range m.inputs {
			if own := in.serviceIn[to]; own >= 0 {
				nodes += in.Block.services[own].Nodes.Len()
			}
		}
		if to > from && nodes > m.nodesAtATime {
			break
		}
	}
	return to
}

// readStacks reads the stacks of services [from, to): for each service, the stacks of
// each input, nil where it has none.
func (m *merging) readStacks(ctx context.Context, from, to int) ([][]*Stacks, error) {
	trees := make([][]*Stacks, to-from)
	for i := range trees {
		trees[i] = make([]*Stacks, len(m.inputs))
	}
	for i, in := range m.inputs {
		var own []int
		for _, s := range in.serviceIn[from:to] {
			if s >= 0 {
				own = append(own, s)
			}
		}
		stacks, err := in.Stacks(ctx, m.b.symbols, own...)
		if err != nil {
			return nil, in.failed(err)
		}
		for k, s := range own {
			trees[int(in.services[s])-from][i] = stacks[k]
		}
	}
	return trees, nil
}

// mergeService merges a service's stacks, and notes which nodes are of which input.
func (m *merging) mergeService(service int, trees []*Stacks) *Stacks {
	var have []*Stacks
	var of []*mergeInput
	for i, t := range trees {
		if t != nil {
			have, of = append(have, t), append(of, m.inputs[i])
		}
	}
	merged, numbers := mergeMany(m.b.symbols, have)
	for i, in := range of {
		in.nodes[service] = newPicked(numbers[i], merged.Len())
	}
	return merged
}

// mergeMany merges stacks by pairs, so that no node is walked more than log2 times, and
// returns for the nodes of each their numbers in the result.
func mergeMany(sym *Symbols, trees []*Stacks) (*Stacks, [][]uint32) {
	if len(trees) == 1 {
		same := make([]uint32, trees[0].Len())
		for i := range same {
			same[i] = uint32(i)
		}
		return trees[0], [][]uint32{same}
	}
	a, numbersOfA := mergeMany(sym, trees[:len(trees)/2])
	b, numbersOfB := mergeMany(sym, trees[len(trees)/2:])
	merged := &Stacks{}
	ofA, ofB := MergeStacks(sym, merged, a, b, nil, nil)
	for _, numbers := range numbersOfA {
		follow(numbers, ofA)
	}
	for _, numbers := range numbersOfB {
		follow(numbers, ofB)
	}
	return merged, append(numbersOfA, numbersOfB...)
}

func follow(numbers, to []uint32) {
	for i, n := range numbers {
		numbers[i] = to[n]
	}
}

// makeRoom lets the chunk number symbols that came since it was made.
func (c *chunkWriter) makeRoom() {
	symbols := c.f.b.symbols
	c.frameNumber = append(c.frameNumber, make([]uint16, symbols.Len()-len(c.frameNumber))...)
	c.functionNumber = append(c.functionNumber, make([]uint32, symbols.NumFunctions()-len(c.functionNumber))...)
}

// forgetSymbols begins the Builder's symbols anew, with all mappings, whose numbers stay,
// and the frames of the nodes that are not written yet.
func (c *chunkWriter) forgetSymbols() {
	old, kept := c.f.b.symbols, NewSymbols()
	for _, m := range old.mappings {
		kept.internMapping(m)
	}
	ids := make(map[FrameID]FrameID)
	functions := make(map[uint32]uint32)
	for i, id := range c.nodes.Frame {
		if _, ok := ids[id]; !ok && id != 0 {
			ids[id] = kept.copyFrame(old, id, functions)
		}
		c.nodes.Frame[i] = ids[id]
	}
	c.f.b.symbols = kept
	c.frameNumber, c.functionNumber = nil, nil
	c.makeRoom()
}

// copyFrame interns a frame of other symbols with the same mappings. functions remembers
// the numbers of functions that were copied.
func (s *Symbols) copyFrame(from *Symbols, id FrameID, functions map[uint32]uint32) FrameID {
	f := from.frames[id]
	lines := make([]Line, 0, f.lineTo-f.lineFrom)
	for _, l := range from.lines[f.lineFrom:f.lineTo] {
		n, ok := functions[l.Function]
		if !ok {
			n = s.internFunction(&from.functions[l.Function], from.functionHash[l.Function])
			functions[l.Function] = n
		}
		l.Function = n
		lines = append(lines, l)
	}
	copied := frame{address: f.address, mapping: f.mapping, folded: f.folded}
	return s.internFrame(&copied, lines, frameKey(&copied, lines))
}

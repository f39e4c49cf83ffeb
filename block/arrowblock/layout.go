package arrowblock

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// writeStacks lays the stacks of all services out as one table in preorder and writes
// it chunk by chunk. Afterwards nodeOf and spans are known.
func (f *finisher) writeStacks() error {
	frameByRank := f.rankFrames()
	byService := f.stacksByService()
	place := placer{f.b.stacks.records}
	chunk := newChunkWriter(f)
	f.nodeOf = make([]uint32, f.b.stacks.len())
	f.spans = make([]Span, len(f.services.old))
	var tree Stacks
	next := uint64(0)
	for n, old := range f.services.old {
		stacks := byService[old]
		place.sort(stacks, 0)
		f.grow(&tree, stacks, frameByRank, uint32(next))
		f.spans[n] = Span{next, next + uint64(tree.Len())}
		if next = f.spans[n].To; next > math.MaxUint32 {
			return fmt.Errorf("block has more than %d nodes", uint32(math.MaxUint32))
		}
		if err := chunk.add(&tree); err != nil {
			return err
		}
	}
	f.info.Nodes = int64(next)
	return chunk.flush()
}

// rankFrames puts into every stack the frames' ranks in canonical order, in place of
// their numbers, and returns the way back.
func (f *finisher) rankFrames() (frameByRank []FrameID) {
	symbols := f.b.symbols
	type hashed struct {
		hash  uint64
		frame FrameID
	}
	frames := make([]hashed, symbols.Len())
	for i := range frames {
		frames[i] = hashed{symbols.frameHash[i], FrameID(i)}
	}
	slices.SortFunc(frames[1:], func(a, b hashed) int {
		if a.hash != b.hash {
			return cmp.Compare(a.hash, b.hash)
		}
		return symbols.Compare(a.frame, b.frame)
	})
	frameByRank = make([]FrameID, len(frames))
	rank := make([]uint32, len(frames))
	for i, h := range frames {
		frameByRank[i] = h.frame
		rank[h.frame] = uint32(i)
	}
	stacks := &f.b.stacks
	for n := range uint32(stacks.len()) {
		from, to := stacks.frames(n)
		for i, frame := range stacks.records[from:to] {
			stacks.records[from+uint32(i)] = rank[frame]
		}
	}
	return frameByRank
}

// stacksByService deals the stacks out to the services they belong to.
func (f *finisher) stacksByService() [][]placing {
	stacks := &f.b.stacks
	count := make([]int, len(f.b.services.all))
	for n := range uint32(stacks.len()) {
		count[stacks.service(n)]++
	}
	all := make([]placing, stacks.len())
	byService := make([][]placing, len(count))
	for s, n := range count {
		byService[s], all = all[:0:n], all[n:]
	}
	for n := range uint32(stacks.len()) {
		from, to := stacks.frames(n)
		s := stacks.service(n)
		byService[s] = append(byService[s], placing{from: from, to: to, stack: n})
	}
	return byService
}

// grow makes the tree of one service of its sorted stacks, of which the root will be
// node number first. Each stack adds the frames that it does not share with the one before it.
func (f *finisher) grow(tree *Stacks, stacks []placing, frameByRank []FrameID, first uint32) {
	tree.Depth = append(tree.Depth[:0], 0)
	tree.Frame = append(tree.Frame[:0], 0)
	ranks := f.b.stacks.records
	var before []uint32
	for _, s := range stacks {
		stack := ranks[s.from:s.to]
		shared := sharedPrefix(before, stack)
		for d, rank := range stack[shared:] {
			tree.Depth = append(tree.Depth, uint16(shared+d+1))
			tree.Frame = append(tree.Frame, frameByRank[rank])
		}
		f.nodeOf[s.stack] = first + uint32(tree.Len()) - 1
		before = stack
	}
}

func sharedPrefix(a, b []uint32) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// chunkWriter cuts the stack table into chunks and gives each its own frames and
// functions, numbered as the chunk meets them, so that one range of the block is enough
// to read it. Its slices are used again for the next chunk.
type chunkWriter struct {
	f       *finisher
	written int // chunks
	first   uint64
	nodes   Stacks

	frames         []FrameID // of the chunk, in the order of their numbers
	functions      []uint32  // likewise, their numbers in Symbols
	frameNumber    []uint16  // in the chunk, by FrameID; 0: not in it
	functionNumber []uint32  // in the chunk plus one, by number in Symbols; 0: not in it

	columns struct {
		frame                      []uint16
		address                    []uint64
		mapping, function          []uint32
		folded                     []uint8
		lineOffsets                []int32
		line, column, start        []int64
		name, systemName, filename texts
	}
}

func newChunkWriter(f *finisher) *chunkWriter {
	return &chunkWriter{
		f:              f,
		frameNumber:    make([]uint16, f.b.symbols.Len()),
		functionNumber: make([]uint32, f.b.symbols.NumFunctions()),
	}
}

// add takes a service's tree. One that does not fit into what is left of a shared chunk
// begins the next; one larger than a chunk continues in those that follow.
func (c *chunkWriter) add(tree *Stacks) error {
	if c.nodes.Len()+tree.Len() > maxNodesShared {
		if err := c.flush(); err != nil {
			return err
		}
	}
	for from := 0; from < tree.Len(); {
		n := min(tree.Len()-from, maxNodesAChunk)
		c.nodes.Depth = append(c.nodes.Depth, tree.Depth[from:from+n]...)
		c.nodes.Frame = append(c.nodes.Frame, tree.Frame[from:from+n]...)
		if from += n; from < tree.Len() {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush writes the chunk gathered so far, if there is one.
func (c *chunkWriter) flush() error {
	if c.nodes.Len() == 0 {
		return nil
	}
	c.frames, c.functions = c.frames[:0], c.functions[:0]
	for _, write := range []func() error{c.writeNodes, c.writeFrames, c.writeFunctions} {
		if err := write(); err != nil {
			return err
		}
	}
	for _, id := range c.frames {
		c.frameNumber[id] = 0
	}
	for _, n := range c.functions {
		c.functionNumber[n] = 0
	}
	c.first += uint64(c.nodes.Len())
	c.nodes.Depth, c.nodes.Frame = c.nodes.Depth[:0], c.nodes.Frame[:0]
	c.written++
	return nil
}

func (c *chunkWriter) section(what string) section {
	return section{name: chunkName(c.written, what)}
}

// writeNodes writes the nodes and numbers their frames, each at its first node.
func (c *chunkWriter) writeNodes() error {
	frame := c.columns.frame[:0]
	for _, id := range c.nodes.Frame {
		if id != 0 && c.frameNumber[id] == 0 {
			c.frames = append(c.frames, id)
			c.frameNumber[id] = uint16(len(c.frames))
		}
		frame = append(frame, c.frameNumber[id])
	}
	c.columns.frame = frame
	s := c.section("nodes")
	s.first = c.first
	return c.f.section(s, nil, numbers("depth", c.nodes.Depth), numbers("frame", frame))
}

// writeFrames writes what frames are and numbers the functions they need.
func (c *chunkWriter) writeFrames() error {
	col := &c.columns
	col.address, col.mapping, col.folded = col.address[:0], col.mapping[:0], col.folded[:0]
	col.function, col.line, col.column = col.function[:0], col.line[:0], col.column[:0]
	col.lineOffsets = append(col.lineOffsets[:0], 0)
	for _, id := range c.frames {
		frame := c.f.b.symbols.Frame(id)
		col.address = append(col.address, frame.Address)
		col.mapping = append(col.mapping, c.f.mappingNumber(frame.Mapping))
		col.folded = append(col.folded, bit(frame.Folded))
		for _, l := range frame.Lines {
			if c.functionNumber[l.Function] == 0 {
				c.functions = append(c.functions, l.Function)
				c.functionNumber[l.Function] = uint32(len(c.functions))
			}
			col.function = append(col.function, c.functionNumber[l.Function]-1)
			col.line, col.column = append(col.line, l.Line), append(col.column, l.Column)
		}
		col.lineOffsets = append(col.lineOffsets, int32(len(col.function)))
	}
	return c.f.section(c.section("frames"), nil,
		numbers("address", col.address), narrow("mapping", col.mapping), numbers("folded", col.folded),
		list("lines", col.lineOffsets, structure("",
			narrow("function", col.function), narrow("line", col.line), narrow("column", col.column))))
}

func (c *chunkWriter) writeFunctions() error {
	col := &c.columns
	col.name.reset()
	col.systemName.reset()
	col.filename.reset()
	col.start = col.start[:0]
	for _, n := range c.functions {
		fn := c.f.b.symbols.Function(n)
		col.name.add(fn.Name)
		if fn.SystemName == fn.Name {
			col.systemName.addNull()
		} else {
			col.systemName.add(fn.SystemName)
		}
		col.filename.add(fn.Filename)
		col.start = append(col.start, fn.StartLine)
	}
	return c.f.section(c.section("functions"), nil,
		col.name.column("name"), col.systemName.column("system_name"), col.filename.column("filename"),
		narrow("start_line", col.start))
}

package arrowblock

import (
	"context"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/coldframe/coldframe/profile"
)

// Stacks are the stack traces of a service in depth-first preorder. Node 0 is the
// root: depth 0, no frame. Children stand in canonical order.
type Stacks struct {
	Depth []uint16
	Frame []FrameID
}

// Len is the number of nodes.
func (s *Stacks) Len() int { return len(s.Depth) }

// Stacks reads the stack traces of services, one Stacks for each, with the frames
// interned into sym. Node i of the result is node Services()[n].Nodes.From+i of the block.
// Calls that share sym may run at the same time.
func (b *Block) Stacks(ctx context.Context, sym *Symbols, services ...int) ([]*Stacks, error) {
	p, err := b.PackedStacks(ctx, services...)
	if err != nil {
		return nil, err
	}
	trees, err := p.Trees(sym, make([][][]int64, len(services)))
	if err != nil {
		return nil, err
	}
	all := make([]*Stacks, len(trees))
	for i, t := range trees {
		all[i] = &t.Stacks
	}
	return all, nil
}

// PackedStacks are the stack traces of some services as they lie in the block: read, not decoded yet.
type PackedStacks struct {
	b        *Block
	services []int
	chunks   []packedChunk // ascending
}

type packedChunk struct {
	first                    uint64 // node of the block
	nodes, frames, functions *stream
}

// PackedStacks reads the stacks that [PackedStacks.Trees] decodes.
func (b *Block) PackedStacks(ctx context.Context, services ...int) (*PackedStacks, error) {
	wanted := make([]bool, len(b.chunks))
	for _, n := range services {
		if n < 0 || n >= len(b.services) {
			return nil, fmt.Errorf("service %d of %d: %w", n, len(b.services), profile.ErrInvalid)
		}
		from, to := b.chunksOf(b.services[n].Nodes)
		for i := from; i < to; i++ {
			wanted[i] = true
		}
	}
	var sections []*section
	for i, w := range wanted {
		if w {
			sections = append(sections, b.chunks[i].nodes, b.chunks[i].frames, b.chunks[i].functions)
		}
	}
	streams, err := b.fetch(ctx, sections...)
	if err != nil {
		return nil, err
	}
	p := &PackedStacks{b: b, services: services}
	for i := 0; i < len(streams); i += 3 {
		p.chunks = append(p.chunks, packedChunk{sections[i].first, streams[i], streams[i+1], streams[i+2]})
	}
	return p, nil
}

// Trees decodes the stack traces that have values: where few have, that is much less work than
// all. self has for each service the columns of its tree, values by node as [Block.Stacks] numbers
// them, or nil for all stacks and no columns. Nodes without a value in them and below are
// not in the trees; self is used again.
func (p *PackedStacks) Trees(sym *Symbols, self [][][]int64) ([]*Tree, error) {
	parts := make([]*part, len(p.chunks))
	trees, keep := make([]*Tree, len(p.services)), make([][]bool, len(p.services))
	for i, n := range p.services {
		trees[i] = &Tree{Stacks{Depth: make([]uint16, p.b.services[n].Nodes.Len())}, self[i]}
	}
	for i, chunk := range p.chunks {
		var err error
		if parts[i], err = p.decodeNodes(chunk, trees); err != nil {
			return nil, err
		}
	}
	for i, t := range trees {
		if self[i] != nil {
			keep[i] = t.alive()
			t.compact(keep[i])
		}
		t.Frame = make([]FrameID, 0, t.Len())
	}
	for _, part := range parts {
		if err := p.nameNodes(part, sym, trees, keep); err != nil {
			return nil, err
		}
	}
	return trees, nil
}

// decodeNodes decodes a chunk's nodes and copies their depths to the trees.
func (p *PackedStacks) decodeNodes(chunk packedChunk, trees []*Tree) (*part, error) {
	part := &part{packedChunk: chunk}
	if err := firstError(decodeInto(chunk.nodes, &part.depth, "depth"), decodeInto(chunk.nodes, &part.frame, "frame")); err != nil {
		return nil, err
	}
	for i, n := range p.services {
		nodes := p.b.services[n].Nodes
		from, to := part.overlap(nodes)
		if err := part.check(from, to, nodes.From); err != nil {
			return nil, err
		}
		if from < to {
			copy(trees[i].Depth[part.first+uint64(from)-nodes.From:], part.depth[from:to])
		}
	}
	return part, nil
}

// nameNodes appends the frames of the chunk's nodes that are kept to the trees. Only these are interned.
func (p *PackedStacks) nameNodes(part *part, sym *Symbols, trees []*Tree, keep [][]bool) error {
	ids := make([]FrameID, part.frames.rows+1)
	const needed = 1
	p.eachKept(part, keep, func(_ int, frame uint16) { ids[frame] = needed })
	ids[0] = 0
	if slices.Contains(ids, needed) {
		frames, err := p.b.decodeFrames(part.packedChunk)
		if err != nil {
			return err
		}
		p.b.intern(frames, sym, ids)
	}
	p.eachKept(part, keep, func(i int, frame uint16) { trees[i].Frame = append(trees[i].Frame, ids[frame]) })
	return nil
}

// eachKept calls f with the service, by position, and the frame of each of the chunk's nodes that are kept;
// nil keeps all of a service.
func (p *PackedStacks) eachKept(part *part, keep [][]bool, f func(i int, frame uint16)) {
	for i, n := range p.services {
		nodes := p.b.services[n].Nodes
		from, to := part.overlap(nodes)
		for k, frame := range part.frame[from:to] {
			if keep[i] == nil || keep[i][part.first+uint64(from+k)-nodes.From] {
				f(i, frame)
			}
		}
	}
}

// part is a chunk of the stack table with its nodes decoded.
type part struct {
	packedChunk
	depth []uint16
	frame []uint16 // of the chunk, 0 for the root of a service
}

// frameTable are the frames and functions of a chunk; frame number n is in row n-1.
type frameTable struct {
	address      []uint64
	mapping      []uint32
	folded       []uint8
	lineOffsets  []int32
	function     []uint32
	line, column []int64

	name, systemName, filename *textView
	startLine                  []int64
}

func (b *Block) decodeFrames(c packedChunk) (*frameTable, error) {
	f := &frameTable{}
	frames, functions := c.frames, c.functions
	var err error
	f.lineOffsets, err = frames.decodeList("lines")
	if err := firstError(err,
		decodeInto(frames, &f.address, "address"), narrowInto(frames, &f.mapping, "mapping"), decodeInto(frames, &f.folded, "folded"),
		narrowInto(frames, &f.function, "lines", "item", "function"),
		narrowInto(frames, &f.line, "lines", "item", "line"), narrowInto(frames, &f.column, "lines", "item", "column"),
		stringsInto(functions, &f.name, "name"), stringsInto(functions, &f.systemName, "system_name"),
		stringsInto(functions, &f.filename, "filename"), narrowInto(functions, &f.startLine, "start_line"),
	); err != nil {
		return nil, err
	}
	for i, m := range f.mapping {
		if int(m) > len(b.mappings) {
			return nil, frames.corrupt("frame %d: mapping %d of %d", i, m, len(b.mappings))
		}
	}
	for i, n := range f.function {
		if int(n) >= f.name.len() {
			return nil, frames.corrupt("line %d: function %d of %d", i, n, f.name.len())
		}
	}
	return f, nil
}

// overlap is the part of a span of the block's nodes that lies in the chunk.
func (p *part) overlap(nodes Span) (from, to int) {
	end := p.first + uint64(len(p.depth))
	first, last := max(nodes.From, p.first), min(nodes.To, end)
	if first >= last {
		return 0, 0
	}
	return int(first - p.first), int(last - p.first)
}

// check makes sure that nodes [from, to) of the chunk are part of a tree whose root is
// node root of the block: each goes at most one step down, and has a frame.
func (p *part) check(from, to int, root uint64) error {
	if from == to {
		return nil
	}
	frames := uint32(p.frames.rows)
	if p.first+uint64(from) == root {
		if p.depth[from] != 0 || p.frame[from] != 0 {
			return p.nodes.corrupt("node %d is the root of a service and has depth %d and frame %d", root, p.depth[from], p.frame[from])
		}
		from++
	}
	for i := from; i < to; i++ {
		if p.depth[i] == 0 || i > 0 && p.depth[i] > p.depth[i-1]+1 || uint32(p.frame[i])-1 >= frames {
			return p.nodes.corrupt("node %d has depth %d and frame %d of %d", p.first+uint64(i), p.depth[i], p.frame[i], frames)
		}
	}
	return nil
}

// intern gives the frames marked in ids their numbers in sym.
func (b *Block) intern(f *frameTable, sym *Symbols, ids []FrameID) {
	const unknown = ^uint32(0)
	functions := make([]uint32, f.name.len())
	for i := range functions {
		functions[i] = unknown
	}
	mappings := make([]int32, len(b.mappings)+1)
	for i := range mappings {
		mappings[i] = -2 // unknown
	}
	mappings[0] = -1
	files := hashMemo{}
	var lines []Line

	sym.mu.Lock()
	defer sym.mu.Unlock()
	for number, id := range ids {
		if id == 0 {
			continue
		}
		i := number - 1
		lines = lines[:0]
		for k := f.lineOffsets[i]; k < f.lineOffsets[i+1]; k++ {
			n := f.function[k]
			if functions[n] == unknown {
				functions[n] = f.internFunction(sym, int(n), &files)
			}
			lines = append(lines, Line{functions[n], f.line[k], f.column[k]})
		}
		m := f.mapping[i]
		if mappings[m] == -2 {
			mappings[m] = int32(sym.internMapping(b.mappings[m-1]))
		}
		fr := frame{address: f.address[i], mapping: mappings[m], folded: f.folded[i] != 0}
		ids[number] = sym.internFrame(&fr, lines, frameKey(&fr, lines))
	}
}

func (f *frameTable) internFunction(sym *Symbols, n int, files *hashMemo) uint32 {
	fn := Function{Name: f.name.at(n), Filename: f.filename.at(n), StartLine: f.startLine[n]}
	name := xxhash.Sum64String(fn.Name)
	systemName := name
	if fn.SystemName = fn.Name; !f.systemName.null(n) {
		fn.SystemName = f.systemName.at(n)
		systemName = xxhash.Sum64String(fn.SystemName)
	}
	return sym.internFunction(&fn, hashFunction(name, systemName, files.of(fn.Filename), fn.StartLine))
}

// hashMemo remembers the hash of the last string: functions of a file often follow
// one another.
type hashMemo struct {
	text string
	hash uint64
}

func (m *hashMemo) of(s string) uint64 {
	if m.hash == 0 || m.text != s {
		m.text, m.hash = s, xxhash.Sum64String(s)
	}
	return m.hash
}

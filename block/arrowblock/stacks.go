package arrowblock

import (
	"context"
	"fmt"

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
	wanted := make([]bool, len(b.chunks))
	var sections []*section
	for _, n := range services {
		if n < 0 || n >= len(b.services) {
			return nil, fmt.Errorf("service %d of %d: %w", n, len(b.services), profile.ErrInvalid)
		}
		from, to := b.chunksOf(b.services[n].Nodes)
		for i := from; i < to; i++ {
			if !wanted[i] {
				wanted[i] = true
				sections = append(sections, b.chunks[i].nodes, b.chunks[i].frames, b.chunks[i].functions)
			}
		}
	}
	streams, err := b.fetch(ctx, sections...)
	if err != nil {
		return nil, err
	}
	all := make([]*Stacks, len(services))
	for i, n := range services {
		size := b.services[n].Nodes.Len()
		all[i] = &Stacks{make([]uint16, size), make([]FrameID, size)}
	}
	for i := 0; i < len(streams); i += 3 {
		part, err := b.decodePart(sections[i].first, streams[i], streams[i+1], streams[i+2])
		if err != nil {
			return nil, err
		}
		if err := b.deal(part, sym, services, all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// part is a decoded chunk of the stack table.
type part struct {
	nodes  *stream
	first  uint64
	depth  []uint16
	frame  []uint16
	frames partFrames

	functions                  *stream
	name, systemName, filename *textView
	startLine                  []int64
}

// partFrames are the frames of a chunk; frame number n is in row n-1.
type partFrames struct {
	address      []uint64
	mapping      []uint32
	folded       []uint8
	lineOffsets  []int32
	function     []uint32
	line, column []int64
}

func (b *Block) decodePart(first uint64, nodes, frames, functions *stream) (*part, error) {
	p := &part{nodes: nodes, first: first, functions: functions}
	f := &p.frames
	var err error
	f.lineOffsets, err = frames.decodeList("lines")
	if err := firstError(err,
		decodeInto(nodes, &p.depth, "depth"), decodeInto(nodes, &p.frame, "frame"),
		decodeInto(frames, &f.address, "address"), narrowInto(frames, &f.mapping, "mapping"), decodeInto(frames, &f.folded, "folded"),
		narrowInto(frames, &f.function, "lines", "item", "function"),
		narrowInto(frames, &f.line, "lines", "item", "line"), narrowInto(frames, &f.column, "lines", "item", "column"),
		stringsInto(functions, &p.name, "name"), stringsInto(functions, &p.systemName, "system_name"),
		stringsInto(functions, &p.filename, "filename"), narrowInto(functions, &p.startLine, "start_line"),
	); err != nil {
		return nil, err
	}
	for i, m := range f.mapping {
		if int(m) > len(b.mappings) {
			return nil, frames.corrupt("frame %d: mapping %d of %d", i, m, len(b.mappings))
		}
	}
	for i, n := range f.function {
		if int(n) >= p.name.len() {
			return nil, frames.corrupt("line %d: function %d of %d", i, n, p.name.len())
		}
	}
	return p, nil
}

// deal copies the chunk's nodes to the services they belong to. Only frames that these
// need are interned.
func (b *Block) deal(p *part, sym *Symbols, services []int, all []*Stacks) error {
	ids := make([]FrameID, len(p.frames.address)+1)
	const needed = 1
	for _, n := range services {
		from, to := p.overlap(b.services[n].Nodes)
		if err := p.check(from, to, b.services[n].Nodes.From); err != nil {
			return err
		}
		for _, frame := range p.frame[from:to] {
			ids[frame] = needed
		}
	}
	ids[0] = 0
	b.intern(p, sym, ids)
	for i, n := range services {
		from, to := p.overlap(b.services[n].Nodes)
		if from == to {
			continue
		}
		at := p.first + uint64(from) - b.services[n].Nodes.From
		copy(all[i].Depth[at:], p.depth[from:to])
		frames := all[i].Frame[at:]
		for k, frame := range p.frame[from:to] {
			frames[k] = ids[frame]
		}
	}
	return nil
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
	frames := uint32(len(p.frames.address))
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
func (b *Block) intern(p *part, sym *Symbols, ids []FrameID) {
	const unknown = ^uint32(0)
	functions := make([]uint32, p.name.len())
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
	f := &p.frames

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
				functions[n] = p.internFunction(sym, int(n), &files)
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

func (p *part) internFunction(sym *Symbols, n int, files *hashMemo) uint32 {
	fn := Function{Name: p.name.at(n), Filename: p.filename.at(n), StartLine: p.startLine[n]}
	name := xxhash.Sum64String(fn.Name)
	systemName := name
	if fn.SystemName = fn.Name; !p.systemName.null(n) {
		fn.SystemName = p.systemName.at(n)
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

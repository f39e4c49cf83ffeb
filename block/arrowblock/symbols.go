package arrowblock

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"

	"github.com/cespare/xxhash/v2"
)

// Symbols numbers mappings, functions and frames so that equal ones, wherever they
// come from, have one number. It grows and never shrinks.
//
// Interning is guarded by a lock, so that the stacks of several blocks may be loaded
// at the same time; everything else must wait until that is done.
type Symbols struct {
	mu      sync.Mutex
	strings arena
	texts   map[string]string

	mappings     []Mapping
	mappingHash  []uint64
	mappingIndex map[mappingKey]uint32

	functions     []Function
	functionHash  []uint64
	functionIndex index

	frames     []frame // frames[0] is the root
	frameHash  []uint64
	frameIndex index
	lines      []Line

	scratch []byte
	told    int64 // by Grown
}

// FrameID numbers a frame in a [Symbols]. 0 is the root of a service's stacks, which is no frame.
type FrameID uint32

// Frame is a pprof location: an address, what is known of it, and all functions that
// were inlined there.
type Frame struct {
	// Address is relative to the mapping's Start; absolute when there is no mapping.
	Address uint64
	Mapping int // position in Mappings, -1 when there is none
	Folded  bool
	Lines   []Line // innermost inlined function first, caller last
}

// Line is a place in a function.
type Line struct {
	Function uint32 // in Symbols
	Line     int64
	Column   int64
}

// Function is a function's names.
type Function struct {
	Name, SystemName, Filename string
	StartLine                  int64
}

// Mapping is a binary mapped into processes. Two mappings are one if they agree in
// size (rounded up to 4 KiB), offset, build ID (or file, where there is none) and flags,
// as in google/pprof's Merge; then Start, Limit and File are those of the
// one that has a file, the smallest start, limit and file, in this order.
type Mapping struct {
	Start, Limit, Offset uint64
	File, BuildID        string
	HasFunctions         bool
	HasFilenames         bool
	HasLineNumbers       bool
	HasInlineFrames      bool
}

// frame is a Frame whose lines lie in Symbols.lines. The first line, mostly the only one, is
// here once more: then a look at a frame is one read of memory.
type frame struct {
	address          uint64
	first            Line
	mapping          int32
	lineFrom, lineTo uint32
	folded           bool
}

// isFrame says whether f, a frame of s, is g with its lines.
func (s *Symbols) isFrame(f, g *frame, lines []Line) bool {
	if f.address != g.address || f.mapping != g.mapping || f.folded != g.folded || int(f.lineTo-f.lineFrom) != len(lines) {
		return false
	}
	if len(lines) == 0 {
		return true
	}
	return f.first == lines[0] && (len(lines) == 1 || slices.Equal(s.lines[f.lineFrom:f.lineTo], lines))
}

// mappingKey is what makes two mappings one.
type mappingKey struct {
	size, offset uint64
	id           string
	isBuildID    bool
	flags        uint8
}

// NewSymbols returns an empty Symbols.
func NewSymbols() *Symbols {
	return &Symbols{
		texts:        map[string]string{},
		mappingIndex: map[mappingKey]uint32{},
		frames:       make([]frame, 1),
		frameHash:    make([]uint64, 1),
	}
}

// Len is one more than the greatest FrameID.
func (s *Symbols) Len() int { return len(s.frames) }

// Frame returns what a frame is. Lines are not to be changed.
func (s *Symbols) Frame(id FrameID) Frame {
	f := &s.frames[id]
	return Frame{f.address, int(f.mapping), f.folded, s.lines[f.lineFrom:f.lineTo:f.lineTo]}
}

// Function returns a function's names.
func (s *Symbols) Function(id uint32) Function { return s.functions[id] }

// NumFunctions is how many functions there are; they are numbered from 0.
func (s *Symbols) NumFunctions() int { return len(s.functions) }

// Mappings returns the mappings.
func (s *Symbols) Mappings() []Mapping { return s.mappings }

// SizeBytes estimates the memory that Symbols holds.
func (s *Symbols) SizeBytes() int64 {
	const textEntry, functionSize, frameSize, lineSize, mappingSize = 48, 56 + 8, 24 + 8, 24, 200
	return s.strings.size + int64(len(s.texts))*textEntry + int64(cap(s.mappings))*mappingSize +
		int64(cap(s.functions))*functionSize + s.functionIndex.sizeBytes() +
		int64(cap(s.frames))*frameSize + s.frameIndex.sizeBytes() + int64(cap(s.lines))*lineSize
}

// Grown estimates the memory that Symbols has taken since the last call. It may be called while others intern.
func (s *Symbols) Grown() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := s.SizeBytes()
	grown := size - s.told
	s.told = size
	return grown
}

// Compare gives the canonical order of frames: by the 64-bit hash of their content, and by
// the content where hashes collide. It is the same in every block and process.
func (s *Symbols) Compare(a, b FrameID) int {
	if a == b {
		return 0
	}
	if ha, hb := s.frameHash[a], s.frameHash[b]; ha != hb {
		return cmp.Compare(ha, hb)
	}
	return s.compareContent(&s.frames[a], &s.frames[b])
}

func (s *Symbols) compareContent(a, b *frame) int {
	return cmp.Or(
		cmp.Compare(a.address, b.address),
		s.compareMappings(a.mapping, b.mapping),
		compareBools(a.folded, b.folded),
		slices.CompareFunc(s.lines[a.lineFrom:a.lineTo], s.lines[b.lineFrom:b.lineTo], s.compareLines),
	)
}

func (s *Symbols) compareMappings(a, b int32) int {
	if a < 0 || b < 0 {
		return cmp.Compare(a, b)
	}
	return s.mappings[a].key().compare(s.mappings[b].key())
}

func (s *Symbols) compareLines(a, b Line) int {
	return cmp.Or(
		cmp.Compare(a.Line, b.Line),
		cmp.Compare(a.Column, b.Column),
		s.functions[a.Function].compare(s.functions[b.Function]),
	)
}

func (f Function) compare(g Function) int {
	return cmp.Or(
		cmp.Compare(f.Name, g.Name),
		cmp.Compare(f.SystemName, g.SystemName),
		cmp.Compare(f.Filename, g.Filename),
		cmp.Compare(f.StartLine, g.StartLine),
	)
}

func (k mappingKey) compare(o mappingKey) int {
	return cmp.Or(
		cmp.Compare(k.id, o.id),
		compareBools(k.isBuildID, o.isBuildID),
		cmp.Compare(k.offset, o.offset),
		cmp.Compare(k.size, o.size),
		cmp.Compare(k.flags, o.flags),
	)
}

// key is a mapping's identity. Sizes are rounded up to a page, as google/pprof does.
func (m Mapping) key() mappingKey {
	const page = 0x1000
	size := m.Limit - m.Start + page - 1
	k := mappingKey{size: size - size%page, offset: m.Offset, id: m.BuildID, isBuildID: m.BuildID != "", flags: m.flags()}
	if !k.isBuildID {
		k.id = m.File
	}
	return k
}

const (
	hasFunctions = 1 << iota
	hasFilenames
	hasLineNumbers
	hasInlineFrames
)

func (m Mapping) flags() (flags uint8) {
	for _, f := range [...]struct {
		set bool
		bit uint8
	}{{m.HasFunctions, hasFunctions}, {m.HasFilenames, hasFilenames}, {m.HasLineNumbers, hasLineNumbers}, {m.HasInlineFrames, hasInlineFrames}} {
		if f.set {
			flags |= f.bit
		}
	}
	return flags
}

func (m *Mapping) setFlags(flags uint8) {
	m.HasFunctions = flags&hasFunctions != 0
	m.HasFilenames = flags&hasFilenames != 0
	m.HasLineNumbers = flags&hasLineNumbers != 0
	m.HasInlineFrames = flags&hasInlineFrames != 0
}

// represents says whether m rather than o stands for the mapping that both are.
func (m Mapping) represents(o Mapping) bool {
	return cmp.Or(
		compareBools(m.File == "", o.File == ""),
		cmp.Compare(m.Start, o.Start),
		cmp.Compare(m.Limit, o.Limit),
		cmp.Compare(m.File, o.File),
	) < 0
}

// text keeps one copy of a string.
func (s *Symbols) text(t string) string {
	kept, ok := s.texts[t]
	if !ok {
		kept = s.strings.keep(t)
		s.texts[kept] = kept
	}
	return kept
}

// internMapping returns the number of a mapping, whose strings need not outlive the call.
func (s *Symbols) internMapping(m Mapping) uint32 {
	key := m.key()
	n, ok := s.mappingIndex[key]
	if ok {
		if old := &s.mappings[n]; m.represents(*old) {
			old.Start, old.Limit, old.File = m.Start, m.Limit, s.text(m.File)
		}
		return n
	}
	n = uint32(len(s.mappings))
	m.File, m.BuildID = s.text(m.File), s.text(m.BuildID)
	s.mappings = append(s.mappings, m)
	s.mappingHash = append(s.mappingHash, key.hash())
	s.mappingIndex[m.key()] = n
	return n
}

func (k mappingKey) hash() uint64 {
	b := make([]byte, 0, 128)
	b = binary.LittleEndian.AppendUint64(b, k.size)
	b = binary.LittleEndian.AppendUint64(b, k.offset)
	b = append(b, k.flags, bit(k.isBuildID))
	return xxhash.Sum64(append(b, k.id...))
}

// hashFunction is the hash of a function's content, made of the hashes of its strings so
// that a string which many functions share is hashed once.
func hashFunction(name, systemName, filename uint64, startLine int64) uint64 {
	var b [32]byte
	binary.LittleEndian.PutUint64(b[0:], name)
	binary.LittleEndian.PutUint64(b[8:], systemName)
	binary.LittleEndian.PutUint64(b[16:], filename)
	binary.LittleEndian.PutUint64(b[24:], uint64(startLine))
	return xxhash.Sum64(b[:])
}

// internFunction returns the number of a function, whose strings need not outlive
// the call. hash is that of hashFunction.
func (s *Symbols) internFunction(f *Function, hash uint64) uint32 {
	x := &s.functionIndex
	x.grow()
	for i := x.first(hash); ; i = x.next(i) {
		n, full := x.at(i, hash)
		if !full {
			n = uint32(len(s.functions))
			s.functions = append(doubled(s.functions, 1), s.keep(f))
			s.functionHash = append(doubled(s.functionHash, 1), hash)
			x.put(i, hash, n)
			return n
		}
		if n != noNumber && s.functions[n] == *f {
			return n
		}
	}
}

// keep is a function with strings that stay. Functions share files, and hardly ever names.
func (s *Symbols) keep(f *Function) Function {
	name := s.strings.keep(f.Name)
	kept := Function{name, name, s.text(f.Filename), f.StartLine}
	if f.SystemName != f.Name {
		kept.SystemName = s.strings.keep(f.SystemName)
	}
	return kept
}

// frameKey is the hash by which frames are found. Unlike their canonical hash it is made of
// numbers in s, and so is quick.
func frameKey(f *frame, lines []Line) uint64 {
	key := mix(f.address, uint64(uint32(f.mapping))<<1|uint64(bit(f.folded)))
	for _, l := range lines {
		key = mix(key^uint64(l.Line), uint64(l.Function)^uint64(l.Column)<<32)
	}
	return key
}

// mix folds the product of two numbers, after Wang Yi's wyhash.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0xa0761d6478bd642f, b^0xe7037ed1a0b428db)
	return hi ^ lo
}

// internFrame returns the number of a frame with these lines, which need not outlive the
// call; their functions and the mapping are numbers in s. key is that of frameKey.
func (s *Symbols) internFrame(f *frame, lines []Line, key uint64) FrameID {
	x := &s.frameIndex
	x.grow()
	for i := x.first(key); ; i = x.next(i) {
		n, full := x.at(i, key)
		if !full {
			n = uint32(len(s.frames))
			s.addFrame(*f, lines)
			x.put(i, key, n)
			return FrameID(n)
		}
		if n != noNumber && s.isFrame(&s.frames[n], f, lines) {
			return FrameID(n)
		}
	}
}

func (s *Symbols) addFrame(f frame, lines []Line) {
	f.lineFrom = uint32(len(s.lines))
	if len(lines) > 0 {
		f.first = lines[0]
	}
	s.lines = append(doubled(s.lines, len(lines)), lines...)
	f.lineTo = uint32(len(s.lines))
	s.frames = append(doubled(s.frames, 1), f)
	s.frameHash = append(doubled(s.frameHash, 1), s.hashFrame(&f, lines))
}

// doubled makes room for n more. append lets a long slice grow by a quarter at a time, so that much
// more is allocated and copied before it has grown to its end.
func doubled[T any](s []T, n int) []T {
	if cap(s)-len(s) >= n {
		return s
	}
	return slices.Grow(s, max(n, len(s), 256))
}

// warmFrames and warmFunctions read, all at once, the memory at which interning frames
// and functions of the hashes will look.
func (s *Symbols) warmFrames(keys []uint64) (sum uint64) {
	sum = s.frameIndex.warm(keys)
	for _, key := range keys {
		if n := s.frameIndex.guess(key); n != noNumber {
			sum += s.frames[n].address + uint64(s.frames[n].lineTo)
		}
	}
	return sum
}

func (s *Symbols) warmFunctions(hashes []uint64) (sum uint64) {
	sum = s.functionIndex.warm(hashes)
	for _, hash := range hashes {
		if n := s.functionIndex.guess(hash); n != noNumber && s.functions[n].Name != "" {
			sum += uint64(s.functions[n].Name[0])
		}
	}
	return sum
}

// hashFrame is a frame's canonical hash.
func (s *Symbols) hashFrame(f *frame, lines []Line) uint64 {
	var of uint64
	if f.mapping >= 0 {
		of = s.mappingHash[f.mapping]
	}
	b := binary.LittleEndian.AppendUint64(s.scratch[:0], f.address)
	b = binary.LittleEndian.AppendUint64(b, of)
	b = append(b, bit(f.folded))
	for _, l := range lines {
		b = binary.LittleEndian.AppendUint64(b, s.functionHash[l.Function])
		b = binary.LittleEndian.AppendUint64(b, uint64(l.Line))
		b = binary.LittleEndian.AppendUint64(b, uint64(l.Column))
	}
	s.scratch = b
	return xxhash.Sum64(b)
}

// less is Compare(a, b) < 0 of frames that differ, for loops that compare much.
func (s *Symbols) less(a, b FrameID) bool {
	if ha, hb := s.frameHash[a], s.frameHash[b]; ha != hb {
		return ha < hb
	}
	return s.Compare(a, b) < 0
}

package symbols

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"sort"
	"strings"
)

// goTable reads Go's own function table, .gopclntab, in the form that Go 1.20 and later
// write: the structures pcHeader, moduledata and _func of Go's package runtime. It reads
// from the file what each question needs; a search costs some twenty small reads.
type goTable struct {
	r                        io.ReaderAt // the section
	n                        int         // functions
	text                     uint64      // what function offsets count from
	names, units, files, pcs int64       // offsets in the section
	functions                int64
	inline                   *elf.Prog // where gofunc is
	goFunc                   uint64    // address that offsets of inlining trees count from; 0 when not found
	minLC                    uint64
}

const (
	goMagic    = 0xfffffff1 // Go 1.20
	goFuncSize = 44         // of the fixed part of _func

	pcdataInlineIndex  = 2
	funcdataInlineTree = 3
)

// findGoTable returns nil when the file has no table that can be read.
func findGoTable(f *elf.File) *goTable {
	s := f.Section(".gopclntab")
	if s == nil {
		s = f.Section(".data.rel.ro.gopclntab")
	}
	if s == nil || s.Type == elf.SHT_NOBITS {
		return nil
	}
	h := make([]byte, 72)
	if _, err := s.ReadAt(h, 0); err != nil || binary.LittleEndian.Uint32(h) != goMagic || h[7] != 8 {
		return nil
	}
	word := func(i int) int64 { return int64(binary.LittleEndian.Uint64(h[8+8*i:])) }
	t := &goTable{
		r: s, n: int(word(0)), text: uint64(word(2)), minLC: uint64(h[6]),
		names: word(3), units: word(4), files: word(5), pcs: word(6), functions: word(7),
	}
	size := int64(s.Size)
	for _, off := range []int64{t.names, t.units, t.files, t.pcs, t.functions} {
		if off < 0 || off > size {
			return nil
		}
	}
	if t.n < 0 || int64(t.n) > size/8 {
		return nil
	}
	t.findModule(f, s.Addr)
	if t.text == 0 {
		text := f.Section(".text")
		if text == nil {
			return nil
		}
		t.text = text.Addr
	}
	return t
}

// findModule looks for runtime.firstmoduledata, which begins with the address of the
// table, to learn where code and inlining trees are. The linker leaves it in a section of
// its own (Go 1.26) or among the data. In position-independent files its words are
// relocations, and inlining is not known.
func (t *goTable) findModule(f *elf.File, table uint64) {
	const words, text, goFunc = 41, 22, 40 // positions in moduledata
	for _, name := range []string{".go.module", ".noptrdata", ".data"} {
		s := f.Section(name)
		if s == nil || s.Type == elf.SHT_NOBITS || s.Size > 64<<20 {
			continue
		}
		b, err := s.Data()
		if err != nil {
			continue
		}
		var want [16]byte
		binary.LittleEndian.PutUint64(want[:], table)
		binary.LittleEndian.PutUint64(want[8:], table+uint64(t.names))
		for from := 0; ; {
			i := bytes.Index(b[from:], want[:])
			if i < 0 {
				break
			}
			from += i
			if len(b)-from >= 8*words {
				m := b[from:]
				t.text = binary.LittleEndian.Uint64(m[8*text:])
				t.goFunc = binary.LittleEndian.Uint64(m[8*goFunc:])
				t.inline = progAt(f, t.goFunc)
				return
			}
			from++
		}
	}
}

func progAt(f *elf.File, addr uint64) *elf.Prog {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && addr >= p.Vaddr && addr < p.Vaddr+p.Filesz {
			return p
		}
	}
	return nil
}

// goFunction is one _func with what is read of it.
type goFunction struct {
	at       int64 // in the section
	entry    uint64
	fixed    [goFuncSize]byte
	pcdata   uint32 // how many
	funcdata uint32
}

func (g *goFunction) u32(at int) uint32 { return binary.LittleEndian.Uint32(g.fixed[at:]) }

func (t *goTable) u32(at int64) (uint32, bool) {
	var b [4]byte
	_, err := t.r.ReadAt(b[:], at)
	return binary.LittleEndian.Uint32(b[:]), err == nil
}

// function finds the function that holds pc.
func (t *goTable) function(pc uint64) (*goFunction, bool) {
	if pc < t.text || pc-t.text > 1<<32-1 {
		return nil, false
	}
	off := uint32(pc - t.text)
	failed := false
	i := sort.Search(t.n, func(i int) bool {
		entry, ok := t.u32(t.functions + 8*int64(i))
		failed = failed || !ok
		return entry > off
	}) - 1
	if i < 0 || failed {
		return nil, false
	}
	if i == t.n-1 {
		// The last is followed by the end of the code.
		if end, ok := t.u32(t.functions + 8*int64(t.n)); !ok || off >= end {
			return nil, false
		}
	}
	where, ok := t.u32(t.functions + 8*int64(i) + 4)
	if !ok {
		return nil, false
	}
	g := &goFunction{at: t.functions + int64(where)}
	if _, err := t.r.ReadAt(g.fixed[:], g.at); err != nil {
		return nil, false
	}
	g.entry = t.text + uint64(g.u32(0))
	g.pcdata, g.funcdata = g.u32(28), uint32(g.fixed[43])
	return g, pc >= g.entry && g.pcdata < 64
}

// value is what one of the function's tables says at pc: pairs of differences, of value
// and of address, each a varint.
func (t *goTable) value(g *goFunction, table uint32, pc uint64) (int32, bool) {
	if table == 0 {
		return -1, false
	}
	buf := make([]byte, 512)
	at := t.pcs + int64(table)
	value, here := int32(-1), g.entry
	var b []byte
	for first := true; ; first = false {
		if len(b) < 2*binary.MaxVarintLen32 {
			at -= int64(len(b))
			n, _ := t.r.ReadAt(buf, at)
			b = buf[:n]
			at += int64(n)
		}
		dv, n := binary.Uvarint(b)
		if n <= 0 || dv == 0 && !first {
			return -1, false
		}
		b = b[n:]
		dpc, n := binary.Uvarint(b)
		if n <= 0 || dpc == 0 {
			return -1, false
		}
		b = b[n:]
		delta := int32(dv >> 1)
		if dv&1 != 0 {
			delta = ^delta
		}
		value += delta
		here += dpc * t.minLC
		if pc < here {
			return value, true
		}
	}
}

// frameless says whether the function at pc has pushed nothing at that point, so that
// the word at the stack pointer is where it will return to.
func (t *goTable) frameless(pc uint64) bool {
	g, ok := t.function(pc)
	if !ok {
		return false
	}
	delta, ok := t.value(g, g.u32(16), pc)
	return ok && delta == 0
}

func (t *goTable) text8(at int64) string {
	var b strings.Builder
	buf := make([]byte, 128)
	for b.Len() < maxName {
		n, _ := t.r.ReadAt(buf, at)
		before, _, end := bytes.Cut(buf[:n], []byte{0})
		b.Write(before)
		if end || n < len(buf) {
			break
		}
		at += int64(n)
	}
	return strings.ToValidUTF8(b.String(), "�")
}

// position is file and line at pc.
func (t *goTable) position(g *goFunction, pc uint64) (file string, line int) {
	if n, ok := t.value(g, g.u32(20), pc); ok && n >= 0 {
		if off, ok := t.u32(t.units + 4*(int64(g.u32(32))+int64(n))); ok && off != ^uint32(0) {
			file = t.text8(t.files + int64(off))
		}
	}
	if n, ok := t.value(g, g.u32(24), pc); ok && n > 0 {
		line = int(n)
	}
	return file, line
}

// frames are the functions at pc, innermost first: those inlined, then the one that holds them.
func (t *goTable) frames(pc uint64) []Frame {
	g, ok := t.function(pc)
	if !ok {
		return nil
	}
	var frames []Frame
	const maxInlined = 64
	for len(frames) < maxInlined {
		call, ok := t.inlined(g, pc)
		if !ok {
			break
		}
		file, line := t.position(g, pc)
		name := t.text8(t.names + int64(call.name))
		frames = append(frames, Frame{Function: name, System: name, File: file, Line: line, StartLine: int(call.start)})
		pc = g.entry + uint64(call.parent)
	}
	file, line := t.position(g, pc)
	name := t.text8(t.names + int64(g.u32(4)))
	return append(frames, Frame{Function: name, System: name, File: file, Line: line, StartLine: int(g.u32(36))})
}

type inlinedCall struct{ name, parent, start uint32 }

// inlined is the innermost call that was inlined at pc: runtime.inlinedCall.
func (t *goTable) inlined(g *goFunction, pc uint64) (inlinedCall, bool) {
	if t.inline == nil || g.pcdata <= pcdataInlineIndex || g.funcdata <= funcdataInlineTree {
		return inlinedCall{}, false
	}
	table, ok1 := t.u32(g.at + goFuncSize + 4*pcdataInlineIndex)
	tree, ok2 := t.u32(g.at + goFuncSize + 4*int64(g.pcdata) + 4*funcdataInlineTree)
	if !ok1 || !ok2 || tree == ^uint32(0) {
		return inlinedCall{}, false
	}
	index, ok := t.value(g, table, pc)
	if !ok || index < 0 {
		return inlinedCall{}, false
	}
	var b [16]byte
	at := t.goFunc - t.inline.Vaddr + uint64(tree) + 16*uint64(index)
	if _, err := t.inline.ReadAt(b[:], int64(at)); err != nil {
		return inlinedCall{}, false
	}
	call := inlinedCall{
		name:   binary.LittleEndian.Uint32(b[4:]),
		parent: binary.LittleEndian.Uint32(b[8:]),
		start:  binary.LittleEndian.Uint32(b[12:]),
	}
	return call, g.entry+uint64(call.parent) != pc
}

// Frameless says of an address of a Go binary whether the function there has pushed
// nothing, so that a walk by frame pointers misses its caller.
func (b *Binary) Frameless(addr uint64) bool { return b.goTab != nil && b.goTab.frameless(addr) }

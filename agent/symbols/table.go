package symbols

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ulikunitz/xz"
)

// symbol is one entry of a symbol table: the fields of Elf64_Sym that matter.
type symbol struct {
	value, size uint64
	name        uint32
	section     uint16
	rank        uint8 // of two with the same start the lower is shown
}

// rankLabel is the rank of a name without a type, which assembly gives to places that may
// be functions (ld.so's _start) or may lie within one: shown where nothing else is.
const rankLabel = 2

// symbolTable reads the entries of one table, a piece at a time.
type symbolTable struct {
	entries *elf.Section
	strings *elf.Section
}

func openSymbols(f *elf.File, kind elf.SectionType) (*symbolTable, error) {
	s := f.SectionByType(kind)
	if s == nil || s.Link == 0 || int(s.Link) >= len(f.Sections) {
		return nil, errNoSymbols
	}
	t := &symbolTable{entries: s, strings: f.Sections[s.Link]}
	if s.Type == elf.SHT_NOBITS || t.strings.Type != elf.SHT_STRTAB || s.Flags&elf.SHF_COMPRESSED != 0 || t.strings.Flags&elf.SHF_COMPRESSED != 0 {
		return nil, errNoSymbols
	}
	return t, nil
}

const symbolBytes = 24

// each yields the functions of the table until it is told to stop.
func (t *symbolTable) each(yield func(symbol) bool) {
	buf := make([]byte, symbolBytes*2048)
	for at := int64(0); at < int64(t.entries.Size); at += int64(len(buf)) {
		n, err := t.entries.ReadAt(buf, at)
		for b := buf[:n-n%symbolBytes]; len(b) > 0; b = b[symbolBytes:] {
			if s, ok := decodeSymbol(b); ok && !yield(s) {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func decodeSymbol(b []byte) (symbol, bool) {
	info := b[4]
	kind, bind := elf.ST_TYPE(info), elf.ST_BIND(info)
	if binary.LittleEndian.Uint16(b[6:]) == uint16(elf.SHN_UNDEF) {
		return symbol{}, false
	}
	s := symbol{
		name:    binary.LittleEndian.Uint32(b),
		value:   binary.LittleEndian.Uint64(b[8:]),
		size:    binary.LittleEndian.Uint64(b[16:]),
		section: binary.LittleEndian.Uint16(b[6:]),
		rank:    1,
	}
	if bind == elf.STB_GLOBAL {
		s.rank = 0
	}
	const gnuIndirect = 10 // STT_GNU_IFUNC
	if kind == elf.STT_NOTYPE {
		s.rank = rankLabel
		return s, s.name != 0 && s.section < uint16(elf.SHN_LORESERVE)
	}
	// Variables are not wanted, but names are looked up here too.
	return s, kind == elf.STT_FUNC || kind == gnuIndirect || kind == elf.STT_OBJECT
}

func (t *symbolTable) name(s symbol) string {
	buf := make([]byte, 256)
	for {
		n, _ := t.strings.ReadAt(buf, int64(s.name))
		if before, _, ok := bytes.Cut(buf[:n], []byte{0}); ok {
			return string(before)
		}
		if n < len(buf) || len(buf) > maxName {
			return string(buf[:n])
		}
		buf = make([]byte, 4*len(buf))
	}
}

func (t *symbolTable) nameIs(s symbol, want string) bool {
	buf := make([]byte, len(want)+1)
	_, err := t.strings.ReadAt(buf, int64(s.name))
	return err == nil && string(buf[:len(want)]) == want && buf[len(want)] == 0
}

// query is a set of addresses that want names.
type query struct {
	addrs   []wanted // by address
	out     [][]Frame
	pending int
}

type wanted struct {
	addr  uint64
	index int // in out
	best  symbol
	found bool
}

func newQuery(addrs []uint64, out [][]Frame) *query {
	q := &query{out: out}
	for i, a := range addrs {
		if out[i] == nil {
			q.addrs = append(q.addrs, wanted{addr: a, index: i})
		}
	}
	q.pending = len(q.addrs)
	slices.SortFunc(q.addrs, func(a, b wanted) int { return cmp.Compare(a.addr, b.addr) })
	return q
}

// open says whether an address is still without a name.
func (q *query) open() bool { return q.pending > 0 }

// ask looks all open addresses up in one table: a pass over its entries, each of which
// may be the best so far for the addresses it covers.
func (q *query) ask(f *elf.File, kind elf.SectionType) {
	if !q.open() {
		return
	}
	t, err := openSymbols(f, kind)
	if err != nil {
		return
	}
	var sizeless []symbol // hand-written assembly often says no size
	t.each(func(s symbol) bool {
		if s.rank == rankLabel && f.Machine == elf.EM_AARCH64 && t.nameBegins(s, "$") {
			return true // $x and $d say where code and data begin
		}
		if s.size == 0 {
			sizeless = append(sizeless, s)
			return len(sizeless) < 1<<20
		}
		q.offer(s)
		return true
	})
	slices.SortFunc(sizeless, func(a, b symbol) int { return cmp.Compare(a.value, b.value) })
	for i, s := range sizeless {
		if int(s.section) >= len(f.Sections) {
			continue
		}
		section := f.Sections[s.section]
		if s.rank == rankLabel && section.Flags&elf.SHF_EXECINSTR == 0 {
			continue
		}
		s.size = section.Addr + section.Size - s.value // not beyond its section, nor the next symbol
		if i+1 < len(sizeless) {
			s.size = min(s.size, sizeless[i+1].value-s.value)
		}
		if s.value >= section.Addr && s.value < section.Addr+section.Size {
			q.offer(s)
		}
	}
	for i := range q.addrs {
		w := &q.addrs[i]
		if w.found && q.out[w.index] == nil {
			q.pending--
			name, _, _ := strings.Cut(t.name(w.best), "@") // the version of a library's symbol
			q.out[w.index] = []Frame{named(name)}
		}
	}
}

// offer gives a symbol to the addresses in [value, value+size) that have no nearer one.
func (q *query) offer(s symbol) {
	from, _ := slices.BinarySearchFunc(q.addrs, s.value, func(w wanted, addr uint64) int { return cmp.Compare(w.addr, addr) })
	for i := from; i < len(q.addrs) && q.addrs[i].addr-s.value < s.size; i++ {
		w := &q.addrs[i]
		if q.out[w.index] != nil {
			continue
		}
		nearer := s.value > w.best.value || s.value == w.best.value && s.rank < w.best.rank
		if label := s.rank == rankLabel; label != (w.best.rank == rankLabel) {
			nearer = !label
		}
		if !w.found || nearer {
			w.best, w.found = s, true
		}
	}
}

// askDebug asks a separate debug file, if it belongs to the same build.
func (q *query) askDebug(path, buildID string, open OpenDebug) bool {
	r, c, err := open(path)
	if err != nil {
		return false
	}
	defer c.Close()
	f, err := elf.NewFile(r)
	if err != nil || buildIDDiffers(f, buildID) {
		return false
	}
	q.ask(f, elf.SHT_SYMTAB)
	return true
}

func buildIDDiffers(f *elf.File, want string) bool {
	id := buildID(f)
	return id != "" && isHex(want) && id != want
}

const maxMini = 64 << 20

// miniDebug unpacks .gnu_debugdata: an ELF file with the local functions' symbols, xz-compressed.
func miniDebug(f *elf.File) (*elf.File, error) {
	s := f.Section(".gnu_debugdata")
	if s == nil {
		return nil, errNoSymbols
	}
	x, err := xz.ReaderConfig{DictCap: 8 << 20, SingleStream: true}.NewReader(s.Open())
	if err != nil {
		return nil, fmt.Errorf("unpack .gnu_debugdata: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(x, maxMini))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("unpack .gnu_debugdata: %w", err)
	}
	mini, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("read .gnu_debugdata: %w", err)
	}
	return mini, nil
}

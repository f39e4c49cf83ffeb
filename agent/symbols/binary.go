package symbols

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Segment is a part of a file that is loaded to run.
type Segment struct {
	Offset, Address, Size uint64
}

// Binary is an ELF file. It reads from its file when asked, and holds nothing of it but
// its headers.
type Binary struct {
	BuildID  string // GNU's in hexadecimal, else Go's, else a hash of the file's ends
	Machine  elf.Machine
	Segments []Segment // the executable ones

	file  *elf.File
	goTab *goTable // nil when it is not a Go binary
}

// NewBinary reads the headers of the ELF file of size bytes behind r.
func NewBinary(r io.ReaderAt, size int64) (*Binary, error) {
	f, err := elf.NewFile(newBlocks(r))
	if err != nil {
		return nil, fmt.Errorf("read ELF headers: %w", err)
	}
	if f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB {
		return nil, fmt.Errorf("ELF file is %s, %s: want 64 bits, little endian", f.Class, f.Data)
	}
	b := &Binary{Machine: f.Machine, file: f}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 {
			b.Segments = append(b.Segments, Segment{p.Off, p.Vaddr, p.Filesz})
		}
	}
	b.BuildID = buildID(f)
	if b.BuildID == "" {
		b.BuildID = contentID(r, size)
	}
	b.goTab = findGoTable(f)
	return b, nil
}

// IsGo says whether the file carries Go's function table.
func (b *Binary) IsGo() bool { return b.goTab != nil }

// Bias is the difference between a process' addresses and a file's, for a mapping of the
// file, which has these executable segments, that begins at start and shows it from offset.
func Bias(segments []Segment, start, offset uint64) (uint64, bool) {
	const page = 4096
	for _, s := range segments {
		if offset+page > s.Offset && offset < s.Offset+s.Size {
			return start - offset + s.Offset - s.Address, true
		}
	}
	return 0, false
}

// Linkage returns the address and the size of arm64's procedure linkage table, which .eh_frame does
// not describe there; 0 where there is none.
func (b *Binary) Linkage() (addr, size uint64) {
	s := b.file.Section(".plt")
	if b.Machine != elf.EM_AARCH64 || s == nil || s.Flags&elf.SHF_EXECINSTR == 0 {
		return 0, 0
	}
	return s.Addr, s.Size
}

// SignalReturn returns the address of the code that arm64's vdso has signal handlers return to, and 0
// in all other files. The kernel gives that vdso no unwind tables.
func (b *Binary) SignalReturn() (addr uint64) {
	if b.Machine != elf.EM_AARCH64 {
		return 0
	}
	t, err := openSymbols(b.file, elf.SHT_DYNSYM)
	if err != nil {
		return 0
	}
	t.each(func(s symbol) bool {
		if s.rank == rankLabel && t.nameIs(s, "__kernel_rt_sigreturn") {
			addr = s.value
		}
		return addr == 0
	})
	return addr
}

// maxUnwind bounds an unwind section; librustc's has 6 MiB.
const maxUnwind = 64 << 20

// Unwind returns the .eh_frame section and its address, or nil when there is none.
func (b *Binary) Unwind() ([]byte, uint64, error) {
	s := b.file.Section(".eh_frame")
	if s == nil || s.Type == elf.SHT_NOBITS {
		return nil, 0, nil
	}
	if s.Size > maxUnwind {
		return nil, 0, fmt.Errorf(".eh_frame has %d bytes, at most %d are read", s.Size, maxUnwind)
	}
	data, err := s.Data()
	if err != nil {
		return nil, 0, fmt.Errorf("read .eh_frame: %w", err)
	}
	return data, s.Addr, nil
}

// Symbol finds the address of a symbol by its linker's name.
func (b *Binary) Symbol(name string) (uint64, bool) {
	for _, kind := range []elf.SectionType{elf.SHT_DYNSYM, elf.SHT_SYMTAB} {
		t, err := openSymbols(b.file, kind)
		if err != nil {
			continue
		}
		var at uint64
		found := false
		t.each(func(s symbol) bool {
			if s.value != 0 && t.nameIs(s, name) {
				at, found = s.value, true
			}
			return !found
		})
		if found {
			return at, true
		}
	}
	return 0, false
}

// ReadAddress fills p with what the file has for an address.
func (b *Binary) ReadAddress(p []byte, addr uint64) error {
	for _, prog := range b.file.Progs {
		if prog.Type == elf.PT_LOAD && addr >= prog.Vaddr && addr-prog.Vaddr+uint64(len(p)) <= prog.Filesz {
			_, err := prog.ReadAt(p, int64(addr-prog.Vaddr))
			return err
		}
	}
	return fmt.Errorf("address %#x is in no segment", addr)
}

// OpenDebug opens the file of a separate symbol table.
type OpenDebug func(path string) (io.ReaderAt, io.Closer, error)

// Resolve names addresses of the file. The answer has one element for each, innermost
// inlined function first, and nil for what has no name. dir is the file's folder, and
// open opens separate debug files; it may be nil.
//
// Go's table is asked first, then .symtab, then the separate debug file's, then
// .gnu_debugdata, then .dynsym.
func (b *Binary) Resolve(addrs []uint64, dir string, open OpenDebug) [][]Frame {
	out := make([][]Frame, len(addrs))
	if b.goTab != nil {
		for i, a := range addrs {
			out[i] = b.goTab.frames(a)
		}
	}
	q := newQuery(addrs, out)
	q.ask(b.file, elf.SHT_SYMTAB)
	if open != nil && q.open() {
		for _, p := range b.debugFiles(dir) {
			if q.askDebug(p, b.BuildID, open) {
				break
			}
		}
	}
	if q.open() {
		if mini, err := miniDebug(b.file); err == nil {
			q.ask(mini, elf.SHT_SYMTAB)
		}
	}
	q.ask(b.file, elf.SHT_DYNSYM)
	return out
}

// debugFiles lists where distributions put a binary's symbols.
func (b *Binary) debugFiles(dir string) []string {
	var paths []string
	if len(b.BuildID) > 2 && isHex(b.BuildID) {
		paths = append(paths, "/usr/lib/debug/.build-id/"+b.BuildID[:2]+"/"+b.BuildID[2:]+".debug")
	}
	s := b.file.Section(".gnu_debuglink")
	if s == nil || s.Size > 4096 {
		return paths
	}
	link, err := s.Data()
	if err != nil {
		return paths
	}
	name, _, _ := bytes.Cut(link, []byte{0})
	if n := string(name); n != "" && !strings.Contains(n, "/") && dir != "" {
		paths = append(paths, path.Join(dir, n), path.Join(dir, ".debug", n), path.Join("/usr/lib/debug", dir, n))
	}
	return paths
}

// IsBuildID says whether s looks like GNU's build ID in hexadecimal.
func IsBuildID(s string) bool { return len(s) >= 16 && isHex(s) }

// FindBuildID finds GNU's build ID in a section of notes, or answers nil.
func FindBuildID(notes []byte) []byte { return findNote(notes, "GNU", 3) }

func isHex(s string) bool { _, err := hex.DecodeString(s); return err == nil }

// buildID reads GNU's note, or Go's.
func buildID(f *elf.File) string {
	if id := noteOf(f.Section(".note.gnu.build-id"), "GNU", 3); id != nil {
		return hex.EncodeToString(id)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_NOTE && p.Filesz < 1<<16 {
			b := make([]byte, p.Filesz)
			if _, err := p.ReadAt(b, 0); err != nil {
				continue
			}
			if id := findNote(b, "GNU", 3); id != nil {
				return hex.EncodeToString(id)
			}
		}
	}
	return string(noteOf(f.Section(".note.go.buildid"), "Go", 4))
}

func noteOf(s *elf.Section, owner string, kind uint32) []byte {
	if s == nil || s.Size > 1<<16 {
		return nil
	}
	b, err := s.Data()
	if err != nil {
		return nil
	}
	return findNote(b, owner, kind)
}

// findNote looks through notes: three lengths, a name and a description, each padded to four bytes.
func findNote(b []byte, owner string, kind uint32) []byte {
	for len(b) >= 12 {
		nameLen := uint64(binary.LittleEndian.Uint32(b))
		descLen := uint64(binary.LittleEndian.Uint32(b[4:]))
		found := binary.LittleEndian.Uint32(b[8:])
		desc := 12 + (nameLen+3)&^3
		end := desc + (descLen+3)&^3
		if desc+descLen > uint64(len(b)) {
			return nil
		}
		if found == kind && string(bytes.TrimRight(b[12:12+nameLen], "\x00")) == owner {
			return bytes.Clone(b[desc : desc+descLen])
		}
		b = b[min(end, uint64(len(b))):]
	}
	return nil
}

// contentID names a file without a build ID by its size and its first and last 4 KiB.
func contentID(r io.ReaderAt, size int64) string {
	const ends = 4096
	h := sha256.New()
	_ = binary.Write(h, binary.LittleEndian, size) // a hash takes everything
	for _, at := range []int64{0, max(0, size-ends)} {
		_, _ = io.Copy(h, io.NewSectionReader(r, at, ends)) // what cannot be read is not hashed
	}
	return "sha256-" + hex.EncodeToString(h.Sum(nil)[:16])
}

var errNoSymbols = errors.New("no symbols")

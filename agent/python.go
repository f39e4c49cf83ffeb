package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf16"

	"golang.org/x/sys/unix"

	"github.com/coldframe/coldframe/agent/symbols"
	"github.com/coldframe/coldframe/bpf"
)

// pythonLayout is where a version of CPython has its fields: offsets in the structures of
// its headers Include/cpython and Include/internal, on 64-bit machines.
type pythonLayout struct {
	bpf.PythonProcess
	interpreters uint64 // in _PyRuntime

	// In a code object.
	filename, name, firstLine, lines uint64
	code                             uint64 // co_code_adaptive; where instructions are counted from
	ascii, compact                   uint64 // sizes of the headers of strings
}

// pythonLayouts are the versions whose layout never changed after the first release. 3.13
// and later tell theirs themselves, see debugOffsets.
var pythonLayouts = map[int]pythonLayout{
	8:  oldPython(104),
	9:  oldPython(104),
	10: oldPython(96),
	11: {
		PythonProcess: bpf.PythonProcess{
			Threads: 16, ThreadNext: 8, ThreadID: 152, ThreadFrame: 56, CFrame: true, CFrameFrame: 8,
			FramePrevious: 48, FrameCode: 32, FrameInstruction: 56, InstructionBytes: 8, FrameEntry: 68, Entry: bpf.EntryByte,
		},
		interpreters: 40, filename: 112, name: 128, firstLine: 72, lines: 136, code: 184, ascii: 48, compact: 72,
	},
	12: {
		PythonProcess: bpf.PythonProcess{
			Threads: 72, ThreadNext: 8, ThreadID: 136, ThreadFrame: 56, CFrame: true, CFrameFrame: 0,
			FramePrevious: 8, FrameCode: 0, FrameInstruction: 56, InstructionBytes: 8, FrameEntry: 70, Entry: bpf.ShimFrame,
		},
		interpreters: 40, filename: 112, name: 128, firstLine: 68, lines: 136, code: 192, ascii: 40, compact: 56,
	},
}

// oldPython is 3.8 to 3.10, whose frames are objects and which differ in one offset.
func oldPython(lastInstruction uint32) pythonLayout {
	return pythonLayout{
		PythonProcess: bpf.PythonProcess{
			Threads: 8, ThreadNext: 8, ThreadID: 176, ThreadFrame: 24,
			FramePrevious: 24, FrameCode: 32, FrameInstruction: lastInstruction, InstructionBytes: 4, Entry: bpf.EveryFrame,
		},
		interpreters: 32, filename: 104, name: 112, firstLine: 40, lines: 120, ascii: 48, compact: 72,
	}
}

// python is CPython in one process.
type python struct {
	pid     uint32
	minor   int
	layout  pythonLayout
	binary  *symbols.Python
	in      *binaryFile
	codes   map[uint64]*pythonCode
	unknown bool
}

// pythonCode is a copy of a code object. It is made again now and then, for the object may
// be freed and another take its place: what modules run once when they are imported, within
// milliseconds. So a copy is believed for as long again as it has proved true.
type pythonCode struct {
	function, file string
	first          int
	lines          []byte
	head           codeHead
	read           time.Time
	ttl            time.Duration
}

// codeHead tells two code objects apart that were at one address: what they point to.
type codeHead struct{ function, file, lines, first uint64 }

const (
	leastCodeTTL = 50 * time.Millisecond
	mostCodeTTL  = 10 * time.Second
	maxCodes     = 1 << 14
)

// newPython finds the layout of the CPython that a process has mapped at bias.
func newPython(pid uint32, b *binaryFile, bias uint64) (*python, error) {
	p := &python{pid: pid, minor: b.python.Minor, binary: b.python, in: b, codes: map[uint64]*pythonCode{}}
	runtime := bias + b.python.Runtime
	var ok bool
	if p.layout, ok = pythonLayouts[p.minor]; !ok {
		var err error
		if p.layout, err = debugOffsets(pid, runtime); err != nil {
			return nil, fmt.Errorf("process %d runs Python 3.%d: %w", pid, p.minor, err)
		}
	}
	p.layout.Interpreters = runtime + p.layout.interpreters
	return p, nil
}

// debugOffsets reads _Py_DebugOffsets, which _PyRuntime begins with since 3.13.
func debugOffsets(pid uint32, runtime uint64) (pythonLayout, error) {
	const cookie, size = "xdebugpy", 584
	b := make([]byte, size)
	if err := readProcess(pid, runtime, b); err != nil {
		return pythonLayout{}, err
	}
	if string(b[:8]) != cookie || b[8+3] != 3 || b[8+2] != 13 {
		return pythonLayout{}, errors.New("its layout is not known")
	}
	u32 := func(at int) uint32 { return uint32(binary.LittleEndian.Uint64(b[at:])) }
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	ascii := u64(560)
	return pythonLayout{
		PythonProcess: bpf.PythonProcess{
			InterpreterNext: u32(64), Threads: u32(72), ThreadNext: u32(168), ThreadFrame: u32(184), ThreadID: u32(192),
			FramePrevious: u32(232), FrameCode: u32(240), FrameInstruction: u32(248), InstructionBytes: 8,
			FrameEntry: u32(264), Entry: bpf.ShimFrame,
		},
		interpreters: u64(40), filename: u64(280), name: u64(296), lines: u64(304), firstLine: u64(312), code: u64(344),
		ascii: ascii, compact: ascii + 16, // PyCompactUnicodeObject adds two words
	}, nil
}

// readProcess copies memory of another process.
func readProcess(pid uint32, addr uint64, b []byte) error {
	local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
	n, err := unix.ProcessVMReadv(int(pid), local, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}, 0)
	if err != nil {
		return fmt.Errorf("read memory of process %d at %#x: %w", pid, addr, err)
	}
	if n != len(b) {
		return fmt.Errorf("read memory of process %d at %#x: %d bytes of %d", pid, addr, n, len(b))
	}
	return nil
}

// frame names one frame of the interpreter.
func (p *python) frame(f bpf.PythonFrame) (symbols.Frame, bool) {
	c := p.codes[f.Code]
	if c == nil || time.Since(c.read) > c.ttl {
		fresh, err := p.readCode(f.Code, c)
		if err != nil && c == nil {
			return symbols.Frame{}, false
		}
		if err == nil {
			c = fresh
		}
		if len(p.codes) >= maxCodes {
			clear(p.codes)
		}
		p.codes[f.Code] = c
	}
	var line int
	switch {
	case p.minor <= 9:
		line = lineOfTable(c.lines, c.first, int64(int32(f.Instruction)))
	case p.minor == 10:
		line = lineOfRanges(c.lines, c.first, 2*int64(int32(f.Instruction)))
	default:
		line = lineOfLocations(c.lines, c.first, int64(f.Instruction-f.Code-p.layout.code))
	}
	return symbols.Frame{Function: c.function, System: c.function, File: c.file, Line: line, StartLine: c.first}, true
}

// readCode reads the code object at an address, of which last is an earlier copy or nil.
func (p *python) readCode(at uint64, last *pythonCode) (*pythonCode, error) {
	// All fields that are read lie in the object's first bytes.
	b := make([]byte, 160)
	if err := readProcess(p.pid, at, b); err != nil {
		return nil, err
	}
	word := func(off uint64) uint64 {
		if off+8 > uint64(len(b)) {
			return 0
		}
		return binary.LittleEndian.Uint64(b[off:])
	}
	head := codeHead{word(p.layout.name), word(p.layout.filename), word(p.layout.lines), word(p.layout.firstLine) & math.MaxUint32}
	if last != nil && last.head == head {
		last.read, last.ttl = time.Now(), min(2*last.ttl, mostCodeTTL)
		return last, nil
	}
	c := &pythonCode{first: int(int32(head.first)), head: head, read: time.Now(), ttl: leastCodeTTL}
	var errs [3]error
	c.function, errs[0] = p.text(head.function)
	c.file, errs[1] = p.text(head.file)
	c.lines, errs[2] = p.bytes(head.lines)
	return c, errors.Join(errs[:]...)
}

// maxPythonText bounds a name, in characters.
const maxPythonText = 4096

// text reads a str object: its length, its state, then its characters in 1, 2 or 4 bytes.
func (p *python) text(at uint64) (string, error) {
	var head [40]byte
	if err := readProcess(p.pid, at, head[:]); err != nil {
		return "", err
	}
	length := binary.LittleEndian.Uint64(head[16:])
	state := binary.LittleEndian.Uint32(head[32:])
	kind, compact, ascii := uint64(state>>2&7), state>>5&1 != 0, state>>6&1 != 0
	if !compact || length > maxPythonText || kind != 1 && kind != 2 && kind != 4 {
		return "", fmt.Errorf("process %d: no string at %#x", p.pid, at)
	}
	if length == 0 {
		return "", nil
	}
	from := at + p.layout.compact
	if ascii {
		from = at + p.layout.ascii
	}
	b := make([]byte, length*kind)
	if err := readProcess(p.pid, from, b); err != nil {
		return "", err
	}
	return decodeText(b, int(kind)), nil
}

func decodeText(b []byte, width int) string {
	var s strings.Builder
	for ; len(b) >= width; b = b[width:] {
		switch width {
		case 1:
			s.WriteRune(rune(b[0]))
		case 2:
			s.WriteString(string(utf16.Decode([]uint16{binary.LittleEndian.Uint16(b)})))
		default:
			s.WriteRune(rune(binary.LittleEndian.Uint32(b)))
		}
	}
	return s.String()
}

// bytes reads a bytes object: its length and its content.
func (p *python) bytes(at uint64) ([]byte, error) {
	const lengthAt, contentAt, most = 16, 32, 1 << 16
	var head [24]byte
	if err := readProcess(p.pid, at, head[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(head[lengthAt:])
	if n == 0 {
		return nil, nil
	}
	b := make([]byte, min(n, most))
	return b, readProcess(p.pid, at+contentAt, b)
}

// lineOfTable reads co_lnotab of 3.8 and 3.9: pairs of differences, of the offset in bytes
// and of the line, which is signed.
func lineOfTable(table []byte, line int, at int64) int {
	var offset int64
	for ; len(table) >= 2; table = table[2:] {
		offset += int64(table[0])
		if offset > at {
			break
		}
		line += int(int8(table[1]))
	}
	return line
}

// lineOfRanges reads co_linetable of 3.10, PEP 626: pairs of a range's length in bytes and
// the difference of its line to the last one's, of which -128 says that it has none.
func lineOfRanges(table []byte, line int, at int64) int {
	var end int64
	for ; len(table) >= 2; table = table[2:] {
		end += int64(table[0])
		delta := int8(table[1])
		if delta != -128 {
			line += int(delta)
		}
		if at < end {
			break
		}
	}
	return line
}

// lineOfLocations reads co_linetable of 3.11 and later, Objects/locations.md: entries of a
// kind, a length in units of two bytes, and differences.
func lineOfLocations(table []byte, first int, at int64) int {
	line := first
	var end int64
	for i := 0; i < len(table); {
		head := table[i]
		i++
		kind := head >> 3 & 15
		end += 2 * int64(head&7+1)
		delta := 0
		switch {
		case kind == 15: // no location
		case kind == 14, kind == 13: // a signed difference; 14 has three more numbers
			delta, i = signedVarint(table, i)
		case kind >= 10:
			delta = int(kind - 10)
		}
		line += delta
		if at < end {
			return line
		}
		for i < len(table) && table[i]&0x80 == 0 { // only heads have the high bit
			i++
		}
	}
	return line
}

// signedVarint reads six bits a byte, lowest first; the lowest bit of all is the sign.
func signedVarint(b []byte, i int) (int, int) {
	v := 0
	for shift := 0; i < len(b) && shift < 30; shift += 6 {
		c := b[i]
		i++
		v |= int(c&63) << shift
		if c&64 == 0 {
			break
		}
	}
	if v&1 != 0 {
		return -(v >> 1), i
	}
	return v >> 1, i
}

// findPython looks whether a process runs CPython that can be walked. Where it has perf
// trampolines, its native stack shows Python's frames already.
func (ps *processes) findPython(p *process) {
	if p.python != nil || p.code != nil && p.code.code.python() {
		return
	}
	for _, m := range p.mappings {
		if m.binary == nil || m.binary.state != opened || m.binary.python == nil {
			continue
		}
		bias, ok := m.binary.bias(m.start, m.offset)
		if !ok {
			continue
		}
		found, err := newPython(p.pid, m.binary, bias)
		if err == nil {
			err = ps.tables.SetPython(p.pid, found.layout.PythonProcess)
		}
		if err != nil {
			ps.config.Observer.failed(err)
			found = &python{unknown: true}
		}
		p.python = found
		return
	}
}

// walked says whether the kernel walks the process' Python stacks.
func (p *process) walked() bool { return p.python != nil && !p.python.unknown }

// merge puts Python's frames in the place of the interpreter's loop. Each run of the loop
// holds the frames down to the one that C has called in. Where their numbers differ, as
// while a frame is being made, the outermost are right. It says whether they agree.
func (p *python) merge(st *stack, frames []bpf.PythonFrame) bool {
	var runs [][]loc
	var run []loc
	for _, f := range frames {
		if n, ok := p.frame(f); ok {
			run = append(run, loc{pythonSource, uint64(len(st.named))})
			st.named = append(st.named, n)
		}
		if f.Entry {
			runs, run = append(runs, run), nil
		}
	}
	if len(run) > 0 {
		runs = append(runs, run)
	}
	merged := make([]loc, 0, len(st.locs)+len(st.named))
	left := len(runs)
	for i := len(st.locs) - 1; i >= 0; i-- { // from the root; turned around below
		l := st.locs[i]
		if l.src.file != p.in || !p.binary.InLoop(l.addr) || left == 0 {
			merged = append(merged, l)
			continue
		}
		left--
		for j := len(runs[left]) - 1; j >= 0; j-- {
			merged = append(merged, runs[left][j])
		}
	}
	loops := 0
	for _, l := range st.locs {
		if l.src.file == p.in && p.binary.InLoop(l.addr) {
			loops++
		}
	}
	for i, j := 0, len(merged)-1; i < j; i, j = i+1, j-1 {
		merged[i], merged[j] = merged[j], merged[i]
	}
	st.locs = merged
	return loops == len(runs)
}

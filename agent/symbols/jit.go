package symbols

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Code names the code that a just-in-time compiler has made in one process.
type Code struct {
	functions []codeFunction // by start
	names     []string
	widest    uint64
	Python    bool // it has CPython's perf trampolines
}

type codeFunction struct {
	start, size uint64
	name        uint32
}

// maxCode bounds the functions that are kept of one process.
const maxCode = 1 << 20

// ReadPerfMap reads a perf map, /tmp/perf-PID.map: lines of start and size in hexadecimal,
// with or without 0x, and a name. Of two entries for the same bytes the later holds.
func ReadPerfMap(r io.Reader) (*Code, error) {
	c := &Code{}
	lines := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			line = bytes.Clone(line)
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = lines.ReadSlice('\n') // an absurdly long name is cut
			}
		}
		c.addLine(string(bytes.TrimRight(line, "\r\n")))
		if err != nil || len(c.functions) >= maxCode {
			if err != nil && !errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("read perf map: %w", err)
			}
			return c.sorted(), nil
		}
	}
}

func (c *Code) addLine(line string) {
	start, rest, ok1 := strings.Cut(line, " ")
	size, name, ok2 := strings.Cut(rest, " ")
	if !ok1 || !ok2 || name == "" {
		return
	}
	from, err1 := strconv.ParseUint(strings.TrimPrefix(start, "0x"), 16, 64)
	n, err2 := strconv.ParseUint(strings.TrimPrefix(size, "0x"), 16, 64)
	if err1 != nil || err2 != nil || n == 0 || from+n < from {
		return
	}
	if strings.HasPrefix(name, "py::") {
		c.Python = true
	}
	c.add(from, n, name)
}

func (c *Code) add(start, size uint64, name string) {
	if len(name) > maxName {
		name = name[:maxName]
	}
	c.functions = append(c.functions, codeFunction{start, size, uint32(len(c.names))})
	c.names = append(c.names, strings.ToValidUTF8(name, "�"))
}

// sorted puts functions in order; a later one hides what it overlaps by its higher position.
func (c *Code) sorted() *Code {
	slices.SortStableFunc(c.functions, func(a, b codeFunction) int { return cmp.Compare(a.start, b.start) })
	for _, f := range c.functions {
		c.widest = max(c.widest, f.size)
	}
	return c
}

// Resolve names an address, or answers nil.
func (c *Code) Resolve(addr uint64) []Frame {
	i, _ := slices.BinarySearchFunc(c.functions, addr, func(f codeFunction, a uint64) int {
		if f.start <= a {
			return -1
		}
		return 1
	})
	best := -1
	const look = 64 // overlapping functions are few
	for j := i - 1; j >= 0 && i-j <= look && addr-c.functions[j].start < c.widest; j-- {
		f := c.functions[j]
		if addr-f.start < f.size && (best < 0 || f.name > c.functions[best].name) {
			best = j
		}
	}
	if best < 0 {
		return nil
	}
	name := c.names[c.functions[best].name]
	return []Frame{{Function: name, System: name}}
}

// Len is how many functions are known.
func (c *Code) Len() int { return len(c.functions) }

// ReadJITDump reads a jitdump file, jit-PID.dump, as tools/perf/Documentation/jitdump-specification.txt
// of Linux describes it. A file that is still being written ends in the middle of a record,
// which is no error.
func ReadJITDump(r io.Reader) (*Code, error) {
	const magic = 0x4A695444
	b := bufio.NewReaderSize(r, 64<<10)
	var head [40]byte
	if _, err := io.ReadFull(b, head[:]); err != nil {
		return nil, fmt.Errorf("read jitdump header: %w", err)
	}
	if binary.LittleEndian.Uint32(head[:]) != magic {
		return nil, fmt.Errorf("jitdump: magic %#x", binary.LittleEndian.Uint32(head[:]))
	}
	if size := binary.LittleEndian.Uint32(head[8:]); size > 40 {
		if _, err := b.Discard(int(min(size-40, 1<<16))); err != nil {
			return nil, fmt.Errorf("read jitdump header: %w", err)
		}
	}
	c := &Code{}
	for len(c.functions) < maxCode {
		if !c.addRecord(b) {
			break
		}
	}
	return c.sorted(), nil
}

// addRecord reads one record; false at the end of what is written.
func (c *Code) addRecord(r *bufio.Reader) bool {
	const load, move, prefix = 0, 1, 16
	var head [prefix]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return false
	}
	size := int(binary.LittleEndian.Uint32(head[4:]))
	if size < prefix {
		return false
	}
	body := size - prefix
	switch binary.LittleEndian.Uint32(head[:]) {
	case load: // pid, tid, vma, address, size, index, name, code
		var f [40]byte
		if body < len(f) {
			return false
		}
		if _, err := io.ReadFull(r, f[:]); err != nil {
			return false
		}
		name, n := readName(r, body-len(f))
		c.add(binary.LittleEndian.Uint64(f[16:]), binary.LittleEndian.Uint64(f[24:]), name)
		body -= len(f) + n
	case move: // pid, tid, vma, old address, new address, size, index
		var f [48]byte
		if body < len(f) {
			return false
		}
		if _, err := io.ReadFull(r, f[:]); err != nil {
			return false
		}
		c.move(binary.LittleEndian.Uint64(f[16:]), binary.LittleEndian.Uint64(f[24:]), binary.LittleEndian.Uint64(f[32:]))
		body -= len(f)
	}
	_, err := r.Discard(body)
	return err == nil
}

// readName reads a name that ends with a zero byte, within n bytes.
func readName(r *bufio.Reader, n int) (string, int) {
	var name []byte
	for i := range n {
		b, err := r.ReadByte()
		if err != nil || b == 0 {
			return string(name), i + 1
		}
		if len(name) < maxName {
			name = append(name, b)
		}
	}
	return string(name), n
}

func (c *Code) move(from, to, size uint64) {
	for i := len(c.functions) - 1; i >= 0; i-- {
		if c.functions[i].start == from {
			c.add(to, size, c.names[c.functions[i].name])
			return
		}
	}
}

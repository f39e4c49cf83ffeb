package arrowblock

import "encoding/binary"

// flat is a table in a FlatBuffer from outside. What is absent or lies outside of the
// buffer reads as zero: callers check what they get, and nothing panics.
type flat struct {
	buf []byte
	pos int // 0: the table is absent
}

// flatVector is a vector in a FlatBuffer.
type flatVector struct {
	buf []byte
	pos int // of the next element
	n   int // how many elements are left
}

func flatRoot(buf []byte) flat {
	return flat{buf, int(read32(buf, 0))}
}

func read16(b []byte, pos int) uint16 {
	if pos < 0 || pos > len(b)-2 {
		return 0
	}
	return binary.LittleEndian.Uint16(b[pos:])
}

func read32(b []byte, pos int) uint32 {
	if pos < 0 || pos > len(b)-4 {
		return 0
	}
	return binary.LittleEndian.Uint32(b[pos:])
}

func read64(b []byte, pos int) uint64 {
	if pos < 0 || pos > len(b)-8 {
		return 0
	}
	return binary.LittleEndian.Uint64(b[pos:])
}

func (t flat) present() bool { return t.pos != 0 }

// field is where the table's field n lies, -1 when it is absent.
func (t flat) field(n int) int {
	if t.pos == 0 {
		return -1
	}
	vtable := t.pos - int(int32(read32(t.buf, t.pos)))
	slot := 4 + 2*n
	if slot+2 > int(read16(t.buf, vtable)) {
		return -1
	}
	off := read16(t.buf, vtable+slot)
	if off == 0 {
		return -1
	}
	return t.pos + int(off)
}

func (t flat) u8(n int) uint8 {
	pos := t.field(n)
	if pos < 0 || pos >= len(t.buf) {
		return 0
	}
	return t.buf[pos]
}

func (t flat) i16(n int) int16 { return int16(read16(t.buf, t.field(n))) }

func (t flat) i32(n int) int32 { return int32(read32(t.buf, t.field(n))) }

func (t flat) i64(n int) int64 { return int64(read64(t.buf, t.field(n))) }

// target follows the offset in field n; 0 when the field is absent.
func (t flat) target(n int) int {
	pos := t.field(n)
	if off := read32(t.buf, pos); off != 0 {
		return pos + int(off)
	}
	return 0
}

func (t flat) table(n int) flat { return flat{t.buf, t.target(n)} }

// vector gives the vector in field n. A length that the buffer could not hold is 0.
func (t flat) vector(n int) flatVector {
	pos := t.target(n)
	if pos == 0 {
		return flatVector{}
	}
	length := int(read32(t.buf, pos))
	if length < 0 || length > (len(t.buf)-pos)/4 {
		return flatVector{}
	}
	return flatVector{t.buf, pos + 4, length}
}

// text gives the string in field n.
func (t flat) text(n int) string {
	pos := t.target(n)
	length := int(read32(t.buf, pos))
	if pos == 0 || length < 0 || length > len(t.buf)-pos-4 {
		return ""
	}
	return string(t.buf[pos+4 : pos+4+length])
}

// table is element i of a vector of tables.
func (v flatVector) table(i int) flat {
	pos := v.pos + 4*i
	off := read32(v.buf, pos)
	if off == 0 {
		return flat{}
	}
	return flat{v.buf, pos + int(off)}
}

// nextPair takes the next element off a vector of structs of two int64.
func (v *flatVector) nextPair() (first, second int64, ok bool) {
	if v.n == 0 || v.pos+16 > len(v.buf) {
		return 0, 0, false
	}
	first, second = int64(read64(v.buf, v.pos)), int64(read64(v.buf, v.pos+8))
	v.pos += 16
	v.n--
	return first, second, true
}

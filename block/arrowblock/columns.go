package arrowblock

import (
	"math"
	"slices"
	"unsafe"
)

// kind is a column's Arrow type. Blocks use few.
type kind uint8

const (
	kindNone kind = iota // a type that blocks do not use
	kindU8
	kindU16
	kindU32
	kindU64
	kindI64
	kindText   // Utf8: a pprof's strings, as they came
	kindList   // of one child, "item"
	kindStruct // of several children
)

// bitWidth is the width of a fixed-width kind and whether it is signed.
func (k kind) bitWidth() (bits int32, signed bool) {
	switch k {
	case kindU8:
		return 8, false
	case kindU16:
		return 16, false
	case kindU32:
		return 32, false
	case kindU64:
		return 64, false
	case kindI64:
		return 64, true
	}
	return 0, false
}

// number is what a fixed-width column may hold.
type number interface {
	uint8 | uint16 | uint32 | uint64 | int64
}

func kindOf[T number]() kind {
	switch any(T(0)).(type) {
	case uint8:
		return kindU8
	case uint16:
		return kindU16
	case uint32:
		return kindU32
	case uint64:
		return kindU64
	}
	return kindI64
}

// column is an Arrow array on its way into a stream.
type column struct {
	name     string
	kind     kind
	rows     int
	valid    []byte  // the validity bitmap, nil when nothing is null
	nulls    int     // how many are
	offsets  []int32 // rows+1 of them, of texts and lists
	data     []byte  // of numbers and texts
	children []column
}

// numbers is a column of fixed width. The values are not copied.
func numbers[T number](name string, values []T) column {
	return column{name: name, kind: kindOf[T](), rows: len(values), data: bytesOf(values)}
}

// narrow is a column of the smallest type that holds all values: Arrow has no
// variable-length integers, and what zstd makes of zeros still costs.
func narrow[T number](name string, values []T) column {
	if len(values) == 0 {
		return numbers[uint8](name, nil)
	}
	lowest, highest := slices.Min(values), slices.Max(values)
	switch {
	case lowest < 0 || uint64(highest) > math.MaxUint32:
		return numbers(name, values)
	case uint64(highest) > math.MaxUint16:
		return numbers(name, converted[uint32](values))
	case uint64(highest) > math.MaxUint8:
		return numbers(name, converted[uint16](values))
	}
	return numbers(name, converted[uint8](values))
}

func converted[To, From number](values []From) []To {
	to := make([]To, len(values))
	for i, v := range values {
		to[i] = To(v)
	}
	return to
}

// texts gathers a column of strings.
type texts struct {
	offsets []int32
	data    []byte
	valid   []byte
	nulls   int
}

func (t *texts) reset() {
	*t = texts{offsets: append(t.offsets[:0], 0), data: t.data[:0], valid: t.valid[:0]}
}

func (t *texts) len() int { return max(0, len(t.offsets)-1) }

func (t *texts) add(s string) {
	if len(t.offsets) == 0 {
		t.reset()
	}
	t.setValid(true)
	t.data = append(t.data, s...)
	t.offsets = append(t.offsets, int32(len(t.data)))
}

func (t *texts) addNull() {
	if len(t.offsets) == 0 {
		t.reset()
	}
	t.setValid(false)
	t.nulls++
	t.offsets = append(t.offsets, int32(len(t.data)))
}

func (t *texts) setValid(valid bool) {
	n := t.len()
	if n%8 == 0 {
		t.valid = append(t.valid, 0)
	}
	if valid {
		t.valid[n/8] |= 1 << (n % 8)
	}
}

func (t *texts) column(name string) column {
	if len(t.offsets) == 0 {
		t.reset()
	}
	c := column{name: name, kind: kindText, rows: t.len(), offsets: t.offsets, data: t.data}
	if t.nulls > 0 {
		c.valid, c.nulls = t.valid, t.nulls
	}
	return c
}

// list is a column of lists: row i holds the items [ends[i-1], ends[i]).
// offsets has one more element than there are rows, the first 0.
func list(name string, offsets []int32, item column) column {
	item.name = "item"
	return column{name: name, kind: kindList, rows: len(offsets) - 1, offsets: offsets, children: []column{item}}
}

func structure(name string, children ...column) column {
	return column{name: name, kind: kindStruct, rows: children[0].rows, children: children}
}

// bytesOf is a view of values as the bytes of an Arrow buffer.
func bytesOf[T number | ~int32 | ~uint32](values []T) []byte {
	if len(values) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&values[0])), len(values)*int(unsafe.Sizeof(values[0])))
}

// valuesOf is a view of an Arrow buffer as values. A buffer that does not lie at a
// multiple of the values' size is copied.
func valuesOf[T number | ~int32](b []byte) []T {
	var one T
	size := int(unsafe.Sizeof(one))
	n := len(b) / size
	if n == 0 {
		return nil
	}
	if p := unsafe.Pointer(&b[0]); uintptr(p)%uintptr(size) == 0 {
		return unsafe.Slice((*T)(p), n)
	}
	values := make([]T, n)
	copy(bytesOf(values), b)
	return values
}

// textOf is a view of bytes that will not change as a string.
func textOf(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}

// equalWords compares as memory: a few times faster than element by element.
func equalWords[T, U ~uint32](a []T, b []U) bool { return string(bytesOf(a)) == string(bytesOf(b)) }

package profile

import (
	"fmt"
	"math"
)

// How the value of a field is written: the low three bits of its tag. The other
// bits are the field's number.
const (
	varintType  = 0
	fixed64Type = 1
	lengthType  = 2
	fixed32Type = 5
)

// padding is how many bytes are readable behind every message. Reading a field
// needs no check of how much is left: what runs over the end of its message is
// noticed by the position behind it. The most that is read before anybody looks at
// the position is five fields of a tag and ten bytes each.
const padding = 64

// zeros end any varint and are nobody's tag.
var zeros [padding]byte

// broken is the position behind a field that cannot be read. It lies behind the end
// of every message in b, and what is read from there on, before anybody looks at the
// position, still lies in b.
func broken(b []byte) int { return len(b) - behind }

// behind is written out where a call would keep a reader from being inlined.
const behind = padding - 1

// uvarint reads the varint at b[i:] and says where the next field begins. Bits
// beyond the 64th are dropped.
//
// It calls nothing, so it is inlined, and profiles are regular enough for its
// branches to be predicted: reading eight bytes at once without branches was
// measured to be slower, for 1 and 2 bytes as well as for addresses.
func uvarint(b []byte, i int) (v uint64, next int) {
	for shift := uint(0); shift < 70; shift += 7 {
		c := b[i]
		i++
		v |= uint64(c&0x7f) << (shift & 63)
		if c < 0x80 {
			return v, i
		}
	}
	return 0, len(b) - behind
}

// span reads a length and says where the bytes that it announces begin and end.
// When they do not lie in b[:end] it announces no bytes, behind the end.
func span(b []byte, i, end int) (from, to int) {
	n, from := uvarint(b, i)
	to = from + int(n)
	if to < from || to > end {
		to, from = len(b)-behind, len(b)-behind
	}
	return
}

// skip says where the field behind the unknown one at b[i:] begins. A field whose
// number is at most known, but which was not recognized, is broken: it is not
// written as profile.proto says.
func skip(b []byte, i, end int, known uint64) int {
	tag, i := uvarint(b, i)
	if field := tag >> 3; 0 < field && field <= known {
		return broken(b)
	}
	switch tag & 7 {
	case varintType:
		_, i = uvarint(b, i)
	case fixed64Type:
		i += 8
	case lengthType:
		_, i = span(b, i, end)
	case fixed32Type:
		i += 4
	default: // groups, which proto3 does not have
		return broken(b)
	}
	return i
}

// wireError says that bytes are not a protobuf message as profile.proto has it.
type wireError struct {
	message string // "sample"
	field   uint64 // its number in the message
	offset  int    // where the field begins in the profile
}

func (e *wireError) Error() string {
	return fmt.Sprintf("pprof %s: field %d at byte %d is cut off or not as profile.proto says: %v", e.message, e.field, e.offset, ErrInvalid)
}

func (e *wireError) Unwrap() error { return ErrInvalid }

// stringRef makes a string's number a position. A number that no string table
// can have becomes a position that no string table has.
func stringRef(v uint64) uint32 { return uint32(min(v, math.MaxUint32)) }

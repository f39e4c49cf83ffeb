package profile

import (
	"math"

	"golang.org/x/sys/cpu"
)

// usualRefs is [refsByByte], eight bytes at once.
func usualRefs(refs []uint32, b []byte, i, end int, top uint64) (n, next int, newTop uint64) {
	if !cpu.X86.HasSSE41 {
		return refsByByte(refs, b, i, end, top)
	}
	_, _ = refs[end-i+refRoom-1], b[end+padding-1] // what is written and read at most
	n, read, largest := refsByEight(&refs[0], &b[i], end-i, &eights)
	if largest == math.MaxUint16 { // ID 0
		top = math.MaxUint64
	}
	return n, i + read, max(top, uint64(largest))
}

// refsByEight reads IDs of one or two bytes from the size bytes at b and writes them to
// refs, less 1, with ID 0 as the largest number. It says how many it wrote, how many
// bytes they took and which was the largest (of ID 0, 1<<16-1).
//
// It may read [padding] bytes behind them, and may write [refRoom] places beyond what it
// says.
//
//go:noescape
func refsByEight(refs *uint32, b *byte, size int, table *[256]eight) (n, read int, largest uint16)

// An eight tells how to read eight bytes when it is known which of them are followed by
// more bytes of their varint: as many varints of one or two bytes as lie wholly in them
// in front of the first longer one. (The way of Plaisance, Kurz and Lemire, "Vectorized
// VByte Decoding", 2015, with a table for numbers of two bytes only.)
type eight struct {
	from [16]uint8 // byte j of the 8 numbers of 16 bits: which byte it is, or 0x80 for a zero
	n    uint64    // how many numbers; the rest repeat the first
	read uint64    // how many bytes
}

// eights has an eight for each set of bytes whose highest bit is set.
var eights = func() (all [256]eight) {
	for more := range all {
		e := &all[more]
		for at := 0; at < 8; {
			size := 1 + more>>at&1
			if at+size > 8 || more>>(at+size-1)&1 == 1 {
				break
			}
			e.from[2*e.n], e.from[2*e.n+1] = uint8(at), 0x80
			if size == 2 {
				e.from[2*e.n+1] = uint8(at + 1)
			}
			e.n++
			at += size
			e.read = uint64(at)
		}
		for j := e.n; j > 0 && j < 8; j++ {
			e.from[2*j], e.from[2*j+1] = e.from[0], e.from[1]
		}
	}
	return all
}()

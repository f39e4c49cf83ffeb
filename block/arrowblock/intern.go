package arrowblock

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// index finds numbers by the hash of what they stand for: open addressing with
// linear probing. A slot holds the upper half of a hash and a number plus one, so that
// most comparisons end without a look at the content. Whoever probes compares the
// content itself: equal hashes are a hint, never proof.
//
//	for i := x.first(hash); ; i = x.next(i) {
//		n, full := x.at(i, hash)
//		if !full { x.put(i, hash, new number); break }
//		if n != noNumber && n is what was looked for { break }
//	}
type index struct {
	slots []uint64
	used  int
}

// grow makes room for one more number. It must be called before a probe that may put.
func (x *index) grow() {
	if x.used*2 < len(x.slots) {
		return
	}
	old := x.slots
	x.slots = make([]uint64, max(64, 2*len(old)))
	shift := x.shift()
	for _, slot := range old {
		if slot == 0 {
			continue
		}
		i := int(slot >> shift)
		for x.slots[i] != 0 {
			i = x.next(i)
		}
		x.slots[i] = slot
	}
}

// shift leaves of a hash as many upper bits as number the slots. There are never
// more than 2^32 slots, so the half of the hash that a slot keeps is enough to move it.
func (x *index) shift() int { return 64 - bits.TrailingZeros(uint(len(x.slots))) }

// first is where the probe for a hash begins. The index must not be empty: see grow.
func (x *index) first(hash uint64) int { return int(hash >> x.shift()) }

func (x *index) next(i int) int { return (i + 1) & (len(x.slots) - 1) }

// noNumber is what no index ever holds.
const noNumber = ^uint32(0)

// at returns the number in slot i if it may have the hash, else noNumber. full says
// whether the slot is taken.
func (x *index) at(i int, hash uint64) (n uint32, full bool) {
	slot := x.slots[i]
	if (slot^hash)>>32 != 0 {
		return noNumber, slot != 0
	}
	return uint32(slot) - 1, slot != 0 // of an empty slot noNumber too
}

// warm reads the slots at which probes for hashes begin, all at once: interning waits
// for memory more than for anything else, and waiting for one read after the other costs
// a fifth more.
func (x *index) warm(hashes []uint64) (sum uint64) {
	if len(x.slots) == 0 {
		return 0
	}
	for _, hash := range hashes {
		sum += x.slots[x.first(hash)]
	}
	return sum
}

// guess is the number that a probe for the hash will most likely find, noNumber if it finds none.
func (x *index) guess(hash uint64) uint32 {
	if len(x.slots) == 0 {
		return noNumber
	}
	for i := x.first(hash); ; i = x.next(i) {
		if n, full := x.at(i, hash); n != noNumber || !full {
			return n
		}
	}
}

func (x *index) put(i int, hash uint64, n uint32) {
	x.slots[i] = hash>>32<<32 | uint64(n+1)
	x.used++
}

// reset forgets all numbers and keeps the memory.
func (x *index) reset() {
	clear(x.slots)
	x.used = 0
}

func (x *index) sizeBytes() int64 { return int64(cap(x.slots)) * 8 }

// numbered numbers things by a key that says what they are.
type numbered[T any] struct {
	numbers map[string]uint32
	all     []T
}

func (n *numbered[T]) find(key []byte) (number uint32, ok bool) {
	number, ok = n.numbers[string(key)]
	return number, ok
}

func (n *numbered[T]) add(key []byte, thing T) uint32 {
	if n.numbers == nil {
		n.numbers = map[string]uint32{}
	}
	number := uint32(len(n.all))
	n.numbers[string(key)] = number
	n.all = append(n.all, thing)
	return number
}

// appendText and appendNumber make keys that no two different lists of values share.
func appendText(key []byte, s string) []byte {
	return append(appendNumber(key, uint64(len(s))), s...)
}

func appendNumber(key []byte, n uint64) []byte { return binary.AppendUvarint(key, n) }

// arena keeps strings that came as views of buffers that will be used again.
type arena struct {
	free []byte
	size int64
}

const arenaChunk = 64 << 10

func (a *arena) keep(s string) string {
	if s == "" {
		return ""
	}
	if len(s) > arenaChunk/4 {
		a.size += int64(len(s))
		return string(append([]byte(nil), s...))
	}
	if len(s) > len(a.free) {
		a.free = make([]byte, arenaChunk)
		a.size += arenaChunk
	}
	n := copy(a.free, s)
	kept := unsafe.String(&a.free[0], n)
	a.free = a.free[n:]
	return kept
}

// slab hands out slices of a column that grows without being copied.
type slab[T any] struct {
	free []T
	held int64 // elements
}

const slabChunk = 32 << 10

func (s *slab[T]) take(n int) []T {
	if n > len(s.free) {
		s.free = make([]T, max(n, slabChunk))
		s.held += int64(len(s.free))
	}
	taken := s.free[:n:n]
	s.free = s.free[n:]
	return taken
}

package arrowblock

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// sums adds up rows by stack. It holds only stacks that were met, whose order is made
// when it is asked for.
type sums struct {
	width  int      // sample types
	stacks []uint32 // by position
	values []int64  // width of them at each position
	slots  []uint32 // by hash of the stack, a position plus one: open addressing
	order  []uint64 // stack and position
}

func newSums(width int) *sums { return &sums{width: width} }

// of returns the sums of a stack, to be added to. They are valid until the next call.
func (s *sums) of(stack uint32) []int64 {
	if 2*len(s.stacks) >= len(s.slots) {
		s.grow()
	}
	for i := s.slot(stack); ; i = (i + 1) & (len(s.slots) - 1) {
		at := s.slots[i]
		if at == 0 {
			s.slots[i] = uint32(len(s.stacks)) + 1
			s.stacks = append(s.stacks, stack)
			n := len(s.values)
			s.values = append(s.values, make([]int64, s.width)...)
			return s.values[n:]
		}
		if s.stacks[at-1] == stack {
			return s.values[int(at-1)*s.width:][:s.width]
		}
	}
}

// slot is where the probe for a stack begins: the upper bits of a multiplication by
// the golden ratio, which spreads stacks that are near one another.
func (s *sums) slot(stack uint32) int {
	return int(stack * 0x9E3779B1 >> (32 - bits.TrailingZeros(uint(len(s.slots)))))
}

func (s *sums) grow() {
	s.slots = make([]uint32, max(64, 2*len(s.slots)))
	for at, stack := range s.stacks {
		i := s.slot(stack)
		for s.slots[i] != 0 {
			i = (i + 1) & (len(s.slots) - 1)
		}
		s.slots[i] = uint32(at) + 1
	}
}

// add adds values to those of a stack.
func (s *sums) add(stack uint32, values []int64) {
	to := s.of(stack)
	for k, v := range values {
		to[k] += v
	}
}

// each calls visit for every stack that has values other than zero, in order.
func (s *sums) each(visit func(stack uint32, values []int64)) {
	s.order = s.order[:0]
	for at, stack := range s.stacks {
		s.order = append(s.order, uint64(stack)<<32|uint64(at))
	}
	slices.Sort(s.order)
	for _, o := range s.order {
		values := s.values[int(uint32(o))*s.width:][:s.width]
		if !allZero(values) {
			visit(uint32(o>>32), values)
		}
	}
}

// reset forgets all and keeps the memory, but for slots that are many more than were needed: clearing
// them would take longer than filling fewer.
func (s *sums) reset() {
	if len(s.stacks)*16 < len(s.slots) {
		s.slots = nil
	}
	clear(s.slots)
	s.stacks, s.values = s.stacks[:0], s.values[:0]
}

func (s *sums) sizeBytes() int64 {
	return int64(cap(s.stacks)+cap(s.slots))*4 + int64(cap(s.values)+cap(s.order))*8
}

// appendTo appends the sums to dst in a form that takes a few bytes a stack.
func (s *sums) appendTo(dst []byte) []byte {
	before := uint32(0)
	s.each(func(stack uint32, values []int64) {
		dst = binary.AppendUvarint(dst, uint64(stack-before))
		for _, v := range values {
			dst = binary.AppendVarint(dst, v)
		}
		before = stack
	})
	return dst
}

// addFrom adds what appendTo has written.
func (s *sums) addFrom(data []byte) {
	stack := uint32(0)
	for len(data) > 0 {
		d, n := binary.Uvarint(data)
		data = data[n:]
		stack += uint32(d)
		to := s.of(stack)
		for k := range to {
			v, n := binary.Varint(data)
			data = data[n:]
			to[k] += v
		}
	}
}

// cell is the sums of a series or service in a window of time.
type cell struct {
	*sums
	key, t        uint32
	profiles      uint32
	samples       int64
	firstT, lastT uint32
	duration      int64
	period        int64
}

// begin makes the cell an empty one.
func (c *cell) begin(key, t uint32) {
	c.reset()
	*c = cell{sums: c.sums, key: key, t: t, firstT: math.MaxUint32, period: math.MinInt64}
}

// join adds another cell.
func (c *cell) join(other *cell) {
	c.profiles += other.profiles
	c.samples += other.samples
	c.firstT, c.lastT = min(c.firstT, other.firstT), max(c.lastT, other.lastT)
	c.duration += other.duration
	c.period = max(c.period, other.period)
	for at, stack := range other.stacks {
		c.add(stack, other.values[at*c.width:][:c.width])
	}
}

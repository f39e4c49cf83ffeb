package arrowblock

import "github.com/cespare/xxhash/v2"

// bloom is a bloom filter of the names of a chunk's functions, in 64-bit words.
//
// With ten bits a name and seven probes it is wrong once in a hundred times. Probe i of a name looks
// at bit (h + i·g) mod n, where n is the number of bits, h is the lower and g the upper half
// of the name's xxhash64, g made odd.
type bloom []uint64

const (
	bloomBitsAName = 10
	bloomProbes    = 7
)

func newBloom(names int) bloom { return make(bloom, (names*bloomBitsAName+63)/64) }

// probes calls do with the word and the bit of each probe.
func (b bloom) probes(name string, do func(word int, bit uint64)) {
	hash := xxhash.Sum64String(name)
	at, step := uint64(uint32(hash)), hash>>32|1
	for range bloomProbes {
		n := at % uint64(len(b)*64)
		do(int(n/64), 1<<(n%64))
		at += step
	}
}

func (b bloom) add(name string) {
	b.probes(name, func(word int, bit uint64) { b[word] |= bit })
}

// has says whether the name may have been added.
func (b bloom) has(name string) bool {
	if len(b) == 0 {
		return false
	}
	all := true
	b.probes(name, func(word int, bit uint64) { all = all && b[word]&bit != 0 })
	return all
}

// blooms gathers the filters of all chunks as a column.
type blooms struct {
	words   []uint64
	offsets []int32
}

func (bs *blooms) add(b bloom) {
	bs.words = append(bs.words, b...)
	bs.offsets = append(bs.offsets, int32(len(bs.words)))
}

func (bs *blooms) column(name string) column {
	return list(name, append([]int32{0}, bs.offsets...), numbers("", bs.words))
}

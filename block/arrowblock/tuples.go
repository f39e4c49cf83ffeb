package arrowblock

import (
	"slices"

	"github.com/cespare/xxhash/v2"
)

// tuples numbers distinct tuples: what a row holds beside its stack, the number of a set of
// sample labels and a value of each sample type. Few of them differ: a CPU profile counts
// 1, 2, 3, and an allocation of a size was sampled once, twice, three times.
type tuples struct {
	width int     // words of each: the labels and the values
	words []int64 // of all, one after the other
	index index
}

func newTuples(sampleTypes int) *tuples { return &tuples{width: 1 + sampleTypes} }

func (t *tuples) len() int { return len(t.words) / t.width }

// at returns tuple n: labels and values.
func (t *tuples) at(n uint32) []int64 { return t.words[int(n)*t.width:][:t.width] }

// intern returns the number of a tuple.
func (t *tuples) intern(tuple []int64) uint32 {
	x := &t.index
	x.grow()
	hash := xxhash.Sum64(bytesOf(tuple))
	for i := x.first(hash); ; i = x.next(i) {
		n, full := x.at(i, hash)
		if !full {
			n = uint32(t.len())
			x.put(i, hash, n)
			t.words = append(t.words, tuple...)
			return n
		}
		if n != noNumber && slices.Equal(t.at(n), tuple) {
			return n
		}
	}
}

func (t *tuples) reset() {
	t.words = t.words[:0]
	t.index.reset()
}

// order sorts the tuples that rows have by labels and values. It returns them in that order, and
// the new number of each.
func (t *tuples) order(rows []uint32) (sorted, number []uint32) {
	number = make([]uint32, t.len())
	for _, n := range rows {
		if number[n] == 0 {
			sorted = append(sorted, n)
			number[n] = 1 // for now that it was met
		}
	}
	slices.SortFunc(sorted, func(a, b uint32) int { return slices.Compare(t.at(a), t.at(b)) })
	for i, n := range sorted {
		number[n] = uint32(i)
	}
	return sorted, number
}

// column is word k of the given tuples.
func (t *tuples) column(k int, of []uint32) []int64 {
	column := make([]int64, len(of))
	for i, n := range of {
		column[i] = t.words[int(n)*t.width+k]
	}
	return column
}

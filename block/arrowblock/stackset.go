package arrowblock

import (
	"slices"

	"github.com/cespare/xxhash/v2"
)

// stackSet numbers distinct stack traces of services. A profile's sample costs one
// hash of its frames and one look; only a stack that is new is stored.
type stackSet struct {
	// A stack's record is its number, its length, its service and its frames, root
	// first, in one place: what a look needs is one read of memory.
	records []uint32
	starts  []uint32 // of each stack's record
	index   index    // by hash, the start of a record
}

// A record's words before the frames.
const (
	recordNumber = iota
	recordLength
	recordService
	recordFrames
)

// maxRecords bounds what one stackSet holds; positions are 32 bits wide.
const maxRecords = 1<<32 - 1

func (s *stackSet) len() int { return len(s.starts) }

// service is the service of stack n, and frames where its frames lie in records.
func (s *stackSet) service(n uint32) uint32 { return s.records[s.starts[n]+recordService] }

func (s *stackSet) frames(n uint32) (from, to uint32) {
	start := s.starts[n]
	return start + recordFrames, start + recordFrames + s.records[start+recordLength]
}

func hashStack(service uint32, frames []FrameID) uint64 {
	return xxhash.Sum64(bytesOf(frames)) ^ uint64(service+1)*0x9E3779B97F4A7C15
}

// intern returns the number of a stack of a service, frames root first. hash is that
// of hashStack.
func (s *stackSet) intern(service uint32, frames []FrameID, hash uint64) uint32 {
	x := &s.index
	x.grow()
	for i := x.first(hash); ; i = x.next(i) {
		start, full := x.at(i, hash)
		if !full {
			x.put(i, hash, uint32(len(s.records)))
			return s.add(service, frames)
		}
		if start == noNumber {
			continue
		}
		record := s.records[start:]
		if record[recordLength] == uint32(len(frames)) && record[recordService] == service &&
			equalWords(record[recordFrames:recordFrames+len(frames)], frames) {
			return record[recordNumber]
		}
	}
}

func (s *stackSet) add(service uint32, frames []FrameID) uint32 {
	n := uint32(len(s.starts))
	s.starts = append(s.starts, uint32(len(s.records)))
	s.records = append(s.records, n, uint32(len(frames)), service)
	for _, f := range frames {
		s.records = append(s.records, uint32(f))
	}
	return n
}

// warm reads, all at once, the memory at which interning stacks of the hashes will look.
func (s *stackSet) warm(hashes []uint64) (sum uint64) {
	sum = s.index.warm(hashes)
	for _, hash := range hashes {
		if start := s.index.guess(hash); start != noNumber {
			sum += uint64(s.records[start])
		}
	}
	return sum
}

func (s *stackSet) sizeBytes() int64 {
	return int64(cap(s.records))*4 + int64(cap(s.starts))*4 + s.index.sizeBytes()
}

// placing is a stack on its way to its place in the canonical order.
type placing struct {
	from, to uint32 // where its ranks lie
	stack    uint32
	key      uint32 // its rank at the depth being sorted, plus one; 0 where it has ended
}

// placer sorts stacks as a preorder walk meets them: a stack before those that
// continue it, siblings by rank. It is a multikey quicksort (Bentley and Sedgewick, 1997):
// frames that stacks have in common are looked at once for all of them.
type placer struct{ ranks []uint32 } // stacks' records, a rank in place of each frame

func (p placer) sort(stacks []placing, depth uint32) {
	for len(stacks) > 1 {
		if len(stacks) < 12 {
			p.sortFew(stacks, depth)
			return
		}
		for i := range stacks {
			s := &stacks[i]
			s.key = 0
			if s.from+depth < s.to {
				s.key = p.ranks[s.from+depth] + 1
			}
		}
		lo, hi := partition(stacks)
		p.sort(stacks[:lo], depth)
		p.sort(stacks[hi:], depth)
		if stacks[lo].key == 0 {
			return // stacks are distinct: only one can end here
		}
		stacks = stacks[lo:hi]
		depth++
	}
}

func (p placer) sortFew(stacks []placing, depth uint32) {
	slices.SortFunc(stacks, func(a, b placing) int {
		return slices.Compare(p.ranks[a.from+depth:a.to], p.ranks[b.from+depth:b.to])
	})
}

// partition puts the stacks of a middling key together: those of smaller keys lie
// before lo, those of greater ones from hi on.
func partition(stacks []placing) (lo, hi int) {
	n := len(stacks)
	a, b, c := stacks[n/8].key, stacks[n/2].key, stacks[n-1-n/8].key
	pivot := max(min(a, b), min(max(a, b), c))
	hi = n
	for i := 0; i < hi; {
		switch key := stacks[i].key; {
		case key < pivot:
			stacks[lo], stacks[i] = stacks[i], stacks[lo]
			lo++
			i++
		case key > pivot:
			hi--
			stacks[i], stacks[hi] = stacks[hi], stacks[i]
		default:
			i++
		}
	}
	return lo, hi
}

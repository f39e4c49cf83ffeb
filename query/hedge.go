package query

import (
	"slices"
	"sync"
	"time"
)

// hedges decides when a read that takes long is tried a second time, beside the first: after
// the time in which 19 of 20 reads are answered, and not more often than once in 20 reads.
type hedges struct {
	mu     sync.Mutex
	times  [256]time.Duration // of the last reads, without what their bytes take
	reads  int
	second int           // how many were tried again
	after  time.Duration // the 95th percentile of times, found anew every 64 reads
}

const (
	// hedgeAfter is for how long a read is waited for before it is known how long they take.
	hedgeAfter = 150 * time.Millisecond
	// hedgeLeast keeps a bucket that answers at once from being asked twice over nothing.
	hedgeLeast = 5 * time.Millisecond
	// hedgeShare is how many reads there are at least for each that is tried again.
	hedgeShare = 20
	// hedgeBytes is how many bytes a second a connection gives at least when all is well.
	hedgeBytes = 32 << 20
)

// bytesTime is how long the bytes of a read may take.
func bytesTime(n int64) time.Duration {
	return time.Duration(max(n, 0)) * time.Second / hedgeBytes
}

// wait is how long to wait for a read of n bytes before it is tried again.
func (h *hedges) wait(n int64) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads++
	if h.after == 0 {
		return hedgeAfter + bytesTime(n)
	}
	return max(h.after, hedgeLeast) + bytesTime(n)
}

// took notes how long a read of n bytes took.
func (h *hedges) took(n int64, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.times[h.reads%len(h.times)] = max(0, d-bytesTime(n))
	if h.reads%64 != 0 || h.reads < len(h.times) {
		return
	}
	sorted := slices.Clone(h.times[:])
	slices.Sort(sorted)
	h.after = sorted[len(sorted)*95/100]
}

// may says whether a read may be tried again, and counts it if so.
func (h *hedges) may() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if (h.second+1)*hedgeShare > h.reads+hedgeShare {
		return false
	}
	h.second++
	return true
}

package cluster

import (
	"slices"
	"sync"
	"time"
)

const (
	remembered  = 128              // calls that the percentile is of
	enough      = 16               // calls without which there is none
	hedgeShare  = 0.05             // of calls that may be hedged
	hedgeBurst  = 10               // hedges that may be saved up
	leastHedge  = time.Millisecond // sooner is not worth a call
	longestWait = 5 * time.Second  // later a call has as good as failed
)

// latency knows how long calls take, and so when one is late.
type latency struct {
	initial time.Duration

	mu      sync.Mutex
	last    [remembered]time.Duration
	n       int
	credits float64
	begun   bool
}

func (l *latency) took(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last[l.n%remembered] = d
	l.n++
}

// hedgeAfter is the 95th percentile of the last calls. Each question earns a share of a hedge.
func (l *latency) hedgeAfter() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.begun {
		l.begun, l.credits = true, hedgeBurst
	}
	l.credits = min(l.credits+hedgeShare, hedgeBurst)
	if l.n < enough {
		return l.initial
	}
	sorted := slices.Sorted(slices.Values(l.last[:min(l.n, remembered)]))
	return min(max(sorted[len(sorted)*95/100], leastHedge), longestWait)
}

// mayHedge takes a hedge out of the budget.
func (l *latency) mayHedge() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.credits < 1 {
		return false
	}
	l.credits--
	return true
}

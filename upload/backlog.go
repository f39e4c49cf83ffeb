package upload

import (
	"context"
	"slices"
	"sync"
	"time"
)

// maxPause is the longest that the backlog rests after a failure.
const maxPause = time.Minute

// backlog is what waits to be sent, and an account of the memory that profiles
// take. After failures it hands out nothing for a while, so that a bucket that is
// away is not asked by every block in turn.
type backlog struct {
	limitBytes int64
	jitter     func(time.Duration) time.Duration

	mu       sync.Mutex
	waiting  []*parcel // next first
	memory   int64
	failures int       // in a row
	until    time.Time // nothing is handed out before
	changed  chan struct{}
}

func newBacklog(limitBytes int64, jitter func(time.Duration) time.Duration) backlog {
	return backlog{limitBytes: limitBytes, jitter: jitter, changed: make(chan struct{})}
}

// change wakes who waits for a change. b.mu is held.
func (b *backlog) change() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// reserve takes n bytes of the memory there is, if there is so much.
func (b *backlog) reserve(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.limitBytes-b.memory {
		return false
	}
	b.memory += n
	return true
}

// release gives back n bytes. A negative n takes some, whether they are there or not.
func (b *backlog) release(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.memory -= n
	b.change()
}

func (b *backlog) memoryBytes() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.memory
}

// put adds a parcel behind all others.
func (b *backlog) put(p *parcel) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append(b.waiting, p)
	b.change()
}

// take hands out the next parcel as soon as there is one and the last failure is long
// enough ago. It is nil when ctx ends.
func (b *backlog) take(ctx context.Context) *parcel {
	for {
		b.mu.Lock()
		changed, pause := b.changed, time.Until(b.until)
		if len(b.waiting) > 0 && pause <= 0 && ctx.Err() == nil {
			p := b.waiting[0]
			b.waiting = b.waiting[1:]
			b.mu.Unlock()
			return p
		}
		b.mu.Unlock()
		var open <-chan time.Time
		if pause > 0 {
			open = time.After(pause)
		}
		select {
		case <-changed:
		case <-open:
		case <-ctx.Done():
			return nil
		}
	}
}

// sent says how it went with a parcel that was handed out.
func (b *backlog) sent(ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ok {
		b.failures, b.until = 0, time.Time{}
	} else if now := time.Now(); !now.Before(b.until) { // else another has failed at the same time
		pause := min(time.Second<<min(b.failures, 10), maxPause)
		b.failures++
		b.until = now.Add(pause/2 + b.jitter(pause/2))
	}
	b.change()
}

// failing says whether the last that was sent failed.
func (b *backlog) failing() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failures > 0
}

// hurry hands out the next parcel at once.
func (b *backlog) hurry() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until = time.Time{}
	b.change()
}

// pick takes out the waiting parcel with the oldest block of those that match, or nil.
func (b *backlog) pick(match func(*parcel) bool) *parcel {
	b.mu.Lock()
	defer b.mu.Unlock()
	oldest := -1
	for i, p := range b.waiting {
		if match(p) && (oldest < 0 || p.key.ID.Compare(b.waiting[oldest].key.ID) < 0) {
			oldest = i
		}
	}
	if oldest < 0 {
		return nil
	}
	p := b.waiting[oldest]
	b.waiting = slices.Delete(b.waiting, oldest, oldest+1)
	return p
}

// drain takes out all that waits.
func (b *backlog) drain() []*parcel {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.waiting
	b.waiting = nil
	return all
}

// waitForMemory returns when nothing is in memory any more, or ctx ends.
func (b *backlog) waitForMemory(ctx context.Context) {
	for {
		b.mu.Lock()
		memory, changed := b.memory, b.changed
		b.mu.Unlock()
		if memory <= 0 {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

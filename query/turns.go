package query

import (
	"context"
	"slices"
	"sync"
)

// turns shares out a number of slots among queries in turn: a query that waits with a
// thousand requests gets a slot as often as one that waits with two.
type turns struct {
	mu     sync.Mutex
	free   int
	queues []*queue // of the queries that wait, the next to be served first
}

// queue is what a query waits with, the first come first.
type queue struct {
	of      any
	waiters []chan struct{}
}

func newTurns(slots int) *turns { return &turns{free: slots} }

// take waits for a slot. of says which query asks, by a value that is its own.
func (t *turns) take(ctx context.Context, of any) error {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return ctx.Err()
	}
	granted := make(chan struct{})
	i := slices.IndexFunc(t.queues, func(q *queue) bool { return q.of == of })
	if i < 0 {
		i = len(t.queues)
		t.queues = append(t.queues, &queue{of: of})
	}
	t.queues[i].waiters = append(t.queues[i].waiters, granted)
	t.mu.Unlock()
	select {
	case <-granted:
		return nil
	case <-ctx.Done():
		t.leave(of, granted)
		return ctx.Err()
	}
}

// leave takes a waiter out, or gives back the slot that it was granted meanwhile.
func (t *turns) leave(of any, granted chan struct{}) {
	t.mu.Lock()
	for i, q := range t.queues {
		at := slices.Index(q.waiters, granted)
		if q.of != of || at < 0 {
			continue
		}
		q.waiters = slices.Delete(q.waiters, at, at+1)
		if len(q.waiters) == 0 {
			t.queues = slices.Delete(t.queues, i, i+1)
		}
		t.mu.Unlock()
		return
	}
	t.mu.Unlock()
	t.give()
}

// give gives a slot back, to the query whose turn it is.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queues) == 0 {
		t.free++
		return
	}
	q := t.queues[0]
	t.queues = slices.Delete(t.queues, 0, 1)
	close(q.waiters[0])
	if q.waiters = q.waiters[1:]; len(q.waiters) > 0 {
		t.queues = append(t.queues, q)
	}
}

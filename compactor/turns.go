package compactor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// maxConflicts is how often a job is planned again before it is left to those who keep
// doing it first.
const maxConflicts = 20

// repeat calls next, which plans a job and does it, until there is none left. A job
// that another compactor has done meanwhile is planned again.
func repeat(next func() (done bool, err error)) error {
	w := work{steps: []step{func(context.Context) (bool, error) { return next() }}}
	for {
		if done, err := w.turn(context.Background()); done || err != nil {
			return err
		}
	}
}

// step does one job, and says whether there is none left of its kind.
type step func(context.Context) (done bool, err error)

// work is what is to be done for a shard: jobs of one kind after those of another.
type work struct {
	shard     shard
	steps     []step
	conflicts int    // of the job at hand
	failed    func() // called when it fails; may be nil
}

// turn does one job.
func (w *work) turn(ctx context.Context) (done bool, err error) {
	stepDone, err := w.steps[0](ctx)
	switch {
	case errors.Is(err, catalog.ErrConflict) && w.conflicts < maxConflicts:
		w.conflicts++
		return false, nil
	case errors.Is(err, errDeleted):
		return true, nil
	case err != nil:
		return true, err
	}
	w.conflicts = 0
	if stepDone {
		w.steps = w.steps[1:]
	}
	return len(w.steps) == 0, nil
}

// inTurns does all the work, a job of each shard after another, so that one with much to do
// does not keep the others waiting. One shard's failure is no other's.
func (c *Compactor) inTurns(ctx context.Context, all []*work) error {
	var mu sync.Mutex
	queue := fairly(all)
	var errs []error
	next := func() *work {
		mu.Lock()
		defer mu.Unlock()
		if len(queue) == 0 {
			return nil
		}
		w := queue[0]
		queue = queue[1:]
		return w
	}
	var workers sync.WaitGroup
	for range min(c.cfg.Jobs, len(all)) {
		workers.Go(func() {
			for w := next(); w != nil; w = next() {
				done, err := w.turn(ctx)
				mu.Lock()
				if err != nil {
					errs = append(errs, fmt.Errorf("compact %s: %w", w.shard, err))
					if w.failed != nil {
						w.failed()
					}
				}
				if !done {
					queue = append(queue, w)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return errors.Join(errs...)
}

// fairly orders work so that every tenant's first shard comes before any's second. Among
// these the order is random: compactors that do not know of each other seldom meet.
func fairly(all []*work) []*work {
	before := map[profile.Tenant]int{}
	round := map[*work]int{}
	order := make([]*work, len(all))
	for i, at := range rand.Perm(len(all)) {
		w := all[at]
		order[i], round[w] = w, before[w.shard.tenant]
		before[w.shard.tenant]++
	}
	slices.SortStableFunc(order, func(a, b *work) int { return round[a] - round[b] })
	return order
}

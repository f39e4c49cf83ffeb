package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/profile"
)

// run is one query while it is answered.
type run struct {
	*Querier
	req    Request
	within profile.TimeRange // the request's, less what retention hides

	objects  int          // planned
	profiles int          // that the answer is made of
	memory   atomic.Int64 // held, as estimated
	alone    bool         // no other process is asked to help

	mu      sync.Mutex
	missing []Missing
	lost    map[string]bool // which of the planned objects are among them, by key
	gone    bool            // an object that was live is not there
	spent   Stats           // by other processes
}

// answer runs f with the query's deadline and account, and tells what it cost.
//
// When an object that was live is gone, then most likely it was merged since: all is
// done again from a new snapshot, once. Blocks of two snapshots cannot be mixed, for
// one may hold what is in the other.
func (q *Querier) answer(ctx context.Context, req Request, f func(ctx context.Context, r *run) error) (Stats, error) {
	started, stopCPU := time.Now(), q.cpu.start()
	ctx, cancel := context.WithTimeout(ctx, q.cfg.Timeout)
	defer cancel()
	var account bucket.Account
	var hits atomic.Int64
	ctx = withHits(bucket.WithAccount(ctx, &account), &hits)

	r := &run{Querier: q, req: req}
	err := f(ctx, r)
	if err == nil && r.gone {
		req.Fresh = true
		r = &run{Querier: q, req: req}
		err = f(ctx, r)
	}
	stats := r.stats()
	usage := account.Usage()
	stats.Requests, stats.Bytes, stats.CacheHits = int(usage.Requests()), usage.BytesIn, int(hits.Load())
	stats.CPU, stats.Elapsed = stopCPU(), time.Since(started)
	stats.addSpent(r.spent)
	switch {
	case err != nil && ctx.Err() != nil:
		err = fmt.Errorf("stopped after %s: %w", stats.Elapsed.Round(time.Millisecond), ctx.Err())
	case err == nil && req.Strict && stats.Partial():
		err = fmt.Errorf("%w: %s", ErrPartial, stats.Reason())
	}
	if q.cfg.Observer.Answered != nil {
		q.cfg.Observer.Answered(stats, err)
	}
	return stats, err
}

func (r *run) stats() Stats {
	s := Stats{Blocks: r.objects, Profiles: r.profiles}
	s.OK = s.Blocks - len(r.lost)
	s.Missing = slices.SortedFunc(slices.Values(r.missing), func(a, b Missing) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Reason, b.Reason))
	})
	return s
}

// lose notes that an object, or some of it, is missing from the answer, unless err is
// one that ends the query: its deadline, or a limit. That one it returns.
func (r *run) lose(ctx context.Context, key string, err error) error {
	if ctx.Err() != nil || errors.Is(err, ErrTooLarge) {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = r.gone || errors.Is(err, bucket.ErrNotExist)
	if r.lost == nil {
		r.lost = map[string]bool{}
	}
	r.lost[key] = true
	r.missing = append(r.missing, Missing{key, err.Error()})
	if errors.Is(err, block.ErrCorrupt) { // perhaps only on the way here
		r.indexes.forget(func(k string) bool { return k == key })
		r.ranges.forget(func(k objectRange) bool { return k.key == key })
	}
	return nil
}

// note tells of something missing that is no block.
func (r *run) note(key string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missing = append(r.missing, Missing{key, err.Error()})
}

// reserve refuses what would take the query over its memory.
func (r *run) reserve(sizeBytes int64, what string) error {
	if held := r.memory.Add(sizeBytes); held > r.cfg.MemoryBytes {
		return fmt.Errorf("%s: about %d MiB are needed, %d MiB are allowed; a shorter range or a narrower selector takes less: %w",
			what, held>>20, r.cfg.MemoryBytes>>20, ErrTooLarge)
	}
	return nil
}

// each calls f for every item, atATime of them at a time. What f fails for is noted as
// missing under its key; each returns the items for which f did not fail, in order.
func each[T any](ctx context.Context, r *run, atATime int, items []T, key func(T) string, f func(context.Context, T) error) ([]T, error) {
	failed := make([]bool, len(items))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	for i, item := range items {
		g.Go(func() error {
			err := f(ctx, item)
			if err == nil {
				return nil
			}
			failed[i] = true
			return r.lose(ctx, key(item), err)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var sound []T
	for i, item := range items {
		if !failed[i] {
			sound = append(sound, item)
		}
	}
	return sound, nil
}

type hitsKey struct{}

// withHits has reads under the context that a cache answers counted.
func withHits(ctx context.Context, hits *atomic.Int64) context.Context {
	return context.WithValue(ctx, hitsKey{}, hits)
}

func countHit(ctx context.Context) {
	if hits, ok := ctx.Value(hitsKey{}).(*atomic.Int64); ok {
		hits.Add(1)
	}
}

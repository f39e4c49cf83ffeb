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
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
)

// run is one query while it is answered, or one side of a comparison.
type run struct {
	*ledger
	req    Request
	within profile.TimeRange // the request's, less what retention hides

	profilesFrom time.Time // before it there are only sums; zero: nowhere

	// own are matchers of the selector that series must satisfy by their own labels: a sample's
	// do not show to a token what its selector leaves out.
	own []*profile.Matcher

	by     []string // names of labels to group by
	step   int64    // milliseconds of a step of time to group by; 0: none
	groups grouping

	// sums says that rollups of a window may be read instead of profiles; nil: none.
	sums  func(window time.Duration) bool
	apart bool // series are told apart, so that sums over services are of no use
	alike bool // profiles that begin together are told from others
}

// ledger is what the sides of a query share: what is live, and what became of it.
type ledger struct {
	*Querier
	live func(ctx context.Context) (*catalog.Snapshot, error) // asked of the bucket once

	memory atomic.Int64 // held, as estimated

	mu       sync.Mutex
	profiles int             // that the answer is made of
	objects  map[string]bool // planned, by key
	missing  []Missing
	lost     map[string]bool // which of the planned objects are among them, by key
	gone     bool            // an object that was live is not there
	spent    Stats           // by other processes
	alone    bool            // no other process is asked to help

	access *serve.Access // what who asks may see; nil: everything of the tenant
}

// restricted says whether who asks may see but some of the tenant's series, so that nothing
// may be told that is known of all of them.
func (r *ledger) restricted() bool { return r.access != nil && len(r.access.Matchers) > 0 }

// newRun starts a run, which sees what its context may see.
func (q *Querier) newRun(ctx context.Context, req Request) *run {
	access := serve.AccessOf(ctx)
	l := &ledger{Querier: q, access: access, objects: map[string]bool{}, lost: map[string]bool{}}
	type taken struct {
		snap *catalog.Snapshot
		err  error
	}
	var once sync.Once
	var t taken
	l.live = func(ctx context.Context) (*catalog.Snapshot, error) {
		once.Do(func() {
			var cached bool
			if t.snap, cached, t.err = q.snapshot(ctx, req.Tenant, req.Fresh); cached {
				countHit(ctx, 0)
			}
		})
		return t.snap, t.err
	}
	return l.side(req)
}

// base is the run of what r is compared with.
func (r *run) base(req Request) *run {
	req.Tenant, req.Strict, req.Fresh = r.req.Tenant, r.req.Strict, r.req.Fresh
	return r.side(req)
}

// side is a run of a request, reduced to what its access shows.
func (r *ledger) side(req Request) *run {
	side := &run{ledger: r}
	if r.restricted() {
		side.own = r.access.Matchers
	}
	req.Selector = r.access.Restrict(req.Selector)
	side.req = req
	return side
}

// answer runs f with the query's deadline and account, and tells what it cost.
//
// When an object that was live is gone, then most likely it was merged since: all is
// done again from a new snapshot, once. Blocks of two snapshots cannot be mixed, for
// one may hold what is in the other.
func (q *Querier) answer(ctx context.Context, what string, req Request, f func(ctx context.Context, r *run) error) (Stats, error) {
	ctx, cancel := context.WithTimeout(ctx, q.cfg.Timeout)
	defer cancel()
	ctx, account := q.openAccount(ctx)
	r := q.newRun(ctx, req)
	done, err := q.admit(ctx, what, req.Tenant)
	if err == nil {
		defer done()
		err = f(ctx, r)
	}
	if err == nil && r.gone {
		req.Fresh = true
		r = q.newRun(ctx, req)
		err = f(ctx, r)
	}
	stats := r.stats()
	account.close(&stats, r.spent)
	switch {
	case err != nil && ctx.Err() != nil:
		err = fmt.Errorf("stopped after %s: %w", stats.Elapsed.Round(time.Millisecond), ctx.Err())
	case err == nil && req.Strict && stats.Partial():
		err = fmt.Errorf("%w: %s", ErrPartial, stats.Reason())
	}
	if q.cfg.Observer.Answered != nil {
		q.cfg.Observer.Answered(Answered{what, req, stats, err})
	}
	return stats, err
}

func (r *ledger) stats() Stats {
	s := Stats{Blocks: len(r.objects), Profiles: r.profiles}
	s.OK = s.Blocks - len(r.lost)
	s.Missing = slices.SortedFunc(slices.Values(r.missing), func(a, b Missing) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Reason, b.Reason))
	})
	return s
}

// lose notes that an object, or some of it, is missing from the answer, unless err is
// one that ends the query: its deadline, or a limit. That one it returns.
func (r *ledger) lose(ctx context.Context, key string, err error) error {
	if ctx.Err() != nil || errors.Is(err, ErrTooLarge) {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = r.gone || errors.Is(err, bucket.ErrNotExist)
	r.lost[key] = true
	if m := (Missing{key, err.Error()}); !slices.Contains(r.missing, m) { // by the other side of a comparison
		r.missing = append(r.missing, m)
	}
	if errors.Is(err, block.ErrCorrupt) { // perhaps only on the way here
		r.indexes.forget(func(k string) bool { return k == key })
		r.ranges.forget(func(k objectRange) bool { return k.key == key })
		r.disk.forget(key)
	}
	return nil
}

// planned notes that an object is part of the query.
func (r *ledger) planned(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.objects[key] = true
}

// counted notes of how many profiles a side's answer is made.
func (r *ledger) counted(profiles int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.profiles += profiles
}

// note tells of something missing that is no block.
func (r *ledger) note(key string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missing = append(r.missing, Missing{key, err.Error()})
}

// reserve refuses what would take the query over its memory.
func (r *ledger) reserve(sizeBytes int64, what string) error {
	if held := r.memory.Add(sizeBytes); held > r.cfg.MemoryBytes {
		return fmt.Errorf("%s: about %d MiB are needed, %d MiB are allowed; a shorter range or a narrower selector takes less: %w",
			what, held>>20, r.cfg.MemoryBytes>>20, ErrTooLarge)
	}
	return nil
}

// each calls f for every item, atATime of them at a time. What f fails for is noted as
// missing under its key; each returns the items for which f did not fail, in order.
func each[T any](ctx context.Context, r *ledger, atATime int, items []T, key func(T) string, f func(context.Context, T) error) ([]T, error) {
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

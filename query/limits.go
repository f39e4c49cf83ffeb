package query

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/coldframe/coldframe/profile"
)

// partQuery is what a part of another process' query is called.
const partQuery = "part"

// TenantLimits are what a tenant may ask for. Zero fields mean no limit.
type TenantLimits struct {
	Range time.Duration // of one query; longer ones are refused
	Bytes int64         // that one query would read, as planned; more are refused
	// Queries is how many are answered at a time; others wait for their turn, up to their timeout.
	// Another number holds as soon as no query of the tenant runs.
	Queries int
}

// admissions counts the queries of tenants.
type admissions struct {
	mu      sync.Mutex
	tenants map[profile.Tenant]*admission
}

type admission struct {
	slots *semaphore.Weighted
	users int // queries that wait or run
}

// admit waits until a tenant may have one query more. done must be called. Parts of queries that
// other processes answer were admitted there.
func (q *Querier) admit(ctx context.Context, what string, tenant profile.Tenant) (done func(), err error) {
	if what == partQuery {
		return func() {}, nil
	}
	most := q.cfg.Limits(tenant).Queries
	if most <= 0 {
		return func() {}, nil
	}
	a := &q.admissions
	a.mu.Lock()
	if a.tenants == nil {
		a.tenants = map[profile.Tenant]*admission{}
	}
	t := a.tenants[tenant]
	if t == nil {
		t = &admission{slots: semaphore.NewWeighted(int64(most))}
		a.tenants[tenant] = t
	}
	t.users++
	a.mu.Unlock()
	leave := func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(a.tenants, tenant)
		}
	}
	if err := t.slots.Acquire(ctx, 1); err != nil {
		leave()
		return nil, fmt.Errorf("waited while %d queries of tenant %s are answered: %w", most, tenant, err)
	}
	return func() { t.slots.Release(1); leave() }, nil
}

// checkRange refuses what is longer than a tenant may ask for.
func (q *Querier) checkRange(tenant profile.Tenant, r profile.TimeRange) error {
	if most := q.cfg.Limits(tenant).Range; most > 0 && r.To.Sub(r.From) > most {
		return fmt.Errorf("the range is %s long, at most %s are allowed; ask for a shorter one: %w", r.To.Sub(r.From), most, ErrTooLarge)
	}
	return nil
}

// checkBytes refuses a plan that would read more than a tenant may.
func (r *run) checkBytes(p *plan) error {
	most := r.cfg.Limits(r.req.Tenant).Bytes
	if most <= 0 {
		return nil
	}
	sum := int64(0)
	for _, b := range p.blocks {
		object := objectOf(r.req.Tenant, b)
		sum += r.explainBlock(object.key, object.meta).Bytes
	}
	for _, l0 := range p.l0s {
		sum += l0.Size
	}
	if sum > most {
		return fmt.Errorf("about %d MiB would be read, %d MiB are allowed; a shorter range or a selector of one job takes less: %w", sum>>20, most>>20, ErrTooLarge)
	}
	return nil
}

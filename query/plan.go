package query

import (
	"context"
	"fmt"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// plan is what a query has to read: the live objects that may hold profiles of the
// range, the type and the series, as far as HEAD and the keys tell.
type plan struct {
	blocks []catalog.Block
	l0s    []catalog.L0
	live   int                   // objects of the snapshot
	types  map[profile.Type]bool // that are known: from HEAD and from the pprof blocks read, whether asked for or not
}

// plan looks at what is live. Shards that cannot be read are missing from the answer;
// when none can, there is no answer.
func (r *run) plan(ctx context.Context) (*plan, error) {
	if err := r.req.Range.Validate(); err != nil {
		return nil, err
	}
	if err := r.checkRange(r.req.Tenant, r.req.Range); err != nil {
		return nil, err
	}
	snap, err := r.live(ctx)
	if err != nil {
		if snap == nil || len(snap.Shards) == 0 || ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		r.note(block.ClassManifest.TenantPrefix(r.req.Tenant), err)
	}
	p := &plan{types: map[profile.Type]bool{}}
	for _, shard := range snap.Shards {
		p.live += len(shard.Head.Live) + len(shard.L0)
		for _, b := range shard.Head.Live {
			p.learn(b.Types)
		}
	}
	if r.within, r.profilesFrom, err = r.retained(ctx, snap.Time); err != nil || r.within.Validate() != nil {
		return p, err
	}
	live, err := snap.Blocks(ctx, r.within)
	if err != nil {
		r.note(block.ClassManifest.TenantPrefix(r.req.Tenant), err)
	}
	for _, b := range live {
		p.learn(b.Types) // of arch parts too
		if b.HasType(r.req.Selector.Type) {
			p.blocks = append(p.blocks, b)
		}
	}
	p.l0s = snap.L0(r.within, r.req.Selector)
	if n := len(p.blocks) + len(p.l0s); n > r.cfg.MaxBlocks {
		return nil, fmt.Errorf("%d blocks may hold an answer, %d are allowed; a shorter range or a selector of one job takes fewer: %w", n, r.cfg.MaxBlocks, ErrTooLarge)
	}
	for _, b := range p.blocks {
		r.planned(objectOf(r.req.Tenant, b).key)
	}
	for _, l0 := range p.l0s {
		r.planned(l0.String())
	}
	progressOf(ctx).plan(len(p.blocks) + len(p.l0s))
	return p, nil
}

func (p *plan) learn(types []profile.Type) {
	for _, t := range types {
		p.types[t] = true
	}
}

// retained is the request's range without what the tenant's retention hides, and when the
// oldest profiles are that may be shown one by one; before it there are sums.
func (r *run) retained(ctx context.Context, now time.Time) (within profile.TimeRange, profilesFrom time.Time, err error) {
	within = r.req.Range
	if r.cfg.Retention == nil {
		return within, profilesFrom, nil
	}
	keep, err := r.cfg.Retention(ctx, r.req.Tenant)
	if err != nil {
		return within, profilesFrom, fmt.Errorf("%w: retention of tenant %s: %w", ErrUnavailable, r.req.Tenant, err)
	}
	if keep.Raw > 0 {
		profilesFrom = now.Add(-time.Duration(keep.Raw))
	}
	if oldest := now.Add(-time.Duration(keep.RollupsFor())); keep.RollupsFor() > 0 && within.From.Before(oldest) {
		within.From = oldest
	}
	return within, profilesFrom, nil
}

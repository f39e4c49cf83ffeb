package compactor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/catalog"
)

// sealNext does one job on the way to having sealed a shard up to upTo, a seal or the sweep
// that must come between, and says whether it was the last.
func (c *Compactor) sealNext(ctx context.Context, s shard, upTo catalog.Minute) (done bool, err error) {
	h, err := c.cat.Head(ctx, s.tenant, s.Shard)
	if err != nil {
		return false, err
	}
	if upTo <= h.Sealed {
		return true, nil
	}
	limit := h.SealLimit(c.cat.Window())
	if limit <= h.Sealed {
		return false, c.sweep(ctx, s)
	}
	to := min(upTo, limit)
	b, err := nextBatch(c.cat.L0s(ctx, s.tenant, s.Shard, h.Sealed, to), to, c.cfg.JobBytes)
	if err != nil {
		return false, err
	}
	if !b.worthSealing(h, c.cat.Window()) && to == upTo {
		return true, nil
	}
	job := Job{Tenant: s.tenant, Shard: s.Shard, From: h.Sealed, To: b.to, L0s: len(b.l0s), BytesIn: b.bytes}
	err = c.commit(ctx, s, job, b, func(out []block.Meta) catalog.Change {
		return catalog.Seal{From: job.From, To: job.To, Out: out}
	})
	return b.to == upTo, err
}

// commit merges a batch and publishes what comes out.
func (c *Compactor) commit(ctx context.Context, s shard, job Job, b batch, change func([]block.Meta) catalog.Change) (err error) {
	began := time.Now()
	ctx, ended := c.cfg.Observer.begin(ctx, job)
	defer func() { ended(job, err) }()
	out, err := c.merge(ctx, s, &job, b.l0s)
	if err == nil {
		_, err = c.cat.Commit(ctx, s.tenant, s.Shard, change(out))
	}
	job.Took = time.Since(began)
	switch {
	case errors.Is(err, catalog.ErrConflict):
		c.cfg.Observer.abandoned(job, err)
	case err != nil:
		err = fmt.Errorf("minutes (%s, %s]: %w", job.From, job.To, err)
	default:
		c.cfg.Observer.committed(job)
	}
	return err
}

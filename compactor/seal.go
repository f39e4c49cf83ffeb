package compactor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/catalog"
)

// maxConflicts is how often work is planned again before it is left to those who
// keep doing it first.
const maxConflicts = 20

// repeat calls next, which plans a job and does it, until there is none left. A job
// that another compactor has done meanwhile is planned again.
func repeat(next func() (done bool, err error)) error {
	for conflicts := 0; ; {
		done, err := next()
		switch {
		case errors.Is(err, catalog.ErrConflict) && conflicts < maxConflicts:
			conflicts++
		case err != nil || done:
			return err
		}
	}
}

// sealUpTo seals a shard's minutes up to upTo, job by job, with the sweeps that must
// come between.
func (c *Compactor) sealUpTo(ctx context.Context, s shard, upTo catalog.Minute) error {
	return repeat(func() (bool, error) { return c.sealNext(ctx, s, upTo) })
}

// sealNext does one job, a seal or a sweep, and says whether it was the last.
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
func (c *Compactor) commit(ctx context.Context, s shard, job Job, b batch, change func([]block.Meta) catalog.Change) error {
	began := time.Now()
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

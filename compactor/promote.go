package compactor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// promoteNext does the first merge of a shard's blocks that is due, and says whether there was
// none. The shard's minutes up to upTo are sealed, or nobody uploaded in them.
func (c *Compactor) promoteNext(ctx context.Context, s shard, upTo catalog.Minute) (done bool, err error) {
	h, err := c.cat.Head(ctx, s.tenant, s.Shard)
	if err != nil {
		return false, err
	}
	now, err := c.bkt.Now(ctx)
	if err != nil {
		return false, err
	}
	plan := planMerges(h.Live, now, upTo)
	c.cfg.Observer.looked(s, stateOf(h, plan))
	if len(plan) == 0 {
		return true, nil
	}
	return false, c.replace(ctx, s, plan[0])
}

// Merge merges live blocks of a day of a shard into one of a level, whatever the plan says. A
// block that turns out to be damaged is marked so instead, and the others stay as they are.
func (c *Compactor) Merge(ctx context.Context, tenant profile.Tenant, s block.Shard, level block.Level, in []block.Meta) error {
	return c.replace(ctx, shard{tenant, s}, merge{level, in})
}

// replace merges blocks and publishes the one that comes out in their place. When one of
// them is damaged or gone, it is marked instead, and the others wait for the next plan.
func (c *Compactor) replace(ctx context.Context, s shard, p merge) (err error) {
	began := time.Now()
	job := Job{Tenant: s.tenant, Shard: s.Shard, Level: p.level, Day: p.in[0].Day, Merged: len(p.in)}
	var ids []block.ID
	for _, m := range p.in {
		ids = append(ids, m.ID)
		job.BytesIn += m.Size
	}
	ctx, ended := c.cfg.Observer.begin(ctx, job)
	defer func() { ended(job, err) }()
	out, err := c.mergeBlocks(ctx, s, p, &job)
	if err == nil {
		_, err = c.cat.Commit(ctx, s.tenant, s.Shard, catalog.Merge{In: ids, Out: []block.Meta{out}})
	}
	job.Took = time.Since(began)
	var input *arrowblock.InputError
	switch {
	case err == nil:
		c.cfg.Observer.committed(job)
		return nil
	case errors.Is(err, catalog.ErrConflict):
		c.cfg.Observer.abandoned(job, err)
		return err
	case errors.As(err, &input) && (errors.Is(err, block.ErrCorrupt) || errors.Is(err, bucket.ErrNotExist)):
		return c.quarantine(ctx, s, p.in[input.Input], input.Err)
	}
	return fmt.Errorf("merge %d blocks of %s into level %d: %w", len(p.in), job.Day, p.level, err)
}

// wholeBytes is how large a block may be that is read with a single request.
const wholeBytes = 4 << 20

// mergeBlocks writes the merged block into the bucket, and its rollups.
func (c *Compactor) mergeBlocks(ctx context.Context, s shard, p merge, job *Job) (out block.Meta, err error) {
	share := c.cfg.MemoryBytes / int64(c.cfg.Jobs)
	blocks := make([]*arrowblock.Block, len(p.in))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.cfg.Readers)
	for i, m := range p.in {
		g.Go(func() error {
			var err error
			if blocks[i], err = c.openInput(gctx, s, m, min(wholeBytes, share/4/int64(len(p.in)))); err != nil {
				return &arrowblock.InputError{Input: i, Err: err}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return out, err
	}
	o := newOutput(p.level, c.cfg.TempDir, share/8)
	defer func() { err = errors.Join(err, o.close()) }()
	out, repeated, err := arrowblock.MergeBlocks(ctx, o.to(), blocks...)
	if err != nil {
		return out, err
	}
	if err := c.put(ctx, s, o, &out); err != nil {
		return out, err
	}
	job.Blocks, job.BytesOut = 1, o.bytes()
	job.Profiles, job.Repeated = int(out.Profiles), int(repeated)
	return out, nil
}

// openInput opens a block, with all of its bytes in memory when these are at most mostBytes.
func (c *Compactor) openInput(ctx context.Context, s shard, m block.Meta, mostBytes int64) (*arrowblock.Block, error) {
	src := block.Source(object{c.bkt, m.Key(s.tenant, s.Shard), m.Size})
	if m.Size <= mostBytes {
		data, err := src.ReadRange(ctx, 0, m.Size)
		if err != nil {
			return nil, err
		}
		src = block.Bytes(data)
	}
	return arrowblock.Open(ctx, src, arrowblock.Tail{Bytes: m.Tail, CRC: m.CRC})
}

// quarantine marks a block in HEAD as damaged, after another look at it: the bytes may have
// been damaged on their way.
func (c *Compactor) quarantine(ctx context.Context, s shard, m block.Meta, found error) error {
	key := m.Key(s.tenant, s.Shard)
	b, err := c.openInput(ctx, s, m, 0)
	if err == nil {
		err = b.Verify(ctx)
	}
	reason := "missing"
	switch {
	case err == nil:
		return fmt.Errorf("%s is sound at a second look: %w", key, found)
	case errors.Is(err, block.ErrCorrupt):
		reason = shorten(err)
	case !errors.Is(err, bucket.ErrNotExist):
		return fmt.Errorf("%s: %w", key, err)
	}
	if _, err := c.cat.Commit(ctx, s.tenant, s.Shard, catalog.Quarantine{ID: m.ID, Bad: reason}); err != nil {
		return err
	}
	c.cfg.Observer.quarantined(key, reason)
	return nil
}

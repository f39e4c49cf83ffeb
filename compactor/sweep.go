package compactor

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/internal/guard"
)

// sweep gathers a shard's stragglers until there are none.
func (c *Compactor) sweep(ctx context.Context, s shard) error {
	return repeat(func() (bool, error) { return c.sweepNext(ctx, s) })
}

// sweepNext gathers as many stragglers as one job may, and says whether these were all.
func (c *Compactor) sweepNext(ctx context.Context, s shard) (done bool, err error) {
	h, err := c.cat.Head(ctx, s.tenant, s.Shard)
	if err != nil || h.Sealed == 0 {
		return true, err
	}
	gathered, err := c.gathered(ctx, s, h)
	if err != nil {
		return false, err
	}
	from := h.SweepFrom(c.cat.Window())
	listed := c.cat.L0s(ctx, s.tenant, s.Shard, from, h.Sealed)
	b, err := nextBatch(gathered.without(listed), h.Sealed, c.cfg.JobBytes)
	if err != nil {
		return false, err
	}
	if !b.worthSweeping(h, c.cat.Window()) {
		return true, nil
	}
	job := Job{Tenant: s.tenant, Shard: s.Shard, Sweep: true, From: from, To: h.Sealed, L0s: len(b.l0s), BytesIn: b.bytes}
	err = c.commit(ctx, s, job, b, func(out []block.Meta) catalog.Change {
		return catalog.Sweep{Sweep: h.Sweep, To: h.Sealed, Partly: !b.whole && !guard.Removed(guard.Partly), Out: out}
	})
	return b.whole, err
}

// sourceLists are the IDs of the pprof blocks in Arrow blocks, by the Arrow block's ID.
type sourceLists map[block.ID][]block.ID

// gathered is which pprof blocks the commits in a HEAD have gathered.
type gathered struct {
	ids     map[block.ID]struct{}
	unknown []catalog.Gathering // whose sources cannot be read: all of their minutes count as gathered
}

// without leaves out what was gathered already.
func (g gathered) without(l0s iter.Seq2[catalog.L0, error]) iter.Seq2[catalog.L0, error] {
	return func(yield func(catalog.L0, error) bool) {
		for l0, err := range l0s {
			if err == nil && g.has(l0) && !guard.Removed(guard.Gathered) {
				continue
			}
			if !yield(l0, err) {
				return
			}
		}
	}
}

func (g gathered) has(l0 catalog.L0) bool {
	if _, has := g.ids[l0.ID]; has {
		return true
	}
	for _, u := range g.unknown {
		if m := catalog.MinuteOf(l0.Minute); m > u.From && m <= u.To && !guard.Removed(guard.Unknown) {
			return true
		}
	}
	return false
}

// gathered reads the sources of all blocks in h.Commits, except those that it knows
// from the sweep before. A block that is gone or damaged costs the stragglers of its
// minutes; any other failure may be over the next time and ends the sweep.
func (c *Compactor) gathered(ctx context.Context, s shard, h catalog.Head) (gathered, error) {
	c.mu.Lock()
	known := c.known[s]
	c.mu.Unlock()

	var mu sync.Mutex
	lists := sourceLists{}
	all := gathered{ids: map[block.ID]struct{}{}}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.cfg.Readers)
	for _, commit := range h.Commits {
		for _, out := range commit.Out {
			g.Go(func() error {
				ids, ok := known[out.ID]
				var err error
				if !ok {
					ids, err = c.sourceIDs(gctx, s, out)
				}
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					lists[out.ID] = ids
					for _, id := range ids {
						all.ids[id] = struct{}{}
					}
					return nil
				case errors.Is(err, bucket.ErrNotExist) || errors.Is(err, block.ErrCorrupt):
					c.cfg.Observer.unreadable(out.Key(s.tenant, s.Shard), err)
					all.unknown = append(all.unknown, commit)
					return nil
				}
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return gathered{}, fmt.Errorf("sweep: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[s] = lists // those that HEAD has forgotten are not kept
	return all, nil
}

// sourceIDs reads which pprof blocks a block was made of, rejected ones too.
func (c *Compactor) sourceIDs(ctx context.Context, s shard, out catalog.Output) ([]block.ID, error) {
	object := object{c.bkt, out.Key(s.tenant, s.Shard), out.Size}
	b, err := arrowblock.Open(ctx, object, arrowblock.Tail{Bytes: out.Tail, CRC: out.CRC})
	if err != nil {
		return nil, err
	}
	sources, err := b.Sources(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]block.ID, len(sources))
	for i, source := range sources {
		ids[i] = source.ID
	}
	return ids, nil
}

package query

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/block/pprofblock"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// tailBlocks is what pprof blocks became in memory: those of one minute's uploads, as far as a query asked for them.
type tailBlocks struct {
	blocks    []*arrowblock.Block
	types     []profile.Type // of all profiles, asked for or not
	sizeBytes int64
}

// batch is the pprof blocks that were uploaded in one minute. They are decoded together, and
// remembered together: a minute that is over gets no more of them.
type batch struct {
	l0s  []catalog.L0
	idle chan *decoder // one for each CPU

	types map[profile.Type]bool
	whole bool // nothing was left out
}

// batches are the planned pprof blocks by minute.
func batches(l0s []catalog.L0) []*batch {
	of := map[time.Time]*batch{}
	var all []*batch
	for _, l0 := range l0s {
		b := of[l0.Minute]
		if b == nil {
			b = &batch{types: map[profile.Type]bool{}, whole: true}
			of[l0.Minute] = b
			all = append(all, b)
		}
		b.l0s = append(b.l0s, l0)
	}
	return all
}

// tailKey names a batch and what is asked of it. The range is a part of it only where it cuts the batch.
func (r *run) tailKey(b *batch) string {
	var key strings.Builder
	fmt.Fprintf(&key, "%q %q", r.req.Selector.Type.String(), r.req.Selector.String())
	whole := true
	for _, l0 := range b.l0s {
		fmt.Fprintf(&key, "\n%s", l0)
		whole = whole && !l0.MinTime.Before(r.within.From) && l0.MinTime.Add(l0.Duration).Before(r.within.To)
	}
	if !whole {
		fmt.Fprintf(&key, "\n%d %d", ceilMillis(r.within.From), ceilMillis(r.within.To))
	}
	return key.String()
}

// decodeL0s makes parts of the profiles in pprof blocks that are asked for.
func (r *run) decodeL0s(ctx context.Context, p *plan) ([]*part, error) {
	all := batches(p.l0s)
	decoded := make([][]*part, len(all))
	g, ctx := errgroup.WithContext(ctx)
	for i, b := range all {
		g.Go(func() error {
			tail, err := r.tailOf(ctx, b)
			if err != nil {
				return err
			}
			r.learnTypes(p, tail.types)
			for _, blk := range tail.blocks {
				made := &part{}
				if err := r.match(ctx, made, blk); err != nil {
					return err
				}
				decoded[i] = append(decoded[i], made)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(decoded...), nil
}

// learnTypes adds types to those that are known.
func (r *run) learnTypes(p *plan, types []profile.Type) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.learn(types)
}

// tailOf returns what a batch became, decoding it if that is not remembered.
func (r *run) tailOf(ctx context.Context, b *batch) (*tailBlocks, error) {
	key := ""
	if r.tailCache.keeps() {
		key = r.tailKey(b)
		if known, ok := r.tailCache.get(key); ok {
			countHit(ctx, known.sizeBytes)
			progressOf(ctx).finish(len(b.l0s))
			return known, r.reserve(known.sizeBytes, "the profiles of the last minutes")
		}
	}
	tail, err := r.decode(ctx, b)
	if err == nil && b.whole {
		r.tailCache.put(key, tail, tail.sizeBytes+int64(len(key)))
	}
	return tail, err
}

// decode reads a batch's blocks, several at a time. Those that one CPU decodes share a block in memory.
func (r *run) decode(ctx context.Context, b *batch) (*tailBlocks, error) {
	b.idle = make(chan *decoder, runtime.GOMAXPROCS(0))
	for range cap(b.idle) {
		b.idle <- &decoder{run: r}
	}
	sound, err := r.eachL0(ctx, b.l0s, func(ctx context.Context, key string, rd *pprofblock.Reader) error {
		d := <-b.idle
		defer func() { b.idle <- d }()
		for i := range rd.Manifest().Profiles {
			d.learn(rd.Manifest().Profiles[i].Types())
		}
		return d.add(ctx, key, rd)
	})
	if err != nil {
		return nil, err
	}
	b.whole = sound == len(b.l0s)
	tail := &tailBlocks{}
	for range cap(b.idle) {
		d := <-b.idle
		for window := range d.builders {
			if err := d.finish(ctx, window); err != nil {
				return nil, err
			}
		}
		tail.blocks = append(tail.blocks, d.blocks...)
		tail.sizeBytes += d.sizeBytes
		tail.types = append(tail.types, d.types...)
		b.whole = b.whole && !d.lossy
	}
	slices.SortFunc(tail.types, profile.Type.Compare)
	tail.types = slices.Compact(tail.types)
	return tail, nil
}

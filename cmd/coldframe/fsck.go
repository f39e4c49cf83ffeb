package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/compactor"
)

type fsckCmd struct {
	RebuildHead bool `help:"First write a HEAD for every shard that has blocks and none, or a broken one, out of what the blocks say of their sources. No compactor may run meanwhile."`

	bucketFlag
}

// Run is the command.
func (c *fsckCmd) Run(ctx context.Context, g *globals) error {
	bkt, err := c.open(ctx, g)
	if err != nil {
		return err
	}
	began := time.Now()
	checker := compactor.New(catalog.New(bkt, catalog.Config{}), bkt, compactor.Config{
		Observer: compactor.Observer{Checking: g.checkingProgress(began)},
	})
	if c.RebuildHead {
		if err := checker.RebuildHeads(ctx, func(r compactor.Rebuilt) { printRebuilt(g.out, r) }); err != nil {
			return err
		}
	}
	checked, err := checker.Check(ctx, func(f compactor.Finding) { fmt.Fprintln(g.out, f) })
	if err != nil {
		return err
	}
	fmt.Fprintf(g.out, "%d shards, %d live blocks of %d bytes with %d sources, %d pprof blocks: %d damaged, in %s\n",
		checked.Shards, checked.Blocks, checked.Bytes, checked.Sources, checked.L0s, checked.Damaged, time.Since(began).Round(time.Millisecond))
	if checked.Damaged > 0 {
		return fmt.Errorf("%d objects are damaged: %w", checked.Damaged, errPartial)
	}
	return nil
}

// checkingProgress logs every ten seconds how far a check has come. It is called by one
// goroutine at a time.
func (g *globals) checkingProgress(began time.Time) func(compactor.Checked) {
	last := began
	return func(c compactor.Checked) {
		if now := time.Now(); now.Sub(last) >= 10*time.Second {
			last = now
			g.log.Info("checking", "shards", c.Shards, "blocks", c.Blocks, "bytes", c.Bytes, "after", now.Sub(began).Round(time.Second))
		}
	}
}

func printRebuilt(w io.Writer, r compactor.Rebuilt) {
	fmt.Fprintf(w, "rebuilt %s/%s: %d live blocks, %d of which have only rollups, %d superseded, %d pprof blocks for the next sweep\n", r.Tenant, r.Shard, r.Live, r.Outlived, r.Superseded, r.Stragglers)
	for _, key := range r.Torn {
		fmt.Fprintf(w, "torn %s: a part of its sources is in other blocks, what else it has is left out\n", key)
	}
	for _, key := range r.Unread {
		fmt.Fprintf(w, "unread %s: damaged\n", key)
	}
}

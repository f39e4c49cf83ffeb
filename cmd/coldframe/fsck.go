package main

import (
	"context"
	"fmt"
	"time"

	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/compactor"
)

type fsckCmd struct {
	bucketFlag
}

// Run is the command.
func (c *fsckCmd) Run(ctx context.Context, g *globals) error {
	bkt, err := c.open(ctx, g)
	if err != nil {
		return err
	}
	began := time.Now()
	checker := compactor.New(catalog.New(bkt, catalog.Config{}), bkt, compactor.Config{})
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

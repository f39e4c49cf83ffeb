package main

import (
	"context"
	"fmt"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/compactor"
)

type deleteCmd struct {
	Yes bool `help:"Do it. Without this, only what would be deleted is counted."`

	bucketFlag
}

// Run is the command.
func (c *deleteCmd) Run(ctx context.Context, g *globals) error {
	bkt, err := c.open(ctx, g)
	if err != nil {
		return err
	}
	deleter := compactor.New(catalog.New(bkt, catalog.Config{}), bkt, compactor.Config{Readers: 32})
	sizes, err := deleter.MeasureTenant(ctx, g.tenant)
	if err != nil {
		return err
	}
	objects, bytes := 0, int64(0)
	for _, s := range sizes {
		if s.Objects > 0 {
			fmt.Fprintf(g.out, "%-18s %8d objects %14d bytes\n", s.Class.TenantPrefix(g.tenant), s.Objects, s.Bytes)
		}
		objects += s.Objects
		bytes += s.Bytes
	}
	if !c.Yes {
		fmt.Fprintf(g.out, "tenant %s has %d objects of %d bytes. Nothing was deleted: that takes --yes, and cannot be undone\n", g.tenant, objects, bytes)
		return nil
	}
	deleted := map[block.Class]compactor.ClassSize{}
	err = deleter.DeleteTenant(ctx, g.tenant, func(s compactor.ClassSize) {
		deleted[s.Class] = s
		g.log.Info("deleting", "tenant", string(g.tenant), "class", string(s.Class), "objects", s.Objects, "bytes", s.Bytes)
	})
	objects, bytes = 0, 0
	for _, s := range deleted {
		objects += s.Objects
		bytes += s.Bytes
	}
	fmt.Fprintf(g.out, "deleted %d objects of %d bytes\n", objects, bytes)
	if err != nil {
		return fmt.Errorf("%w: %w; the tenant is not read any more: call again to delete the rest", errPartial, err)
	}
	fmt.Fprintf(g.out, "What hosts still upload for tenant %s is never read. To use the name again: coldframe tenant set --undelete\n", g.tenant)
	return nil
}

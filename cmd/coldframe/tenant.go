package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

type tenantCmd struct {
	Ls   tenantLsCmd   `cmd:"" help:"List the tenants, with their shards and settings."`
	Show tenantShowCmd `cmd:"" help:"Show a tenant's settings, and how long its profiles are kept by all rules together."`
	Set  tenantSetCmd  `cmd:"" help:"Change a tenant's settings. Queries, ingest and compactors go by them a few seconds later."`
}

type tenantLsCmd struct{ bucketFlag }

// Run is the command.
func (c *tenantLsCmd) Run(ctx context.Context, g *globals) error {
	bkt, err := c.open(ctx, g)
	if err != nil {
		return err
	}
	cat := catalog.New(bkt, catalog.Config{})
	tenants, err := cat.Tenants(ctx)
	if err != nil {
		return err
	}
	for _, tenant := range tenants {
		shards, err := cat.Shards(ctx, tenant)
		if err != nil {
			return err
		}
		s, err := cat.Settings(ctx, tenant)
		if err != nil {
			return err
		}
		fmt.Fprintf(g.out, "%s  %d shards  %s\n", tenant, len(shards), describe(s))
	}
	return nil
}

// describe gives settings on one line.
func describe(s catalog.Settings) string {
	if s.Deleted != nil {
		return "deleted at " + s.Deleted.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("retention %s, rollups %s", orForever(s.Retention), orForever(s.Retentions().RollupsFor()))
}

func orForever(r catalog.Retention) string {
	if r == 0 {
		return "without limit"
	}
	return r.String()
}

type tenantShowCmd struct{ bucketFlag }

// Run is the command.
func (c *tenantShowCmd) Run(ctx context.Context, g *globals) error {
	bkt, err := c.open(ctx, g)
	if err != nil {
		return err
	}
	return showTenant(ctx, g, catalog.New(bkt, catalog.Config{}))
}

func showTenant(ctx context.Context, g *globals, cat *catalog.Catalog) error {
	s, err := cat.Settings(ctx, g.tenant)
	if err != nil {
		return err
	}
	d, err := cat.Defaults(ctx)
	if err != nil {
		return err
	}
	all, err := cat.Retentions(ctx, g.tenant)
	if err != nil {
		return err
	}
	fmt.Fprintf(g.out, "tenant    %s\nshards    %d\nits own   %s\n", g.tenant, max(1, s.Shards), describe(s))
	fmt.Fprintf(g.out, "bucket    retention %s, rollups %s\n", orForever(d.Retention), orForever(d.Retentions().RollupsFor()))
	fmt.Fprintf(g.out, "together  retention %s, rollups %s\n", orForever(all.Raw), orForever(all.RollupsFor()))
	return nil
}

type tenantSetCmd struct {
	Retention       *catalog.Retention `placeholder:"30d" help:"How long the tenant's profiles are kept, as 12h, 30d, 1y; 0: as long as the bucket's lifecycle lets them live."`
	RollupRetention *catalog.Retention `placeholder:"1y" help:"How long the rollups of its days are kept; 0: as long as its profiles."`
	Shards          int                `placeholder:"N" help:"How many shards ingest spreads it over: one for about 300 hosts. It may grow at any time and never shrinks."`
	Undelete        bool               `help:"Let a deleted tenant be used again. What was deleted does not come back."`

	bucketFlag
}

// Run is the command.
func (c *tenantSetCmd) Run(ctx context.Context, g *globals) error {
	if c.Retention == nil && c.RollupRetention == nil && c.Shards == 0 && !c.Undelete {
		return usage(errors.New("what is to be set? --retention, --rollup-retention, --shards or --undelete"))
	}
	bkt, err := c.open(ctx, g)
	if err != nil {
		return err
	}
	cat := catalog.New(bkt, catalog.Config{})
	_, err = cat.ChangeSettings(ctx, g.tenant, func(s *catalog.Settings) {
		if c.Retention != nil {
			s.Retention = *c.Retention
		}
		if c.RollupRetention != nil {
			s.RollupRetention = *c.RollupRetention
		}
		if c.Shards != 0 {
			s.Shards = c.Shards
		}
		if c.Undelete {
			s.Deleted = nil
		}
	})
	if errors.Is(err, profile.ErrInvalid) {
		return usage(err)
	}
	if err != nil {
		return err
	}
	return showTenant(ctx, g, cat)
}

// retentionOf tells queries how long a tenant's profiles are kept: those of a deleted one
// not for an instant.
func retentionOf(cat *catalog.Catalog) func(context.Context, profile.Tenant) (catalog.Retentions, error) {
	return func(ctx context.Context, tenant profile.Tenant) (catalog.Retentions, error) {
		s, err := cat.Settings(ctx, tenant)
		if err != nil {
			return catalog.Retentions{}, err
		}
		if s.Deleted != nil {
			return catalog.Retentions{Raw: 1}, nil // nanosecond
		}
		return cat.Retentions(ctx, tenant)
	}
}

// maxAgeOf tells uploads how old a tenant's profiles may be. While that cannot be learned
// they are taken: it is better to hide one later than to lose it now.
func maxAgeOf(ctx context.Context, cat *catalog.Catalog) func(profile.Tenant) (time.Duration, error) {
	return func(tenant profile.Tenant) (time.Duration, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if s, err := cat.Settings(ctx, tenant); err == nil && s.Deleted != nil {
			return 0, fmt.Errorf("tenant %s was deleted, and is not to be used again: %w", tenant, profile.ErrInvalid)
		}
		r, err := cat.Retentions(ctx, tenant)
		if err != nil {
			return 0, nil //nolint:nilerr // see above
		}
		return time.Duration(r.Raw), nil
	}
}

// shardsOf is over how many shards a tenant is spread: as the flag says, or its settings.
func shardsOf(ctx context.Context, cat *catalog.Catalog, tenant profile.Tenant, flag int) (int, error) {
	if flag > 0 {
		return flag, nil
	}
	s, err := cat.Settings(ctx, tenant)
	if err != nil {
		return 0, fmt.Errorf("how many shards has tenant %s? %s: %w", tenant, block.TenantKey(tenant), err)
	}
	return max(1, s.Shards), nil
}

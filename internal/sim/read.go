package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// ever is a range that has all profiles.
var ever = profile.TimeRange{From: time.Unix(0, 0), To: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}

// read asks for everything now and then, and holds the answer against the laws.
func (c *client) read() {
	cat := c.catalog()
	for sleep(c.ctx, c.seconds(40, 180)) == nil {
		tenant := c.w.randomShard(c.rng).tenant
		v, err := c.look(cat, tenant)
		switch {
		case err == nil:
			c.w.laws.seen(v)
		case errors.Is(err, bucket.ErrNotExist):
			if age := c.w.now().Sub(v.snapshot.Time); age < c.w.grace {
				c.w.laws.breakWith("%s: what a snapshot of %s ago names is gone: %v", c.name, age, err)
			}
		default:
			c.expected(err)
		}
	}
}

// view is what a reader found.
type view struct {
	tenant   profile.Tenant
	began    time.Time
	snapshot *catalog.Snapshot
	blocks   []*content
	l0s      []*content
}

// look takes a snapshot and reads all that it names. When that fails the view has the
// snapshot at most.
func (c *client) look(cat *catalog.Catalog, tenant profile.Tenant) (view, error) {
	v := view{tenant: tenant, began: c.w.now()}
	var err error
	if v.snapshot, err = cat.Snapshot(c.ctx, tenant); err != nil {
		return v, err
	}
	blocks, err := v.snapshot.Blocks(c.ctx, ever)
	if err != nil {
		return v, err
	}
	blocks = slices.DeleteFunc(blocks, func(b catalog.Block) bool { return b.Expired })
	l0s := v.snapshot.L0(ever, profile.Selector{})
	if c.role == reading && c.rng.IntN(2) == 0 { // it has much else to do
		if err := sleep(c.ctx, c.seconds(5, 60)); err != nil {
			return v, err
		}
	}
	v.blocks, v.l0s = make([]*content, len(blocks)), make([]*content, len(l0s))
	g, ctx := errgroup.WithContext(c.ctx)
	g.SetLimit(8)
	for i, b := range blocks {
		g.Go(func() (err error) {
			v.blocks[i], err = c.fetch(ctx, b.Key(tenant, b.Shard), parseBlock)
			return err
		})
	}
	for i, l0 := range l0s {
		g.Go(func() (err error) {
			v.l0s[i], err = c.fetch(ctx, l0.String(), func(data []byte) (*content, error) { return parseL0(&c.w.laws.unzip, data) })
			if errors.Is(err, block.ErrCorrupt) { // a query leaves it out and says so
				v.l0s[i], err = &content{}, nil
			}
			return err
		})
	}
	return v, g.Wait()
}

// fetch reads an object whole. What is in it is not parsed again: objects do not change,
// and the version says so.
func (c *client) fetch(ctx context.Context, key string, parse func([]byte) (*content, error)) (*content, error) {
	data, version, err := c.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	c.w.laws.mu.Lock()
	defer c.w.laws.mu.Unlock()
	if known := c.w.laws.parsed[version]; known != nil {
		return known, nil
	}
	found, err := parse(data)
	if b := c.w.laws.blocks[key]; err != nil && b != nil && b.damaged {
		return b.content, nil // a query leaves it out and says so: all that is missing is told
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	c.w.laws.parsed[version] = found
	return found, nil
}

package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/profile"
)

// Restore writes h as the first version of a shard's HEAD, where there is none or one
// that is broken. Of h it takes Sealed, Swept, Live and Commits. A HEAD that can be
// read, or that a newer coldframe has written, it leaves alone: [ErrConflict] or
// [ErrNewer]. Like a commit, it may have landed after any other error.
func (c *Catalog) Restore(ctx context.Context, tenant profile.Tenant, shard block.Shard, h Head) error {
	key := block.HeadKey(tenant, shard)
	data, version, err := c.bkt.Get(ctx, key)
	if err == nil {
		_, err = ParseHead(data)
		switch {
		case err == nil:
			return fmt.Errorf("%s is sound and stays: %w", key, ErrConflict)
		case errors.Is(err, ErrNewer):
			return fmt.Errorf("%s: %w", key, err)
		}
	} else if !errors.Is(err, bucket.ErrNotExist) {
		return err
	}
	now, err := c.bkt.Now(ctx)
	if err != nil {
		return err
	}
	txn := c.cfg.NewID(now)
	h = Head{V: format, Seq: 1, Txn: txn, Txns: []block.ID{txn}, Sealed: h.Sealed, Swept: h.Swept, Live: h.Live, Commits: h.Commits}.clone()
	if err := h.add(nil); err != nil { // sorts
		return err
	}
	if err := h.validate(); err != nil {
		return err
	}
	t := transaction{c: c, tenant: tenant, shard: shard}
	if data, err = t.fit(ctx, &h); err != nil {
		return err
	}
	_, err = c.bkt.Replace(ctx, key, data, version)
	return err
}

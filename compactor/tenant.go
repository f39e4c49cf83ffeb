package compactor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// ClassSize is how much a tenant has of one class of objects.
type ClassSize struct {
	Class   block.Class
	Objects int
	Bytes   int64
}

// ofTenants are the classes of which a deleted tenant has nothing. Its HEADs and its settings
// stay: they are what keeps those away who do not know yet that it is deleted.
var ofTenants = [...]block.Class{
	block.ClassL0, block.ClassB1, block.ClassB2, block.ClassB3, block.ClassB4, block.ClassR4,
	block.ClassManifest, block.ClassDebuginfo, block.ClassTmp, block.ClassStatus,
}

// MeasureTenant tells what [Compactor.DeleteTenant] would delete. It lists all of it.
func (c *Compactor) MeasureTenant(ctx context.Context, tenant profile.Tenant) ([]ClassSize, error) {
	var all []ClassSize
	for _, class := range ofTenants {
		size := ClassSize{Class: class}
		for o, err := range c.bkt.List(ctx, class.TenantPrefix(tenant)) {
			if err != nil {
				return all, err
			}
			if !isHead(o.Key) {
				size.Objects++
				size.Bytes += o.Size
			}
		}
		all = append(all, size)
	}
	return all, nil
}

// isHead says whether a key is a HEAD's.
func isHead(key string) bool {
	return strings.HasPrefix(key, block.ClassManifest.Prefix()) && strings.HasSuffix(key, "/HEAD")
}

// DeleteTenant deletes all that a tenant has. It may run while others upload, compact and
// query: its settings say first that it is deleted, by which queries and ingest go a few
// seconds later; then its HEADs are emptied, so that what is being merged has no ground
// any more to be committed upon; and then its objects go. What hosts still upload is never
// read, and goes with the lifecycle or with the next call.
//
// told is called from time to time with what is deleted of a class so far. A call that was
// cut short is to be repeated.
func (c *Compactor) DeleteTenant(ctx context.Context, tenant profile.Tenant, told func(ClassSize)) error {
	now, err := c.bkt.Now(ctx)
	if err != nil {
		return err
	}
	if _, err := c.cat.ChangeSettings(ctx, tenant, func(s *catalog.Settings) {
		if s.Deleted == nil {
			s.Deleted = &now
		}
	}); err != nil {
		return fmt.Errorf("mark tenant %s as deleted: %w", tenant, err)
	}
	return c.erase(ctx, tenant, told)
}

// erase deletes the objects of a tenant that is marked as deleted.
func (c *Compactor) erase(ctx context.Context, tenant profile.Tenant, told func(ClassSize)) error {
	now, err := c.bkt.Now(ctx)
	if err != nil {
		return err
	}
	shards, err := c.cat.Shards(ctx, tenant)
	if err != nil {
		return err
	}
	for _, s := range shards {
		// The next minute too: an uploader's clock may be ahead.
		if _, err := c.cat.Commit(ctx, tenant, s, catalog.Clear{To: catalog.MinuteOf(now) + 1}); err != nil {
			return fmt.Errorf("clear shard %s: %w", s, err)
		}
	}
	var errs []error
	for _, class := range ofTenants {
		if err := c.eraseClass(ctx, tenant, class, told); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// eraseAtATime is how many objects are deleted between two reports.
const eraseAtATime = 1000

func (c *Compactor) eraseClass(ctx context.Context, tenant profile.Tenant, class block.Class, told func(ClassSize)) error {
	size := ClassSize{Class: class}
	g := c.deletions()
	for o, err := range c.bkt.List(ctx, class.TenantPrefix(tenant)) {
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		if isHead(o.Key) {
			continue
		}
		g.Go(func() error { return c.bkt.Delete(ctx, o.Key) })
		size.Objects++
		size.Bytes += o.Size
		if size.Objects%eraseAtATime == 0 {
			told(size)
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if size.Objects > 0 {
		told(size)
	}
	return nil
}

// deletions runs deletions, several at a time.
func (c *Compactor) deletions() *errgroup.Group {
	g := new(errgroup.Group)
	g.SetLimit(c.cfg.Readers)
	return g
}

// errDeleted ends the work for a shard whose tenant was deleted.
var errDeleted = errors.New("the tenant was deleted")

// admit ends the work for a shard of a tenant that was deleted, or whose data is of a format that
// this coldframe does not know.
func (c *Compactor) admit(ctx context.Context, s shard) (done bool, err error) {
	settings, err := c.cat.Settings(ctx, s.tenant)
	if err == nil && settings.Deleted != nil {
		err = errDeleted
	}
	return true, err
}

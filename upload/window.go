package upload

import (
	"context"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/coldframe/coldframe/block/pprofblock"
	"github.com/coldframe/coldframe/profile"
)

// gathering is a block in the making.
type gathering struct {
	builder *pprofblock.Builder
	size    int64 // of memory reserved for it

	// Of pushes only:
	ended *time.Timer   // nil when it ends without one
	done  chan struct{} // closed when err is known
	err   error
}

// Add takes profiles of a tenant for the window, all or none, and returns at once;
// they are in the bucket some time after the window's end.
//
// What cannot be stored is profile.ErrInvalid. While the bucket is away the oldest blocks
// make room for new ones; ErrUnavailable says that even so there was none.
func (u *Uploader) Add(ctx context.Context, tenant profile.Tenant, profiles ...Profile) error {
	if len(profiles) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	packed, size, err := u.check(tenant, profiles)
	if err != nil {
		return err
	}
	if err := u.makeRoom(size); err != nil {
		return fmt.Errorf("tenant %s: %d profiles: %w", tenant, len(profiles), err)
	}
	if err := u.gather(tenant, packed, size); err != nil {
		u.backlog.release(size)
		return err
	}
	u.cfg.Observer.accepted(tenant, len(profiles), size)
	return nil
}

// gather puts profiles into the tenant's window, and ends it early when it is full.
func (u *Uploader) gather(tenant profile.Tenant, packed []*pprofblock.Packed, size int64) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return errClosed
	}
	u.began.Do(func() { u.workers.Go(u.keepTime) })
	g := u.windows[tenant]
	if g != nil && !u.fits(g, packed, size) {
		u.end(tenant, g)
		g = nil
	}
	if g == nil {
		g = u.newGathering()
		u.windows[tenant] = g
	}
	g.add(packed, size)
	if g.size >= u.cfg.FlushBytes {
		u.end(tenant, g)
	}
	return nil
}

// end hands a tenant's window to the backlog. u.mu is held.
func (u *Uploader) end(tenant profile.Tenant, g *gathering) {
	delete(u.windows, tenant)
	u.workers.Go(func() { u.enqueue(u.seal(tenant, g)) })
}

// endWindows ends all windows.
func (u *Uploader) endWindows() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for tenant, g := range u.windows {
		u.end(tenant, g)
	}
}

func (u *Uploader) newGathering() *gathering {
	now := u.now()
	return &gathering{builder: pprofblock.NewBuilder(u.cfg.NewID(now), u.cfg.Agent, now)}
}

// fits says whether a block should take more. One that is empty takes anything.
func (u *Uploader) fits(g *gathering, packed []*pprofblock.Packed, size int64) bool {
	return g.size+size <= u.cfg.FlushBytes && g.builder.Len()+len(packed) <= pprofblock.MaxProfiles
}

func (g *gathering) add(packed []*pprofblock.Packed, size int64) {
	for _, p := range packed {
		if err := g.builder.Append(p); err != nil {
			panic(fmt.Sprintf("upload: a block does not hold what was checked: %v", err))
		}
	}
	g.size += size
}

// keepTime ends windows when it is time.
func (u *Uploader) keepTime() {
	for {
		select {
		case <-u.running.Done():
			return
		case <-time.After(u.untilWindowEnds(time.Now())):
			u.endWindows()
		}
	}
}

// untilWindowEnds is never 0. Windows end when the time since 1970, less a part of a
// window that depends on the agent, is a multiple of the window.
func (u *Uploader) untilWindowEnds(now time.Time) time.Duration {
	phase := int64(xxhash.Sum64String(u.cfg.Agent) % uint64(u.cfg.Window))
	gone := (now.UnixNano() - phase) % int64(u.cfg.Window)
	if gone < 0 {
		gone += int64(u.cfg.Window)
	}
	return u.cfg.Window - time.Duration(gone)
}

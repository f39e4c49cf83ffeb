package upload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/profile"
)

// lane is what a tenant's pushes share: those that come while a PUT is under way
// wait for its end, or for PushDelay, and go together.
type lane struct {
	open     *gathering // nil when none waits
	underWay int        // PUTs
}

// Push stores profiles of a tenant, all or none, and returns when the object that
// holds them is in the bucket: then they are durable.
//
// What cannot be stored is profile.ErrInvalid. ErrUnavailable says that they are not
// known to be stored: the bucket did not take them in time, too much waits already, or ctx
// ended. They are not tried again. A client that sends them again does not make
// them count twice, even if the first try has landed: profiles with the same series,
// time and content are one.
func (u *Uploader) Push(ctx context.Context, tenant profile.Tenant, profiles ...Profile) error {
	if len(profiles) == 0 {
		return nil
	}
	err := u.push(ctx, tenant, profiles)
	if err != nil && !errors.Is(err, profile.ErrInvalid) {
		u.cfg.Observer.refused(tenant, len(profiles), err)
		return fmt.Errorf("tenant %s: push of %d profiles: %w", tenant, len(profiles), err)
	}
	return err
}

func (u *Uploader) push(ctx context.Context, tenant profile.Tenant, profiles []Profile) error {
	packed, size, err := u.check(tenant, profiles)
	if err != nil {
		return err
	}
	if !u.backlog.reserve(size) {
		return errMemory
	}
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		u.backlog.release(size)
		return errClosed
	}
	l := u.lanes[tenant]
	if l == nil {
		l = &lane{}
		u.lanes[tenant] = l
	}
	if l.open != nil && !u.fits(l.open, packed, size) {
		u.flush(tenant, l)
	}
	if l.open == nil {
		l.open = u.newGathering()
		l.open.done = make(chan struct{})
	}
	g := l.open
	g.add(packed, size)
	switch {
	case l.underWay == 0 || g.size >= u.cfg.FlushBytes:
		u.flush(tenant, l)
	case g.ended == nil:
		g.ended = time.AfterFunc(u.cfg.PushDelay, func() { u.flushIfOpen(tenant, l, g) })
	}
	u.mu.Unlock()
	u.cfg.Observer.accepted(tenant, len(profiles), size)
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
}

func (u *Uploader) flushIfOpen(tenant profile.Tenant, l *lane, g *gathering) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if l.open == g {
		u.flush(tenant, l)
	}
}

// flush sends what waits in a lane, if anything does. u.mu is held.
func (u *Uploader) flush(tenant profile.Tenant, l *lane) {
	g := l.open
	if g == nil {
		return
	}
	if g.ended != nil {
		g.ended.Stop()
	}
	l.open = nil
	l.underWay++
	u.workers.Go(func() {
		g.err = u.commit(tenant, g)
		close(g.done)
		u.landed(tenant, l)
	})
}

// landed is called after each PUT of a lane.
func (u *Uploader) landed(tenant profile.Tenant, l *lane) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if l.underWay--; l.underWay > 0 {
		return
	}
	u.flush(tenant, l)
	if l.underWay == 0 {
		delete(u.lanes, tenant)
	}
}

// commit writes a group's block, and tries again for as long as its pushers wait.
func (u *Uploader) commit(tenant profile.Tenant, g *gathering) error {
	ctx, cancel := context.WithTimeout(u.running, u.cfg.PushTimeout)
	defer cancel()
	p := u.seal(tenant, g)
	for pause := firstPushPause; ; pause = min(2*pause, maxPushPause) {
		err := u.put(ctx, p)
		if err == nil {
			u.done(p)
			return nil
		}
		if !errors.Is(err, bucket.ErrDenied) {
			select {
			case <-time.After(pause/2 + u.cfg.Jitter(pause/2)):
				u.cfg.Observer.retry(p, err)
				continue
			case <-ctx.Done():
			}
		}
		u.forget(p)
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

// Pauses between the tries of a push.
const (
	firstPushPause = 100 * time.Millisecond
	maxPushPause   = 2 * time.Second
)

package upload

import (
	"errors"
	"fmt"

	"github.com/coldframe/coldframe/block"
)

// send sends what the backlog hands out, until the end.
func (u *Uploader) send() {
	for p := u.backlog.take(u.running); p != nil; p = u.backlog.take(u.running) {
		err := u.put(u.running, p)
		switch {
		case err == nil:
			u.backlog.sent(true)
			u.done(p)
		case errors.Is(err, errExpired):
			u.lose(p, Expired, err)
		case errors.Is(err, block.ErrCorrupt):
			u.lose(p, SpoolCorrupt, err)
		default:
			u.backlog.sent(false)
			if u.running.Err() == nil {
				u.cfg.Observer.retry(p, err)
			}
			u.backlog.put(p)
			u.keepAll()
		}
	}
}

// keepAll moves what waits in memory into the spool, as far as there is room.
func (u *Uploader) keepAll() {
	for kept := u.spool != nil; kept; {
		p := u.backlog.pick(inMemory)
		if p == nil {
			return
		}
		kept = u.keep(p)
		u.backlog.put(p)
	}
}

func inMemory(p *parcel) bool { return p.data != nil }

func inSpool(p *parcel) bool { return p.file != "" }

// enqueue hands a parcel to the backlog. While the bucket is away that is by way of
// the spool, so that a crash loses as little as possible.
func (u *Uploader) enqueue(p *parcel) {
	if u.backlog.failing() {
		u.keep(p)
	}
	u.backlog.put(p)
}

// done is for a parcel that is in the bucket.
func (u *Uploader) done(p *parcel) {
	u.forget(p)
	u.cfg.Observer.written(p)
}

// lose is for a parcel that is given up.
func (u *Uploader) lose(p *parcel, reason Reason, err error) {
	u.forget(p)
	u.cfg.Observer.lost(Loss{Key: p.key, Profiles: p.profiles, Bytes: p.size, Reason: reason, Err: err})
}

// forget gives back what a parcel takes of memory and disk.
func (u *Uploader) forget(p *parcel) {
	if p.file != "" {
		u.spool.remove(p)
	}
	if p.data != nil {
		p.data = nil
		u.backlog.release(p.size)
	}
}

// makeRoom takes n bytes of memory. When there is not so much left, the oldest
// blocks that wait go into the spool, or are lost without one.
func (u *Uploader) makeRoom(n int64) error {
	if n > u.cfg.MemoryBytes {
		return errMemory
	}
	for !u.backlog.reserve(n) {
		p := u.backlog.pick(inMemory)
		if p == nil {
			return errMemory
		}
		if u.keep(p) {
			u.backlog.put(p)
			continue
		}
		u.lose(p, MemoryFull, errMemory)
	}
	return nil
}

var errMemory = fmt.Errorf("too many profiles wait in memory: %w", ErrUnavailable)

// keep moves a parcel from memory into the spool, whose oldest blocks are lost if they
// take too much. It says whether the parcel is there now.
func (u *Uploader) keep(p *parcel) bool {
	if u.spool == nil || p.file != "" {
		return p.file != ""
	}
	u.keeping.Lock()
	defer u.keeping.Unlock()
	for !u.spool.hasRoom(p.size) {
		oldest := u.backlog.pick(inSpool)
		if oldest == nil {
			return false
		}
		u.lose(oldest, SpoolFull, errSpoolFull)
	}
	if err := u.spool.write(p); err != nil {
		u.cfg.Observer.spoolFailed(err)
		return false
	}
	u.backlog.release(p.size)
	return true
}

var errSpoolFull = errors.New("the spool is full")

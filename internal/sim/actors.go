package sim

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/compactor"
	"github.com/coldframe/coldframe/internal/guard"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

// seconds is a random time between low and high.
func (c *client) seconds(low, high int) time.Duration {
	return time.Duration(1000*low+c.rng.IntN(1000*(high-low)+1)) * time.Millisecond
}

func (c *client) catalog() *catalog.Catalog {
	return catalog.New(c, catalog.Config{
		Window:       time.Duration(c.w.window) * time.Minute,
		MaxHeadBytes: c.w.headBytes,
		Attempts:     c.w.attempts,
		Backoff:      1, // nanosecond: the bucket's slowness is what keeps compactors apart, and it follows from the seed
		NewID:        c.newID,
	})
}

// upload runs the real uploader. Its process ends, in peace, when adding does.
func (c *client) upload(adding context.Context, tenant profile.Tenant, agent string) {
	u, err := upload.New(c, upload.Config{
		Agent:    agent,
		Shards:   c.w.shards,
		Window:   c.seconds(20, 110).Truncate(time.Second),
		RetryFor: c.w.retryFor,
		NewID:    c.newID,
		Jitter:   func(most time.Duration) time.Duration { return most / 3 },
		Observer: upload.Observer{
			Written: func(key block.L0Key, _ int, _ int64, _ time.Duration) { c.w.laws.acknowledged(key) },
			Lost:    func(upload.Loss) { c.w.laws.givenUp() },
		},
	})
	if err != nil {
		c.w.laws.breakWith("start an uploader: %v", err)
		return
	}
	for sleep(adding, c.seconds(10, 70)) == nil && c.ctx.Err() == nil {
		p := c.w.laws.newProfile(c.rng, tenant, c.w.now())
		if c.rng.IntN(8) == 0 {
			c.push(u, p)
			continue
		}
		err := u.Add(c.ctx, tenant, upload.Profile{Name: profileName, Labels: p.labels, Body: p.body})
		if err != nil && c.ctx.Err() == nil {
			c.w.laws.breakWith("add a profile: %v", err)
		}
	}
	closing, cancel := context.WithTimeout(c.ctx, 5*time.Minute)
	defer cancel()
	_ = u.Close(closing) // what is lost is told to the observer
}

// push is a client that waits for an answer, and tries once more if there is none. What it sends
// is then in the bucket twice if the first try has landed after all.
func (c *client) push(u *upload.Uploader, p *sent) {
	for range 2 {
		err := u.Push(c.ctx, p.tenant, upload.Profile{Name: profileName, Labels: p.labels, Body: p.body})
		if err == nil || c.ctx.Err() != nil {
			return
		}
		if !errors.Is(err, upload.ErrUnavailable) {
			c.w.laws.breakWith("push a profile: %v", err)
		}
		c.w.laws.triedAgain(p)
		if sleep(c.ctx, c.seconds(1, 20)) != nil {
			return
		}
	}
}

func (c *client) newCompactor(jobBytes int64) *compactor.Compactor {
	return compactor.New(c.catalog(), c, compactor.Config{
		Jobs:     16, // as many as there are shards, so that their order, which is random, does not matter
		JobBytes: jobBytes,
		Delete:   c.w.deletes,
		Grace:    c.w.grace,
		NewID:    c.newID,
		Observer: compactor.Observer{
			Committed:   func(j compactor.Job) { c.written(place{j.Tenant, j.Shard}) },
			Abandoned:   func(j compactor.Job, _ error) { c.abandoned(place{j.Tenant, j.Shard}) },
			Quarantined: func(key, _ string) { c.w.laws.quarantined(key) },
		},
	})
}

// compact runs the real compactor.
func (c *client) compact() {
	cmp := c.newCompactor(c.w.jobBytes)
	for sleep(c.ctx, c.seconds(2, 25)) == nil {
		round := cmp.RunDue
		if c.rng.IntN(8) == 0 {
			round = cmp.RunOnce
		}
		err := round(c.ctx)
		c.unheard(err != nil)
		c.expected(err)
	}
}

// abandoned tells of the blocks that were written for a shard's commit, which has conflicted.
func (c *client) abandoned(at place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range c.outputs[at] {
		c.w.laws.abandoned(key)
	}
	if !guard.Removed(guard.OwnOutput) {
		delete(c.outputs, at)
	}
}

// written forgets what was written for a shard's commit, which has landed.
func (c *client) written(at place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.outputs, at)
}

// unheard is called after each round. It forgets what was written for commits of which nothing
// is known; or, without the guard, does what no compactor must, and deletes it.
func (c *client) unheard(failed bool) {
	for _, at := range c.w.places {
		if failed {
			c.unwanted = append(c.unwanted, c.outputs[at]...)
			c.written(at)
		}
	}
	if !guard.Removed(guard.OwnOutput) {
		c.unwanted = nil
		return
	}
	c.unwanted = slices.DeleteFunc(c.unwanted, func(key string) bool { return c.Delete(c.ctx, key) == nil })
}

// expected breaks the run when err is none that faults make.
func (c *client) expected(err error) {
	if err == nil || c.ctx.Err() != nil {
		return
	}
	if errors.Is(err, errInjected) || errors.Is(err, catalog.ErrConflict) || strings.Contains(err.Error(), "HEAD kept changing") {
		return
	}
	c.w.laws.breakWith("%s fails for no fault of the bucket: %v", c.name, err)
}

// merge replaces random live blocks of a day by one, as the catalog lets everybody do.
func (c *client) merge() {
	cat, cmp := c.catalog(), c.newCompactor(0)
	for sleep(c.ctx, c.seconds(5, 30)) == nil {
		err := c.mergeOnce(cat, cmp, c.w.randomShard(c.rng))
		c.unheard(err != nil)
		c.expected(err)
	}
}

func (c *client) mergeOnce(cat *catalog.Catalog, cmp *compactor.Compactor, at place) error {
	h, err := cat.Head(c.ctx, at.tenant, at.shard)
	if err != nil || len(h.Live) < 2 {
		return err
	}
	day := h.Live[c.rng.IntN(len(h.Live))].Day
	level := block.L1
	var in []block.Meta
	for _, i := range c.rng.Perm(len(h.Live)) {
		if m := h.Live[i]; m.Day == day && m.Bad == "" && !m.Expired && len(in) < 2+c.rng.IntN(5) {
			in = append(in, m)
			level = max(level, m.Level)
		}
	}
	if len(in) < 2 {
		return nil
	}
	return cmp.Merge(c.ctx, at.tenant, at.shard, min(level+1, block.L4), in)
}

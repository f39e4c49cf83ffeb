package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/bucket"
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
		err := u.Add(c.ctx, tenant, upload.Profile{Name: profileName, Labels: p.labels, Body: p.body})
		if err != nil && c.ctx.Err() == nil {
			c.w.laws.breakWith("add a profile: %v", err)
		}
	}
	closing, cancel := context.WithTimeout(c.ctx, 5*time.Minute)
	defer cancel()
	_ = u.Close(closing) // what is lost is told to the observer
}

func (c *client) newCompactor(jobBytes int64) *compactor.Compactor {
	return compactor.New(c.catalog(), c, compactor.Config{
		Jobs:     16, // as many as there are shards, so that their order, which is random, does not matter
		JobBytes: jobBytes,
		NewID:    c.newID,
		Observer: compactor.Observer{Committed: func(j compactor.Job) { c.written(place{j.Tenant, j.Shard}) }},
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
		if guard.Removed(guard.OwnOutput) {
			c.deleteOutputs(err != nil)
		}
		c.expected(err)
	}
}

// written forgets what was written for a shard's commit, which has landed.
func (c *client) written(at place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.outputs, at)
}

// deleteOutputs does what no compactor must: it deletes what was written for commits of
// which no success is known.
func (c *client) deleteOutputs(failed bool) {
	for _, at := range c.w.places {
		if failed {
			c.unwanted = append(c.unwanted, c.outputs[at]...)
			c.written(at)
		}
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

// merge replaces random live blocks of a day by one that has their profiles, as the
// catalog lets everybody do.
func (c *client) merge() {
	cat := c.catalog()
	for sleep(c.ctx, c.seconds(5, 30)) == nil {
		at := c.w.randomShard(c.rng)
		c.expected(c.mergeOnce(cat, at))
	}
}

func (c *client) mergeOnce(cat *catalog.Catalog, at place) error {
	h, err := cat.Head(c.ctx, at.tenant, at.shard)
	if err != nil || len(h.Live) < 2 {
		return err
	}
	day := h.Live[c.rng.IntN(len(h.Live))].Day
	var in []block.Meta
	for _, i := range c.rng.Perm(len(h.Live)) {
		if m := h.Live[i]; m.Day == day && len(in) < 2+c.rng.IntN(5) {
			in = append(in, m)
		}
	}
	if len(in) < 2 {
		return nil
	}
	out, err := c.mergeBlocks(at, in)
	if errors.Is(err, bucket.ErrNotExist) {
		if h, err := cat.Head(c.ctx, at.tenant, at.shard); err == nil && liveIn(h, in) {
			return errors.New("a live block is gone")
		}
		return nil
	}
	if err != nil {
		return err
	}
	ids := make([]block.ID, len(in))
	for i, m := range in {
		ids[i] = m.ID
	}
	_, err = cat.Commit(c.ctx, at.tenant, at.shard, catalog.Merge{In: ids, Out: []block.Meta{out}})
	if errors.Is(err, catalog.ErrConflict) {
		c.w.laws.abandoned(out.Key(at.tenant, at.shard))
	}
	return err
}

func liveIn(h catalog.Head, in []block.Meta) bool {
	for _, m := range in {
		if !slices.ContainsFunc(h.Live, func(l block.Meta) bool { return l.ID == m.ID }) {
			return false
		}
	}
	return true
}

// mergeBlocks writes a block with the profiles of others.
func (c *client) mergeBlocks(at place, in []block.Meta) (block.Meta, error) {
	b, err := arrowblock.NewBuilder(arrowblock.Config{Range: in[0].Day.Range(), Uncompressed: true})
	if err != nil {
		return block.Meta{}, err
	}
	for _, m := range in {
		data, _, err := c.Get(c.ctx, m.Key(at.tenant, at.shard))
		if err != nil {
			return block.Meta{}, err
		}
		content, err := parseBlock(data)
		if err != nil {
			return block.Meta{}, fmt.Errorf("%s: %w", m.ID, err)
		}
		for _, hash := range content.hashes {
			p := c.w.laws.profile(hash)
			if _, err := b.AddPprof(arrowblock.Key{Name: profileName, Labels: p.labels, Time: p.at}, p.raw); err != nil {
				return block.Meta{}, err
			}
		}
		for _, s := range content.sources {
			b.AddSource(s)
		}
	}
	var data bytes.Buffer
	meta, err := b.Finish(&data)
	if err != nil {
		return block.Meta{}, err
	}
	meta.ID, meta.Level = c.newID(c.w.now()), block.L2
	return meta, c.Create(c.ctx, meta.Key(at.tenant, at.shard), &data, int64(data.Len()))
}

// deleteOld deletes what a commit has superseded, a grace after it has seen that.
func (c *client) deleteOld() {
	cat := c.catalog()
	d := deleter{c: c, live: map[string]bool{}, superseded: map[string]time.Time{}, swept: map[place]map[catalog.Minute]time.Time{}}
	for sleep(c.ctx, c.seconds(10, 60)) == nil {
		for _, at := range c.w.places {
			c.expected(d.round(cat, at))
		}
	}
}

// deleter knows what it has seen live.
type deleter struct {
	c          *client
	live       map[string]bool      // by key
	superseded map[string]time.Time // since when a block is known not to be live, by key
	swept      map[place]map[catalog.Minute]time.Time
}

func (d *deleter) round(cat *catalog.Catalog, at place) error {
	h, err := cat.Head(d.c.ctx, at.tenant, at.shard)
	if err != nil {
		return err
	}
	live := map[string]bool{}
	for _, m := range h.Live {
		live[m.Key(at.tenant, at.shard)] = true
	}
	for _, p := range h.Arch {
		entries, err := cat.Archive(d.c.ctx, at.tenant, at.shard, p)
		if err != nil {
			return err
		}
		for _, m := range entries {
			live[m.Key(at.tenant, at.shard)] = true
		}
	}
	named := map[string]bool{}
	for _, g := range h.Commits {
		for _, o := range g.Out {
			named[o.Key(at.tenant, at.shard)] = true
		}
	}
	now := d.c.w.now()
	grace := d.c.w.grace
	if guard.Removed(guard.Grace) {
		grace = 0
	}
	for _, class := range [...]block.Class{block.ClassB1, block.ClassB2} {
		for o, err := range d.c.List(d.c.ctx, class.ShardPrefix(at.tenant, at.shard)) {
			if err != nil {
				return err
			}
			since, known := d.superseded[o.Key]
			switch {
			case live[o.Key]:
				d.live[o.Key] = true
			case !d.live[o.Key]: // of a commit that is under way, or an orphan
			case !known:
				d.superseded[o.Key] = now
				since = now
				fallthrough
			default:
				if named[o.Key] && !guard.Removed(guard.GatheredStay) || now.Sub(since) < grace {
					continue
				}
				if err := d.c.Delete(d.c.ctx, o.Key); err != nil {
					return err
				}
			}
		}
	}
	return d.pprofBlocks(cat, at, h, now, grace)
}

// pprofBlocks deletes those of minutes that no sweep looks at again.
func (d *deleter) pprofBlocks(cat *catalog.Catalog, at place, h catalog.Head, now time.Time, grace time.Duration) error {
	upTo := h.SweepFrom(cat.Window())
	if d.swept[at] == nil {
		d.swept[at] = map[catalog.Minute]time.Time{}
	}
	for l0, err := range cat.L0s(d.c.ctx, at.tenant, at.shard, 0, upTo) {
		if err != nil {
			return err
		}
		m := catalog.MinuteOf(l0.Minute)
		if d.swept[at][m].IsZero() {
			d.swept[at][m] = now
		}
		if now.Sub(d.swept[at][m]) < grace {
			continue
		}
		if err := d.c.Delete(d.c.ctx, l0.String()); err != nil {
			return err
		}
	}
	return nil
}

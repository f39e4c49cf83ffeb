package compactor

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/internal/guard"
)

// Deletion is what was deleted of a shard, and why.
type Deletion struct {
	Retired int   // blocks that were merged away, or expired with their tenant's retention
	L0s     int   // pprof blocks that are in others
	Orphans int   // blocks that no HEAD has named for as long as their class lives
	Bytes   int64 // of orphans and pprof blocks; those of the others are not known
}

func (d Deletion) objects() int { return d.Retired + d.L0s + d.Orphans }

// tidyEvery is how often RunDue looks for what is to expire and to be deleted.
const tidyEvery = 10 * time.Minute

// tidy deletes what a shard needs no more, if the compactor is one that deletes, and lets go
// of days that are kept no longer.
func (c *Compactor) tidy(ctx context.Context, s shard) (done bool, err error) {
	if c.deletes() {
		if err := c.delete(ctx, s); err != nil {
			return false, err
		}
	}
	return true, c.expire(ctx, s)
}

// deletes says whether anything is deleted. Where HEAD is written without condition, an older
// one may come back, and with it what it names.
func (c *Compactor) deletes() bool { return c.cfg.Delete && c.bkt.CAS() != bucket.CASNone }

// delete deletes what was retired long enough ago, and tells HEAD.
func (c *Compactor) delete(ctx context.Context, s shard) error {
	h, err := c.cat.Head(ctx, s.tenant, s.Shard)
	if err != nil {
		return err
	}
	now, err := c.bkt.Now(ctx)
	if err != nil {
		return err
	}
	grace := c.cfg.Grace
	if guard.Removed(guard.Grace) {
		grace = 0
	}
	blocks, upTo := h.Deletable(now, grace)
	if len(blocks) == 0 && upTo == 0 {
		return nil
	}
	var deleted Deletion
	l0s, err := c.consumed(ctx, s, upTo)
	if err != nil {
		return err
	}
	keys := make([]string, 0, len(blocks)+len(l0s))
	for _, b := range blocks {
		keys = append(keys, b.Key(s.tenant, s.Shard))
	}
	for _, l0 := range l0s {
		keys = append(keys, l0.String())
		deleted.Bytes += l0.Size
	}
	if err := c.deleteAll(ctx, keys); err != nil {
		return err
	}
	deleted.Retired, deleted.L0s = len(blocks), len(l0s)
	if _, err := c.cat.Commit(ctx, s.tenant, s.Shard, catalog.Forget{Blocks: blocks, L0: upTo}); err != nil {
		return err
	}
	c.cfg.Observer.deleted(s, deleted)
	return nil
}

// consumed are the pprof blocks of the minutes up to upTo: all are in others. One that has
// landed so late that no sweep has seen it stays, for Check to tell of.
func (c *Compactor) consumed(ctx context.Context, s shard, upTo catalog.Minute) ([]catalog.L0, error) {
	var l0s []catalog.L0
	for l0, err := range c.cat.L0s(ctx, s.tenant, s.Shard, 0, upTo) {
		if err != nil {
			return nil, err
		}
		if !c.tooLate(l0) {
			l0s = append(l0s, l0)
		}
	}
	return l0s, nil
}

// tooLate says whether a pprof block landed so long after its minute that the last sweep of
// that minute may not have seen it: a minute less than the window, for clocks that differ.
func (c *Compactor) tooLate(l0 catalog.L0) bool {
	return l0.Modified.Sub(l0.Minute) >= time.Duration(c.cat.Window()-1)*time.Minute
}

// deleteAll deletes objects, several at a time. What fails is tried again with the rest by
// the next round.
func (c *Compactor) deleteAll(ctx context.Context, keys []string) error {
	g := c.deletions()
	for _, key := range keys {
		g.Go(func() error { return c.bkt.Delete(ctx, key) })
	}
	return g.Wait()
}

// live are all entries of a HEAD, those in arch parts too.
func (c *Compactor) live(ctx context.Context, s shard, h catalog.Head) ([]block.Meta, error) {
	live := slices.Clip(h.Live)
	for _, part := range h.Arch {
		old, err := c.cat.Archive(ctx, s.tenant, s.Shard, part)
		if err != nil {
			return nil, err
		}
		live = append(live, old...)
	}
	return live, nil
}

// named are the keys that a HEAD with these live blocks needs or remembers.
func named(s shard, h catalog.Head, live []block.Meta) map[string]bool {
	named := map[string]bool{block.HeadKey(s.tenant, s.Shard): true}
	for _, m := range live {
		named[m.Key(s.tenant, s.Shard)] = true
		named[m.RollupKey(s.tenant, s.Shard)] = true
	}
	for _, part := range h.Arch {
		named[block.ArchKey(s.tenant, s.Shard, part.ID)] = true
	}
	for _, commit := range h.Commits { // what was merged away is still read by sweeps
		for _, out := range commit.Out {
			named[out.Key(s.tenant, s.Shard)] = true
		}
	}
	for _, r := range h.Retired {
		for _, b := range r.Blocks {
			named[b.Key(s.tenant, s.Shard)] = true
		}
	}
	return named
}

// Audit is what lies in a shard's part of the bucket and is of no use.
type Audit struct {
	Orphans     int // objects that no HEAD names
	OrphanBytes int64
	TooLate     int // pprof blocks that landed too late to be merged, and are in no answer
}

// auditEvery is how often a shard is audited. It takes a listing of all that it has.
const auditEvery = 24 * time.Hour

// audit looks for what is of no use, and deletes the orphans that no commit can be about to
// name, if the compactor is one that deletes.
func (c *Compactor) audit(ctx context.Context, s shard) (done bool, err error) {
	h, err := c.cat.Head(ctx, s.tenant, s.Shard)
	if err != nil {
		return false, err
	}
	now, err := c.bkt.Now(ctx)
	if err != nil {
		return false, err
	}
	live, err := c.live(ctx, s, h)
	if err != nil {
		return false, err
	}
	orphans, err := c.orphans(ctx, s, named(s, h, live), now.Add(-orphanAge))
	if err != nil {
		return false, err
	}
	var a Audit
	var old []bucket.Object
	for _, o := range orphans {
		a.Orphans++
		a.OrphanBytes += o.Size
		if now.Sub(o.Modified) >= catalog.LifeOfBlocks {
			old = append(old, o)
		}
	}
	for l0, err := range c.cat.L0s(ctx, s.tenant, s.Shard, 0, h.SweepFrom(c.cat.Window())) {
		if err != nil {
			return false, err
		}
		if c.tooLate(l0) {
			a.TooLate++
		}
	}
	c.cfg.Observer.audited(s, a)
	if !c.deletes() || len(old) == 0 {
		return true, nil
	}
	return true, c.deleteOrphans(ctx, s, old)
}

// deleteOrphans deletes those that are named by no HEAD at a second look either.
func (c *Compactor) deleteOrphans(ctx context.Context, s shard, orphans []bucket.Object) error {
	h, err := c.cat.Head(ctx, s.tenant, s.Shard)
	if err != nil {
		return err
	}
	live, err := c.live(ctx, s, h)
	if err != nil {
		return err
	}
	stillNamed := named(s, h, live)
	var keys []string
	var deleted Deletion
	for _, o := range orphans {
		if !stillNamed[o.Key] {
			keys = append(keys, o.Key)
			deleted.Bytes += o.Size
		}
	}
	if err := c.deleteAll(ctx, keys); err != nil {
		return err
	}
	deleted.Orphans = len(keys)
	c.cfg.Observer.deleted(s, deleted)
	return nil
}

// orphanAge is how old a block must be to be called an orphan: the job that wrote a
// younger one may be about to commit it.
const orphanAge = time.Hour

// orphans are a shard's blocks and arch parts that are not named, written before a time.
func (c *Compactor) orphans(ctx context.Context, s shard, named map[string]bool, before time.Time) ([]bucket.Object, error) {
	var orphans []bucket.Object
	for _, class := range slices.Concat(blockClasses[:], []block.Class{block.ClassR4, block.ClassManifest}) {
		for o, err := range c.bkt.List(ctx, class.ShardPrefix(s.tenant, s.Shard)) {
			if err != nil {
				return nil, err
			}
			if !named[o.Key] && o.Modified.Before(before) {
				orphans = append(orphans, o)
			}
		}
	}
	return orphans, nil
}

// lifecycleLag is how much longer than its rule says a server may let an object live.
const lifecycleLag = 48 * time.Hour

// expire lets go of days that are kept no longer: by the tenant's retention if this
// compactor deletes, else by the bucket's, whose lifecycle has deleted them.
func (c *Compactor) expire(ctx context.Context, s shard) error {
	now, err := c.bkt.Now(ctx)
	if err != nil {
		return err
	}
	var r catalog.Retentions
	if c.deletes() {
		r, err = c.cat.Retentions(ctx, s.tenant)
	} else {
		var d catalog.Defaults
		d, err = c.cat.Defaults(ctx)
		r, now = d.Retentions(), now.Add(-lifecycleLag)
	}
	if err != nil || r.Raw == 0 {
		return err
	}
	h, err := c.cat.Head(ctx, s.tenant, s.Shard)
	if err != nil {
		return err
	}
	var change catalog.Expire
	change.Raw, change.Rollups = r.FirstDays(now)
	due := slices.ContainsFunc(h.Live, change.Touches)
	for _, part := range h.Arch {
		if block.DayOfMillis(part.MinTime) >= change.Raw {
			continue
		}
		entries, err := c.cat.Archive(ctx, s.tenant, s.Shard, part)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(entries, change.Touches) {
			change.Parts = append(change.Parts, catalog.OpenedPart{ID: part.ID, Entries: entries})
			due = true
		}
	}
	if !due {
		return nil
	}
	if _, err := c.cat.Commit(ctx, s.tenant, s.Shard, change); err != nil {
		return fmt.Errorf("expire days before %s: %w", change.Raw, err)
	}
	c.cfg.Observer.expired(s, change.Raw)
	return nil
}

// intervals remembers when something was last done for each shard.
type intervals struct {
	mu   sync.Mutex
	last map[shard]time.Time
}

// due says whether it was not done for at least every, and notes that it is done now.
func (i *intervals) due(s shard, now time.Time, every time.Duration) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if last, known := i.last[s]; known && now.Sub(last) < every {
		return false
	}
	if i.last == nil {
		i.last = map[shard]time.Time{}
	}
	i.last[s] = now
	return true
}

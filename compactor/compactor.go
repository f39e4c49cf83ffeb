// Package compactor merges what clients sent into what queries want.
//
// It reads the pprof blocks of the minutes that have ended, writes them as Arrow
// blocks, one a UTC day, and publishes those in the catalog in one commit, which
// makes the pprof blocks disappear from queries at the same moment. A sweep gathers
// stragglers, which landed in a minute after it was sealed. Blocks are merged into
// larger ones, of 15 minutes, of three hours, of a day, as these end.
//
// A compactor keeps nothing that it could not read again. It may be killed at any time
// and several may work on the same shard: one of them commits and the others have
// worked in vain. It never deletes what it wrote, not even after a commit that failed,
// because that may have landed all the same. It holds a bounded part of its input in
// memory. What it cannot read it names in the block that lacks it, tells the
// [Observer], and goes on.
package compactor

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// Compactor compacts the shards of a bucket. It may be used concurrently.
type Compactor struct {
	cat *catalog.Catalog
	bkt bucket.Bucket
	cfg Config

	mu       sync.Mutex
	looked   map[shard]catalog.Minute // up to which minute RunDue has looked
	shards   []shard                  // as RunDue has listed them last
	listedAt time.Time                // by the bucket's clock
	known    map[shard]sourceLists    // sources of the blocks that sweeps ask for

	tidied, audited intervals
	claims          claims
}

// Config tunes a [Compactor]. The zero Config is good for production.
type Config struct {
	// Tenants are whose shards to compact. Default: all that the bucket has.
	Tenants []profile.Tenant
	// Shards are which of the tenants' shards to compact. Default: all that there are.
	Shards []block.Shard

	// MemoryBytes is about what all jobs together hold, whatever the size of their input;
	// what Go has not collected yet comes on top, and about 30 MiB a job. Default 512 MiB.
	// With less, a job's output is cut into more blocks. A pprof block or a profile that
	// alone is larger than its part of the memory is read alone; a pprof block of more
	// than 256 MiB and more than half of a job's share is rejected.
	MemoryBytes int64

	// Jobs is how many shards are compacted at a time. Each has its share of the memory.
	// Default 2.
	Jobs int

	// JobBytes is how many bytes of pprof blocks a job reads, if one minute has not more.
	// Default 1 GiB. Less means that less work is lost to a crash or to another
	// compactor, and more that a backlog becomes fewer blocks.
	JobBytes int64

	// Readers is how many pprof blocks a job reads ahead. Default 8.
	Readers int

	// Lag is how long after its end a minute is sealed, by the bucket's clock. Default
	// 20 s. What arrives later is invisible until the next sweep; with more, queries read more pprof blocks.
	Lag time.Duration

	// SealNow has RunOnce seal the current minute too.
	SealNow bool

	// Every is how often Run looks for work. Default 30 s.
	Every time.Duration

	// SweepEvery is how long minutes may have been sealed before RunDue and Run look for
	// stragglers in them. Default 10 min, at most half of the catalog's window.
	SweepEvery time.Duration

	// Delete has objects deleted that are of no use any more, instead of leaving that to the
	// bucket's lifecycle: blocks that were merged away, pprof blocks that are in others,
	// days that are past their tenant's retention, and what commits in vain left behind, at the
	// end of its class's life. In a bucket without conditional writes nothing is deleted.
	Delete bool

	// Grace is how long after the commit that put an object out of use it is deleted; 1 h. A
	// query that takes longer, or an answer from a snapshot that old, may miss it.
	Grace time.Duration

	// Claim is about how long RunDue lets other compactors know that this one looks after a shard, and
	// how long it leaves a shard alone that another looks after; 0: not at all. Claims save
	// work that would be in vain. They cost two requests a shard in that time, and
	// a shard waits that long for another compactor when its own is killed.
	Claim time.Duration
	// Name tells this compactor from others, in claims. Default: a random one.
	Name string

	// TempDir is where outputs lie that are too large for memory. Default [os.TempDir].
	TempDir string

	// NewID makes the IDs of blocks. Default [block.NewID].
	NewID func(time.Time) block.ID

	Observer Observer
}

// shard is one line of blocks, with a HEAD of its own.
type shard struct {
	tenant profile.Tenant
	block.Shard
}

func (s shard) String() string { return string(s.tenant) + "/" + s.Shard.String() }

// New returns a compactor of the bucket that cat is of.
func New(cat *catalog.Catalog, bkt bucket.Bucket, cfg Config) *Compactor {
	cfg.MemoryBytes = cmp.Or(max(0, cfg.MemoryBytes), 512<<20)
	cfg.Jobs = cmp.Or(max(0, cfg.Jobs), 2)
	cfg.JobBytes = cmp.Or(max(0, cfg.JobBytes), 1<<30)
	cfg.Readers = cmp.Or(max(0, cfg.Readers), 8)
	cfg.Lag = cmp.Or(max(0, cfg.Lag), 20*time.Second)
	cfg.Every = cmp.Or(max(0, cfg.Every), 30*time.Second)
	cfg.SweepEvery = min(cmp.Or(max(0, cfg.SweepEvery), 10*time.Minute), time.Duration(cat.Window()/2)*time.Minute)
	cfg.Grace = cmp.Or(max(0, cfg.Grace), time.Hour)
	if cfg.NewID == nil {
		cfg.NewID = block.NewID
	}
	if cfg.Name == "" {
		cfg.Name = block.NewID(time.Now()).String()
	}
	return &Compactor{
		claims: claims{bkt: bkt, by: cfg.Name, last: max(0, cfg.Claim), own: map[shard]time.Time{}},
		cat:    cat,
		bkt:    bkt,
		cfg:    cfg,
		looked: map[shard]catalog.Minute{},
		known:  map[shard]sourceLists{},
	}
}

// RunOnce seals every full minute of every shard, or also the current one, sweeps, merges
// blocks of every level that is due, deletes what may be deleted, and returns when nothing is
// left to do. One shard's failure does not keep the others from being compacted; all
// failures are in the error.
func (c *Compactor) RunOnce(ctx context.Context) error {
	now, err := c.bkt.Now(ctx)
	if err != nil {
		return err
	}
	upTo := lastEnded(now, c.cfg.Lag)
	if c.cfg.SealNow {
		upTo = catalog.MinuteOf(now)
	}
	shards, err := c.listShards(ctx)
	if err != nil {
		return err
	}
	var all []*work
	for _, s := range shards {
		steps := c.compact(s, upTo, 0)
		tidy := func(ctx context.Context) (bool, error) { return c.tidy(ctx, s) }
		all = append(all, &work{shard: s, steps: slices.Insert(steps, 1, tidy)})
	}
	return c.inTurns(ctx, all)
}

// RunDue is RunOnce of what is due: full minutes at which it has not looked yet, and a
// sweep of shards of which more than SweepEvery is not swept, and merges; every ten
// minutes deletion, and once a day a look for what is of no use.
func (c *Compactor) RunDue(ctx context.Context) error {
	now, err := c.bkt.Now(ctx)
	if err != nil {
		return err
	}
	shards, err := c.recentShards(ctx, now)
	if err != nil {
		return err
	}
	upTo := lastEnded(now, c.cfg.Lag)
	var all []*work
	for _, s := range shards {
		if !c.firstLook(s, upTo) || !c.claims.take(ctx, s, now) {
			continue
		}
		w := &work{shard: s, steps: c.compact(s, upTo, c.cfg.SweepEvery)}
		if c.tidied.due(s, now, tidyEvery) {
			w.steps = append(w.steps, func(ctx context.Context) (bool, error) { return c.tidy(ctx, s) })
		}
		if c.audited.due(s, now, auditEvery) {
			w.steps = append(w.steps, func(ctx context.Context) (bool, error) { return c.audit(ctx, s) })
		}
		w.failed = func() {
			c.forgetLook(s)
			c.claims.drop(ctx, s)
		}
		all = append(all, w)
	}
	return c.inTurns(ctx, all)
}

// compact seals a shard up to a minute, sweeps it if that much is not swept, and merges
// what is due.
func (c *Compactor) compact(s shard, upTo catalog.Minute, unswept time.Duration) []step {
	swept := false
	return []step{
		func(ctx context.Context) (bool, error) { return c.admit(ctx, s) },
		func(ctx context.Context) (bool, error) { return c.sealNext(ctx, s, upTo) },
		func(ctx context.Context) (done bool, err error) {
			swept, err = c.look(ctx, s, unswept)
			return true, err
		},
		func(ctx context.Context) (bool, error) {
			if swept {
				return true, nil
			}
			return c.sweepNext(ctx, s)
		},
		func(ctx context.Context) (bool, error) { return c.promoteNext(ctx, s, upTo) },
	}
}

// look tells how far a shard is sealed, and says whether it is swept far enough.
func (c *Compactor) look(ctx context.Context, s shard, unswept time.Duration) (swept bool, err error) {
	h, err := c.cat.Head(ctx, s.tenant, s.Shard)
	if err != nil {
		return false, err
	}
	now, err := c.bkt.Now(ctx)
	if err != nil {
		return false, err
	}
	c.cfg.Observer.sealed(s, now.Sub((h.Sealed + 1).Time()))
	return !sweepDue(h, unswept), nil
}

// Run calls RunDue again and again until ctx ends. Failures are told to the Observer.
func (c *Compactor) Run(ctx context.Context) {
	// Compactors that were started together should not work in step.
	timer := time.NewTimer(rand.N(min(c.cfg.Every, time.Second)))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := c.RunDue(ctx); err != nil && ctx.Err() == nil {
			c.cfg.Observer.failed(err)
		}
		timer.Reset(c.cfg.Every)
	}
}

// relist is how long RunDue goes by a list of shards. Queries find new shards at
// once; that a new one's first pprof blocks are merged a little later costs nothing.
const relist = 5 * time.Minute

func (c *Compactor) recentShards(ctx context.Context, now time.Time) ([]shard, error) {
	c.mu.Lock()
	shards, age := c.shards, now.Sub(c.listedAt)
	c.mu.Unlock()
	if len(shards) > 0 && age < relist {
		return shards, nil
	}
	shards, err := c.listShards(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shards, c.listedAt = shards, now
	return shards, nil
}

func (c *Compactor) listShards(ctx context.Context) ([]shard, error) {
	tenants := c.cfg.Tenants
	if len(tenants) == 0 {
		var err error
		if tenants, err = c.cat.Tenants(ctx); err != nil {
			return nil, err
		}
	}
	var all []shard
	for _, tenant := range tenants {
		shards, err := c.cat.Shards(ctx, tenant)
		if err != nil {
			return nil, err
		}
		for _, s := range shards {
			if len(c.cfg.Shards) == 0 || slices.Contains(c.cfg.Shards, s) {
				all = append(all, shard{tenant, s})
			}
		}
	}
	return all, nil
}

// firstLook says whether RunDue has not looked at the shard's minute yet: before the
// next minute has ended there is nothing new to seal, and no request is made.
func (c *Compactor) firstLook(s shard, upTo catalog.Minute) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.looked[s] >= upTo {
		return false
	}
	c.looked[s] = upTo
	return true
}

func (c *Compactor) forgetLook(s shard) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.looked, s)
}

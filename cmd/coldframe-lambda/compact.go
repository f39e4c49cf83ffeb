package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/compactor"
	"github.com/coldframe/coldframe/profile"
)

// compactEvent asks for compaction of one shard, or of all when it names none.
type compactEvent struct {
	Tenant profile.Tenant `json:"tenant,omitempty"`
	Shard  *block.Shard   `json:"shard,omitempty"`
}

// shard is one line of blocks.
type shard struct {
	tenant profile.Tenant
	block.Shard
}

// compacted is what became of it.
type compacted struct {
	Shards  int  `json:"shards"`            // compacted in this invocation
	Invoked int  `json:"invoked,omitempty"` // left to others
	Stopped bool `json:"stopped,omitempty"` // time was up; the next schedule goes on
}

// compactions are the compactors of an environment, which remember what they have
// seen of their shards, and whether the bucket has proven its conditions.
type compactions struct {
	mu     sync.Mutex
	of     map[shard]*compactor.Compactor
	probed bool
}

// compact does what is due in a shard. When there are several it has each done by an
// invocation of its own, and itself does nothing.
//
// Two invocations may work on one shard: one of them commits. One that is killed has done
// no harm, and one whose time is nearly up stops and says so, which is no error: the
// minutes that are left are the next invocation's.
func (f *function) compact(ctx context.Context, e compactEvent) (*compacted, error) {
	if e.Shard != nil {
		return f.compactShard(ctx, shard{e.Tenant, *e.Shard})
	}
	shards, err := f.shards(ctx, e.Tenant)
	if err != nil {
		return nil, err
	}
	done := &compacted{}
	if len(shards) > 1 && f.peers != nil {
		for _, s := range shards {
			if err := f.peers.send(ctx, event{Compact: &compactEvent{s.tenant, &s.Shard}}); err != nil {
				return nil, err
			}
			done.Invoked++
		}
		return done, nil
	}
	var failures []error
	for _, s := range shards {
		one, err := f.compactShard(ctx, s)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		done.Shards += one.Shards
		done.Stopped = done.Stopped || one.Stopped
	}
	return done, errors.Join(failures...)
}

func (f *function) shards(ctx context.Context, only profile.Tenant) ([]shard, error) {
	tenants := []profile.Tenant{only}
	if only == "" {
		var err error
		if tenants, err = f.cat.Tenants(ctx); err != nil {
			return nil, err
		}
	}
	var all []shard
	for _, tenant := range tenants {
		shards, err := f.cat.Shards(ctx, tenant)
		if err != nil {
			return nil, err
		}
		for _, s := range shards {
			all = append(all, shard{tenant, s})
		}
	}
	return all, nil
}

func (f *function) compactShard(ctx context.Context, s shard) (*compacted, error) {
	c, err := f.compactor(ctx, s)
	if err == nil {
		err = c.RunDue(ctx)
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		f.report.stopped(err)
		return &compacted{Stopped: true}, nil
	}
	if err != nil {
		return nil, err
	}
	return &compacted{Shards: 1}, nil
}

// jobBytesPerSecond is how much of pprof blocks a job takes on for each second that an
// invocation has: well below what even a small function merges, so that a backlog is
// worked off in jobs that end.
const jobBytesPerSecond = 2 << 20

func (f *function) compactor(ctx context.Context, s shard) (*compactor.Compactor, error) {
	f.compactions.mu.Lock()
	defer f.compactions.mu.Unlock()
	if !f.compactions.probed {
		warning, err := bucket.Probe(ctx, f.bkt)
		if err != nil {
			return nil, err
		}
		if warning != "" {
			f.report.logger().Warn("the bucket has no conditional writes: never have two compactions run at once", "found", warning)
		}
		f.compactions.probed = true
	}
	if c := f.compactions.of[s]; c != nil {
		return c, nil
	}
	cfg := compactor.Config{
		Tenants:     []profile.Tenant{s.tenant},
		Shards:      []block.Shard{s.Shard},
		MemoryBytes: (f.cfg.MemoryBytes - 96<<20) / 2,
		Jobs:        1,
		Delete:      f.cfg.Delete,
		Observer:    f.observeCompactor(),
	}
	if deadline, ok := ctx.Deadline(); ok {
		cfg.JobBytes = int64(time.Until(deadline).Seconds() * jobBytesPerSecond)
	}
	c := compactor.New(f.cat, f.bkt, cfg)
	if f.compactions.of == nil {
		f.compactions.of = map[shard]*compactor.Compactor{}
	}
	f.compactions.of[s] = c
	return c, nil
}

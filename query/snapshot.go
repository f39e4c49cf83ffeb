package query

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// snapshots remembers what is live for a short while, so that the requests of one
// page of a browser share one look at the bucket.
type snapshots struct {
	mu     sync.Mutex
	latest map[profile.Tenant]remembered
	flight singleflight.Group
}

type remembered struct {
	snapshot *catalog.Snapshot
	taken    time.Time
}

// snapshot returns what is live. The error may come with a snapshot: of all shards
// but those it tells of; such a one is not remembered.
func (q *Querier) snapshot(ctx context.Context, tenant profile.Tenant, fresh bool) (snap *catalog.Snapshot, cached bool, err error) {
	if fresh || q.cfg.SnapshotTTL < 0 {
		snap, err = q.takeSnapshot(ctx, tenant)
		return snap, false, err
	}
	if snap := q.snapshots.get(tenant, q.cfg.SnapshotTTL); snap != nil {
		return snap, true, nil
	}
	type result struct {
		snap *catalog.Snapshot
		err  error
	}
	// Whoever asks first pays. Should it go away, those who wait with it do not.
	flying := q.snapshots.flight.DoChan(string(tenant), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), q.cfg.Timeout)
		defer cancel()
		snap, err := q.takeSnapshot(ctx, tenant)
		return result{snap, err}, nil
	})
	select {
	case <-ctx.Done():
		return nil, false, ctx.Err()
	case landed := <-flying:
		r := landed.Val.(result)
		return r.snap, false, r.err
	}
}

func (q *Querier) takeSnapshot(ctx context.Context, tenant profile.Tenant) (*catalog.Snapshot, error) {
	taken := time.Now()
	snap, err := q.cat.Snapshot(ctx, tenant)
	if err == nil {
		q.snapshots.put(tenant, remembered{snap, taken})
	}
	return snap, err
}

func (s *snapshots) get(tenant profile.Tenant, ttl time.Duration) *catalog.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.latest[tenant]; ok && time.Since(r.taken) < ttl {
		return r.snapshot
	}
	return nil
}

// put forgets those of other tenants that are long past any use.
func (s *snapshots) put(tenant profile.Tenant, r remembered) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.latest == nil {
		s.latest = map[profile.Tenant]remembered{}
	}
	for other, old := range s.latest {
		if time.Since(old.taken) > time.Minute {
			delete(s.latest, other)
		}
	}
	if old, ok := s.latest[tenant]; !ok || old.taken.Before(r.taken) {
		s.latest[tenant] = r
	}
}

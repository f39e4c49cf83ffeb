package compactor

import (
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

// A tenant with a long backlog in many shards does not keep another waiting.
func TestNoTenantStarves(t *testing.T) {
	f := newFleet(t)
	for range 30 {
		for shard := range block.Shard(8) {
			f.upload(shard, f.now())
		}
		f.advance(time.Minute)
	}
	key := f.upload(0, f.now())
	data, _, err := f.mem.Get(t.Context(), key.String())
	if err != nil {
		t.Fatal(err)
	}
	key.Tenant = "small"
	f.put(key.String(), data)
	f.advance(2 * time.Minute)

	var order []profile.Tenant
	c := f.compactor(f.mem, Config{Jobs: 1, JobBytes: 1, Observer: Observer{Committed: func(j Job) { order = append(order, j.Tenant) }}})
	mustRun(t, c)
	for i, tenant := range order {
		if tenant == "small" {
			if i > 2 {
				t.Errorf("%d of %d jobs came before the small tenant's first", i, len(order))
			}
			return
		}
	}
	t.Error("nothing was done for the small tenant")
}

// A tenant may get more shards while compactors run.
func TestShardsAreAdded(t *testing.T) {
	f := newFleet(t)
	c := f.compactor(f.mem, Config{})
	shards := block.Shard(1)
	for minute := range 40 {
		if minute == 15 || minute == 30 {
			shards *= 2
		}
		for shard := range shards {
			f.upload(shard, f.now())
		}
		f.advance(time.Minute)
		if err := c.RunDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.mustBeWhole("while shards are added")
	}
	for shard := range shards {
		if h := f.head(shard); len(h.Live) == 0 {
			t.Errorf("shard %s was never compacted", shard)
		}
	}
}

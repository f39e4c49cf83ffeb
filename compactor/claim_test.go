package compactor

import (
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
)

// Two compactors that claim split the shards, and do next to nothing in vain; when one is gone
// without a word, the other has all of them once the claims have run out.
func TestClaimsSplitShards(t *testing.T) {
	f := newFleet(t)
	const shards = 6
	jobs, abandoned := [2]int{}, 0
	worked := [2]map[block.Shard]bool{{}, {}}
	var all [2]*Compactor
	for i := range all {
		all[i] = f.compactor(f.mem, Config{Claim: 3 * time.Minute, Observer: Observer{
			Committed: func(j Job) { jobs[i]++; worked[i][j.Shard] = true },
			Abandoned: func(Job, error) { abandoned++ },
		}, Jobs: 1})
	}
	minute := func(who ...*Compactor) {
		for shard := range block.Shard(shards) {
			f.upload(shard, f.now())
		}
		f.advance(30 * time.Second)
		for _, c := range who {
			f.advance(30 * time.Second / time.Duration(len(who)))
			if err := c.RunDue(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	minute(all[0])
	minute(all[0], all[1])
	if len(worked[0]) == 0 || jobs[1] > jobs[0] {
		t.Errorf("jobs %v: the second comes later, and finds most claimed", jobs)
	}
	for range 40 {
		minute(all[0], all[1])
	}
	if few := 42 * shards / 10; jobs[0] < few || jobs[1] < few {
		t.Errorf("jobs %v: they do not share", jobs)
	}
	for range 6 {
		minute(all[1]) // the first is killed
	}
	if len(worked[1]) != shards {
		t.Errorf("after the first was killed, the second worked on %v", worked[1])
	}
	all[1].Release(t.Context())
	minute(all[0])
	if keys := f.keys("v1/status/"); len(keys) != shards {
		t.Errorf("claims: %q", keys)
	}
	f.advance(2 * time.Minute)
	mustRun(t, all[0])
	f.mustBeWhole("in the end")
	if abandoned > 0 {
		t.Errorf("%d jobs in vain", abandoned)
	}
}

// Claims are never needed: with broken ones, from the future, or none, all is done.
func TestClaimsDoNotMatter(t *testing.T) {
	for name, content := range map[string]string{
		"broken": "{", "endless": `{"by":"x","until":"9999-01-01T00:00:00Z"}`, "old": `{"by":"x","until":"2020-01-01T00:00:00Z"}`,
	} {
		f := newFleet(t)
		f.upload(0, f.now())
		f.put(block.StatusKey(tenant, "compact", "00"), []byte(content))
		f.advance(2 * time.Minute)
		var b bucket.Bucket = f.mem
		if err := f.compactor(b, Config{Claim: time.Minute}).RunDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(f.head(0).Live) != 1 {
			t.Errorf("%s: nothing was done", name)
		}
	}
}

package compactor

import (
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
)

func mustRun(t testing.TB, c *Compactor) {
	t.Helper()
	if err := c.RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (f *fleet) head(shard block.Shard) catalog.Head {
	f.t.Helper()
	h, err := catalog.New(f.mem, catalog.Config{}).Head(f.t.Context(), tenant, shard)
	if err != nil {
		f.t.Fatal(err)
	}
	return h
}

// Full minutes become one block a shard and day; the current minute is left in the tail,
// or is sealed too when that is asked for.
func TestRunOnce(t *testing.T) {
	f := newFleet(t)
	for range 3 {
		for shard := range block.Shard(2) {
			f.upload(shard, f.now(), f.now().Add(-13*time.Hour))
		}
		f.advance(time.Minute)
	}
	f.upload(0, f.now()) // in the minute that has not ended
	f.advance(30 * time.Second)
	var jobs []Job
	c := f.compactor(f.mem, Config{Jobs: 1, Observer: Observer{Committed: func(j Job) { jobs = append(jobs, j) }}})
	mustRun(t, c)
	f.mustBeWhole("after the full minutes")
	if h := f.head(0); h.Sealed != catalog.MinuteOf(noon)+2 || len(h.Live) != 2 {
		t.Errorf("sealed up to %s with %d blocks, want %s and one block a day", h.Sealed, len(h.Live), catalog.MinuteOf(noon)+2)
	}
	seals := 0
	for _, j := range jobs {
		if !j.Sweep {
			seals++
			if j.L0s != 3 || j.Profiles != 6 || j.Blocks != 2 || j.BytesIn <= 0 || j.BytesOut <= 0 {
				t.Errorf("%+v", j)
			}
		}
	}
	if seals != 2 {
		t.Errorf("%d seals for 2 shards", seals)
	}
	now := f.compactor(f.mem, Config{SealNow: true})
	mustRun(t, now)
	f.mustBeWhole("after the current minute")
	if h := f.head(0); h.Sealed != catalog.MinuteOf(f.now()) || len(h.Live) != 3 {
		t.Errorf("sealed up to %s with %d blocks", h.Sealed, len(h.Live))
	}
}

// What lands in a sealed minute is invisible until the next sweep, and then counts once.
func TestSweepGathersStragglers(t *testing.T) {
	f := newFleet(t)
	f.upload(0, f.now())
	f.advance(5 * time.Minute)
	c := f.compactor(f.mem, Config{})
	mustRun(t, c)
	for late := range 4 {
		f.uploadTo(f.mem, 0, noon.Add(time.Duration(late)*time.Minute), noon.Add(time.Duration(late)*time.Second))
	}
	if a := f.read(f.mem); len(a.count) != 1 {
		t.Fatalf("%d profiles before the sweep", len(a.count))
	}
	mustRun(t, c)
	f.mustBeWhole("after the sweep")
	before := f.head(0)
	mustRun(t, c)
	f.mustBeWhole("after another")
	if after := f.head(0); after.Seq != before.Seq {
		t.Errorf("a sweep that found nothing was committed: %+v", after)
	}
}

// A shard that was idle, or not compacted, for days is sealed in one go and swept.
func TestAfterAnOutage(t *testing.T) {
	f := newFleet(t)
	c := f.compactor(f.mem, Config{})
	f.upload(0, f.now())
	f.advance(2 * time.Minute)
	mustRun(t, c)
	for range 72 {
		f.advance(time.Hour)
		f.upload(0, f.now())
	}
	f.advance(time.Hour)
	f.mustBeWhole("before")
	seq := f.head(0).Seq
	mustRun(t, c)
	f.mustBeWhole("after")
	if h := f.head(0); h.Seq-seq > 6 || h.Sealed < catalog.MinuteOf(f.now())-2 {
		t.Errorf("%d commits to seal up to %s at %s", h.Seq-seq, h.Sealed, f.now())
	}
}

// Nothing is asked of the bucket for a shard before its next minute has ended, and a
// shard to which nobody uploads is seldom written.
func TestIdleShardIsCheap(t *testing.T) {
	f := newFleet(t)
	f.upload(0, f.now())
	c := f.compactor(f.mem, Config{})
	var account bucket.Account
	ctx := bucket.WithAccount(t.Context(), &account)
	run := func(d, step time.Duration) bucket.Usage {
		before := account.Usage()
		for range d / step {
			f.advance(step)
			if err := c.RunDue(ctx); err != nil {
				t.Fatal(err)
			}
		}
		return account.Usage().Sub(before)
	}
	run(5*time.Minute, 30*time.Second)
	u := run(24*time.Hour, 30*time.Second)
	if u.Puts > 24*4*2 || u.Requests() > 24*60*6 {
		t.Errorf("a day: %+v", u)
	}
	t.Logf("a day: %+v", u)
	f.mustBeWhole("after a day")
	if h := f.head(0); catalog.MinuteOf(f.now())-h.Sealed > 17 {
		t.Errorf("sealed up to %s at %s", h.Sealed, f.now())
	}
}

// A backlog larger than a job may read is sealed in several, each of whole minutes.
func TestJobsAreBounded(t *testing.T) {
	f := newFleet(t)
	var size int64
	for range 10 {
		f.upload(0, f.now())
		f.upload(0, f.now())
		f.advance(time.Minute)
	}
	f.advance(time.Minute)
	for o, err := range f.mem.List(t.Context(), "v1/l0/") {
		if err != nil {
			t.Fatal(err)
		}
		size = max(size, o.Size)
	}
	var seals []Job
	c := f.compactor(f.mem, Config{JobBytes: 5 * size, Observer: Observer{Committed: func(j Job) {
		if !j.Sweep {
			seals = append(seals, j)
		}
	}}})
	mustRun(t, c)
	f.mustBeWhole("after")
	for _, j := range seals {
		if j.L0s != 4 || j.BytesIn > 5*size {
			t.Errorf("%+v", j)
		}
	}
	if len(seals) != 5 {
		t.Errorf("%d seals", len(seals))
	}
}

// With little memory a job's output is cut into several blocks, none of which has a
// source that another has, and a profile sent twice is in one of them.
func TestCutsWhenMemoryIsShort(t *testing.T) {
	f := newFleet(t)
	var times []time.Time
	for i := range 60 {
		times = append(times, f.now().Add(time.Duration(i)*time.Millisecond))
	}
	var first block.L0Key
	for i := range 10 {
		key := f.upload(0, times...)
		if i == 0 {
			first = key
		}
	}
	data, _, err := f.mem.Get(t.Context(), first.String())
	if err != nil {
		t.Fatal(err)
	}
	again := first
	again.ID = block.NewID(f.now().Add(time.Hour)) // the last one that is read
	f.put(again.String(), data)
	f.advance(2 * time.Minute)
	repeated := 0
	c := f.compactor(f.mem, Config{Jobs: 1, MemoryBytes: 256 << 10, Observer: Observer{Committed: func(j Job) { repeated += j.Repeated }}})
	mustRun(t, c)
	f.mustBeWhole("after")
	if h := f.head(0); len(h.Live) < 3 {
		t.Errorf("%d blocks", len(h.Live))
	}
	if repeated != 60 {
		t.Errorf("%d profiles repeated, want 60", repeated)
	}
	seen := map[sourceDay]bool{}
	for _, s := range f.sources(0) {
		if at := (sourceDay{s.ID, s.Day}); seen[at] {
			t.Errorf("source %v is in two blocks", at)
		} else {
			seen[at] = true
		}
	}
	if len(seen) != 11 {
		t.Errorf("%d sources, want 11", len(seen))
	}
}

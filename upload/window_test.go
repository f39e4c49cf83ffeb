package upload_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

// stuck is a bucket whose first n Creates get no answer.
type stuck struct {
	bucket.Bucket
	n atomic.Int64
}

func stuckFor(b bucket.Bucket, n int64) *stuck {
	s := &stuck{Bucket: b}
	s.n.Store(n)
	return s
}

func (s *stuck) Create(ctx context.Context, key string, r io.Reader, size int64) error {
	if s.n.Add(-1) >= 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.Bucket.Create(ctx, key, r, size)
}

// What comes in one window goes into one object for each tenant.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := bucket.Mem()
		l := &log{}
		u := open(t, mem, upload.Config{Agent: "host-1", Shards: 16, Observer: l.observer()})
		add(t, u, numbered(t, 0))
		time.Sleep(61 * time.Second) // the first window may be short
		first := len(blocks(t, mem))
		for i := 1; i < 30; i++ {
			add(t, u, numbered(t, i))
			time.Sleep(time.Second)
		}
		if err := u.Add(t.Context(), "other", numbered(t, 30)); err != nil {
			t.Fatal(err)
		}
		if len(blocks(t, mem))-first > 1 {
			t.Error("a block before the window's end")
		}
		time.Sleep(61 * time.Second)
		closeNow(t, u)
		wantNumbers(t, mem, upTo(31))
		all := blocks(t, mem)
		if len(all) < 3 || len(all) > 4 {
			t.Errorf("%d blocks", len(all))
		}
		others := 0
		for _, b := range all {
			if b.key.Tenant == "other" {
				others++
			}
			if b.manifest.Agent != "host-1" || b.key.Shard != block.ShardOf("host-1", 16) {
				t.Errorf("%s by %s", b.key, b.manifest.Agent)
			}
		}
		if others != 1 || l.accepted != 31 || len(l.written) != len(all) {
			t.Errorf("%d of the other tenant, %d accepted, %d written", others, l.accepted, len(l.written))
		}
	})
}

func TestFullWindowEndsEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := bucket.Mem()
		u := open(t, mem, upload.Config{Window: time.Hour, FlushBytes: 8 << 10})
		for i := range 100 {
			add(t, u, numbered(t, i))
		}
		synctest.Wait()
		for _, b := range blocks(t, mem) {
			var size int64
			for _, e := range b.manifest.Profiles {
				size += e.Size
			}
			if size > 8<<10 {
				t.Errorf("%s has %d bytes", b.key, size)
			}
		}
		if got := len(numbers(t, mem)); got < 60 {
			t.Errorf("only %d profiles are in the bucket", got)
		}
		closeNow(t, u)
		wantNumbers(t, mem, upTo(100))
	})
}

// A profile's time is its own, or what it is given, or that of receipt when it has none or one that
// lies too far ahead of the bucket's clock.
func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := bucket.Mem()
		mem.Clock = func() time.Time { return time.Now().Add(time.Hour) }
		l := &log{}
		retention := func(tenant profile.Tenant) (time.Duration, error) {
			switch tenant {
			case "brief":
				return time.Hour, nil
			case "deleted":
				return 0, fmt.Errorf("deleted: %w", profile.ErrInvalid)
			}
			return 0, nil
		}
		u := open(t, mem, upload.Config{Observer: l.observer(), MaxAge: retention})
		synctest.Wait() // the bucket's clock is known
		now := time.Now().Add(time.Hour)
		year := 366 * 24 * time.Hour
		cases := []struct {
			at, given time.Time
			duration  time.Duration
			min, max  time.Time
		}{
			{at: now, min: now, max: now},
			{at: now.Add(10 * time.Minute), min: now.Add(10 * time.Minute), max: now.Add(10 * time.Minute)},
			{at: now.Add(10*time.Minute + 1), min: now, max: now},
			{at: time.Unix(0, math.MaxInt64), min: now, max: now},
			{at: now.Add(time.Hour), given: now.Add(-time.Second), min: now.Add(-time.Second), max: now.Add(-time.Second)},
			{at: now.Add(time.Hour), given: now.Add(time.Hour), min: now, max: now},
			{min: now, max: now},
			{at: time.Unix(0, -5), min: now, max: now},
			{given: now.Add(-time.Hour), min: now.Add(-time.Hour), max: now.Add(-time.Hour)},
			{given: now.Add(time.Hour), min: now, max: now},
			{at: now.Add(-time.Minute), given: now, min: now.Add(-time.Minute), max: now.Add(-time.Minute)},
			{at: time.Unix(32e6, 1), duration: time.Second, min: time.Unix(32e6, 1), max: time.Unix(32e6+1, 1)},
			{at: time.Unix(1_700_000, 0), given: now, min: now, max: now}, // microseconds where nanoseconds belong
			{at: now, duration: -time.Second, min: now, max: now},
			{at: now, duration: math.MaxInt64, min: now, max: now.Add(year)},
		}
		for i, c := range cases {
			p := numbered(t, i)
			p.Time = c.given
			p.Body = pprofAt(t, c.at, func(p *pprof.Profile) { p.DurationNanos = int64(c.duration) })
			add(t, u, p)
		}
		if len(l.ahead) != 5 || l.ahead[0] != 10*time.Minute+1 {
			t.Errorf("told of clocks ahead: %v", l.ahead)
		}
		old := upload.Profile{Name: "cpu", Body: pprofAt(t, now.Add(-time.Hour-time.Second))}
		if err := u.Add(t.Context(), "brief", old); !errors.Is(err, profile.ErrInvalid) {
			t.Errorf("older than its retention: %v", err)
		}
		if err := u.Add(t.Context(), "deleted", numbered(t, 0)); !errors.Is(err, profile.ErrInvalid) {
			t.Errorf("of a tenant that takes none: %v", err)
		}
		add(t, u, numbered(t, len(cases))) // as old, of a tenant that keeps all
		closeNow(t, u)
		seen := 0
		for _, b := range blocks(t, mem) {
			for _, e := range b.manifest.Profiles {
				var n int
				if _, err := fmt.Sscan(e.Labels.Get("n"), &n); err != nil || n >= len(cases) {
					continue
				}
				seen++
				if c := cases[n]; !e.MinTime.Equal(c.min) || !e.MaxTime.Equal(c.max) {
					t.Errorf("case %d: got [%v, %v], want [%v, %v]", n, e.MinTime, e.MaxTime, c.min, c.max)
				}
			}
		}
		if seen != len(cases) {
			t.Errorf("%d of %d profiles", seen, len(cases))
		}
	})
}

// A profile without a name is named by what it measures.
func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		types := func(period string, types ...string) func(*pprof.Profile) {
			return func(p *pprof.Profile) {
				p.SampleType, p.Sample, p.PeriodType = nil, nil, nil
				for _, typ := range types {
					p.SampleType = append(p.SampleType, &pprof.ValueType{Type: typ, Unit: "count"})
				}
				if period != "" {
					p.PeriodType = &pprof.ValueType{Type: period, Unit: "count"}
				}
			}
		}
		cases := []struct {
			name string
			edit func(*pprof.Profile)
			want string
		}{
			{"given", types("cpu", "cpu"), "given"},
			{"", types("cpu", "samples", "cpu"), "process_cpu"},
			{"", types("space", "alloc_objects", "alloc_space", "inuse_objects", "inuse_space"), "memory"},
			{"", types("goroutine", "goroutine"), "goroutine"},
			{"", types("contentions", "contentions", "delay"), "contention"},
			{"", types("wall", "samples", "time"), "wall"},
			{"", types("", "samples", "exceptions"), "exceptions"},
		}
		mem := bucket.Mem()
		u := open(t, mem, upload.Config{})
		for i, c := range cases {
			p := numbered(t, i)
			p.Name, p.Body = c.name, pprofAt(t, time.Now(), c.edit)
			add(t, u, p)
		}
		closeNow(t, u)
		for i, e := range blocks(t, mem)[0].manifest.Profiles {
			if e.Name != cases[i].want {
				t.Errorf("%v: got %q, want %q", e.SampleTypes, e.Name, cases[i].want)
			}
		}
	})
}

// What cannot be stored is refused with all that came with it.
func TestAddRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := bucket.Mem()
		u := open(t, mem, upload.Config{})
		good := numbered(t, 0)
		with := func(f func(*upload.Profile)) upload.Profile {
			p := good
			f(&p)
			return p
		}
		colon := func(p *pprof.Profile) { p.SampleType[0].Type = "a:b" }
		for name, c := range map[string]struct {
			tenant profile.Tenant
			bad    upload.Profile
		}{
			"no tenant":            {"", good},
			"tenant with a slash":  {"a/b", good},
			"no body":              {"acme", with(func(p *upload.Profile) { p.Body = nil })},
			"not a pprof":          {"acme", with(func(p *upload.Profile) { p.Body = []byte("hello") })},
			"half a pprof":         {"acme", with(func(p *upload.Profile) { p.Body = p.Body[:len(p.Body)/2] })},
			"name with a colon":    {"acme", with(func(p *upload.Profile) { p.Name = "a:b" })},
			"colon in sample type": {"acme", with(func(p *upload.Profile) { p.Body = pprofAt(t, time.Now(), colon) })},
			"label without a name": {"acme", with(func(p *upload.Profile) { p.Labels = profile.Labels{{Name: "", Value: "x"}} })},
		} {
			for _, door := range []func(context.Context, profile.Tenant, ...upload.Profile) error{u.Add, u.Push} {
				if err := door(t.Context(), c.tenant, good, c.bad, good); !errors.Is(err, profile.ErrInvalid) {
					t.Errorf("%s: got %v, want ErrInvalid", name, err)
				}
			}
		}
		closeNow(t, u)
		wantNumbers(t, mem, map[int]int{})
	})
}

// Without a spool memory is bounded, and the oldest blocks make room.
func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 64 << 10
		l := &log{}
		mem := bucket.Mem()
		b, back := away(mem, errDial)
		u := open(t, b, upload.Config{Window: time.Second, MemoryBytes: limit, Observer: l.observer()})
		for i := range 300 {
			add(t, u, numbered(t, i))
			time.Sleep(time.Second)
			if got := u.Backlog().MemoryBytes; got > limit {
				t.Fatalf("%d bytes in memory", got)
			}
		}
		back()
		time.Sleep(2 * time.Minute)
		closeNow(t, u)
		if len(l.lost) == 0 {
			t.Fatal("nothing is lost")
		}
		l.wantLost(t, upload.MemoryFull, len(l.lost))
		got := numbers(t, mem)
		for i := range 300 {
			if want := min(max(i-len(l.lost)+1, 0), 1); got[i] != want {
				t.Errorf("profile %d is there %d times, want %d: %d are lost", i, got[i], want, len(l.lost))
			}
		}
	})
}

// What is larger than the memory there may be never fits.
func TestNoRoomAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := open(t, bucket.Mem(), upload.Config{MemoryBytes: 100})
		if err := u.Add(t.Context(), "acme", numbered(t, 0)); !errors.Is(err, upload.ErrUnavailable) {
			t.Errorf("add: %v", err)
		}
		if err := u.Push(t.Context(), "acme", numbered(t, 0)); !errors.Is(err, upload.ErrUnavailable) {
			t.Errorf("push: %v", err)
		}
		closeNow(t, u)
	})
}

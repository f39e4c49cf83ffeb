package compactor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/pprofblock"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/bucket/buckettest"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// spoil uploads a pprof block of three profiles to shard 0 and turns its bytes into others. What
// was in it is not sent any more but for the profiles that stay readable.
func (f *fleet) spoil(minute time.Time, damage func([]byte) []byte, readable int) block.L0Key {
	f.t.Helper()
	before := maps.Clone(f.sent)
	key := f.uploadTo(f.mem, 0, minute, noon, noon.Add(time.Second), noon.Add(2*time.Second))
	data, _, err := f.mem.Get(f.t.Context(), key.String())
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.mem.Put(f.t.Context(), key.String(), damage(data)); err != nil {
		f.t.Fatal(err)
	}
	if readable == 0 {
		f.sent = before
	}
	for id, s := range f.sent {
		if s.key == key && id.ms != noon.Add(2*time.Second).UnixMilli() { // the last one stays
			delete(f.sent, id)
		}
	}
	return key
}

func truncated(data []byte) []byte { return data[:len(data)/2] }

// firstTwoSpoiled turns a byte of the first profile, and replaces the second by what
// has the right checksum and is no pprof.
func firstTwoSpoiled(t *testing.T) func([]byte) []byte {
	return func(data []byte) []byte {
		r, err := pprofblock.Open(data, pprofblock.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		b := pprofblock.NewBuilder(r.Manifest().ID, "test", noon)
		for i, entry := range r.Manifest().Profiles {
			body, err := r.Profile(i)
			if err != nil {
				t.Fatal(err)
			}
			if i == 1 {
				body = []byte("\x0a\xff\xff\xff\xff\x7f") // a field longer than all there is
			}
			if err := b.Add(entry, body); err != nil {
				t.Fatal(err)
			}
		}
		out := b.Bytes()
		if r, err = pprofblock.Open(out, pprofblock.Limits{}); err != nil {
			t.Fatal(err)
		}
		first, err := r.Profile(0)
		if err != nil {
			t.Fatal(err)
		}
		out[bytes.Index(out, first)+20] ^= 1
		return out
	}
}

// A pprof block or a profile that cannot be used is named with its reason in the block
// that lacks it, is told, and costs nothing else: not in the same minute, not alone
// in its minute, not as a straggler. No sweep gathers it again.
func TestDamageCostsWhatIsDamaged(t *testing.T) {
	f := newFleet(t)
	var told []string
	c := f.compactor(f.mem, Config{Observer: Observer{Rejected: func(key, file, reason string) {
		told = append(told, key+" "+file)
		if reason == "" {
			t.Errorf("%s %s: no reason", key, file)
		}
	}}})
	var want []string
	spoil := func(minute time.Time) {
		whole := f.spoil(minute, truncated, 0).String()
		some := f.spoil(minute, firstTwoSpoiled(t), 1).String()
		want = append(want, whole+" ", some+" 0.pb.gz", some+" 1.pb.gz")
	}
	f.upload(0, f.now())
	spoil(f.now())
	f.advance(time.Minute)
	want = append(want, f.spoil(f.now(), truncated, 0).String()+" ") // alone in its minute
	f.advance(2 * time.Minute)
	mustRun(t, c)
	f.mustBeWhole("after sealing")
	spoil(noon)
	mustRun(t, c)
	f.mustBeWhole("after sweeping")
	seq := f.head(0).Seq
	mustRun(t, c)
	if h := f.head(0); h.Seq != seq {
		t.Errorf("damaged pprof blocks were gathered again: %+v", h.Commits)
	}
	slices.Sort(told)
	slices.Sort(want)
	if !slices.Equal(told, want) {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
	rejected := 0
	for _, s := range f.sources(0) {
		if s.Rejected != "" {
			rejected++
		}
	}
	if rejected != len(want) {
		t.Errorf("%d rejected sources in blocks, want %d", rejected, len(want))
	}
}

// A pprof block without profiles, and one that is too large to be read, are sources as well.
func TestOddPprofBlocks(t *testing.T) {
	f := newFleet(t)
	f.upload(0)
	large := block.L0Key{Tenant: tenant, Minute: f.now(), ID: block.NewID(f.now()), MinTime: f.now()}
	var rejected []string
	b := &ghosts{Bucket: f.mem, object: bucket.Object{Key: large.String(), Size: largeL0 + 1}}
	c := f.compactor(b, Config{Jobs: 1, MemoryBytes: 64 << 10, Observer: Observer{Rejected: func(key, _, reason string) {
		rejected = append(rejected, key+": "+reason)
	}}})
	f.advance(2 * time.Minute)
	mustRun(t, c)
	if len(rejected) != 1 || !strings.HasPrefix(rejected[0], large.String()) {
		t.Errorf("rejected %q", rejected)
	}
	if got := len(f.sources(0)); got != 2 {
		t.Errorf("%d sources", got)
	}
	seq := f.head(0).Seq
	mustRun(t, c)
	if h := f.head(0); h.Seq != seq {
		t.Error("they were gathered again")
	}
}

// A sweep that cannot learn what a commit has gathered takes all of its minutes as
// gathered. It counts nothing twice, and stragglers of other minutes come in.
func TestSweepWithoutSources(t *testing.T) {
	for _, damage := range []string{"gone", "corrupt", "cut"} {
		t.Run(damage, func(t *testing.T) {
			f := newFleet(t)
			f.upload(0, f.now())
			f.advance(2 * time.Minute)
			mustRun(t, f.compactor(f.mem, Config{}))
			lost := f.head(0).Live[0].Key(tenant, 0)
			f.advance(time.Minute)
			f.upload(0, f.now())
			f.advance(2 * time.Minute)
			mustRun(t, f.compactor(f.mem, Config{}))
			f.uploadTo(f.mem, 0, noon, noon)                    // will not be seen
			f.uploadTo(f.mem, 0, noon.Add(2*time.Minute), noon) // will
			b := buckettest.Corrupt(f.mem, func(key string) bool { return key == lost && damage == "corrupt" },
				func(_ string, data []byte) ([]byte, error) { return make([]byte, len(data)), nil })
			switch damage {
			case "gone":
				if err := f.mem.Delete(t.Context(), lost); err != nil {
					t.Fatal(err)
				}
			case "cut":
				if err := f.mem.Put(t.Context(), lost, []byte("?")); err != nil {
					t.Fatal(err)
				}
			}
			var unreadable []string
			var gathered int
			mustRun(t, f.compactor(b, Config{Observer: Observer{
				Unreadable: func(key string, _ error) { unreadable = append(unreadable, key) },
				Committed: func(j Job) {
					if j.Sweep {
						gathered += j.L0s
					}
				},
			}}))
			if gathered != 1 || !slices.Contains(unreadable, lost) {
				t.Errorf("gathered %d, unreadable %v", gathered, unreadable)
			}
		})
	}
}

// A failure of which nothing is known ends the sweep: it will see better the next time.
func TestSweepWaitsForItsSources(t *testing.T) {
	f := newFleet(t)
	f.upload(0, f.now())
	f.advance(2 * time.Minute)
	mustRun(t, f.compactor(f.mem, Config{}))
	f.uploadTo(f.mem, 0, noon, noon)
	seq := f.head(0).Seq
	b := buckettest.Corrupt(f.mem, func(key string) bool { return strings.HasPrefix(key, "v1/b1/") }, buckettest.Unreadable)
	if err := f.compactor(b, Config{}).RunOnce(t.Context()); !errors.Is(err, buckettest.ErrInjected) {
		t.Errorf("got %v", err)
	}
	if h := f.head(0); h.Seq != seq {
		t.Errorf("committed %+v", h)
	}
	mustRun(t, f.compactor(f.mem, Config{}))
	f.mustBeWhole("after")
}

// ghosts lists an object that is not there, once.
type ghosts struct {
	bucket.Bucket
	object bucket.Object
	seen   bool
}

func (g *ghosts) List(ctx context.Context, prefix string) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) {
		if strings.HasPrefix(g.object.Key, prefix) && !g.seen {
			g.seen = true
			yield(g.object, nil)
		}
		for o, err := range g.Bucket.List(ctx, prefix) {
			if !yield(o, err) {
				return
			}
		}
	}
}

// A pprof block that is gone when it is to be read was gathered by another
// compactor long ago. The job is planned again.
func TestPprofBlockGoneMeanwhile(t *testing.T) {
	f := newFleet(t)
	key := f.upload(0, f.now())
	key.ID = block.ID{}
	f.advance(2 * time.Minute)
	abandoned := 0
	mustRun(t, f.compactor(&ghosts{Bucket: f.mem, object: bucket.Object{Key: key.String(), Size: 10}}, Config{Observer: Observer{Abandoned: func(_ Job, err error) {
		abandoned++
		if !errors.Is(err, catalog.ErrConflict) || !errors.Is(err, bucket.ErrNotExist) {
			t.Error(err)
		}
	}}}))
	f.mustBeWhole("after")
	if abandoned != 1 {
		t.Errorf("%d jobs abandoned", abandoned)
	}
}

// One shard's failure does not keep others from being compacted.
func TestOneShardFails(t *testing.T) {
	f := newFleet(t)
	for shard := range block.Shard(3) {
		f.upload(shard, f.now())
	}
	f.put(block.HeadKey(tenant, 1), []byte("?"))
	f.advance(2 * time.Minute)
	err := f.compactor(f.mem, Config{}).RunOnce(t.Context())
	if !errors.Is(err, block.ErrCorrupt) || !strings.Contains(err.Error(), block.HeadKey(tenant, 1)) {
		t.Errorf("got %v", err)
	}
	for _, shard := range []block.Shard{0, 2} {
		if len(f.head(shard).Live) != 1 {
			t.Errorf("shard %s was not compacted", shard)
		}
	}
}

// Run seals each minute within a minute and sweeps without being told.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.mem.Clock = nil // the bubble's clock
		start := time.Now()
		f.clock.Store(start.UnixNano())
		ctx, stop := context.WithCancel(t.Context())
		var behind []time.Duration
		failures := 0
		c := f.compactor(f.mem, Config{Observer: Observer{
			Sealed: func(_ profile.Tenant, _ block.Shard, d time.Duration) { behind = append(behind, d) },
			Failed: func(error) { failures++ },
		}})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c.Run(ctx)
		}()
		for i := range 60 {
			f.clock.Store(time.Now().UnixNano())
			f.upload(0, f.now())
			if i > 10 && i%7 == 0 {
				f.uploadTo(f.mem, 0, f.now().Add(-5*time.Minute), f.now())
			}
			time.Sleep(time.Minute)
		}
		time.Sleep(20 * time.Minute) // idle: it is swept less often
		stop()
		<-ended
		f.mustBeWhole("after an hour")
		if h := f.head(0); len(h.Live) < 50 || h.Sweep < 4 {
			t.Errorf("%d blocks after %d sweeps", len(h.Live), h.Sweep)
		}
		if failures > 0 {
			t.Errorf("%d failures", failures)
		}
		if most := slices.Max(behind[10:]); most > 17*time.Minute {
			t.Errorf("sealing was %v behind", most)
		}
	})
}

// Run tells of a bucket that does not answer and goes on.
func TestRunGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
		defer stop()
		mem := bucket.Mem()
		if err := mem.Put(ctx, block.HeadKey(tenant, 0), []byte("?")); err != nil {
			t.Fatal(err)
		}
		var errs []error
		New(catalog.New(mem, catalog.Config{}), mem, Config{Observer: Observer{Failed: func(err error) { errs = append(errs, err) }}}).Run(ctx)
		if len(errs) < 8 {
			t.Errorf("%d failures in five minutes: %v", len(errs), errs)
		}
	})
}

func TestJobSaysWhereItFailed(t *testing.T) {
	f := newFleet(t)
	f.upload(0, f.now())
	f.advance(2 * time.Minute)
	b := buckettest.Corrupt(f.mem, func(key string) bool { return strings.HasPrefix(key, "v1/l0/") }, buckettest.Unreadable)
	err := f.compactor(b, Config{}).RunOnce(t.Context())
	if want := fmt.Sprintf("compact %s/00: minutes (", tenant); !errors.Is(err, buckettest.ErrInjected) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s…", err, want)
	}
}

// A pprof block with profiles of very many days loses those that are too many, and says so.
func TestManyDays(t *testing.T) {
	f := newFleet(t)
	var times []time.Time
	for i := range mostDays + 2 {
		times = append(times, noon.AddDate(0, 0, -i))
	}
	f.upload(0, times...)
	f.advance(2 * time.Minute)
	var rejected []string
	var sealed Job
	mustRun(t, f.compactor(f.mem, Config{Observer: Observer{
		Rejected: func(_, file, _ string) { rejected = append(rejected, file) },
		Committed: func(j Job) {
			if !j.Sweep {
				sealed = j
			}
		},
	}}))
	if want := []string{"400.pb.gz", "401.pb.gz"}; !slices.Equal(rejected, want) || sealed.Profiles != mostDays || sealed.Rejected != 2 {
		t.Errorf("rejected %v, want %v: %+v", rejected, want, sealed)
	}
}

package compactor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/bucket/buckettest"
	"github.com/coldframe/coldframe/catalog"
)

// Whichever write fails, lost or landed: what a reader sees then counts nothing twice
// and lacks nothing but stragglers, and running again makes it whole.
func TestEveryWriteFails(t *testing.T) {
	for n := 1; ; n++ {
		failed := false
		for _, landed := range []bool{false, true} {
			f := newFleet(t)
			b := buckettest.FailNth(f.mem, n, landed)
			c := f.compactor(b, Config{Jobs: 1})
			run := func(step string) {
				when := fmt.Sprintf("n=%d landed=%v %s", n, landed, step)
				stragglers := len(f.sent) - len(f.read(f.mem).count)
				err := c.RunOnce(t.Context())
				a := f.read(f.mem)
				f.mustNotRepeat(when, a)
				if missing := len(f.sent) - len(a.count); missing > stragglers {
					t.Fatalf("%s: %d profiles are missing, %d were stragglers: %v", when, missing, stragglers, err)
				}
				if errors.Is(err, buckettest.ErrInjected) {
					err = c.RunOnce(t.Context())
				}
				if err != nil {
					t.Fatalf("%s: %v", when, err)
				}
				f.mustBeWhole(when)
			}
			for range 2 {
				f.upload(0, f.now(), f.now().Add(-24*time.Hour))
				f.upload(7, f.now())
				f.advance(time.Minute)
			}
			f.advance(time.Minute)
			run("sealing")
			f.uploadTo(f.mem, 0, noon, noon.Add(time.Second))
			f.uploadTo(f.mem, 7, noon.Add(time.Minute), noon.Add(time.Second))
			f.upload(0, f.now())
			f.advance(70 * time.Minute)
			run("sealing and sweeping")
			failed = b.Failed()
		}
		if !failed {
			t.Logf("%d writes", n-1)
			break
		}
	}
}

// flaky fails at random: before anything happened, after it, and for HEAD also so that
// the write is applied some time after the client has given up.
type flaky struct {
	bucket.Bucket
	mu   sync.Mutex
	rng  *rand.Rand
	late sync.WaitGroup
}

func (f *flaky) roll() float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rng.Float64()
}

func (f *flaky) Get(ctx context.Context, key string) ([]byte, bucket.Version, error) {
	if f.roll() < 0.02 {
		return nil, "", buckettest.ErrInjected
	}
	return f.Bucket.Get(ctx, key)
}

func (f *flaky) Create(ctx context.Context, key string, r io.Reader, size int64) error {
	switch x := f.roll(); {
	case x < 0.05:
		return buckettest.ErrInjected
	case x < 0.1:
		return errors.Join(buckettest.ErrInjected, f.Bucket.Create(ctx, key, r, size))
	}
	return f.Bucket.Create(ctx, key, r, size)
}

func (f *flaky) Replace(ctx context.Context, key string, data []byte, old bucket.Version) (bucket.Version, error) {
	switch x := f.roll(); {
	case x < 0.1:
		return "", buckettest.ErrInjected
	case x < 0.2:
		_, _ = f.Bucket.Replace(ctx, key, data, old)
		return "", buckettest.ErrInjected
	case x < 0.25:
		f.late.Go(func() {
			time.Sleep(time.Duration(f.roll() * float64(20*time.Millisecond)))
			_, _ = f.Bucket.Replace(context.WithoutCancel(ctx), key, data, old)
		})
		return "", buckettest.ErrInjected
	}
	return f.Bucket.Replace(ctx, key, data, old)
}

func (f *fleet) acknowledged() map[identity]block.L0Key {
	f.mu.Lock()
	defer f.mu.Unlock()
	keys := map[identity]block.L0Key{}
	for id, s := range f.sent {
		if s.acknowledged {
			keys[id] = s.key
		}
	}
	return keys
}

// Several compactors on the same shards and a bucket that fails at random, while
// agents upload, some of them late, and readers read: no answer counts anything twice
// or lacks anything but stragglers, and in the end everything is there.
func TestConcurrentCompactors(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("COLDFRAME_TEST_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("COLDFRAME_TEST_SEED=%d", seed)
	t.Run("two", func(t *testing.T) { concurrently(t, 2, time.Hour, seed) })
	t.Run("four", func(t *testing.T) { concurrently(t, 4, time.Hour, seed) })
	t.Run("two with outages longer than the window", func(t *testing.T) { concurrently(t, 2, 6*time.Minute, seed) })
}

func concurrently(t *testing.T, compactors int, window time.Duration, seed uint64) {
	const shards, steps = 2, 70
	f := newFleet(t)
	var done, working sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var mu sync.Mutex
	var committed, abandoned, sweeps int
	for i := range compactors {
		b := &flaky{Bucket: f.mem, rng: rand.New(rand.NewPCG(seed, uint64(i)))}
		c := New(catalog.New(b, catalog.Config{Window: window, Backoff: time.Microsecond}), b, Config{Observer: Observer{
			Committed: func(j Job) {
				mu.Lock()
				defer mu.Unlock()
				committed++
				if j.Sweep && j.L0s > 0 {
					sweeps++
				}
			},
			Abandoned: func(Job, error) {
				mu.Lock()
				defer mu.Unlock()
				abandoned++
			},
		}})
		working.Go(func() {
			for ctx.Err() == nil {
				err := c.RunOnce(ctx)
				if err != nil && ctx.Err() == nil && !errors.Is(err, buckettest.ErrInjected) && !errors.Is(err, catalog.ErrConflict) {
					t.Error(err)
				}
			}
			b.late.Wait()
		})
	}
	done.Go(func() { // the agents, who also turn the clock
		rng := rand.New(rand.NewPCG(seed, 100))
		for range steps {
			shard := block.Shard(rng.IntN(shards))
			at := f.now().Add(-time.Duration(rng.IntN(3600)) * time.Second)
			if rng.IntN(4) == 0 {
				f.uploadTo(f.mem, shard, f.now().Add(-time.Duration(rng.Int64N(int64(window/2)))), at)
			} else {
				f.upload(shard, at, f.now())
			}
			f.advance(time.Duration(rng.Int64N(int64(40 * time.Second))))
			if rng.IntN(20) == 0 && window < time.Hour {
				f.advance(2 * window)
			}
			time.Sleep(time.Millisecond)
		}
	})
	done.Go(func() {
		for range 12 {
			before := f.acknowledged()
			a := f.read(f.mem)
			f.mustNotRepeat("meanwhile", a)
			for id, key := range before {
				if straggler := catalog.MinuteOf(key.Minute) <= a.heads[key.Shard].Sealed; a.count[id] == 0 && !straggler {
					t.Errorf("meanwhile: %s is missing, sealed up to %s", key, a.heads[key.Shard].Sealed)
				}
			}
		}
	})
	done.Wait()
	stop()
	working.Wait()
	f.advance(5 * time.Minute)
	mustRun(t, New(catalog.New(f.mem, catalog.Config{Window: window}), f.mem, Config{}))
	f.mustBeWhole("in the end")
	t.Logf("%d profiles; %d commits, %d sweeps with stragglers, %d jobs abandoned", len(f.sent), committed, sweeps, abandoned)
}

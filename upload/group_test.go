package upload_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

// slow is a bucket whose Creates take a while.
func slow(b bucket.Bucket, d time.Duration) *scripted {
	return &scripted{Bucket: b, create: func(int) (bool, error) {
		time.Sleep(d)
		return true, nil
	}}
}

// A push returns when the object is in the bucket, and the first of a tenant does not
// wait for others.
func TestPushReturnsWhenDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := bucket.Mem()
		u := open(t, slow(mem, 200*time.Millisecond), upload.Config{})
		for i := range 3 {
			began := time.Now()
			if err := u.Push(t.Context(), "acme", numbered(t, i)); err != nil {
				t.Fatal(err)
			}
			wantNumbers(t, mem, upTo(i+1))
			if took := time.Since(began); took != 200*time.Millisecond {
				t.Errorf("took %v", took)
			}
		}
		closeNow(t, u)
	})
}

// What comes while a PUT is under way goes together when that has returned.
func TestPushesShareAnObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := bucket.Mem()
		b := slow(mem, 300*time.Millisecond)
		u := open(t, b, upload.Config{})
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if err := u.Push(t.Context(), "acme", numbered(t, i)); err != nil {
					t.Error(err)
				}
				if numbers(t, mem)[i] != 1 {
					t.Errorf("%d is acknowledged and not there", i)
				}
			})
		}
		wg.Wait()
		closeNow(t, u)
		wantNumbers(t, mem, upTo(100))
		if tries := b.seen(); len(tries) != 2 || tries[1].at.Sub(tries[0].at) != 300*time.Millisecond {
			t.Errorf("%d objects", len(tries))
		}
	})
}

// Nobody waits for a slow PUT longer than PushDelay, and no tenant for another.
func TestPushDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := slow(bucket.Mem(), 5*time.Second)
		u := open(t, b, upload.Config{})
		began := time.Now()
		var wg sync.WaitGroup
		for n, tenant := range []profile.Tenant{
			"acme",  // goes at 0
			"acme",  // waits from 100 ms on, and goes at 600 ms
			"acme",  // with it
			"other", // goes at 300 ms
		} {
			wg.Go(func() {
				if err := u.Push(t.Context(), tenant, numbered(t, n)); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(100 * time.Millisecond)
		}
		wg.Wait()
		closeNow(t, u)
		var at []time.Duration
		for _, try := range b.seen() {
			at = append(at, try.at.Sub(began))
		}
		if len(at) != 3 || at[0] != 0 || at[1] != 300*time.Millisecond || at[2] != 600*time.Millisecond {
			t.Errorf("PUTs began at %v", at)
		}
	})
}

// A full group does not wait, and one push is never divided.
func TestFullGroupGoesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := bucket.Mem()
		b := slow(mem, time.Second)
		u := open(t, b, upload.Config{FlushBytes: 10 << 10})
		var wg sync.WaitGroup
		n := 0
		for range 8 {
			batch := []upload.Profile{numbered(t, n), numbered(t, n+1), numbered(t, n+2), numbered(t, n+3), numbered(t, n+4)}
			n += len(batch)
			wg.Go(func() {
				if err := u.Push(t.Context(), "acme", batch...); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		closeNow(t, u)
		wantNumbers(t, mem, upTo(n))
		if tries := b.seen(); len(tries) < 3 || tries[len(tries)-2].at != tries[1].at {
			t.Errorf("%d PUTs", len(tries))
		}
		for _, blk := range blocks(t, mem) {
			if len(blk.manifest.Profiles)%5 != 0 {
				t.Errorf("a block of %d profiles", len(blk.manifest.Profiles))
			}
		}
	})
}

// While the bucket is away pushes are answered with ErrUnavailable in time, nothing is
// kept of them, and the next is tried anew.
func TestPushWhileTheBucketIsAway(t *testing.T) {
	for name, answer := range map[string]error{"unknown": errUnknown, "dial": errDial, "denied": errDenied} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := bucket.Mem()
				b, back := away(mem, answer)
				l := &log{}
				u := open(t, b, upload.Config{Observer: l.observer(), SpoolDir: t.TempDir()})
				began := time.Now()
				err := u.Push(t.Context(), "acme", numbered(t, 0), numbered(t, 1))
				if !errors.Is(err, upload.ErrUnavailable) || !errors.Is(err, answer) {
					t.Errorf("got %v", err)
				}
				if took := time.Since(began); took > 10*time.Second || errors.Is(answer, bucket.ErrDenied) && took > 0 {
					t.Errorf("answered after %v", took)
				}
				if left := u.Backlog(); left != (upload.Backlog{}) || l.refused != 2 {
					t.Errorf("left over: %+v; %d refused", left, l.refused)
				}
				tries := len(b.seen())
				back()
				time.Sleep(time.Hour)
				if got := len(b.seen()); got != tries {
					t.Errorf("%d tries that nobody waits for", got-tries)
				}
				if err := u.Push(t.Context(), "acme", numbered(t, 2)); err != nil {
					t.Error(err)
				}
				closeNow(t, u)
				l.wantLost(t, "", 0)
				wantNumbers(t, mem, map[int]int{2: 1})
			})
		})
	}
}

// A hiccup is not seen by the pusher.
func TestPushTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &scripted{Bucket: bucket.Mem(), create: answers(errDial, landed{errReset}, errDial)}
		l := &log{}
		u := open(t, b, upload.Config{Observer: l.observer()})
		if err := u.Push(t.Context(), "acme", numbered(t, 0)); err != nil {
			t.Error(err)
		}
		closeNow(t, u)
		wantNumbers(t, b.Bucket, upTo(1))
		if len(l.retries) != 3 || len(l.written) != 1 {
			t.Errorf("retries %v, written %v", l.retries, l.written)
		}
	})
}

// A pusher who leaves does not take the others with him.
func TestPusherLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := bucket.Mem()
		u := open(t, slow(mem, 300*time.Millisecond), upload.Config{})
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				if i%2 == 0 {
					ctx = t.Context()
				}
				err := u.Push(ctx, "acme", numbered(t, i))
				if i%2 == 0 && err != nil {
					t.Error(err)
				}
				if i%2 == 1 && (!errors.Is(err, upload.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded)) {
					t.Errorf("left: got %v", err)
				}
			})
		}
		wg.Wait()
		closeNow(t, u)
		wantNumbers(t, mem, upTo(4))
	})
}

// Close lets the PUTs under way end, sends what waits, and answers.
func TestCloseFlushesPushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := bucket.Mem()
		u := open(t, slow(mem, 300*time.Millisecond), upload.Config{PushDelay: time.Hour})
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				if err := u.Push(t.Context(), "acme", numbered(t, i)); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Millisecond)
		closeNow(t, u)
		wantNumbers(t, mem, upTo(4))
		wg.Wait()
	})
}

// Memory that pushes may take is bounded: what is too much is refused at once.
func TestPushesDoNotFillMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := bucket.Mem()
		u := open(t, slow(mem, time.Second), upload.Config{MemoryBytes: 20 << 10})
		var wg sync.WaitGroup
		var mu sync.Mutex
		acknowledged := map[int]int{}
		for i := range 200 {
			wg.Go(func() {
				began := time.Now()
				err := u.Push(t.Context(), "acme", numbered(t, i))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					acknowledged[i] = 1
				} else if !errors.Is(err, upload.ErrUnavailable) || time.Since(began) > 0 {
					t.Errorf("got %v after %v", err, time.Since(began))
				}
			})
		}
		wg.Wait()
		closeNow(t, u)
		if len(acknowledged) < 10 || len(acknowledged) > 100 {
			t.Errorf("%d of 200 were acknowledged", len(acknowledged))
		}
		wantNumbers(t, mem, acknowledged)
	})
}

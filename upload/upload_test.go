package upload_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/pprofblock"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/bucket/buckettest"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

// pprofAt is a small CPU profile of the given time; the zero time is none.
func pprofAt(t testing.TB, at time.Time, edit ...func(*pprof.Profile)) []byte {
	t.Helper()
	f := &pprof.Function{ID: 1, Name: "main.work"}
	l := &pprof.Location{ID: 1, Address: 0x1000, Line: []pprof.Line{{Function: f, Line: 7}}}
	p := &pprof.Profile{
		SampleType:    []*pprof.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		PeriodType:    &pprof.ValueType{Type: "cpu", Unit: "nanoseconds"},
		Period:        1e7,
		DurationNanos: int64(10 * time.Second),
		Sample:        []*pprof.Sample{{Location: []*pprof.Location{l}, Value: []int64{3, 3e7}}},
		Location:      []*pprof.Location{l},
		Function:      []*pprof.Function{f},
	}
	if !at.IsZero() {
		p.TimeNanos = at.UnixNano()
	}
	for _, e := range edit {
		e(p)
	}
	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// numbered is a profile that is told from others by its number.
func numbered(t testing.TB, n int) upload.Profile {
	t.Helper()
	labels, err := profile.LabelsFromMap(map[string]string{"job": "test", "n": strconv.Itoa(n)})
	if err != nil {
		t.Fatal(err)
	}
	return upload.Profile{Name: "process_cpu", Labels: labels, Body: pprofAt(t, time.Now())}
}

// stored is a block found in a bucket.
type stored struct {
	key      block.L0Key
	manifest *pprofblock.Manifest
}

// blocks reads and verifies every block of a bucket.
func blocks(t testing.TB, b bucket.Bucket) (all []stored) {
	t.Helper()
	for o, err := range b.List(context.Background(), "") {
		if err != nil {
			t.Fatal(err)
		}
		key, err := block.ParseL0Key(o.Key)
		if err != nil {
			t.Fatal(err)
		}
		data, _, err := b.Get(context.Background(), o.Key)
		if err != nil {
			t.Fatal(err)
		}
		r, err := pprofblock.Open(data, pprofblock.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Verify(); err != nil {
			t.Fatal(err)
		}
		if r.Manifest().ID != key.ID {
			t.Errorf("%s holds %s", o.Key, r.Manifest().ID)
		}
		for _, e := range r.Manifest().Profiles {
			if e.MinTime.Before(key.MinTime) || e.MaxTime.After(key.MaxTime()) {
				t.Errorf("%s does not cover [%v, %v]", o.Key, e.MinTime, e.MaxTime)
			}
		}
		all = append(all, stored{key, r.Manifest()})
	}
	return all
}

// numbers says how often each numbered profile is in a bucket.
func numbers(t testing.TB, b bucket.Bucket) map[int]int {
	t.Helper()
	counts := map[int]int{}
	for _, blk := range blocks(t, b) {
		for _, e := range blk.manifest.Profiles {
			n, err := strconv.Atoi(e.Labels.Get("n"))
			if err != nil {
				t.Fatal(err)
			}
			counts[n]++
		}
	}
	return counts
}

// upTo is what numbers gives when 0 to n-1 are there once.
func upTo(n int) map[int]int {
	counts := map[int]int{}
	for i := range n {
		counts[i] = 1
	}
	return counts
}

func wantNumbers(t testing.TB, b bucket.Bucket, want map[int]int) {
	t.Helper()
	if got := numbers(t, b); !maps.Equal(got, want) {
		t.Errorf("in the bucket: %v, want %v", got, want)
	}
}

// log is an Observer that remembers.
type log struct {
	mu       sync.Mutex
	accepted int
	written  []block.L0Key
	retries  []error
	refused  int
	lost     []upload.Loss
	ahead    []time.Duration
	spool    []error
}

func (l *log) observer() upload.Observer {
	note := func(f func()) {
		l.mu.Lock()
		defer l.mu.Unlock()
		f()
	}
	return upload.Observer{
		Accepted: func(_ profile.Tenant, n int, _ int64) { note(func() { l.accepted += n }) },
		Written: func(k block.L0Key, _ int, _ int64, _ time.Duration) {
			note(func() { l.written = append(l.written, k) })
		},
		Retry:       func(_ block.L0Key, err error) { note(func() { l.retries = append(l.retries, err) }) },
		Refused:     func(_ profile.Tenant, n int, _ error) { note(func() { l.refused += n }) },
		Lost:        func(loss upload.Loss) { note(func() { l.lost = append(l.lost, loss) }) },
		ClockAhead:  func(_ profile.Tenant, d time.Duration) { note(func() { l.ahead = append(l.ahead, d) }) },
		SpoolFailed: func(err error) { note(func() { l.spool = append(l.spool, err) }) },
	}
}

func (l *log) wantLost(t testing.TB, reason upload.Reason, n int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lost) != n {
		t.Fatalf("%d blocks are lost, want %d: %v", len(l.lost), n, l.lost)
	}
	for _, loss := range l.lost {
		if loss.Reason != reason || loss.Profiles < 1 || loss.Bytes < 1 || loss.Err == nil {
			t.Errorf("lost: %+v, want reason %s", loss, reason)
		}
	}
}

// try is what a scripted bucket saw of one Create.
type try struct {
	at   time.Time
	key  string
	data string
}

// scripted is a bucket whose Creates do as told.
type scripted struct {
	bucket.Bucket
	// create is asked before the nth Create, from 0: whether it lands, and the answer. A nil
	// answer is the bucket's own. Set before the first use.
	create func(n int) (lands bool, answer error)
	noTime func() error // the answer to Now, if any

	mu    sync.Mutex
	tries []try
}

func (s *scripted) Create(ctx context.Context, key string, r io.Reader, size int64) error {
	data, err := io.ReadAll(r)
	if err != nil || int64(len(data)) != size {
		return fmt.Errorf("read %d of %d bytes: %w", len(data), size, err)
	}
	s.mu.Lock()
	n := len(s.tries)
	s.tries = append(s.tries, try{time.Now(), key, string(data)})
	s.mu.Unlock()
	lands, answer := s.create(n)
	if lands {
		if err := s.Bucket.Create(ctx, key, bytes.NewReader(data), size); answer == nil {
			answer = err
		}
	}
	return answer
}

func (s *scripted) Now(ctx context.Context) (time.Time, error) {
	if s.noTime != nil {
		if err := s.noTime(); err != nil {
			return time.Time{}, err
		}
	}
	return s.Bucket.Now(ctx)
}

func (s *scripted) seen() []try {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.tries)
}

// away is a bucket that answers every Create like that, until back is called.
func away(b bucket.Bucket, answer error) (_ *scripted, back func()) {
	var gone atomic.Bool
	gone.Store(true)
	return &scripted{Bucket: b, create: func(int) (bool, error) {
		if gone.Load() {
			return false, answer
		}
		return true, nil
	}}, func() { gone.Store(false) }
}

var errUnknown = errors.New("connection reset: nobody knows what happened")

// open makes an uploader and sees to its end.
func open(t testing.TB, b bucket.Bucket, cfg upload.Config) *upload.Uploader {
	t.Helper()
	u, err := upload.New(b, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func closeNow(t testing.TB, u *upload.Uploader) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := u.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
	if left := u.Backlog(); left.MemoryBytes != 0 {
		t.Errorf("after Close %d bytes are accounted as in memory", left.MemoryBytes)
	}
}

func add(t testing.TB, u *upload.Uploader, profiles ...upload.Profile) {
	t.Helper()
	if err := u.Add(t.Context(), "acme", profiles...); err != nil {
		t.Error(err)
	}
}

// Every write fails once: lost, or landed with its answer lost. Whatever way in a
// profile took, it is in the bucket once.
func TestEveryWriteFailsOnce(t *testing.T) {
	for n := 1; ; n++ {
		for _, landed := range []bool{false, true} {
			failed := false
			synctest.Test(t, func(t *testing.T) {
				mem := bucket.Mem()
				failing := buckettest.FailNth(mem, n, landed)
				l := &log{}
				u := open(t, failing, upload.Config{Agent: "a", Observer: l.observer()})
				var wg sync.WaitGroup
				for i := range 5 {
					wg.Go(func() {
						add(t, u, numbered(t, i))
						if err := u.Push(t.Context(), "acme", numbered(t, 10+i)); err != nil {
							t.Errorf("push: %v", err)
						}
						if got := numbers(t, mem); got[10+i] != 1 {
							t.Errorf("acknowledged, and %d times in the bucket", got[10+i])
						}
					})
					time.Sleep(50 * time.Second)
				}
				wg.Wait()
				closeNow(t, u)
				l.wantLost(t, "", 0)
				want := upTo(5)
				for i := range 5 {
					want[10+i] = 1
				}
				wantNumbers(t, mem, want)
				failed = failing.Failed()
			})
			if !failed {
				return
			}
		}
	}
}

func TestNothingIsLeftRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := open(t, bucket.Mem(), upload.Config{})
		closeNow(t, u)
		closeNow(t, u) // again
		if err := u.Add(t.Context(), "acme", numbered(t, 0)); !errors.Is(err, upload.ErrUnavailable) {
			t.Errorf("add after close: %v", err)
		}
		if err := u.Push(t.Context(), "acme", numbered(t, 0)); !errors.Is(err, upload.ErrUnavailable) {
			t.Errorf("push after close: %v", err)
		}
		if left := u.Backlog(); left.MemoryBytes != 0 {
			t.Errorf("%d bytes are accounted as in memory", left.MemoryBytes)
		}
	})
}

// Close does not wait for the next try of a bucket that was away.
func TestCloseTriesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := bucket.Mem()
		b, back := away(mem, errDial)
		u := open(t, b, upload.Config{})
		add(t, u, numbered(t, 0))
		time.Sleep(10 * time.Minute)
		back()
		began := time.Now()
		closeNow(t, u)
		if took := time.Since(began); took > 0 {
			t.Errorf("took %v", took)
		}
		wantNumbers(t, mem, upTo(1))
	})
}

// Close without a spool says what it could not store.
func TestCloseTellsLosses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		b := &scripted{Bucket: bucket.Mem(), create: func(int) (bool, error) { return false, errUnknown }}
		u := open(t, b, upload.Config{Observer: l.observer()})
		add(t, u, numbered(t, 0), numbered(t, 1))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := u.Close(ctx); err == nil {
			t.Error("close says nothing of two lost profiles")
		}
		l.wantLost(t, upload.Closed, 1)
		if l.lost[0].Profiles != 2 || u.Backlog().MemoryBytes != 0 {
			t.Errorf("lost: %+v, backlog %+v", l.lost[0], u.Backlog())
		}
	})
}

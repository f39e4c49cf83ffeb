package catalog

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/bucket/buckettest"
	"github.com/coldframe/coldframe/profile"
)

const (
	tenant = profile.DefaultTenant
	shard  = block.Shard(3)
)

var headKey = block.HeadKey(tenant, shard)

// meta is a block of the day on which all tests play, with profiles of one minute.
func meta(at time.Time) block.Meta {
	ms := at.UnixMilli()
	return block.Meta{
		ID: block.NewID(at), Level: block.L1, Day: block.DayOfMillis(ms), MinTime: ms, MaxTime: ms + 59_999,
		Size: 1000, Tail: 100, Rows: 1, Profiles: 1, Types: block.Types{cpuType()},
	}
}

var midnight = time.Date(2026, 8, 21, 0, 0, 0, 0, time.UTC)

// Whichever write of a commit fails, and whether it landed or not, the change is in
// HEAD once and Commit says so.
func TestCommitFindsOutWhatLanded(t *testing.T) {
	for n := 1; ; n++ {
		failed := false
		for _, landed := range []bool{false, true} {
			b := buckettest.FailNth(bucket.Mem(), n, landed)
			c := New(b, Config{Backoff: time.Microsecond})
			for minute := range Minute(3) {
				h, err := c.Commit(t.Context(), tenant, shard, Seal{From: minute, To: minute + 1, Out: []block.Meta{meta(midnight)}})
				if err != nil {
					t.Fatalf("n=%d landed=%v: %v", n, landed, err)
				}
				if h.Seq != uint64(minute)+1 || h.Sealed != minute+1 || len(h.Live) != int(minute)+1 {
					t.Fatalf("n=%d landed=%v: after %d seals HEAD is %+v", n, landed, minute+1, h)
				}
			}
			failed = b.Failed()
		}
		if !failed {
			break
		}
	}
}

// Seals of the same minutes: one committer wins each, the others are told to plan
// again, and nobody's blocks are in HEAD twice or missing.
func TestConcurrentCommits(t *testing.T) {
	const committers, minutes = 4, 40
	var conflicts atomic.Int64
	mem := bucket.Mem()
	newCatalog := func() *Catalog {
		return New(mem, Config{Backoff: time.Millisecond, Attempts: 1000, Observer: Observer{Conflict: func(string) { conflicts.Add(1) }}})
	}
	var won, abandoned atomic.Int64
	var wg sync.WaitGroup
	for range committers {
		wg.Go(func() {
			c := newCatalog()
			for {
				h, err := c.Head(t.Context(), tenant, shard)
				if err != nil || h.Sealed >= minutes {
					return
				}
				_, err = c.Commit(t.Context(), tenant, shard, Seal{From: h.Sealed, To: h.Sealed + 1, Out: []block.Meta{meta(midnight)}})
				switch {
				case err == nil:
					won.Add(1)
				case errors.Is(err, ErrConflict):
					abandoned.Add(1)
				default:
					t.Error(err)
					return
				}
				_, err = c.Commit(t.Context(), tenant, shard, Sweep{Sweep: h.Sweep, To: h.Sealed})
				if err != nil && !errors.Is(err, ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	h, err := newCatalog().Head(t.Context(), tenant, shard)
	if err != nil {
		t.Fatal(err)
	}
	if won.Load() != minutes || len(h.Live) != minutes || h.Sealed != minutes {
		t.Errorf("%d of %d seals won; HEAD has %d blocks and is sealed up to %d", won.Load(), minutes, len(h.Live), h.Sealed)
	}
	t.Logf("%d conflicts, %d abandoned", conflicts.Load(), abandoned.Load())
}

// A merge and a seal do not touch each other's ground, so the one that comes second
// is applied to the HEAD of the first.
func TestCommitReappliesWhatStillHolds(t *testing.T) {
	mem := bucket.Mem()
	c := New(mem, Config{Backoff: time.Microsecond})
	a, b, merged := meta(midnight), meta(midnight.Add(time.Minute)), meta(midnight)
	if _, err := c.Commit(t.Context(), tenant, shard, Seal{To: 1, Out: []block.Meta{a, b}}); err != nil {
		t.Fatal(err)
	}
	raced := New(&race{Bucket: mem, between: func(ctx context.Context) error {
		_, err := c.Commit(ctx, tenant, shard, Seal{From: 1, To: 2, Out: []block.Meta{meta(midnight)}})
		return err
	}}, Config{Backoff: time.Microsecond})
	h, err := raced.Commit(t.Context(), tenant, shard, Merge{In: []block.ID{a.ID, b.ID}, Out: []block.Meta{merged}})
	if err != nil {
		t.Fatal(err)
	}
	if h.Seq != 3 || h.Sealed != 2 || len(h.Live) != 2 || h.find(merged.ID) < 0 {
		t.Errorf("HEAD is %+v", h)
	}
	again := Merge{In: []block.ID{a.ID}, Out: []block.Meta{meta(midnight)}}
	if _, err := c.Commit(t.Context(), tenant, shard, again); !errors.Is(err, ErrConflict) {
		t.Errorf("merge of what is merged already: %v", err)
	}
}

// race lets another commit in before the first Replace.
type race struct {
	bucket.Bucket
	once    sync.Once
	between func(context.Context) error
}

func (r *race) Replace(ctx context.Context, key string, data []byte, old bucket.Version) (bucket.Version, error) {
	var err error
	r.once.Do(func() { err = r.between(ctx) })
	if err != nil {
		return "", err
	}
	return r.Bucket.Replace(ctx, key, data, old)
}

// denied refuses writes.
type denied struct {
	bucket.Bucket
	err error
}

func (d denied) Replace(context.Context, string, []byte, bucket.Version) (bucket.Version, error) {
	return "", d.err
}

func TestCommitGivesUp(t *testing.T) {
	odd := errors.New("odd")
	tests := []struct {
		name string
		err  error
		want error
	}{
		{"at once when access is denied", bucket.ErrDenied, bucket.ErrDenied},
		{"after its attempts", odd, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			attempts := 0
			c := New(denied{bucket.Mem(), tt.err}, Config{
				Attempts: 3, Backoff: time.Microsecond,
				Observer: Observer{Ambiguous: func(string, error) { attempts++ }},
			})
			_, err := c.Commit(t.Context(), tenant, shard, Seal{To: 1})
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("got %v", err)
			}
			if tt.want == nil && attempts != 3 {
				t.Errorf("%d attempts", attempts)
			}
		})
	}
	t.Run("when its context ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := New(denied{bucket.Mem(), odd}, Config{Attempts: 1 << 30, Backoff: time.Hour, Observer: Observer{Ambiguous: func(string, error) { cancel() }}})
		if _, err := c.Commit(ctx, tenant, shard, Seal{To: 1}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestBrokenHeadIsNamedAndLeftAlone(t *testing.T) {
	for text, want := range map[string]error{"{": block.ErrCorrupt, `{"v":9}`: ErrNewer} {
		mem := bucket.Mem()
		if err := mem.Put(t.Context(), headKey, []byte(text)); err != nil {
			t.Fatal(err)
		}
		c := New(mem, Config{})
		_, err := c.Head(t.Context(), tenant, shard)
		if !errors.Is(err, want) || !bytes.Contains([]byte(err.Error()), []byte(headKey)) {
			t.Errorf("Head of %s: %v, want %v with the key", text, err, want)
		}
		if _, err := c.Commit(t.Context(), tenant, shard, Seal{To: 1}); !errors.Is(err, want) {
			t.Errorf("Commit to %s: %v, want %v", text, err, want)
		}
		if data, _, err := mem.Get(t.Context(), headKey); string(data) != text || err != nil {
			t.Errorf("the HEAD %s became %s, %v", text, data, err)
		}
	}
}

// In a bucket without conditions commits work, one committer at a time.
func TestCommitWithoutConditions(t *testing.T) {
	mem := bucket.Mem()
	mem.Mode = bucket.CASNone
	c := New(mem, Config{})
	for m := range Minute(10) {
		if _, err := c.Commit(t.Context(), tenant, shard, Seal{From: m, To: m + 1, Out: []block.Meta{meta(midnight)}}); err != nil {
			t.Fatal(err)
		}
	}
	if h, err := c.Head(t.Context(), tenant, shard); err != nil || len(h.Live) != 10 || h.Seq != 10 {
		t.Errorf("%d blocks at seq %d, %v", len(h.Live), h.Seq, err)
	}
}

// A HEAD that grows too large moves its oldest entries out. Whichever of the writes
// fails, every block is in HEAD or in one of its parts, once.
func TestSpill(t *testing.T) {
	const blocks, maxHead = 18, 3 << 10
	for n := 0; ; n++ {
		failed := false
		for _, landed := range []bool{false, true} {
			mem := bucket.Mem()
			b := buckettest.FailNth(mem, n, landed)
			c := New(b, Config{MaxHeadBytes: maxHead, Window: 4 * time.Minute, Backoff: time.Microsecond})
			var want []block.ID
			for i := range Minute(blocks) {
				m := meta(i.Time())
				want = append(want, m.ID)
				commit(t, c, Seal{From: i, To: i + 1, Out: []block.Meta{m}})
				commit(t, c, Sweep{Sweep: uint64(i), To: i + 1})
			}
			data, _, err := mem.Get(t.Context(), headKey)
			if err != nil || len(data) > maxHead {
				t.Errorf("n=%d landed=%v: HEAD has %d bytes, %v", n, landed, len(data), err)
			}
			s, err := New(mem, Config{}).Snapshot(t.Context(), tenant)
			if err != nil {
				t.Fatal(err)
			}
			if parts := len(s.Shards[0].Head.Arch); parts < 2 {
				t.Errorf("n=%d landed=%v: %d arch parts", n, landed, parts)
			}
			if got := ids(t, s, 0, blocks); !slices.Equal(got, want) {
				t.Errorf("n=%d landed=%v: got %d blocks %v\nwant %d %v", n, landed, len(got), got, len(want), want)
			}
			if got := ids(t, s, 5, 6); !slices.Equal(got, want[5:6]) {
				t.Errorf("n=%d landed=%v: minute 5: got %v, want %v", n, landed, got, want[5:6])
			}
			failed = b.Failed()
		}
		if !failed && n > 0 {
			break
		}
	}
}

// commit plans again, that is the same, when an arch part could not be written.
func commit(t *testing.T, c *Catalog, change Change) {
	t.Helper()
	_, err := c.Commit(t.Context(), tenant, shard, change)
	if errors.Is(err, buckettest.ErrInjected) {
		_, err = c.Commit(t.Context(), tenant, shard, change)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func ids(t *testing.T, s *Snapshot, from, to Minute) []block.ID {
	t.Helper()
	blocks, err := s.Blocks(t.Context(), profile.TimeRange{From: from.Time(), To: to.Time()})
	if err != nil {
		t.Fatal(err)
	}
	var ids []block.ID
	for _, b := range blocks {
		ids = append(ids, b.ID)
	}
	return ids
}

// An attempt that lost the race has written a part already. If its entries are all
// still live, the next attempt uses that part and does not write another.
func TestSpillServesTheNextAttempt(t *testing.T) {
	mem := bucket.Mem()
	c := New(mem, Config{MaxHeadBytes: 4 << 10, Backoff: time.Microsecond})
	var h Head
	var err error
	for i := Minute(0); len(h.Arch) == 0; i++ {
		before := h.Sealed
		raced := New(&race{Bucket: mem, between: func(ctx context.Context) error {
			_, err := c.Commit(ctx, tenant, shard, Sweep{Sweep: h.Sweep, To: before})
			return err
		}}, Config{MaxHeadBytes: 4 << 10, Backoff: time.Microsecond})
		h, err = raced.Commit(t.Context(), tenant, shard, Seal{From: i, To: i + 1, Out: []block.Meta{meta(midnight)}})
		if err != nil {
			t.Fatal(err)
		}
	}
	parts := 0
	for _, err := range mem.List(t.Context(), block.ArchKey(tenant, shard, block.ID{})[:len("v1/man/default/03/arch/")]) {
		if err != nil {
			t.Fatal(err)
		}
		parts++
	}
	if parts != 1 {
		t.Errorf("%d arch parts were written for one", parts)
	}
}

func TestDamagedPartIsTold(t *testing.T) {
	mem := bucket.Mem()
	c := New(mem, Config{MaxHeadBytes: 2 << 10})
	for i := range Minute(20) {
		if _, err := c.Commit(t.Context(), tenant, shard, Seal{From: i, To: i + 1, Out: []block.Meta{meta(midnight.Add(time.Duration(i) * time.Minute))}}); err != nil {
			t.Fatal(err)
		}
	}
	h, err := c.Head(t.Context(), tenant, shard)
	if err != nil || len(h.Arch) == 0 {
		t.Fatalf("no arch parts, %v", err)
	}
	broken := block.ArchKey(tenant, shard, h.Arch[0].ID)
	damaged := buckettest.Corrupt(mem, func(key string) bool { return key == broken }, buckettest.BitFlipped(999))
	s, err := New(damaged, Config{}).Snapshot(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := s.Blocks(t.Context(), profile.TimeRange{From: midnight, To: midnight.Add(time.Hour)})
	if !errors.Is(err, block.ErrCorrupt) || !bytes.Contains([]byte(err.Error()), []byte(broken)) {
		t.Errorf("got %v, want a corrupt %s", err, broken)
	}
	if want := 20 - h.Arch[0].Entries; len(blocks) != want {
		t.Errorf("%d blocks beside the error, want %d", len(blocks), want)
	}
}

// A HEAD is restored where there is none or a broken one, and nowhere else.
func TestRestore(t *testing.T) {
	restored := Head{
		Sealed: 100, Swept: 90, Live: []block.Meta{meta(midnight.Add(time.Hour)), meta(midnight)},
		Commits: []Gathering{{From: 30, To: 100, Out: []Output{outputOf(meta(midnight))}}},
	}
	sound, err := wholeHead(t).encode()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, there string
		want        error
	}{
		{"none", "", nil},
		{"broken", "{", nil},
		{"newer", `{"v":2}`, ErrNewer},
		{"sound", string(sound), ErrConflict},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mem := bucket.Mem()
			if tt.there != "" {
				if err := mem.Put(t.Context(), headKey, []byte(tt.there)); err != nil {
					t.Fatal(err)
				}
			}
			c := New(mem, Config{})
			if err := c.Restore(t.Context(), tenant, shard, restored); !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if tt.want != nil {
				if data, _, err := mem.Get(t.Context(), headKey); string(data) != tt.there || err != nil {
					t.Errorf("HEAD became %s, %v", data, err)
				}
				return
			}
			h, err := c.Head(t.Context(), tenant, shard)
			if err != nil || h.Seq != 1 || h.Sealed != 100 || h.Swept != 90 || len(h.Live) != 2 || len(h.Commits) != 1 {
				t.Errorf("HEAD is %+v, %v", h, err)
			}
			if _, err := c.Commit(t.Context(), tenant, shard, Seal{From: 100, To: 101}); err != nil {
				t.Error(err)
			}
		})
	}
}

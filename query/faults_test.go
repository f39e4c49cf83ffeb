package query

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/bucket/buckettest"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// furnished is a house with two Arrow blocks and two pprof blocks, and what each holds.
func furnished(t testing.TB) (h *house, all []sent, inside map[string][]sent) {
	h = newHouse()
	f := fleet{rand.New(rand.NewPCG(9, 10)), start, time.Hour}
	for len(all) < 24 {
		if s := f.profile(t); s.name == "process_cpu" { // so that one request selects all
			all = append(all, s)
		}
	}
	inside = map[string][]sent{}
	inside[h.putArrow(t, all[:6]...)[0]] = all[:6]
	inside[h.putArrow(t, all[6:12]...)[0]] = all[6:12]
	inside[h.putL0(t, all[12:18]...)] = all[12:18]
	inside[h.putL0(t, all[18:]...)] = all[18:]
	return h, all, inside
}

var wholeHour = profile.TimeRange{From: start, To: start.Add(time.Hour)}

func everything(t testing.TB) Request {
	return request(t, "{}", "process_cpu", wholeHour.From, wholeHour.To)
}

// without is the profiles of all blocks but one.
func without(inside map[string][]sent, lost string) []sent {
	var rest []sent
	for key, profiles := range inside {
		if key != lost {
			rest = append(rest, profiles...)
		}
	}
	return rest
}

// One bad or missing object costs one object: the rest is answered, and the stats say
// what is missing.
func TestOneBadObject(t *testing.T) {
	h, all, inside := furnished(t)
	for _, lost := range h.keys {
		others := slices.DeleteFunc(slices.Clone(h.keys), func(key string) bool { return key == lost })
		other, _, err := h.bkt.Get(t.Context(), others[0])
		if err != nil {
			t.Fatal(err)
		}
		for what, damage := range map[string]buckettest.Damage{
			"truncated":  buckettest.Truncated(100),
			"empty":      buckettest.Truncated(0),
			"foreign":    buckettest.Foreign(other),
			"garbage":    buckettest.Foreign(slices.Repeat([]byte("garbage"), 1000)),
			"unreadable": buckettest.Unreadable,
			"gone": func(key string, _ []byte) ([]byte, error) {
				return nil, fmt.Errorf("%s: %w", key, bucket.ErrNotExist)
			},
		} {
			name := what + " " + lost
			damaged := buckettest.Corrupt(h.bkt, func(key string) bool { return key == lost }, damage)
			q := h.querier(damaged, Config{SnapshotTTL: -1})
			req := everything(t)
			answer, err := q.Pprof(t.Context(), req)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if s := answer.Stats; s.OK != 3 || s.Blocks != 4 || len(s.Missing) != 1 || s.Missing[0].Key != lost || s.Missing[0].Reason == "" {
				t.Errorf("%s: stats %+v", name, s)
			}
			want := refer(t, without(inside, lost), req)
			if answer.Stats.Profiles != len(want.profiles) || answer.Profile.DurationNanos != want.merged.DurationNanos {
				t.Errorf("%s: %d profiles of %d ns, want %d of %d", name, answer.Stats.Profiles, answer.Profile.DurationNanos, len(want.profiles), want.merged.DurationNanos)
			}
			compareMaps(t, name, canonical(answer.Profile, 1), canonical(want.merged, 1))

			list, err := q.Types(t.Context(), req)
			if err != nil || len(list.Types) != 2 || !list.Stats.Partial() {
				t.Errorf("%s: types %v and %v with %+v", name, list.Types, err, list.Stats)
			}
			req.Strict = true
			if _, err := q.Tree(t.Context(), TreeRequest{Request: req}); !errors.Is(err, ErrPartial) || !strings.Contains(err.Error(), lost) {
				t.Errorf("%s: a strict query gives %v", name, err)
			}
		}
	}
	if _, err := h.q.Pprof(t.Context(), everything(t)); err != nil || len(all) != 24 {
		t.Fatal(err)
	}
}

// A flipped bit is noticed, or it has changed nothing.
func TestFlippedBits(t *testing.T) {
	h, all, inside := furnished(t)
	req := everything(t)
	whole := canonical(refer(t, all, req).merged, 1)
	rng := rand.New(rand.NewPCG(12, 13))
	for _, lost := range h.keys {
		rest := canonical(refer(t, without(inside, lost), req).merged, 1)
		for range 40 {
			bit := rng.IntN(1 << 24)
			damaged := buckettest.Corrupt(h.bkt, func(key string) bool { return key == lost }, buckettest.BitFlipped(bit))
			answer, err := h.querier(damaged, Config{SnapshotTTL: -1}).Pprof(t.Context(), req)
			if err != nil {
				t.Fatalf("bit %d of %s: %v", bit, lost, err)
			}
			got := canonical(answer.Profile, 1)
			switch missing := len(answer.Stats.Missing); {
			case missing == 0:
				compareMaps(t, fmt.Sprintf("bit %d of %s", bit, lost), got, whole)
			case strings.HasPrefix(lost, block.ClassL0.Prefix()) && answer.Stats.Profiles == len(all)-missing:
				// One profile of a pprof block, or all of them.
			default:
				compareMaps(t, fmt.Sprintf("bit %d of %s", bit, lost), got, rest)
				if answer.Stats.Profiles != len(all)-len(inside[lost]) {
					t.Errorf("bit %d of %s: %d profiles, want %d", bit, lost, answer.Stats.Profiles, len(all)-len(inside[lost]))
				}
			}
		}
	}
}

// hooked is a bucket that asks before each read.
type hooked struct {
	bucket.Bucket
	read func(ctx context.Context, key string) error
}

func (h hooked) Get(ctx context.Context, key string) ([]byte, bucket.Version, error) {
	if err := h.read(ctx, key); err != nil {
		return nil, "", err
	}
	return h.Bucket.Get(ctx, key)
}

func (h hooked) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if err := h.read(ctx, key); err != nil {
		return nil, err
	}
	return h.Bucket.GetRange(ctx, key, off, n)
}

// Every read fails once, in its turn. An answer that does not say so is whole.
func TestEveryReadFailsOnce(t *testing.T) {
	h, all, _ := furnished(t)
	req := everything(t)
	whole := canonical(refer(t, all, req).merged, 1)
	for n := int64(1); ; n++ {
		var reads atomic.Int64
		failing := hooked{h.bkt, func(_ context.Context, key string) error {
			if reads.Add(1) == n {
				return fmt.Errorf("read of %s: %w", key, buckettest.ErrInjected)
			}
			return nil
		}}
		q := h.querier(failing, Config{SnapshotTTL: -1})
		answer, err := q.Pprof(t.Context(), req)
		switch {
		case err != nil && !errors.Is(err, ErrUnavailable):
			t.Fatalf("read %d fails: %v", n, err)
		case err == nil && !answer.Stats.Partial():
			compareMaps(t, fmt.Sprintf("read %d fails", n), canonical(answer.Profile, 1), whole)
			if reads.Load() < n {
				return
			}
			t.Errorf("read %d fails, and the answer does not say so", n)
		case err == nil && answer.Stats.OK != 3:
			t.Errorf("read %d fails: stats %+v", n, answer.Stats)
		}
		// The same Querier, asked again, has forgotten what went wrong.
		answer, err = q.Pprof(t.Context(), req)
		if err != nil || answer.Stats.Partial() {
			t.Fatalf("after read %d failed: %v, %+v", n, err, answer.Stats)
		}
		compareMaps(t, fmt.Sprintf("after read %d failed", n), canonical(answer.Profile, 1), whole)
	}
}

// Blocks that a remembered snapshot names may have been merged and deleted since. A
// new snapshot is taken then, and nothing is counted twice.
func TestMergedSinceTheSnapshot(t *testing.T) {
	h, all, _ := furnished(t)
	h.q = h.querier(h.bkt, Config{SnapshotTTL: time.Hour})
	req := everything(t)
	if _, err := h.q.Types(t.Context(), request(t, `{service_name="none"}`, "", req.Range.From, req.Range.To)); err != nil {
		t.Fatal(err)
	}
	head, err := h.cat.Head(t.Context(), profile.DefaultTenant, 0)
	if err != nil {
		t.Fatal(err)
	}
	var in []block.ID
	for _, m := range head.Live {
		in = append(in, m.ID)
	}
	meta, body := buildArrow(t, block.DayOf(start), all[:12], testRollups)
	meta.ID, meta.Level = block.NewID(h.now), block.L2
	h.put(t, meta.Key(profile.DefaultTenant, 0), body)
	if _, err := h.cat.Commit(t.Context(), profile.DefaultTenant, 0, catalog.Merge{In: in, Out: []block.Meta{meta}}); err != nil {
		t.Fatal(err)
	}
	if err := h.bkt.Delete(t.Context(), h.keys[0]); err != nil {
		t.Fatal(err)
	}
	answer, err := h.q.Pprof(t.Context(), req)
	if err != nil || answer.Stats.Partial() {
		t.Fatalf("%v, %+v", err, answer.Stats)
	}
	compareMaps(t, "after a merge", canonical(answer.Profile, 1), canonical(refer(t, all, req).merged, 1))
}

func TestLimits(t *testing.T) {
	h, _, _ := furnished(t)
	for what, c := range map[string]struct {
		cfg  Config
		want error
	}{
		"blocks":  {Config{MaxBlocks: 3}, ErrTooLarge},
		"memory":  {Config{MemoryBytes: 1000}, ErrTooLarge},
		"enough":  {Config{MaxBlocks: 4, MemoryBytes: 64 << 20}, nil},
		"one":     {Config{Concurrency: 1}, nil},
		"timeout": {Config{Timeout: time.Nanosecond}, context.DeadlineExceeded},
	} {
		if _, err := h.querier(h.bkt, c.cfg).Tree(t.Context(), TreeRequest{Request: everything(t)}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
}

// A bucket that hangs does not hold the query longer than its deadline.
func TestHangingBucket(t *testing.T) {
	h, _, _ := furnished(t)
	for _, class := range []string{"v1/man/", "v1/b1/", "v1/l0/"} {
		hanging := hooked{h.bkt, func(ctx context.Context, key string) error {
			if strings.HasPrefix(key, class) {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}}
		began := time.Now()
		_, err := h.querier(hanging, Config{Timeout: 20 * time.Millisecond}).Tree(t.Context(), TreeRequest{Request: everything(t)})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
			t.Errorf("%s hangs: %v after %s", class, err, time.Since(began))
		}
	}
}

// What a tenant's retention hides is not looked at, even though it is still there.
func TestRetention(t *testing.T) {
	h, all, _ := furnished(t)
	keep := h.now.Sub(start.Add(30 * time.Minute))
	h.q = h.querier(h.bkt, Config{Retention: func(context.Context, profile.Tenant) (catalog.Retentions, error) {
		return catalog.Retentions{Raw: catalog.Retention(keep)}, nil
	}})
	req := everything(t)
	answer, err := h.q.Pprof(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	kept := req
	kept.Range.From = start.Add(30 * time.Minute)
	compareMaps(t, "retention", canonical(answer.Profile, 1), canonical(refer(t, all, kept).merged, 1))
	keep = time.Minute
	if answer, err = h.q.Pprof(t.Context(), req); err != nil || len(answer.Profile.Sample) > 0 || answer.Stats.Blocks > 0 {
		t.Errorf("all is past retention: %v, %d samples, %+v", err, len(answer.Profile.Sample), answer.Stats)
	}
}

// Of several shards, one that cannot be read is missing, and the others are answered.
func TestBrokenShard(t *testing.T) {
	h, _, _ := furnished(t)
	f := fleet{rand.New(rand.NewPCG(22, 23)), start, time.Hour}
	inShard1 := f.profiles(t, 6)
	body, _, err := h.bkt.Get(t.Context(), h.putL0(t, inShard1...))
	if err != nil {
		t.Fatal(err)
	}
	key, err := block.ParseL0Key(h.keys[len(h.keys)-1])
	if err != nil {
		t.Fatal(err)
	}
	if err := h.bkt.Delete(t.Context(), key.String()); err != nil {
		t.Fatal(err)
	}
	key.Shard = 1
	h.put(t, key.String(), body)
	damaged := buckettest.Corrupt(h.bkt, func(key string) bool { return key == block.HeadKey(profile.DefaultTenant, 0) }, buckettest.Unreadable)
	req := everything(t)
	answer, err := h.querier(damaged, Config{}).Pprof(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if s := answer.Stats; s.Blocks != 1 || s.OK != 1 || !s.Partial() || !strings.HasPrefix(s.Missing[0].Key, "v1/man/default/") {
		t.Errorf("stats %+v", s)
	}
	compareMaps(t, "one shard of two", canonical(answer.Profile, 1), canonical(refer(t, inShard1, req).merged, 1))
}

// A register that cannot be read leaves nothing to answer from.
func TestBrokenHead(t *testing.T) {
	h, _, _ := furnished(t)
	head := block.HeadKey(profile.DefaultTenant, 0)
	for _, damage := range []buckettest.Damage{buckettest.Truncated(10), buckettest.Unreadable} {
		q := h.querier(buckettest.Corrupt(h.bkt, func(key string) bool { return key == head }, damage), Config{})
		if _, err := q.Tree(t.Context(), TreeRequest{Request: everything(t)}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v, want %v", err, ErrUnavailable)
		}
	}
}

package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/bucket/buckettest"
	"github.com/coldframe/coldframe/profile"
)

// workers are other processes with a view of their own of the same bucket; what goes
// to them and comes back passes through JSON.
type workers struct {
	queriers []*Querier
	compute  func(q *Querier, ctx context.Context, p Part) (*Partial, error) // instead of Compute

	mu    sync.Mutex
	asked int
}

// Assign leaves every fifth block here.
func (w *workers) Assign(keys []string) []string {
	names := make([]string, len(keys))
	for i := range keys {
		if i%5 != 4 {
			names[i] = fmt.Sprint(i % len(w.queriers))
		}
	}
	return names
}

func (w *workers) Compute(ctx context.Context, worker string, p Part) (*Partial, error) {
	w.mu.Lock()
	w.asked++
	w.mu.Unlock()
	var n int
	if _, err := fmt.Sscan(worker, &n); err != nil {
		return nil, err
	}
	var there Part
	if err := throughJSON(p, &there); err != nil {
		return nil, err
	}
	compute := (*Querier).Compute
	if w.compute != nil {
		compute = w.compute
	}
	partial, err := compute(w.queriers[n], ctx, there)
	if err != nil {
		return nil, err
	}
	back := &Partial{}
	return back, throughJSON(partial, back)
}

func throughJSON(from, to any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}

// shareAll has a house's querier ask n workers, whatever the size of a query.
func shareAll(h *house, n int) *workers {
	w := &workers{}
	for range n {
		w.queriers = append(w.queriers, h.querier(h.bkt, Config{}))
	}
	h.q = h.querier(h.bkt, Config{SnapshotTTL: -1, IndexCacheBytes: -1, RangeCacheBytes: -1, Remote: w, ShareBlocks: -1})
	return w
}

// An answer to which workers contributed is what google/pprof makes of the same profiles,
// as is one that a single process gives.
func TestSharedAgainstGooglePprof(t *testing.T) {
	rng := rand.New(rand.NewPCG(70, 80))
	all := fleet{rng, start, 8 * time.Hour}.profiles(t, 60)
	h := newHouse()
	for part := range slices.Chunk(all[:50], 5) {
		h.putArrow(t, part...)
	}
	h.putL0(t, all[45:]...) // some are in both
	w := shareAll(h, 3)
	for range 40 {
		req := randomRequest(t, rng, all)
		want := refer(t, all, req)
		what := fmt.Sprintf("%s [%s, %s)", req.Selector, formatTime(req.Range.From), formatTime(req.Range.To))
		if _, err := h.q.Tree(t.Context(), TreeRequest{Request: req}); want.merged == nil && errors.Is(err, ErrNoType) {
			continue
		}
		checkPprof(t, h, what, req, want)
		checkTree(t, h, what, req, want)
	}
	if w.asked < 40 {
		t.Errorf("workers were asked %d times", w.asked)
	}
}

// What a worker fails for is computed here, and so is what it answers wrongly.
func TestWorkersFail(t *testing.T) {
	rng := rand.New(rand.NewPCG(71, 81))
	all := fleet{rng, start, 4 * time.Hour}.profiles(t, 30)
	h := newHouse()
	for part := range slices.Chunk(all, 3) {
		h.putArrow(t, part...)
	}
	req := request(t, "{}", "process_cpu", start, start.Add(4*time.Hour))
	want := refer(t, all, req)
	for name, compute := range map[string]func(*Querier, context.Context, Part) (*Partial, error){
		"error": func(*Querier, context.Context, Part) (*Partial, error) { return nil, errors.New("no such member") },
		"another version": func(q *Querier, ctx context.Context, p Part) (*Partial, error) {
			p.Version++
			return q.Compute(ctx, p)
		},
		"another type": func(q *Querier, ctx context.Context, p Part) (*Partial, error) {
			p.Types = p.Types[:1]
			return q.Compute(ctx, p)
		},
		"cut short": func(q *Querier, ctx context.Context, p Part) (*Partial, error) {
			partial, err := q.Compute(ctx, p)
			partial.Block = partial.Block[:len(partial.Block)/2]
			return partial, err
		},
		"flipped bit": func(q *Querier, ctx context.Context, p Part) (*Partial, error) {
			partial, err := q.Compute(ctx, p)
			partial.Block[len(partial.Block)/2] ^= 4
			return partial, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := shareAll(h, 2)
			w.compute = compute
			var mu sync.Mutex
			failures := 0
			h.q.cfg.Observer.RemoteFailed = func(string, error) { mu.Lock(); failures++; mu.Unlock() }
			checkPprof(t, h, name, req, want)
			if failures == 0 {
				t.Error("no failure was observed")
			}
		})
	}
}

// A block that a worker cannot read is missing from the answer and named, whole.
func TestWorkersMissBlocks(t *testing.T) {
	h, _, inside := furnished(t)
	for name, damage := range map[string]buckettest.Damage{
		"damaged": buckettest.Foreign([]byte("garbage")),
		"gone": func(key string, _ []byte) ([]byte, error) {
			return nil, fmt.Errorf("%s: %w", key, bucket.ErrNotExist)
		},
	} {
		for _, lost := range h.keys[:2] { // Arrow blocks; this process reads the pprof blocks
			w := shareAll(h, 1)
			w.queriers[0] = h.querier(buckettest.Corrupt(h.bkt, func(key string) bool { return key == lost }, damage), Config{})
			answer, err := h.q.Pprof(t.Context(), everything(t))
			if err != nil {
				t.Fatal(err)
			}
			want := refer(t, without(inside, lost), everything(t))
			if s := answer.Stats; s.OK != 3 || s.Blocks != 4 || s.Missing[0].Key != lost || s.Profiles != len(want.profiles) {
				t.Errorf("%s %s: stats %+v", name, lost, s)
			}
			compareMaps(t, name, canonical(answer.Profile, 1), canonical(want.merged, 1))
			if asked := map[string]int{"damaged": 1, "gone": 2}[name]; w.asked != asked { // what is gone may have been merged: once more, from a new snapshot
				t.Errorf("%s %s: %d parts were asked for, want %d", name, lost, w.asked, asked)
			}
		}
	}
}

// A query is shared when it reads more blocks or bytes than Config says, and costs what
// all processes spent.
func TestWhatIsShared(t *testing.T) {
	rng := rand.New(rand.NewPCG(72, 82))
	all := fleet{rng, start, 4 * time.Hour}.profiles(t, 40)
	h := newHouse()
	for part := range slices.Chunk(all, 4) {
		h.putArrow(t, part...)
	}
	req := request(t, "{}", "process_cpu", start, start.Add(4*time.Hour))
	for _, c := range []struct {
		name   string
		blocks int
		bytes  int64
		shared bool
	}{
		{"many blocks", 9, 1 << 40, true},
		{"few blocks", 10, 1 << 40, false},
		{"many bytes", 1000, 1 << 10, true},
		{"few bytes", 1000, 1 << 30, false},
		{"the defaults", 0, 0, false},
	} {
		w := &workers{queriers: []*Querier{h.querier(h.bkt, Config{}), h.querier(h.bkt, Config{})}}
		var account bucket.Account
		q := h.querier(bucket.Counting(h.bkt, &account), Config{SnapshotTTL: -1, Remote: w, ShareBlocks: c.blocks, ShareBytes: c.bytes})
		tree, err := q.Tree(t.Context(), TreeRequest{Request: req})
		if err != nil {
			t.Fatal(err)
		}
		if (w.asked > 0) != c.shared {
			t.Errorf("%s: %d workers were asked, want shared: %t", c.name, w.asked, c.shared)
		}
		if here := int(account.Usage().Requests()); (tree.Stats.Requests > here) != c.shared {
			t.Errorf("%s: %d requests are told, %d were made here; shared: %t", c.name, tree.Stats.Requests, here, c.shared)
		}
	}
}

func TestMalformedParts(t *testing.T) {
	h := newHouse()
	key := h.putArrow(t, fleet{rand.New(rand.NewPCG(1, 2)), start, time.Hour}.profiles(t, 3)...)[0]
	head, err := h.cat.Head(t.Context(), profile.DefaultTenant, 0)
	if err != nil {
		t.Fatal(err)
	}
	typ, err := profile.ParseType("process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta")
	if err != nil {
		t.Fatal(err)
	}
	good := func() Part {
		return Part{
			Version: partVersion, Tenant: "default", Selector: "{}", From: start.UnixNano(), To: start.Add(time.Hour).UnixNano(),
			Types: []profile.Type{typ}, Blocks: []PartBlock{{key, head.Live[0]}},
		}
	}
	if _, err := h.q.Compute(t.Context(), good()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(p *Part){
		"version":        func(p *Part) { p.Version = 0 },
		"tenant":         func(p *Part) { p.Tenant = "../x" },
		"another tenant": func(p *Part) { p.Tenant = "other" },
		"selector":       func(p *Part) { p.Selector = "{" },
		"range":          func(p *Part) { p.To = p.From },
		"no type":        func(p *Part) { p.Types = nil },
		"two kinds":      func(p *Part) { p.Types = append(p.Types, profile.Type{Name: "memory"}) },
		"key":            func(p *Part) { p.Blocks[0].Key = "v1/man/default/00/HEAD" },
		"tail":           func(p *Part) { p.Blocks[0].Tail = -1 },
	} {
		p := good()
		spoil(&p)
		if _, err := h.q.Compute(t.Context(), p); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

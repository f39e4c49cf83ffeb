package query

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/coldframe/coldframe/bucket"
)

// Whatever a querier remembers, its answers are those of one that remembers nothing: while blocks and pprof blocks
// come and go, while ranges move on, and when another process has filled the folder on disk.
func TestColdAgainstWarm(t *testing.T) {
	rng := rand.New(rand.NewPCG(31, 7))
	all := fleet{rng, start, 30 * time.Hour}.profiles(t, 140)
	h := newHouse()
	dir := t.TempDir()
	cfg := Config{SnapshotTTL: -1, CacheDir: dir, CacheDiskBytes: 1 << 20}
	warm := []*Querier{h.querier(h.bkt, cfg), h.querier(h.bkt, cfg)}
	h.putArrow(t, all[:40]...)
	h.putL0(t, all[80:90]...)
	for i := range 150 {
		switch i {
		case 40:
			h.putArrow(t, all[40:80]...)
		case 60:
			h.putL0(t, all[88:110]...) // some once more
		case 80:
			warm[0] = h.querier(h.bkt, cfg) // a new process
			h.now = h.now.Add(time.Minute)
			h.putL0(t, all[110:]...)
		}
		req := TreeRequest{Request: randomSampleRequest(t, rng, all)}
		if rng.IntN(3) == 0 {
			req.View = randomView(rng)
		}
		if rng.IntN(4) == 0 {
			req.Filters = append(req.Filters, randomFilter(rng))
		}
		want, wantErr := h.q.Tree(t.Context(), req)
		for n, q := range []*Querier{warm[0], warm[0], warm[1]} {
			got, err := q.Tree(t.Context(), req)
			what := fmt.Sprintf("%d.%d %s [%s, %s) %+v", i, n, req.Selector, formatTime(req.Range.From), formatTime(req.Range.To), req.View)
			if err != nil || wantErr != nil {
				if !errors.Is(err, ErrNoType) || !errors.Is(wantErr, ErrNoType) {
					t.Fatalf("%s: %v, cold %v", what, err, wantErr)
				}
				continue
			}
			if got.Stats.Profiles != want.Stats.Profiles || got.Stats.Blocks != want.Stats.Blocks || got.Stats.Partial() {
				t.Errorf("%s: %+v, cold %+v", what, got.Stats, want.Stats)
			}
			cold := *want
			got.Stats, cold.Stats = Stats{}, Stats{}
			if !reflect.DeepEqual(got, &cold) {
				t.Errorf("%s: total %d of %d nodes, cold %d of %d", what, got.Total[0], len(got.Depth), cold.Total[0], len(cold.Depth))
			}
		}
	}
	for _, use := range warm[1].Caches() {
		if use.Hits == 0 || use.Misses == 0 && use.Name != "disk" || use.Bytes == 0 || use.Bytes > use.Capacity*17/16 {
			t.Errorf("%+v", use)
		}
	}
}

// A query that was asked before reads nothing of the bucket but what is live, and tells what caches gave it.
func TestWarmQueryReadsNothing(t *testing.T) {
	h := newHouse()
	all := fleet{rand.New(rand.NewPCG(5, 5)), start, time.Hour}.profiles(t, 30)
	h.putArrow(t, all[:20]...)
	h.putL0(t, all[20:]...)
	q := h.querier(h.bkt, Config{SnapshotTTL: time.Hour})
	req := TreeRequest{Request: request(t, "{}", "process_cpu/cpu", start, start.Add(24*time.Hour))}
	first, err := q.Tree(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the ranges of blocks differ, what is chosen does not
		req.Range.To = req.Range.To.Add(time.Minute)
		again, err := q.Tree(t.Context(), req)
		if err != nil || again.Stats.Requests != 0 || again.Stats.CacheBytes == 0 || again.Total[0] != first.Total[0] {
			t.Errorf("%+v, %v", again.Stats, err)
		}
	}
	uses := map[string]CacheUse{}
	for _, use := range q.Caches() {
		uses[use.Name] = use
	}
	if uses["sums"].Hits < 2 || uses["tail"].Hits < 2 || uses["disk"] != (CacheUse{Name: "disk"}) {
		t.Errorf("%+v", uses)
	}
}

// A folder on disk outlives the process; torn and foreign files are no answer.
func TestDiskCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	rng := rand.New(rand.NewPCG(1, 2))
	content := func(n int) []byte {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		return data
	}
	c := newDiskCache(dir, 100_000)
	of := func(key string, i int64) objectRange { return objectRange{key, i * 1000, 1000} }
	want := map[objectRange][]byte{}
	for i := range int64(10) {
		for _, key := range []string{"a", "b"} {
			want[of(key, i)] = content(1000)
			c.put(of(key, i), want[of(key, i)])
		}
	}
	check := func(c *diskCache, when string, gone int) {
		t.Helper()
		lost := 0
		for r, data := range want {
			got, ok := c.get(r)
			switch {
			case !ok:
				lost++
			case string(got) != string(data):
				t.Errorf("%s: %v has other bytes", when, r)
			}
		}
		if lost != gone {
			t.Errorf("%s: %d are lost, want %d", when, lost, gone)
		}
	}
	check(c, "same process", 0)
	again := newDiskCache(dir, 100_000)
	check(again, "another process", 0)

	torn := func(change func([]byte) []byte, r objectRange) {
		file, err := os.ReadFile(c.path(r))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(c.path(r), change(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	torn(func(b []byte) []byte { return b[:500] }, of("a", 0))
	torn(func(b []byte) []byte { b[700] ^= 1; return b }, of("a", 1))
	torn(func([]byte) []byte { return nil }, of("a", 2))
	torn(func(b []byte) []byte { b[0]++; return b }, of("a", 3))
	check(c, "torn", 4)
	c.put(of("a", 0), want[of("a", 0)])
	check(c, "one is written again", 3)
	c.forget("b")
	check(again, "an object is forgotten", 13)

	// What others write counts, and what was used lately stays.
	put := func(key string, n int64) {
		for i := range n {
			[]*diskCache{c, again}[i%2].put(of(key, i), content(1000))
		}
	}
	put("c", 60)
	old := time.Now().Add(-2 * abandoned)
	unfinished := filepath.Join(dir, "x.tmp")
	if err := os.WriteFile(unfinished, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.Chtimes(filepath.Join(dir, e.Name()), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := again.get(of("a", 9)); !ok {
		t.Fatal("it is gone")
	}
	put("d", 60)
	size := int64(0)
	entries, err = os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
		if strings.HasSuffix(e.Name(), ".tmp") {
			t.Errorf("%s is still there", e.Name())
		}
	}
	if size > 113_000 || size < 50_000 {
		t.Errorf("%d bytes, 100000 are allowed", size)
	}
	if _, ok := c.get(of("a", 9)); !ok {
		t.Error("what was used is gone")
	}
	if _, ok := c.get(objectRange{"a", 0, -1}); ok {
		t.Error("a whole object was kept")
	}
}

// A disk that refuses costs nothing but the cache.
func TestDiskCacheThatRefuses(t *testing.T) {
	h := newHouse()
	h.putArrow(t, fleet{rand.New(rand.NewPCG(6, 6)), start, time.Hour}.profiles(t, 10)...)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	q := h.querier(h.bkt, Config{SnapshotTTL: -1, RangeCacheBytes: -1, SumCacheBytes: -1, IndexCacheBytes: -1, CacheDir: filepath.Join(file, "below")})
	var account bucket.Account
	for range 2 {
		tree, err := q.Tree(bucket.WithAccount(t.Context(), &account), TreeRequest{Request: request(t, "{}", "process_cpu/cpu", start, start.Add(24*time.Hour))})
		if err != nil || tree.Stats.Partial() || tree.Stats.CacheHits > 0 {
			t.Errorf("%+v, %v", tree.Stats, err)
		}
	}
	if !q.disk.paused() {
		t.Error("it writes on and on")
	}
	if use := q.disk.use(); use.Bytes != 0 || use.Misses == 0 {
		t.Errorf("%+v", use)
	}
}

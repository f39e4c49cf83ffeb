package query

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/profile"
)

// A query that waits with many requests does not keep one with few from its turn.
func TestTurns(t *testing.T) {
	turn := newTurns(1)
	if err := turn.take(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	served := make(chan string, 32)
	ask := func(of string, n int) {
		for range n {
			waiting := turn.count()
			go func() {
				if turn.take(t.Context(), of) == nil {
					served <- of
				}
			}()
			for turn.count() == waiting {
				time.Sleep(time.Millisecond)
			}
		}
	}
	ask("heavy", 10)
	ask("light", 2)
	var order []string
	for range 12 {
		turn.give()
		order = append(order, <-served)
	}
	if order[1] != "light" || order[3] != "light" {
		t.Errorf("served in the order %q", order)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := turn.take(ctx, "gone"); !errors.Is(err, context.Canceled) || turn.count() != 0 {
		t.Errorf("%v, %d wait", err, turn.count())
	}
	turn.give()
	if turn.free != 1 {
		t.Errorf("%d slots are free, want 1", turn.free)
	}
}

// count is how many wait.
func (t *turns) count() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, q := range t.queues {
		n += len(q.waiters)
	}
	return n
}

// stuck is a bucket in which some reads hang until they are given up.
type stuck struct {
	bucket.Bucket
	every int64 // so many reads, the first of them hangs
	reads atomic.Int64
	hung  atomic.Int64
}

func (s *stuck) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if (s.reads.Add(1)-1)%s.every == 0 {
		s.hung.Add(1)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.Bucket.GetRange(ctx, key, off, n)
}

// A read that hangs is tried again, within the budget.
func TestHedge(t *testing.T) {
	h := newHouse()
	content := bytes.Repeat([]byte("0123456789"), 100)
	h.put(t, "x", content)
	bkt := &stuck{Bucket: h.bkt, every: 50}
	q := h.querier(bkt, Config{RangeCacheBytes: -1})
	for i := range int64(200) {
		data, err := q.read(t.Context(), objectRange{"x", i, 10})
		if err != nil || !bytes.Equal(data, content[i:i+10]) {
			t.Fatalf("read %d: %q, %v", i, data, err)
		}
	}
	if hung := bkt.hung.Load(); hung < 4 || q.hedges.second < int(hung) {
		t.Errorf("%d reads hung, %d were tried again", hung, q.hedges.second)
	}
	bkt.every = 2 // most cannot be helped
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() { _, _ = q.read(ctx, objectRange{"x", 0, 1}) })
	}
	wg.Wait()
	if q.hedges.second*hedgeShare > q.hedges.reads+hedgeShare {
		t.Errorf("%d of %d reads were tried again", q.hedges.second, q.hedges.reads)
	}
}

// A long range is read in pieces, and is what it was.
func TestSplit(t *testing.T) {
	h := newHouse()
	content := make([]byte, splitAbove+splitInto+12345)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := 0; i < len(content); i += 997 {
		content[i] = byte(rng.Uint32())
	}
	h.put(t, "x", content)
	var account bucket.Account
	data, err := h.q.read(bucket.WithAccount(t.Context(), &account), objectRange{"x", 100, int64(len(content)) - 100})
	if err != nil || !bytes.Equal(data, content[100:]) {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

// What a tenant may not ask for is refused with what to narrow, and too many queries wait.
func TestTenantLimits(t *testing.T) {
	h, _, _ := furnished(t)
	req := TreeRequest{Request: everything(t)}
	for what, limits := range map[string]TenantLimits{"range": {Range: time.Minute}, "bytes": {Bytes: 1000}} {
		if _, err := h.querier(h.bkt, Config{Limits: func(profile.Tenant) TenantLimits { return limits }}).Tree(t.Context(), req); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", what, err)
		}
	}
	own := map[profile.Tenant]TenantLimits{profile.DefaultTenant: {Range: 1000 * time.Hour, Bytes: 1 << 30, Queries: 2}, "other": {Range: time.Minute}}
	q := h.querier(h.bkt, Config{Limits: func(tenant profile.Tenant) TenantLimits { return own[tenant] }})
	var done []func()
	for range 2 {
		d, err := q.admit(t.Context(), "tree", profile.DefaultTenant)
		if err != nil {
			t.Fatal(err)
		}
		done = append(done, d)
	}
	impatient, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := q.Tree(impatient, req); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a third query: %v", err)
	}
	if d, err := q.admit(t.Context(), "tree", "other"); err != nil {
		t.Errorf("another tenant's: %v", err)
	} else {
		d()
	}
	others := req
	others.Tenant = "other"
	if _, err := q.Tree(t.Context(), others); !errors.Is(err, ErrTooLarge) {
		t.Errorf("longer than another tenant may ask for: %v", err)
	}
	done[0]()
	if _, err := q.Tree(t.Context(), req); err != nil {
		t.Errorf("when one has ended: %v", err)
	}
	done[1]()
	if len(q.admissions.tenants) != 0 {
		t.Errorf("%d tenants are remembered", len(q.admissions.tenants))
	}
}

// held is a bucket whose reads of one tenant's objects wait.
type held struct {
	bucket.Bucket
	tenant  string
	waiting atomic.Int64
	release chan struct{}
}

func (h *held) wait(ctx context.Context, key string) error {
	if !strings.Contains(key, "/"+h.tenant+"/") {
		return nil
	}
	h.waiting.Add(1)
	select {
	case <-h.release:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *held) Get(ctx context.Context, key string) ([]byte, bucket.Version, error) {
	if err := h.wait(ctx, key); err != nil {
		return nil, "", err
	}
	return h.Bucket.Get(ctx, key)
}

func (h *held) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if err := h.wait(ctx, key); err != nil {
		return nil, err
	}
	return h.Bucket.GetRange(ctx, key, off, n)
}

// Queries that take long keep those of their own tenant waiting, and no other's.
func TestLightQueriesPass(t *testing.T) {
	h, all, _ := furnished(t)
	key := h.putL0(t, all[:5]...)
	body, _, err := h.bkt.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	h.put(t, strings.Replace(key, "/default/", "/light/", 1), body)
	slow := &held{Bucket: h.bkt, tenant: "default", release: make(chan struct{})}
	q := h.querier(slow, Config{Limits: func(profile.Tenant) TenantLimits { return TenantLimits{Queries: 2} }})
	heavy := make(chan error, 5)
	for range cap(heavy) {
		go func() {
			_, err := q.Tree(t.Context(), TreeRequest{Request: everything(t)})
			heavy <- err
		}()
	}
	users := func() int {
		q.admissions.mu.Lock()
		defer q.admissions.mu.Unlock()
		if of := q.admissions.tenants[profile.DefaultTenant]; of != nil {
			return of.users
		}
		return 0
	}
	for slow.waiting.Load() == 0 || users() < cap(heavy) {
		time.Sleep(time.Millisecond)
	}
	light := everything(t)
	light.Tenant = "light"
	if tree, err := q.Tree(t.Context(), TreeRequest{Request: light}); err != nil || tree.Stats.Profiles == 0 {
		t.Errorf("a light query beside heavy ones: %v", err)
	}
	if n := len(heavy); n > 0 {
		t.Errorf("%d heavy queries have ended", n)
	}
	close(slow.release)
	for range cap(heavy) {
		if err := <-heavy; err != nil {
			t.Error(err)
		}
	}
}

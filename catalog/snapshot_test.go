package catalog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/profile"
)

// noon is where the clock of clocked stands.
var noon = midnight.Add(12 * time.Hour)

func clocked() *bucket.Memory {
	mem := bucket.Mem()
	mem.Clock = func() time.Time { return noon }
	return mem
}

// upload puts a pprof block of service into the minute that began so long before noon.
func upload(t *testing.T, b bucket.Bucket, shard block.Shard, before time.Duration, service string) L0 {
	t.Helper()
	labels, err := profile.NewLabels(profile.Label{Name: "service_name", Value: service})
	if err != nil {
		t.Fatal(err)
	}
	at := noon.Add(-before)
	key := block.L0Key{Tenant: tenant, Shard: shard, Minute: at, ID: block.NewID(at)}
	key.SetTimes(at, at.Add(10*time.Second))
	key.Bloom.Add(labels)
	if err := b.Create(t.Context(), key.String(), strings.NewReader("x"), 1); err != nil {
		t.Fatal(err)
	}
	return L0{L0Key: key, Size: 1}
}

func seal(t *testing.T, c *Catalog, shard block.Shard, to Minute) {
	t.Helper()
	h, err := c.Head(t.Context(), tenant, shard)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Commit(t.Context(), tenant, shard, Seal{From: h.Sealed, To: to, Out: []block.Meta{meta(to.Time())}}); err != nil {
		t.Fatal(err)
	}
}

// A snapshot has the pprof blocks uploaded after Sealed, however long ago that is,
// and none up to it.
func TestSnapshotListsWhatIsNotSealed(t *testing.T) {
	ages := []time.Duration{-time.Minute, 0, time.Minute, 2 * time.Minute, 3 * time.Minute, 4 * time.Minute, 7 * time.Minute, time.Hour, 5 * time.Hour, 49 * time.Hour}
	for sealedBefore := range ages {
		for _, never := range []bool{false, true} {
			mem := clocked()
			c := New(mem, Config{})
			for i := len(ages) - 1; i >= 0; i-- {
				upload(t, mem, shard, ages[i], fmt.Sprint(i))
			}
			want := ages
			if !never {
				seal(t, c, shard, MinuteOf(noon.Add(-ages[sealedBefore])))
				want = ages[:sealedBefore]
			}
			s, err := c.Snapshot(t.Context(), tenant)
			if err != nil {
				t.Fatal(err)
			}
			var got []time.Duration
			for _, l0 := range s.Shards[0].L0 {
				got = append(got, noon.Sub(l0.Minute))
			}
			slices.Reverse(got)
			if !slices.Equal(got, want) {
				t.Errorf("sealed before %v (never: %v): got %v, want %v", ages[sealedBefore], never, got, want)
			}
		}
	}
}

// One round of requests, once the shards are known: the HEAD and five minutes of each,
// and two lists for shards that are new.
func TestSnapshotRequests(t *testing.T) {
	mem := clocked()
	c := New(mem, Config{})
	for s := range block.Shard(3) {
		upload(t, mem, s, 0, "api")
		seal(t, c, s, MinuteOf(noon)-2)
	}
	for range 2 {
		var account bucket.Account
		s, err := c.Snapshot(bucket.WithAccount(t.Context(), &account), tenant)
		if err != nil || len(s.Shards) != 3 {
			t.Fatalf("%+v, %v", s, err)
		}
		if u := account.Usage(); u.Gets != 3 || u.Lists != 3*5+2 || u.Puts != 0 {
			t.Errorf("%+v", u)
		}
	}
}

// A shard whose first pprof block was acknowledged a moment ago is seen by the next snapshot.
func TestSnapshotSeesNewShards(t *testing.T) {
	mem := clocked()
	c := New(mem, Config{})
	for s := range block.Shard(4) {
		upload(t, mem, s, 0, "api")
		snapshot, err := c.Snapshot(t.Context(), tenant)
		if err != nil {
			t.Fatal(err)
		}
		if len(snapshot.Shards) != int(s)+1 || snapshot.Shards[s].Shard != s || len(snapshot.Shards[s].L0) != 1 {
			t.Errorf("after the first upload to shard %s: %+v", s, snapshot.Shards)
		}
	}
}

// headFirst is a bucket that tells of no folder before a HEAD was asked for.
type headFirst struct {
	bucket.Bucket
	asked chan struct{}
	once  sync.Once
}

func (b *headFirst) Get(ctx context.Context, key string) ([]byte, bucket.Version, error) {
	b.once.Do(func() { close(b.asked) })
	return b.Bucket.Get(ctx, key)
}

func (b *headFirst) ListFolders(ctx context.Context, prefix string) iter.Seq2[string, error] {
	<-b.asked
	return b.Bucket.ListFolders(ctx, prefix)
}

// Who knows nothing of a tenant does not wait for its list of shards, and is right
// whether it has the first or not.
func TestSnapshotGuessesTheFirstShard(t *testing.T) {
	for _, shard := range []block.Shard{0, 3} {
		mem := clocked()
		seal(t, New(mem, Config{}), shard, MinuteOf(noon.Add(-10*time.Minute)))
		snap, err := New(&headFirst{Bucket: mem, asked: make(chan struct{})}, Config{}).Snapshot(t.Context(), tenant)
		if err != nil || len(snap.Shards) != 1 || snap.Shards[0].Shard != shard || len(snap.Shards[0].Head.Live) != 1 {
			t.Errorf("shard %s: %+v, %v", shard, snap, err)
		}
	}
}

// A broken HEAD hides its shard and no other.
func TestSnapshotWithABrokenHead(t *testing.T) {
	mem := clocked()
	c := New(mem, Config{})
	for s := range block.Shard(2) {
		upload(t, mem, s, 0, "api")
	}
	if err := mem.Put(t.Context(), block.HeadKey(tenant, 0), []byte("?")); err != nil {
		t.Fatal(err)
	}
	s, err := c.Snapshot(t.Context(), tenant)
	if !errors.Is(err, block.ErrCorrupt) || !strings.Contains(err.Error(), block.HeadKey(tenant, 0)) {
		t.Errorf("got %v", err)
	}
	if s == nil || len(s.Shards) != 1 || s.Shards[0].Shard != 1 {
		t.Errorf("got %+v", s)
	}
}

func TestSnapshotPrunes(t *testing.T) {
	mem := clocked()
	c := New(mem, Config{})
	api := upload(t, mem, shard, time.Minute, "api")
	db := upload(t, mem, shard, time.Minute, "db")
	old := upload(t, mem, 0, 30*time.Minute, "api")
	seal(t, c, 7, MinuteOf(noon)-10)
	s, err := c.Snapshot(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	all := profile.TimeRange{From: noon.Add(-time.Hour), To: noon.Add(time.Hour)}
	tests := []struct {
		selector string
		r        profile.TimeRange
		want     []L0
	}{
		{`{}`, all, []L0{old, api, db}},
		{`{service_name="api"}`, all, []L0{old, api}},
		{`{service_name="api"}`, profile.TimeRange{From: noon.Add(-5 * time.Minute), To: all.To}, []L0{api}},
		{`{service_name="other"}`, all, nil},
		{`{}`, profile.TimeRange{From: noon, To: all.To}, nil},
	}
	for _, tt := range tests {
		sel, err := profile.ParseSelector(tt.selector)
		if err != nil {
			t.Fatal(err)
		}
		got := s.L0(tt.r, sel)
		slices.SortFunc(got, func(a, b L0) int { return strings.Compare(a.String(), b.String()) })
		slices.SortFunc(tt.want, func(a, b L0) int { return strings.Compare(a.String(), b.String()) })
		if !slices.EqualFunc(got, tt.want, func(a, b L0) bool { return a.String() == b.String() && a.Size == b.Size }) {
			t.Errorf("%s in %v: got %v, want %v", tt.selector, tt.r, got, tt.want)
		}
	}
	sealed := (MinuteOf(noon) - 10).Time()
	blocks, err := s.Blocks(t.Context(), profile.TimeRange{From: sealed, To: sealed.Add(time.Second)})
	if err != nil || len(blocks) != 1 || blocks[0].Shard != 7 {
		t.Errorf("blocks %+v, %v", blocks, err)
	}
	if blocks, err = s.Blocks(t.Context(), profile.TimeRange{From: midnight, To: sealed}); err != nil || len(blocks) != 0 {
		t.Errorf("blocks before: %+v, %v", blocks, err)
	}
}

// Tenants and shards are those of either class; strangers are told and passed over.
func TestTenantsAndShards(t *testing.T) {
	mem := bucket.Mem()
	for _, key := range []string{
		"v1/l0/b/00/2026082110/07/x", "v1/l0/b/ff/x/y", "v1/l0/b/FF/x/y", "v1/man/b/0a/HEAD",
		"v1/man/a/00/HEAD", "v1/l0/.c/00/x", "v1/b1/d/00/20260821/x",
	} {
		if err := mem.Put(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
	}
	var strays []string
	c := New(mem, Config{Observer: Observer{Stray: func(key string, _ error) { strays = append(strays, key) }}})
	tenants, err := c.Tenants(t.Context())
	if err != nil || !slices.Equal(tenants, []profile.Tenant{"a", "b"}) {
		t.Errorf("tenants %v, %v", tenants, err)
	}
	shards, err := c.Shards(t.Context(), "b")
	if err != nil || !slices.Equal(shards, []block.Shard{0, 0x0a, 0xff}) {
		t.Errorf("shards %v, %v", shards, err)
	}
	for l0, err := range c.L0s(t.Context(), "b", 0, 0, MinuteOf(noon)) {
		t.Errorf("listed as a pprof block: %v, %v", l0, err)
	}
	if want := []string{"v1/l0/.c", "v1/l0/b/FF", "v1/l0/b/00/2026082110/07/x"}; !slices.Equal(strays, want) {
		t.Errorf("strays %v, want %v", strays, want)
	}
}

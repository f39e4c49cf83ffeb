package compactor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/block/pprofblock"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

const tenant = profile.DefaultTenant

// noon is when a fleet's clock begins.
var noon = time.Date(2026, 8, 21, 12, 0, 0, 0, time.UTC)

// fleet uploads pprof blocks to a bucket in memory with a clock that stands still,
// and knows what must be in every answer.
type fleet struct {
	t     testing.TB
	mem   *bucket.Memory
	clock atomic.Int64 // nanoseconds since 1970
	count atomic.Int64 // of profiles made, so that no two are the same

	mu   sync.Mutex
	sent map[identity]sent
}

// sent is a profile that is uploaded.
type sent struct {
	cpu          int64 // sum of its values of the type cpu
	key          block.L0Key
	acknowledged bool // its pprof block is in the bucket
}

func newFleet(t testing.TB) *fleet {
	f := &fleet{t: t, mem: bucket.Mem(), sent: map[identity]sent{}}
	f.mem.Clock = f.now
	f.clock.Store(noon.UnixNano())
	return f
}

func (f *fleet) now() time.Time { return time.Unix(0, f.clock.Load()).UTC() }

func (f *fleet) advance(d time.Duration) { f.clock.Add(int64(d)) }

// upload puts a pprof block with a profile of each of the times into the current minute.
func (f *fleet) upload(shard block.Shard, times ...time.Time) block.L0Key {
	return f.uploadTo(f.mem, shard, f.now(), times...)
}

// uploadTo is upload to the folder of another minute, as a straggler lands there.
func (f *fleet) uploadTo(b bucket.Bucket, shard block.Shard, minute time.Time, times ...time.Time) block.L0Key {
	f.t.Helper()
	builder := pprofblock.NewBuilder(block.NewID(f.now()), "test", f.now())
	all := map[identity]sent{}
	for _, at := range times {
		n := f.count.Add(1)
		entry, body, cpu := makeProfile(f.t, n, at)
		if err := builder.Add(entry, body); err != nil {
			f.t.Fatal(err)
		}
		all[identityOf(delivery{entry: &entry, hash: contentHash(f.t, body)})] = sent{cpu: cpu}
	}
	key := builder.Key(tenant, shard, minute)
	data := builder.Bytes()
	f.note(all, key, false)
	if err := b.Create(f.t.Context(), key.String(), bytes.NewReader(data), int64(len(data))); err != nil {
		f.t.Fatal(err)
	}
	f.note(all, key, true)
	return key
}

func (f *fleet) note(all map[identity]sent, key block.L0Key, acknowledged bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, s := range all {
		f.sent[id] = sent{s.cpu, key, acknowledged}
	}
}

// makeProfile is the nth profile: of one of three services, with values that no other has.
func makeProfile(t testing.TB, n int64, at time.Time) (pprofblock.Entry, []byte, int64) {
	t.Helper()
	m := &pprof.Mapping{ID: 1, Start: 0x1000, Limit: 0x9000, File: "/bin/app", BuildID: "abc", HasFunctions: true}
	p := &pprof.Profile{
		SampleType:    []*pprof.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		PeriodType:    &pprof.ValueType{Type: "cpu", Unit: "nanoseconds"},
		Period:        10_000_000,
		TimeNanos:     at.UnixNano(),
		DurationNanos: int64(10 * time.Second),
		Mapping:       []*pprof.Mapping{m},
	}
	for i := range uint64(6) {
		fn := &pprof.Function{ID: i + 1, Name: fmt.Sprintf("f%d", i), Filename: "f.go"}
		p.Function = append(p.Function, fn)
		p.Location = append(p.Location, &pprof.Location{ID: i + 1, Mapping: m, Address: 0x1000 + 16*i, Line: []pprof.Line{{Function: fn, Line: int64(i)}}})
	}
	var cpu int64
	rng := rand.New(rand.NewPCG(uint64(n), 0))
	for range 1 + rng.IntN(4) {
		value := 1 + rng.Int64N(1e9)
		cpu += value
		depth := 1 + rng.IntN(len(p.Location))
		p.Sample = append(p.Sample, &pprof.Sample{Value: []int64{1, value}, Location: p.Location[:depth]})
	}
	p.Comments = []string{fmt.Sprint(n)}
	var body bytes.Buffer
	if err := p.Write(&body); err != nil {
		t.Fatal(err)
	}
	ls, err := profile.NewLabels(profile.Label{Name: "service_name", Value: fmt.Sprintf("s%d", n%3)}, profile.Label{Name: "pod", Value: fmt.Sprint(n % 5)})
	if err != nil {
		t.Fatal(err)
	}
	return pprofblock.Entry{
		Name: "process_cpu", Labels: ls,
		SampleTypes: []profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		PeriodType:  profile.ValueType{Type: "cpu", Unit: "nanoseconds"},
		MinTime:     at, MaxTime: at.Add(10 * time.Second), Samples: int64(len(p.Sample)),
	}, body.Bytes(), cpu
}

func contentHash(t testing.TB, body []byte) uint64 {
	t.Helper()
	p, err := pprof.ParseData(body)
	if err != nil {
		t.Fatal(err)
	}
	var raw bytes.Buffer
	if err := p.WriteUncompressed(&raw); err != nil {
		t.Fatal(err)
	}
	return xxhash.Sum64(raw.Bytes())
}

// answer is what a reader finds in a snapshot.
type answer struct {
	count map[identity]int
	cpu   map[identity]int64
	heads map[block.Shard]catalog.Head
}

// read answers as a query does: from the live Arrow blocks and the pprof blocks that
// are not sealed.
func (f *fleet) read(b bucket.Bucket) answer {
	f.t.Helper()
	ctx := f.t.Context()
	snapshot, err := catalog.New(b, catalog.Config{}).Snapshot(ctx, tenant)
	if err != nil {
		f.t.Fatal(err)
	}
	a := answer{map[identity]int{}, map[identity]int64{}, map[block.Shard]catalog.Head{}}
	for _, s := range snapshot.Shards {
		a.heads[s.Shard] = s.Head
	}
	ever := profile.TimeRange{From: time.Unix(0, 0), To: noon.AddDate(50, 0, 0)}
	blocks, err := snapshot.Blocks(ctx, ever)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, m := range blocks {
		f.readBlock(&a, b, m)
	}
	for _, l0 := range snapshot.L0(ever, profile.Selector{}) {
		data, _, err := b.Get(ctx, l0.String())
		if err != nil {
			f.t.Fatal(err)
		}
		r, err := pprofblock.Open(data, pprofblock.Limits{})
		if errors.Is(err, block.ErrCorrupt) {
			continue
		}
		for i, entry := range r.Manifest().Profiles {
			body, err := r.Profile(i)
			if err != nil {
				continue
			}
			p, err := pprof.ParseData(body)
			if err != nil {
				f.t.Fatal(err)
			}
			id := identityOf(delivery{entry: &entry, hash: contentHash(f.t, body)})
			a.count[id]++
			for _, s := range p.Sample {
				a.cpu[id] += s.Value[1]
			}
		}
	}
	return a
}

func (f *fleet) readBlock(a *answer, b bucket.Bucket, m catalog.Block) {
	f.t.Helper()
	opened, err := openBlock(f.t.Context(), b, m)
	if err != nil {
		f.t.Fatal(err)
	}
	for g, group := range opened.Groups() {
		totals, err := opened.Totals(f.t.Context(), g, arrowblock.Span{To: uint64(len(opened.Series()))})
		if err != nil {
			f.t.Fatal(err)
		}
		for i := range totals.Len() {
			entry := pprofblock.Entry{
				Name: group.Name, Labels: opened.Series()[totals.Series[i]].Labels,
				MinTime: opened.Info().Range.From.Add(time.Duration(totals.T[i]) * time.Millisecond),
			}
			id := identityOf(delivery{entry: &entry, hash: totals.Hash[i]})
			a.count[id]++
			a.cpu[id] += totals.Values[1][i]
		}
	}
}

func openBlock(ctx context.Context, b bucket.Bucket, m catalog.Block) (*arrowblock.Block, error) {
	return arrowblock.Open(ctx, object{b, m.Key(tenant, m.Shard), m.Size}, arrowblock.Tail{Bytes: m.Tail, CRC: m.CRC})
}

// mustBeWhole fails unless everything that was sent is in the answer exactly once.
func (f *fleet) mustBeWhole(when string) {
	f.t.Helper()
	a := f.read(f.mem)
	f.mustNotRepeat(when, a)
	missing := 0
	for id, s := range f.sent {
		if a.count[id] == 0 {
			missing++
			if missing <= 3 {
				f.t.Errorf("%s: a profile of %s is missing", when, s.key)
			}
		}
	}
	if missing > 0 {
		f.t.Fatalf("%s: %d of %d profiles are missing", when, missing, len(f.sent))
	}
}

// mustNotRepeat fails if something is in the answer twice, with other values, or was never sent.
func (f *fleet) mustNotRepeat(when string, a answer) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, n := range a.count {
		s, known := f.sent[id]
		switch {
		case !known:
			f.t.Fatalf("%s: the answer has a profile that nobody sent", when)
		case n != 1:
			f.t.Fatalf("%s: a profile of %s counts %d times", when, s.key, n)
		case a.cpu[id] != s.cpu:
			f.t.Fatalf("%s: a profile of %s has the value %d, sent %d", when, s.key, a.cpu[id], s.cpu)
		}
	}
}

func (f *fleet) compactor(b bucket.Bucket, cfg Config) *Compactor {
	return New(catalog.New(b, catalog.Config{Backoff: time.Microsecond}), b, cfg)
}

// sources are those of all live blocks of a shard.
func (f *fleet) sources(shard block.Shard) []arrowblock.Source {
	f.t.Helper()
	h, err := catalog.New(f.mem, catalog.Config{}).Head(f.t.Context(), tenant, shard)
	if err != nil {
		f.t.Fatal(err)
	}
	var all []arrowblock.Source
	for _, m := range h.Live {
		b, err := openBlock(f.t.Context(), f.mem, catalog.Block{Shard: shard, Meta: m})
		if err != nil {
			f.t.Fatal(err)
		}
		sources, err := b.Sources(f.t.Context())
		if err != nil {
			f.t.Fatal(err)
		}
		all = append(all, sources...)
	}
	return all
}

func (f *fleet) put(key string, data []byte) {
	f.t.Helper()
	if err := f.mem.Create(f.t.Context(), key, strings.NewReader(string(data)), int64(len(data))); err != nil {
		f.t.Fatal(err)
	}
}

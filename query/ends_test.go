package query

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
)

// blockReads counts ranges of Arrow blocks that are read.
type blockReads struct {
	bucket.Bucket
	ranges, bytes atomic.Int64
}

func (c *blockReads) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if strings.HasSuffix(key, ".arrow.zip") {
		c.ranges.Add(1)
		c.bytes.Add(n)
	}
	return c.Bucket.GetRange(ctx, key, off, n)
}

// distinctStacks is a CPU profile of so many stacks, whose functions no other has.
func distinctStacks(t testing.TB, service string, at time.Time, stacks int) sent {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(stacks), uint64(len(service))))
	p := &pprof.Profile{
		SampleType: []*pprof.ValueType{{Type: "cpu", Unit: "nanoseconds"}},
		PeriodType: &pprof.ValueType{Type: "cpu", Unit: "nanoseconds"}, Period: 1,
		DurationNanos: 1e9, TimeNanos: at.UnixNano(),
	}
	for i := range stacks {
		id := uint64(i + 1)
		f := &pprof.Function{ID: id, Name: fmt.Sprintf("%s.f%d.%x", service, i, rng.Uint64())}
		l := &pprof.Location{ID: id, Address: rng.Uint64(), Line: []pprof.Line{{Function: f, Line: int64(rng.IntN(1000))}}}
		p.Function, p.Location = append(p.Function, f), append(p.Location, l)
		p.Sample = append(p.Sample, &pprof.Sample{Location: []*pprof.Location{l, p.Location[0]}, Value: []int64{int64(1 + rng.IntN(9))}})
	}
	return sent{"process_cpu", mustLabels("service_name", service), at, write(t, p)}
}

// A service of a block that many share takes two reads: the block's end, with the rows, and its stacks. Where there is
// no memory to keep the end in, it is read more than once.
func TestEndsAreReadOnce(t *testing.T) {
	h := newHouse()
	h.rollups = nil
	var all []sent
	for i := range 4 {
		all = append(all, distinctStacks(t, fmt.Sprintf("service-%d", i), start.Add(time.Duration(i)*time.Second), 15_000))
	}
	key := h.putArrow(t, all...)[0]
	body, _, err := h.bkt.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	req := TreeRequest{Request: request(t, `{service_name="service-1"}`, "process_cpu/cpu", start, start.Add(time.Minute))}
	want := all[1].parse(t)
	total := int64(0)
	for _, s := range want.Sample {
		total += s.Value[0]
	}
	var before *Tree
	for _, c := range []struct {
		name   string
		cfg    Config
		ranges int64 // of the second of two queries
	}{
		{"keeping nothing", Config{IndexCacheBytes: -1, RangeCacheBytes: -1, SumCacheBytes: -1, TailCacheBytes: -1}, 2},
		{"with caches", Config{}, 0},
	} {
		reads := &blockReads{Bucket: h.bkt}
		q := h.querier(reads, c.cfg)
		for range 2 {
			reads.ranges.Store(0)
			reads.bytes.Store(0)
			got, err := q.Tree(t.Context(), req)
			if err != nil {
				t.Fatal(c.name, err)
			}
			got.Stats = Stats{}
			if before == nil {
				before = got
			}
			if got.Total[0] != total || !reflect.DeepEqual(got, before) {
				t.Errorf("%s: another tree, of %d in place of %d", c.name, got.Total[0], total)
			}
		}
		if got := reads.ranges.Load(); got != c.ranges || reads.bytes.Load() > int64(len(body))/2 {
			t.Errorf("%s: %d reads of %d bytes, want %d; the block has %d", c.name, got, reads.bytes.Load(), c.ranges, len(body))
		}
	}

	reads := &blockReads{Bucket: h.bkt}
	r := h.querier(reads, Config{RangeCacheBytes: -1}).newRun(t.Context(), req.Request)
	r.memory.Store(r.cfg.MemoryBytes)
	src := r.sourceOf(&part{key: key, meta: block.Meta{Size: int64(len(body)), Tail: 1000}})
	for _, off := range []int64{0, int64(len(body)) - beforeTail, int64(len(body)) - 10} {
		data, err := src.ReadRange(t.Context(), off, 10)
		if err != nil || !bytes.Equal(data, body[off:off+10]) {
			t.Errorf("[%d, %d): %q, %v", off, off+10, data, err)
		}
	}
	if reads.ranges.Load() != 3 || r.memory.Load() != r.cfg.MemoryBytes {
		t.Errorf("%d reads where nothing may be kept", reads.ranges.Load())
	}
}

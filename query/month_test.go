package query

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/internal/corpus"
	"github.com/coldframe/coldframe/profile"
)

// distant is a bucket as far away as S3 from a process in its region.
type distant struct{ bucket.Bucket }

const (
	firstByte      = 40 * time.Millisecond
	bytesPerSecond = 90 << 20
)

func travel(ctx context.Context, n int) error {
	select {
	case <-time.After(firstByte + time.Duration(n)*time.Second/bytesPerSecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d distant) Get(ctx context.Context, key string) ([]byte, bucket.Version, error) {
	data, version, err := d.Bucket.Get(ctx, key)
	if late := travel(ctx, len(data)); late != nil {
		return nil, version, late
	}
	return data, version, err
}

func (d distant) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	data, err := d.Bucket.GetRange(ctx, key, off, n)
	if late := travel(ctx, len(data)); late != nil {
		return nil, late
	}
	return data, err
}

func (d distant) List(ctx context.Context, prefix string) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) {
		if err := travel(ctx, 0); err != nil {
			yield(bucket.Object{}, err)
			return
		}
		d.Bucket.List(ctx, prefix)(yield)
	}
}

func (d distant) ListFolders(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := travel(ctx, 0); err != nil {
			yield("", err)
			return
		}
		d.Bucket.ListFolders(ctx, prefix)(yield)
	}
}

// Rollups of blocks by level, as compactors make them.
var levelRollups = map[block.Level][]arrowblock.Rollup{
	block.L2: {{Axis: arrowblock.BySeries, Window: 15 * time.Minute}, {Axis: arrowblock.ByService, Window: 15 * time.Minute}},
	block.L3: {{Axis: arrowblock.BySeries, Window: time.Hour}, {Axis: arrowblock.ByService, Window: 15 * time.Minute}, {Axis: arrowblock.ByService, Window: time.Hour}},
	block.L4: {
		{Axis: arrowblock.BySeries, Window: time.Hour},
		{Axis: arrowblock.BySeries, Window: 24 * time.Hour},
		{Axis: arrowblock.ByService, Window: 15 * time.Minute},
		{Axis: arrowblock.ByService, Window: time.Hour},
		{Axis: arrowblock.ByService, Window: 24 * time.Hour},
	},
}

// month is a bucket of a fleet's CPU profiles: services run on hosts each, and blocks lie as
// compactors leave them at the end of the last day.
type month struct {
	*house
	days, services, hosts int
	decoded               []*profile.Profile
}

// newMonth fills a bucket. Days before the last have a profile of each series every so often, which
// a day's rollups make no difference to; the last one has one a minute in its last hour.
func newMonth(tb testing.TB, days, services, hosts int, every time.Duration) *month {
	tb.Helper()
	m := &month{house: newHouse(), days: days, services: services, hosts: hosts}
	for _, p := range corpus.FiveMinutes() {
		if p.Name == "process_cpu" && len(m.decoded) < 60 {
			d, err := (&profile.Decoder{}).Decode(p.Body)
			if err != nil {
				tb.Fatal(err)
			}
			m.decoded = append(m.decoded, d)
		}
	}
	end := time.Date(2026, 8, 31, 23, 0, 0, 0, time.UTC)
	m.now = end.Add(time.Second)
	today := end.Truncate(24 * time.Hour)
	var metas []block.Meta
	put := func(level block.Level, from, to time.Time, every time.Duration) {
		metas = append(metas, m.fill(tb, level, from, to, every))
	}
	for day := range days - 1 {
		from := today.AddDate(0, 0, -1-day)
		put(block.L4, from, from.Add(24*time.Hour), every)
	}
	for at := today; at.Before(end.Add(-2 * time.Hour)); at = at.Add(3 * time.Hour) {
		put(block.L3, at, at.Add(3*time.Hour), 10*time.Minute)
	}
	for at := end.Add(-2 * time.Hour); at.Before(end.Add(-15 * time.Minute)); at = at.Add(15 * time.Minute) {
		put(block.L2, at, at.Add(15*time.Minute), time.Minute)
	}
	for at := end.Add(-15 * time.Minute); at.Before(end); at = at.Add(time.Minute) {
		put(block.L1, at, at.Add(time.Minute), time.Minute)
	}
	change := catalog.Seal{To: catalog.MinuteOf(end.Add(-time.Minute)), Out: metas}
	if _, err := m.cat.Commit(tb.Context(), profile.DefaultTenant, 0, change); err != nil {
		tb.Fatal(err)
	}
	return m
}

func (m *month) fill(tb testing.TB, level block.Level, from, to time.Time, every time.Duration) block.Meta {
	tb.Helper()
	b, err := arrowblock.NewBuilder(arrowblock.Config{Range: block.DayOf(from).Range()})
	if err != nil {
		tb.Fatal(err)
	}
	n := 0
	for at := from; at.Before(to); at = at.Add(every) {
		for s := range m.services {
			for host := range m.hosts {
				ls := mustLabels("service_name", fmt.Sprintf("service-%02d", s), "host", fmt.Sprintf("host-%03d", (s*m.hosts+host)%100))
				key := arrowblock.Key{Name: "process_cpu", Labels: ls, Time: at.Add(time.Duration(s*m.hosts+host) * time.Millisecond)}
				if _, err := b.Add(key, m.decoded[(s*3+n%3)%len(m.decoded)], xxhash.Sum64String(key.Time.String())); err != nil {
					tb.Fatal(err)
				}
				n++
			}
		}
	}
	b.AddSource(arrowblock.Source{ID: block.NewID(from), Day: block.DayOf(from)})
	var body bytes.Buffer
	meta, err := b.FinishTo(arrowblock.Output{Block: &body, Rollups: levelRollups[level]})
	if err != nil {
		tb.Fatal(err)
	}
	meta.ID, meta.Level = block.NewID(from), level
	m.put(tb, meta.Key(profile.DefaultTenant, 0), body.Bytes())
	return meta
}

// BenchmarkMonth asks a bucket of 100 hosts, 20 services of 10 hosts each, 30 days: cold, each query once and by a
// querier that knows nothing, and warm, what was asked before. No two cold queries are of the same service and
// range. COLDFRAME_MONTH_DAYS makes it longer than the 3 days that it has otherwise, since filling it takes
// some seconds a day.
func BenchmarkMonth(b *testing.B) {
	days := 3
	if n, err := strconv.Atoi(os.Getenv("COLDFRAME_MONTH_DAYS")); err == nil && n > 1 {
		days = n
	}
	m := newMonth(b, days, 20, 10, time.Hour)
	end := m.now.Truncate(time.Minute)
	ranges := map[string]time.Duration{"1h": time.Hour, "24h": 24 * time.Hour, "all": time.Duration(days) * 24 * time.Hour}
	for _, name := range slices.Sorted(maps.Keys(ranges)) {
		// The i-th query is of the i-th service, and ends earlier by so many seconds.
		ask := func(b *testing.B, q *Querier, i int) Stats {
			to := end.Add(-time.Duration(i) * time.Second)
			req := request(b, fmt.Sprintf(`{service_name="service-%02d"}`, i%m.services), "process_cpu/cpu", to.Add(-ranges[name]), to)
			tree, err := q.Tree(b.Context(), TreeRequest{Request: req})
			if err != nil || tree.Stats.Profiles == 0 || tree.Stats.Partial() {
				b.Fatal(err, tree.Stats)
			}
			return tree.Stats
		}
		b.Run(name+"/cold", func(b *testing.B) {
			reportTimes(b, func(i int) Stats { return ask(b, m.querier(distant{m.bkt}, Config{}), i) })
		})
		b.Run(name+"/warm", func(b *testing.B) {
			const different = 5
			q := m.querier(distant{m.bkt}, Config{})
			for i := range different {
				ask(b, q, i)
			}
			reportTimes(b, func(i int) Stats { return ask(b, q, i%different) })
		})
	}
	b.Run("values/warm", func(b *testing.B) {
		q := m.querier(distant{m.bkt}, Config{SnapshotTTL: time.Minute})
		req := request(b, "{}", "", end.Add(-ranges["all"]), end)
		ask := func(int) Stats {
			hosts, err := q.LabelValues(b.Context(), req, "host")
			if err != nil || len(hosts.Words) != 100 {
				b.Fatal(err, hosts)
			}
			return hosts.Stats
		}
		ask(0)
		reportTimes(b, ask)
	})
}

// reportTimes tells how long queries took, at most how many requests and bytes one of them, and how much CPU on average.
func reportTimes(b *testing.B, ask func(i int) Stats) {
	var took []time.Duration
	var most Stats
	var cpu time.Duration
	for b.Loop() {
		s := ask(len(took))
		took = append(took, s.Elapsed)
		most.Requests, most.Bytes = max(most.Requests, s.Requests), max(most.Bytes, s.Bytes)
		cpu += s.CPU
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1e3, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "p99-ms")
	b.ReportMetric(float64(most.Requests), "requests/op")
	b.ReportMetric(float64(most.Bytes), "bytes-read/op")
	b.ReportMetric(float64(cpu.Microseconds())/1e3/float64(len(took)), "cpu-ms/op")
	b.ReportMetric(0, "ns/op")
}

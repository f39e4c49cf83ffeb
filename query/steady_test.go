package query

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/internal/corpus"
	"github.com/coldframe/coldframe/profile"
)

// steady is days of a service of two instances that always runs the same code: however many
// profiles it sends, they have the same stacks, and other values, so random that nothing
// compresses them. Each day is a block of level 4, as compactors leave it, whose rows take
// more than the 256 KiB that a query would rather read than make another request.
type steady struct {
	*house
	first time.Time // midnight
}

// newSteady has a profile of each instance every so often.
func newSteady(tb testing.TB, days int, every time.Duration) *steady {
	tb.Helper()
	all := corpus.FiveMinutes()
	p := all[slices.IndexFunc(all, func(p corpus.Profile) bool { return p.Name == "memory" })]
	decoded, err := (&profile.Decoder{}).Decode(p.Body)
	if err != nil {
		tb.Fatal(err)
	}
	s := &steady{newHouse(), time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)}
	s.now = s.first.AddDate(0, 0, days).Add(12 * time.Hour)
	rng := rand.New(rand.NewPCG(1, uint64(every)))
	var metas []block.Meta
	for day := range days {
		from := s.first.AddDate(0, 0, day)
		b, err := arrowblock.NewBuilder(arrowblock.Config{Range: block.DayOf(from).Range()})
		if err != nil {
			tb.Fatal(err)
		}
		for at := from; at.Before(from.AddDate(0, 0, 1)); at = at.Add(every) {
			for instance := range 2 {
				for i := range decoded.Values {
					decoded.Values[i] = rng.Int64N(1 << 40)
				}
				labels := mustLabels("service_name", "steady", "host", fmt.Sprint("host-", instance))
				if _, err := b.Add(arrowblock.Key{Name: p.Name, Labels: labels, Time: at}, decoded, rng.Uint64()); err != nil {
					tb.Fatal(err)
				}
			}
		}
		var whole bytes.Buffer
		meta, err := b.FinishTo(arrowblock.Output{Block: &whole, Rollups: levelRollups[block.L4]})
		if err != nil {
			tb.Fatal(err)
		}
		meta.ID, meta.Level = block.NewID(from), block.L4
		s.put(tb, meta.Key(profile.DefaultTenant, 0), whole.Bytes())
		metas = append(metas, meta)
	}
	s.commit(tb, metas)
	return s
}

// ask gives the flame graph of the service in a range, to a querier that remembers nothing.
func (s *steady) ask(tb testing.TB, from, to time.Time) Stats {
	tb.Helper()
	tree, err := s.q.Tree(tb.Context(), TreeRequest{Request: request(tb, `{service_name="steady"}`, "memory/inuse_space", from, to)})
	if err != nil || tree.Stats.Partial() || tree.Stats.Profiles == 0 {
		tb.Fatal(err, tree.Stats)
	}
	return tree.Stats
}

// steadyQuestion is a range, and how often an instance sends a profile where it sends fewest.
type steadyQuestion struct {
	name  string
	days  int // of blocks
	every time.Duration
	from  time.Duration // after the first midnight
	long  time.Duration
}

// What a question of a day, or of many, costs does not depend on how many samples were taken in
// that time, but on how many stacks there are: bytes and requests stay within a fifth.
func TestCostFollowsStacks(t *testing.T) {
	if testing.Short() {
		t.Skip("makes five million rows")
	}
	for _, c := range []steadyQuestion{
		{"24 h that begin at nine", 2, time.Hour, 9 * time.Hour, 24 * time.Hour},
		{"30 days", 30, 4 * time.Hour, 0, 30 * 24 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			cost := func(factor time.Duration) Stats {
				s := newSteady(t, c.days, c.every/factor)
				return s.ask(t, s.first.Add(c.from), s.first.Add(c.from+c.long))
			}
			few, many := cost(1), cost(10)
			if many.Profiles != 10*few.Profiles {
				t.Errorf("%d profiles, of a tenth %d", many.Profiles, few.Profiles)
			}
			if 5*many.Bytes > 6*few.Bytes || 5*many.Requests > 6*few.Requests {
				t.Errorf("%d bytes in %d requests of %d profiles; of a tenth %d in %d", many.Bytes, many.Requests, many.Profiles, few.Bytes, few.Requests)
			}
			t.Logf("%d profiles: %d bytes in %d requests; %d: %d in %d", few.Profiles, few.Bytes, few.Requests, many.Profiles, many.Bytes, many.Requests)
		})
	}
}

// BenchmarkSamples asks for a flame graph of a day and of 30 days where there are ever more samples of the same stacks.
func BenchmarkSamples(b *testing.B) {
	for _, c := range []steadyQuestion{
		{"24h", 2, time.Hour, 9 * time.Hour, 24 * time.Hour},
		{"30d", 31, time.Hour, 9 * time.Hour, 30 * 24 * time.Hour},
	} {
		for _, factor := range []time.Duration{1, 3, 10} {
			b.Run(fmt.Sprintf("%s/%dx", c.name, factor), func(b *testing.B) {
				s := newSteady(b, c.days, c.every/factor)
				b.ResetTimer()
				var stats Stats
				for b.Loop() {
					stats = s.ask(b, s.first.Add(c.from), s.first.Add(c.from+c.long))
				}
				b.ReportMetric(float64(stats.Bytes), "B/query")
				b.ReportMetric(float64(stats.Requests), "requests/query")
				b.ReportMetric(float64(stats.Profiles), "profiles")
			})
		}
	}
}

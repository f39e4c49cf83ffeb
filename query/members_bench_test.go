package query

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/coldframe/coldframe/bucket"
)

// seat is a member of a cluster in one process: a block is of the member that its key names.
type seat struct {
	of   []*Querier
	mine int
}

func (s *seat) Assign(keys []string) []string {
	workers := make([]string, len(keys))
	for i, key := range keys {
		if n := int(xxhash.Sum64String(key) % uint64(len(s.of))); n != s.mine {
			workers[i] = strconv.Itoa(n)
		}
	}
	return workers
}

func (s *seat) Compute(ctx context.Context, worker string, p Part) (*Partial, error) {
	n, err := strconv.Atoi(worker)
	if err != nil {
		return nil, err
	}
	return s.of[n].Compute(ctx, p)
}

// BenchmarkMembers asks 300 distinct questions, of one service and some days each, one member and
// three in turn, each with a cache of the same size: a third of what all questions read, half of it, or
// all. On few cores the members share the processors, so that what counts is told: bytes and
// requests that each member takes of the bucket.
func BenchmarkMembers(b *testing.B) {
	const services, days, questions = 10, 9, 300
	m := newMonth(b, days, services, 5, 2*time.Hour)
	end := m.now.Truncate(24 * time.Hour)
	ask := func(q *Querier, rng *rand.Rand) Stats {
		first := rng.IntN(days - 2)
		from := end.AddDate(0, 0, -first-1).Add(-time.Duration(1+rng.IntN(47)) * 20 * time.Minute) // its edges cut windows
		req := request(b, fmt.Sprintf(`{service_name="service-%02d"}`, rng.IntN(services)), "process_cpu/cpu", from, from.Add(time.Duration(12+rng.IntN(36))*time.Hour))
		tree, err := q.Tree(b.Context(), TreeRequest{Request: req})
		if err != nil || tree.Stats.Partial() {
			b.Fatal(err, tree.Stats)
		}
		return tree.Stats
	}
	run := func(members int, cache int64) (bytes, requests float64) {
		accounts := make([]bucket.Account, members)
		all := make([]*Querier, members)
		for i := range all {
			all[i] = m.querier(bucket.Counting(m.bkt, &accounts[i]), Config{
				RangeCacheBytes: cache, SnapshotTTL: time.Hour, ShareBlocks: -1, Remote: &seat{all, i},
			})
		}
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range questions {
			ask(all[i%members], rng)
		}
		for i := range accounts {
			u := accounts[i].Usage()
			bytes += float64(u.BytesIn) / float64(members)
			requests += float64(u.Requests()) / float64(members)
		}
		return bytes, requests
	}
	whole, _ := run(1, 1<<40) // everything once
	for _, cache := range []struct {
		name  string
		bytes int64
	}{{"third", int64(whole / 3)}, {"half", int64(whole / 2)}, {"whole", int64(whole)}} {
		for _, members := range []int{1, 3} {
			b.Run(fmt.Sprintf("cache=%s/members=%d", cache.name, members), func(b *testing.B) {
				bytes, requests := run(members, cache.bytes) // the same each time
				for b.Loop() {
				}
				b.ReportMetric(bytes, "bytes-read/member")
				b.ReportMetric(requests, "requests/member")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

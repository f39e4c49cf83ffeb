package query

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/coldframe/coldframe/bucket"
)

// Prices say in dollars what a query costs. A zero field means its default, those of S3
// Standard in us-east-1 and of a CPU rented there; a negative one costs nothing.
type Prices struct {
	MillionReads float64 // GET and HEAD; 0.40
	MillionLists float64 // pages of listings; 5
	GigabyteRead float64 // 1e9 bytes from the bucket; free within a region
	CPUHour      float64 // 0.036
}

func (p Prices) withDefaults() Prices {
	for _, field := range []struct {
		price *float64
		def   float64
	}{{&p.MillionReads, 0.40}, {&p.MillionLists, 5}, {&p.CPUHour, 0.036}} {
		if *field.price == 0 {
			*field.price = field.def
		}
	}
	for _, price := range []*float64{&p.MillionReads, &p.MillionLists, &p.GigabyteRead, &p.CPUHour} {
		*price = max(0, *price)
	}
	return p
}

func (p Prices) of(reads, lists, bytes int64, cpu time.Duration) float64 {
	return float64(reads)/1e6*p.MillionReads + float64(lists)/1e6*p.MillionLists + float64(bytes)/1e9*p.GigabyteRead + cpu.Hours()*p.CPUHour
}

// account is what one query uses.
type account struct {
	bucket   bucket.Account
	hits     atomic.Int64 // reads that a cache answered
	hitBytes atomic.Int64
	prices   Prices
	started  time.Time
	stopCPU  func() time.Duration
}

type accountKey struct{}

// openAccount has what is read under the context counted.
func (q *Querier) openAccount(ctx context.Context) (context.Context, *account) {
	a := &account{prices: q.cfg.Prices, started: time.Now(), stopCPU: q.cpu.start()}
	return context.WithValue(bucket.WithAccount(ctx, &a.bucket), accountKey{}, a), a
}

// countHit counts a read of bytes that a cache answered.
func countHit(ctx context.Context, bytes int64) {
	if a, ok := ctx.Value(accountKey{}).(*account); ok {
		a.hits.Add(1)
		a.hitBytes.Add(bytes)
	}
}

// close writes into s what was used here and what workers spent. It must be called once.
func (a *account) close(s *Stats, spent Stats) {
	usage := a.bucket.Usage()
	s.Requests, s.Bytes = int(usage.Requests()), usage.BytesIn
	s.CacheHits, s.CacheBytes = int(a.hits.Load()), a.hitBytes.Load()
	s.CPU, s.Elapsed = a.stopCPU(), time.Since(a.started)
	s.addSpent(spent)
	s.Dollars = a.prices.of(int64(s.Requests)-usage.Lists, usage.Lists, s.Bytes, s.CPU)
}

package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
)

// queryFlags bound and price queries. They are the same wherever queries are answered.
type queryFlags struct {
	Timeout       time.Duration `default:"60s" name:"query-timeout" help:"How long one query may take."`
	MaxBlocks     int           `default:"10000" name:"query-max-blocks" help:"How many objects one query may read."`
	MemoryBytes   int64         `default:"1073741824" name:"query-memory-bytes" help:"How much memory one query may take; more is refused with what to narrow."`
	SlowThreshold time.Duration `default:"10s" name:"query-slow-threshold" help:"Log queries that take longer, with what they cost; 0: none."`

	SnapshotTTL     time.Duration `default:"1s" name:"query-snapshot-ttl" help:"How long what is live is remembered; pushed profiles appear that much later."`
	IndexCacheBytes int64         `default:"268435456" name:"query-index-cache-bytes" help:"Memory for the indexes of blocks; each spares a request. 0: none."`
	RangeCacheBytes int64         `default:"134217728" name:"query-range-cache-bytes" help:"Memory for ranges of blocks as they lie in the bucket. 0: none."`
	SumCacheBytes   int64         `default:"134217728" name:"query-sum-cache-bytes" help:"Memory for sums of blocks, which spare reading them for a like question. 0: none."`
	TailCacheBytes  int64         `default:"67108864" name:"query-tail-cache-bytes" help:"Memory for decoded uploads of the last minutes. 0: none."`
	CacheDir        string        `name:"cache-dir" placeholder:"DIR" help:"Keep ranges of blocks in this folder too; processes may share it, and it outlives them."`
	CacheDiskBytes  int64         `default:"1073741824" name:"cache-disk-bytes" help:"How many bytes --cache-dir may take."`

	TenantRange   time.Duration `default:"0s" name:"query-tenant-range" help:"How long a range one query may ask for; 0: any. As of the two that follow, --limits-file may say otherwise of a tenant."`
	TenantBytes   int64         `default:"0" name:"query-tenant-bytes" help:"How many bytes of the bucket one query may read, as planned; 0: any."`
	TenantQueries int           `default:"0" name:"query-tenant-concurrency" help:"How many queries of one tenant are answered at a time, while others wait; 0: any."`

	PriceReads    float64 `default:"0.4" name:"price-million-reads" help:"Dollars for a million GET requests. As all prices, it is for the dollars that answers tell; the defaults are S3's."`
	PriceLists    float64 `default:"5" name:"price-million-lists" help:"Dollars for a million LIST requests."`
	PriceGigabyte float64 `default:"0" name:"price-gigabyte-read" help:"Dollars for a gigabyte read from the bucket."`
	PriceCPU      float64 `default:"0.036" name:"price-cpu-hour" help:"Dollars for an hour of one CPU."`
}

func (f queryFlags) config() query.Config {
	return query.Config{
		Timeout: f.Timeout, MaxBlocks: f.MaxBlocks, MemoryBytes: f.MemoryBytes,
		SnapshotTTL: orNone(f.SnapshotTTL), IndexCacheBytes: orNone(f.IndexCacheBytes), RangeCacheBytes: orNone(f.RangeCacheBytes),
		SumCacheBytes: orNone(f.SumCacheBytes), TailCacheBytes: orNone(f.TailCacheBytes), CacheDir: f.CacheDir, CacheDiskBytes: orNone(f.CacheDiskBytes),
		Prices: query.Prices{MillionReads: orNone(f.PriceReads), MillionLists: orNone(f.PriceLists), GigabyteRead: orNone(f.PriceGigabyte), CPUHour: orNone(f.PriceCPU)},
	}
}

// limits are what a tenant may ask for: what the file says of it, else what the flags say of all.
func (f queryFlags) limits(file *limits) func(profile.Tenant) query.TenantLimits {
	return func(t profile.Tenant) query.TenantLimits {
		y := file.tenant(t)
		return query.TenantLimits{
			Range: cmp.Or(y.span, f.TenantRange), Bytes: cmp.Or(y.QueryBytes, f.TenantBytes), Queries: cmp.Or(y.Queries, f.TenantQueries),
		}
	}
}

// orNone turns the 0 that a user gives into what a Config, whose 0 is the default, calls none.
func orNone[T int64 | float64 | time.Duration](v T) T {
	if v == 0 {
		return -1
	}
	return v
}

type queryCmd struct {
	HTTPAddress string `default:":7070" name:"http-address" placeholder:"HOST:PORT" help:"Where to listen."`

	queryFlags
	apiFlags
	clusterFlags
	webFlags
	limitsFlag
	bucketFlag
}

// Run is the command.
func (c *queryCmd) Run(ctx context.Context, g *globals) error {
	if c.TokensFile != "" && !c.alone() && c.ClusterKeyFile == "" {
		return usage(errors.New("--tokens-file in a cluster needs --cluster-key-file: members ask each other about every tenant"))
	}
	bkt, err := c.open(ctx, g)
	if err != nil {
		return err
	}
	p, err := g.start(ctx, c.HTTPAddress, c.webFlags, bkt)
	if err != nil {
		return err
	}
	limits, err := p.addLimits(c.limitsFlag)
	if err != nil {
		return errors.Join(err, p.close())
	}
	q, err := p.addQuery(c.queryFlags, &c.clusterFlags, limits)
	if err != nil {
		return errors.Join(err, p.close())
	}
	p.addAPIs(q, c.apiFlags)
	g.log.Info("listening", "address", p.server.Addr().String(), "bucket", bkt.Name())
	return p.wait()
}

// observeQuery counts queries and logs slow ones.
func observeQuery(reg *prometheus.Registry, log *slog.Logger, slow time.Duration) query.Observer {
	queries := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "coldframe_queries_total", Help: "Queries by what they ask for and outcome: ok, partial (something could not be read) or refused.",
	}, []string{"what", "outcome"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "coldframe_query_duration_seconds", Help: "How long queries took, by what they ask for.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
	}, []string{"what"})
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	requests := counter("coldframe_query_requests_total", "Requests to the bucket that queries made.")
	bytes := counter("coldframe_query_read_bytes_total", "Bytes of the bucket that queries read.")
	cached := counter("coldframe_query_cached_bytes_total", "Bytes that caches answered instead of the bucket.")
	cpu := counter("coldframe_query_cpu_seconds_total", "CPU time that queries took.")
	dollars := counter("coldframe_query_dollars_total", "What queries cost, by the prices that this process was told.")
	reg.MustRegister(queries, seconds)
	return query.Observer{
		Answered: func(a query.Answered) {
			outcome := "ok"
			switch {
			case a.Err != nil:
				outcome = "refused"
			case a.Stats.Partial():
				outcome = "partial"
			}
			queries.WithLabelValues(a.What, outcome).Inc()
			seconds.WithLabelValues(a.What).Observe(a.Stats.Elapsed.Seconds())
			requests.Add(float64(a.Stats.Requests))
			bytes.Add(float64(a.Stats.Bytes))
			cached.Add(float64(a.Stats.CacheBytes))
			cpu.Add(a.Stats.CPU.Seconds())
			dollars.Add(a.Stats.Dollars)
			if slow > 0 && a.Stats.Elapsed >= slow {
				logSlow(log, a)
			}
		},
		RemoteFailed: func(worker string, err error) {
			log.Warn("another process did not compute its part of a query", "worker", worker, "err", err)
		},
	}
}

func logSlow(log *slog.Logger, a query.Answered) {
	log.Warn("slow query", "what", a.What, "tenant", string(a.Request.Tenant), "selector", a.Request.Selector.String(),
		"from", a.Request.Range.From, "to", a.Request.Range.To, "filters", len(a.Request.Filters),
		"took", a.Stats.Elapsed, "cpu", a.Stats.CPU, "blocks", a.Stats.Blocks, "profiles", a.Stats.Profiles,
		"requests", a.Stats.Requests, "bytes", a.Stats.Bytes, "cached_bytes", a.Stats.CacheBytes, "dollars", a.Stats.Dollars,
		"missing", len(a.Stats.Missing), "err", a.Err)
}

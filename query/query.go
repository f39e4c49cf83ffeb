// Package query answers from the bucket: a selector and a time range become a merged
// pprof, a call tree, a table of functions, a time series, or a list of what there is.
//
// A query takes three rounds of requests: the snapshot of what is live; the tails of
// Arrow blocks and whole pprof blocks; the ranges that hold the rows and stacks of
// the profiles asked for. What it reads is chosen exactly: by time to the millisecond,
// by series, by type. Pprof blocks are decoded into an Arrow block in memory and from
// there on are like the others. A profile that lies in several blocks counts once.
//
// One bad or missing object costs one object: the answer is made of the rest, and its
// [Stats] name what it lacks. They also tell what the answer cost.
//
// The package keeps caches and nothing else; any number of processes may answer from
// one bucket.
package query

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"time"

	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
)

// What a caller may branch on, beside [profile.ErrInvalid] and a context's errors.
var (
	// ErrAmbiguous: several profile types match where one is needed.
	ErrAmbiguous = errors.New("ambiguous profile type")
	// ErrNoType: nothing has the type that is asked for, neither in the range nor, as far as
	// is known without reading more, elsewhere.
	ErrNoType = errors.New("no such profile type")
	// ErrTooLarge: the answer would take more blocks or memory than Config allows.
	ErrTooLarge = errors.New("query too large")
	// ErrPartial: the request was strict and something is missing.
	ErrPartial = errors.New("partial answer refused")
	// ErrUnavailable: what is live could not be learned from the bucket.
	ErrUnavailable = errors.New("bucket unavailable")
)

// Config bounds what queries take. Zero fields mean the defaults named here.
type Config struct {
	// MaxBlocks is how many objects one query may read; 10,000. More are refused, with
	// what to narrow.
	MaxBlocks int
	// MemoryBytes is how much one query may hold, as estimated from sizes and counts
	// before it is held; 1 GiB. More is refused.
	MemoryBytes int64
	// Concurrency is how many requests to the bucket all queries together have in
	// flight; 128.
	Concurrency int
	// Timeout is how long one query may take; 60 s.
	Timeout time.Duration

	// SnapshotTTL is how long what is live may be remembered; 1 s. Pushed profiles appear
	// that much later; each query that finds nothing remembered costs some eight requests a
	// shard. Negative: not at all.
	SnapshotTTL time.Duration
	// IndexCacheBytes is how much memory the indexes of open blocks may take; 256 MiB.
	// Each spares a request. Negative: nothing is kept.
	IndexCacheBytes int64
	// RangeCacheBytes is how much memory ranges of blocks and pprof blocks, as they lie in the
	// bucket, may take; 128 MiB. Negative: nothing is kept.
	RangeCacheBytes int64
	// CacheDir is a folder in which ranges of Arrow blocks are kept too, so that they outlive the
	// process; several processes may have the same one. "": there is none.
	CacheDir string
	// CacheDiskBytes is how many bytes of files CacheDir may have; 1 GiB. Each process
	// that shares it may go a sixteenth over it for a while.
	CacheDiskBytes int64
	// SumCacheBytes is how much memory sums of blocks may take, by what was asked of them;
	// 128 MiB. They spare what an answer costs but the drawing of it: reading, decoding and merging of
	// blocks that were merged for a like question before. Negative: nothing is kept.
	SumCacheBytes int64
	// TailCacheBytes is how much memory decoded pprof blocks of the last minutes may take; 64 MiB.
	// Negative: nothing is kept.
	TailCacheBytes int64

	// Remote computes parts of large queries in other processes; nil: all is done in this one.
	Remote Remote
	// ShareBlocks and ShareBytes: a query that reads stacks and rows of more blocks, or about
	// more bytes of them, is shared with Remote; 64 blocks, 64 MiB. Less makes large queries
	// faster, and dearer by a request or an invocation for each worker. Negative: always.
	ShareBlocks int
	ShareBytes  int64

	// Retention tells how long a tenant's profiles, and sums of them, are kept; older ones are
	// hidden. nil, and zeros in the answer, mean no limit.
	Retention func(ctx context.Context, tenant profile.Tenant) (catalog.Retentions, error)
	// Tenant says whose data an HTTP request is about; [serve.Tenant].
	Tenant func(*http.Request) (profile.Tenant, error)
	// Now is the clock that "now" means in a request; [time.Now].
	Now func() time.Time

	// Limits are what a tenant may ask for. nil: whatever it likes.
	Limits func(profile.Tenant) TenantLimits
	// Prices say what answers cost.
	Prices Prices

	Observer Observer
}

// Observer is told of what happens. Its funcs may be nil, are called from many
// goroutines and should return at once.
type Observer struct {
	Answered func(Answered)
	// RemoteFailed: a worker did not compute its part, which is computed here instead.
	RemoteFailed func(worker string, err error)
}

// Answered is a query that ended.
type Answered struct {
	What    string // tree, pprof, series, types, labels, label values, or a part of another process' query
	Request Request
	Stats   Stats // what it cost
	Err     error // when it was refused
}

// Querier answers queries. It may be used concurrently.
type Querier struct {
	cfg Config
	cat *catalog.Catalog
	bkt bucket.Bucket

	requests   *turns // in flight
	hedges     hedges
	admissions admissions
	snapshots  snapshots
	indexes    *lru[string, *arrowblock.Block] // by key
	ranges     *lru[objectRange, []byte]
	disk       *diskCache // behind ranges; nil: none
	sumCache   *lru[sumKey, *sum]
	tailCache  *lru[string, *tailBlocks]
	cpu        cpuMeter
}

// New makes a Querier that answers from what cat says is live in bkt. It does no I/O.
func New(cat *catalog.Catalog, bkt bucket.Bucket, cfg Config) *Querier {
	setDefault(&cfg.MaxBlocks, 10_000)
	setDefault(&cfg.MemoryBytes, 1<<30)
	setDefault(&cfg.Concurrency, 128)
	setDefault(&cfg.Timeout, time.Minute)
	setDefault(&cfg.ShareBlocks, 64)
	setDefault(&cfg.ShareBytes, 64<<20)
	setDefault(&cfg.SnapshotTTL, time.Second)
	setDefault(&cfg.IndexCacheBytes, 256<<20)
	setDefault(&cfg.RangeCacheBytes, 128<<20)
	setDefault(&cfg.CacheDiskBytes, 1<<30)
	setDefault(&cfg.SumCacheBytes, 128<<20)
	setDefault(&cfg.TailCacheBytes, 64<<20)
	cfg.Prices = cfg.Prices.withDefaults()
	if cfg.Tenant == nil {
		cfg.Tenant = serve.Tenant
	}
	if cfg.Limits == nil {
		cfg.Limits = func(profile.Tenant) TenantLimits { return TenantLimits{} }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Querier{
		cfg:       cfg,
		cat:       cat,
		bkt:       bkt,
		requests:  newTurns(cfg.Concurrency),
		indexes:   newLRU[string, *arrowblock.Block](cfg.IndexCacheBytes),
		ranges:    newLRU[objectRange, []byte](cfg.RangeCacheBytes),
		disk:      newDiskCache(cfg.CacheDir, cfg.CacheDiskBytes),
		sumCache:  newLRU[sumKey, *sum](cfg.SumCacheBytes),
		tailCache: newLRU[string, *tailBlocks](cfg.TailCacheBytes),
	}
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// mergesAtATime is how many blocks' rows and stacks a query reads at a time: enough
// to hide the bucket's latency, while each may hold some 16 MiB that are not decoded yet.
func mergesAtATime() int { return 16 + 2*runtime.GOMAXPROCS(0) }

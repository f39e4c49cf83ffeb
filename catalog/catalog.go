// Package catalog knows which blocks are live.
//
// What is live in a shard is said by one small object, HEAD: a whole snapshot that is
// replaced by compare-and-swap. A commit reads it, applies a [Change] and writes it.
// Of two concurrent commits exactly one succeeds; the other reads again and
// re-applies its change only if that still holds, else it gets [ErrConflict]. So
// every pprof block is in the sources of at most one live Arrow block, and a HEAD
// together with the pprof blocks of the minutes after its Sealed counts each exactly
// once, at every moment. MANIFEST.md has the format and the rules.
//
// The package reads and writes manifests and tenants' settings, and lists pprof blocks. It
// never opens a block and never deletes anything.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/profile"
)

// ErrConflict says that the world has moved so that a change no longer holds: plan
// again from a new HEAD. The change was not committed. What was written for it must
// stay where it is and is left to the lifecycle.
var ErrConflict = errors.New("conflict, plan again")

// Catalog reads and changes the HEADs of one bucket. It may be used concurrently, and
// any number of processes may have one on the same bucket.
//
// In a bucket without conditional writes ([bucket.CASNone]) two concurrent commits
// to a shard may both report success and only the later one last. Its HEAD is a
// consistent snapshot that does not know of the other: nothing is counted twice or
// lost as long as no object that an older HEAD may name is deleted, but the work was
// in vain. Run one compactor a shard there.
type Catalog struct {
	bkt bucket.Bucket
	cfg Config

	mu     sync.Mutex
	shards map[profile.Tenant][]block.Shard // as last listed: what a snapshot asks for before it knows better
	parts  map[string][]block.Meta          // arch parts that were read, by key; they never change

	heads map[string]parsedHead // as last read or written, by key

	settings settingsCache
}

// parsedHead is a HEAD and its version, which no other content has.
type parsedHead struct {
	version bucket.Version
	head    Head
}

// Config tunes a [Catalog]. The zero Config is good for production.
type Config struct {
	// Window is how long after its minute a pprof block may land and still be gathered
	// by a sweep: K in MANIFEST.md. Whole minutes, at least 2; default 60. All processes
	// on a bucket must agree. Longer makes sweeps list more.
	Window time.Duration

	// MaxHeadBytes is the size above which the oldest entries of a HEAD move to an arch
	// part. Default 128 KiB. Every commit writes a HEAD and every query reads it.
	MaxHeadBytes int

	// Attempts is how often a commit tries to write HEAD before it gives up. Default 10.
	Attempts int

	// Backoff is the longest pause after a commit's first failed attempt, doubled after
	// each further one up to 2 s. The pause is random. Default 50 ms.
	Backoff time.Duration

	// NewID makes IDs of transactions and arch parts. Default [block.NewID].
	NewID func(time.Time) block.ID

	Observer Observer
}

// Observer is told what callers do not see. Its funcs may be nil, are called from
// many goroutines and should return at once.
type Observer struct {
	// Conflict: a commit found that HEAD had changed since it was read. It reads again.
	Conflict func(key string)
	// Ambiguous: nothing is known of a write of HEAD but this error. The commit reads HEAD to find out.
	Ambiguous func(key string, err error)
	// Spilled: so many entries of a HEAD moved to an arch part.
	Spilled func(part string, entries int)
	// Stray: a key among the pprof blocks, or a folder among tenants and shards, that
	// is none of ours. It is left alone.
	Stray func(key string, err error)
}

const maxBackoff = 2 * time.Second

// New returns a catalog of bkt. It does no I/O.
func New(bkt bucket.Bucket, cfg Config) *Catalog {
	defaults(&cfg.Window, time.Hour)
	defaults(&cfg.MaxHeadBytes, 128<<10)
	defaults(&cfg.Attempts, 10)
	defaults(&cfg.Backoff, 50*time.Millisecond)
	if cfg.NewID == nil {
		cfg.NewID = block.NewID
	}
	return &Catalog{
		bkt:      bkt,
		cfg:      cfg,
		shards:   map[profile.Tenant][]block.Shard{},
		parts:    map[string][]block.Meta{},
		heads:    map[string]parsedHead{},
		settings: settingsCache{tenants: map[profile.Tenant]remembered[Settings]{}},
	}
}

func defaults[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Window is Config.Window in minutes.
func (c *Catalog) Window() Minute { return max(2, Minute(c.cfg.Window/time.Minute)) }

// Tenants lists who has pprof blocks or a HEAD, in order. Two requests.
func (c *Catalog) Tenants(ctx context.Context) ([]profile.Tenant, error) {
	return union(ctx, c, block.ClassL0.Prefix(), block.ClassManifest.Prefix(), profile.ParseTenant)
}

// Shards lists the shards of a tenant that have pprof blocks or a HEAD, in order. Two requests.
func (c *Catalog) Shards(ctx context.Context, tenant profile.Tenant) ([]block.Shard, error) {
	return union(ctx, c, block.ClassL0.TenantPrefix(tenant), block.ClassManifest.TenantPrefix(tenant), block.ParseShard)
}

// union parses the names of the folders below two prefixes.
func union[T profile.Tenant | block.Shard](ctx context.Context, c *Catalog, a, b string, parse func(string) (T, error)) ([]T, error) {
	var found [2]map[T]bool
	g, ctx := errgroup.WithContext(ctx)
	for i, prefix := range [...]string{a, b} {
		g.Go(func() (err error) {
			found[i], err = parseFolders(c.bkt.ListFolders(ctx, prefix), func(name string) (T, bool) {
				t, err := parse(name)
				if err != nil {
					c.stray(prefix+name, err)
				}
				return t, err == nil
			})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	maps.Copy(found[0], found[1])
	return slices.Sorted(maps.Keys(found[0])), nil
}

func parseFolders[T comparable](folders iter.Seq2[string, error], parse func(string) (T, bool)) (map[T]bool, error) {
	found := map[T]bool{}
	for name, err := range folders {
		if err != nil {
			return nil, err
		}
		if t, ok := parse(name); ok {
			found[t] = true
		}
	}
	return found, nil
}

func (c *Catalog) stray(key string, err error) {
	if c.cfg.Observer.Stray != nil {
		c.cfg.Observer.Stray(key, err)
	}
}

// Head reads a shard's HEAD. Where there is none it is the zero Head: nothing is
// sealed and nothing is live. A HEAD that is broken, or that a newer coldframe has
// written, is [block.ErrCorrupt] or [ErrNewer] with its key. One request. The caller may
// not change what is in the lists.
func (c *Catalog) Head(ctx context.Context, tenant profile.Tenant, shard block.Shard) (Head, error) {
	h, _, err := c.load(ctx, block.HeadKey(tenant, shard))
	return h, err
}

// load returns HEAD and its version, both from one answer: a version that was asked
// for separately might be newer than the content and hide a commit.
func (c *Catalog) load(ctx context.Context, key string) (Head, bucket.Version, error) {
	data, version, err := c.bkt.Get(ctx, key)
	if errors.Is(err, bucket.ErrNotExist) {
		return Head{}, "", nil
	}
	if err != nil {
		return Head{}, "", err
	}
	c.mu.Lock()
	known := c.heads[key]
	c.mu.Unlock()
	if known.version == version {
		return known.head, version, nil
	}
	h, err := ParseHead(data)
	if err != nil {
		return Head{}, "", fmt.Errorf("%s: %w", key, err)
	}
	c.remember(key, parsedHead{version, h})
	return h, version, nil
}

// remember keeps a HEAD that was read or written.
func (c *Catalog) remember(key string, h parsedHead) {
	c.mu.Lock()
	defer c.mu.Unlock()
	forgetOne(c.heads, maxHeads)
	c.heads[key] = h
}

// maxHeads is how many HEADs a Catalog remembers, to not parse them again: of about
// 20 KiB each, and some times that in memory.
const maxHeads = 1024

// forgetOne makes room for one more in a map that remembers at most most: which of them is
// asked for again is not known.
func forgetOne[T any](remembered map[string]T, most int) {
	if len(remembered) < most {
		return
	}
	for key := range remembered {
		delete(remembered, key)
		return
	}
}

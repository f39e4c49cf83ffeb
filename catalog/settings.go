package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/profile"
)

// Settings are what an operator says of a tenant: the object tenant.json below
// [block.ClassMeta]. A tenant without it has the zero Settings. Uploaders on hosts do not
// read it; all others go by it a few seconds after it was written.
type Settings struct {
	V int `json:"v"` // of the format: 1

	// Epoch is the format of what is in the tenant's blocks. Who knows only older ones leaves
	// the tenant alone. 0 and 1 are the first.
	Epoch int `json:"epoch,omitempty"`

	// Shards is how many shards ingest spreads the tenant over; 0 is 1. It may grow at any
	// time and never shrinks. Compactors and queries find shards by themselves.
	Shards int `json:"shards,omitempty"`

	// Retention and RollupRetention are how long profiles and rollups are kept, unless
	// the bucket's own lifecycle is shorter. See [Retentions].
	Retention       Retention `json:"retention,omitempty"`
	RollupRetention Retention `json:"rollup_retention,omitempty"`

	// Deleted is when the tenant was deleted, by the bucket's clock. What it still has, and
	// what hosts still upload, is neither read nor compacted.
	Deleted *time.Time `json:"deleted,omitempty"`
}

// Defaults are what `lifecycle apply` has told the bucket, in the object lifecycle.json
// below [block.ClassMeta]: how long anything is kept at most, whosever it is.
type Defaults struct {
	V               int       `json:"v"` // of the format: 1
	Retention       Retention `json:"retention,omitempty"`
	RollupRetention Retention `json:"rollup_retention,omitempty"`
}

// epoch is the newest that this coldframe knows.
const epoch = 1

// maxShards is how many shards two hex digits name.
const maxShards = 256

// Retentions are the tenant's own.
func (s Settings) Retentions() Retentions { return Retentions{s.Retention, s.RollupRetention} }

// Retentions are the bucket's.
func (d Defaults) Retentions() Retentions { return Retentions{d.Retention, d.RollupRetention} }

// ParseSettings reads a tenant.json. What no coldframe writes is [block.ErrCorrupt]; a
// version, an epoch or a field of a newer one is [ErrNewer].
func ParseSettings(data []byte) (Settings, error) {
	var s Settings
	if err := decodeStrictly(data, &s, &s.V); err != nil {
		return Settings{}, err
	}
	if s.Epoch > epoch {
		return Settings{}, fmt.Errorf("epoch %d, at most %d is known: %w", s.Epoch, epoch, ErrNewer)
	}
	if err := s.validate(); err != nil {
		return Settings{}, fmt.Errorf("%w: %w", err, block.ErrCorrupt)
	}
	return s, nil
}

func (s Settings) validate() error {
	switch {
	case s.V != format || s.Epoch < 0:
		return fmt.Errorf("version %d, epoch %d: want 1 of both: %w", s.V, s.Epoch, profile.ErrInvalid)
	case s.Shards < 0 || s.Shards > maxShards:
		return fmt.Errorf("%d shards: not in [1, %d]: %w", s.Shards, maxShards, profile.ErrInvalid)
	}
	return s.Retentions().validate()
}

// ParseDefaults reads a lifecycle.json. Errors are those of [ParseSettings].
func ParseDefaults(data []byte) (Defaults, error) {
	var d Defaults
	if err := decodeStrictly(data, &d, &d.V); err != nil {
		return Defaults{}, err
	}
	if d.V != format {
		return Defaults{}, fmt.Errorf("version %d: %w", d.V, block.ErrCorrupt)
	}
	if err := d.Retentions().validate(); err != nil {
		return Defaults{}, fmt.Errorf("%w: %w", err, block.ErrCorrupt)
	}
	return d, nil
}

const (
	// settingsFor is how long settings are gone by without asking again: how long after a
	// change queries may still go by the old ones. It costs each process a request or two
	// in that time for each tenant that is used.
	settingsFor = 5 * time.Second

	// settingsAtMost is how long they are gone by while the bucket does not answer.
	settingsAtMost = 10 * time.Minute

	settingsTimeout = time.Minute
)

// remembered is an object below meta as it was read last.
type remembered[T any] struct {
	value  T
	asked  time.Time // when it was last asked for
	read   time.Time // when that last succeeded; zero: never
	reason error     // why it did not
}

// settingsCache remembers what was read below meta.
type settingsCache struct {
	mu       sync.Mutex
	tenants  map[profile.Tenant]remembered[Settings]
	defaults remembered[Defaults]
	flight   singleflight.Group
}

// Settings reads a tenant's settings, or remembers them for some seconds. When the
// bucket does not answer, they are as they were for up to ten minutes.
func (c *Catalog) Settings(ctx context.Context, tenant profile.Tenant) (Settings, error) {
	return recall(ctx, c, block.TenantKey(tenant), ParseSettings,
		func() remembered[Settings] { return c.settings.tenants[tenant] },
		func(r remembered[Settings]) { c.settings.tenants[tenant] = r })
}

// Defaults reads what the bucket's own lifecycle is, with the same memory.
func (c *Catalog) Defaults(ctx context.Context) (Defaults, error) {
	return recall(ctx, c, block.DefaultsKey(), ParseDefaults,
		func() remembered[Defaults] { return c.settings.defaults },
		func(r remembered[Defaults]) { c.settings.defaults = r })
}

// recall gives what is known of an object, or reads it: once for all who ask meanwhile.
func recall[T any](ctx context.Context, c *Catalog, key string, parse func([]byte) (T, error), known func() remembered[T], keep func(remembered[T])) (T, error) {
	c.settings.mu.Lock()
	r := known()
	c.settings.mu.Unlock()
	now := time.Now().Truncate(time.Millisecond)
	if now.Sub(r.asked) >= settingsFor {
		reading := c.settings.flight.DoChan(key, func() (any, error) {
			r := r.again(context.WithoutCancel(ctx), c.bkt, key, parse)
			c.settings.mu.Lock()
			defer c.settings.mu.Unlock()
			keep(r)
			return r, nil
		})
		select {
		case <-ctx.Done():
			return *new(T), ctx.Err()
		case read := <-reading:
			r = read.Val.(remembered[T])
		}
	}
	if r.reason != nil && now.Sub(r.read) > settingsAtMost {
		return *new(T), r.reason
	}
	return r.value, nil
}

// again is what is known after another look.
func (r remembered[T]) again(ctx context.Context, bkt bucket.Bucket, key string, parse func([]byte) (T, error)) remembered[T] {
	ctx, cancel := context.WithTimeout(ctx, settingsTimeout)
	defer cancel()
	data, _, err := bkt.Get(ctx, key)
	now := time.Now().Truncate(time.Millisecond)
	r.asked, r.reason = now, err
	if errors.Is(err, bucket.ErrNotExist) {
		return remembered[T]{asked: now, read: now}
	}
	if err != nil {
		return r
	}
	if r.value, err = parse(data); err != nil {
		return remembered[T]{asked: now, reason: fmt.Errorf("%s: %w", key, err)}
	}
	r.read = now
	return r
}

// Retentions are how long a tenant's profiles and rollups are kept: by its own settings
// or by the bucket's lifecycle, whichever is shorter.
func (c *Catalog) Retentions(ctx context.Context, tenant profile.Tenant) (Retentions, error) {
	d, err := c.Defaults(ctx)
	if err != nil {
		return Retentions{}, err
	}
	s, err := c.Settings(ctx, tenant)
	if err != nil {
		return Retentions{}, err
	}
	return s.Retentions().within(d.Retentions()), nil
}

// ChangeSettings changes a tenant's settings, from what they are at this moment, and
// returns them. Shards that shrink, and whatever does not make sense, are
// [profile.ErrInvalid]; settings that a newer coldframe has written stay.
func (c *Catalog) ChangeSettings(ctx context.Context, tenant profile.Tenant, change func(*Settings)) (Settings, error) {
	key := block.TenantKey(tenant)
	for range c.cfg.Attempts {
		data, version, err := c.bkt.Get(ctx, key)
		old := Settings{}
		switch {
		case errors.Is(err, bucket.ErrNotExist):
		case err != nil:
			return old, err
		default:
			if old, err = ParseSettings(data); err != nil {
				return old, fmt.Errorf("%s: %w", key, err)
			}
		}
		s := old
		change(&s)
		s.V = format
		if err := s.validate(); err != nil {
			return old, err
		}
		if s.Shards < old.Shards {
			return old, fmt.Errorf("%d shards after %d: the number of shards never shrinks: %w", s.Shards, old.Shards, profile.ErrInvalid)
		}
		if data, err = json.MarshalIndent(s, "", "  "); err != nil {
			return old, err
		}
		_, err = c.bkt.Replace(ctx, key, append(data, '\n'), version)
		if errors.Is(err, bucket.ErrConflict) {
			continue
		}
		if err == nil {
			c.settings.mu.Lock()
			delete(c.settings.tenants, tenant)
			c.settings.mu.Unlock()
		}
		return s, err
	}
	return Settings{}, fmt.Errorf("%s kept changing: %w", key, ErrConflict)
}

// SetDefaults writes what the bucket's own lifecycle is.
func (c *Catalog) SetDefaults(ctx context.Context, r Retentions) error {
	if err := r.validate(); err != nil {
		return err
	}
	data, err := json.MarshalIndent(Defaults{format, r.Raw, r.Rollups}, "", "  ")
	if err != nil {
		return err
	}
	err = c.bkt.Put(ctx, block.DefaultsKey(), append(data, '\n'))
	c.settings.mu.Lock()
	c.settings.defaults = remembered[Defaults]{}
	c.settings.mu.Unlock()
	return err
}

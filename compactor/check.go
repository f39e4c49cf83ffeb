package compactor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
)

// Finding is something that [Compactor.Check] has to say about an object.
type Finding struct {
	Kind   Kind
	Key    string
	Detail string // for people
}

// String gives a line: "corrupt v1/b1/…: what and where".
func (f Finding) String() string {
	if f.Detail == "" {
		return fmt.Sprintf("%s %s", f.Kind, f.Key)
	}
	return fmt.Sprintf("%s %s: %s", f.Kind, f.Key, f.Detail)
}

// Kind says what is the matter with an object.
type Kind int

const (
	// Unreadable is a HEAD, an arch part or a tenant's settings that is broken. What a HEAD or
	// an arch part names is not checked.
	Unreadable Kind = iota
	// Missing is an object that HEAD names and the bucket does not have.
	Missing
	// Corrupt is a live block whose bytes are not what was written.
	Corrupt
	// Repeated is a live block that has a source which another one has too: profiles
	// count twice.
	Repeated
	// Unread is a pprof block that is in no live block and that no sweep will look at.
	Unread
	// Straggler is a pprof block in a sealed minute that the next sweep will gather.
	Straggler
	// Rejected is a pprof block, or a file in it, that was damaged when it was merged.
	Rejected
	// Orphan is a block that nobody names: merged away, or of a commit that lost its
	// race. The lifecycle removes it.
	Orphan
)

var kindNames = [...]string{"unreadable", "missing", "corrupt", "repeated", "unread", "straggler", "rejected", "orphan"}

func (k Kind) String() string { return kindNames[k] }

// Damage says whether answers are wrong or incomplete for it.
func (k Kind) Damage() bool { return k <= Unread }

// Checked is how much [Compactor.Check] has looked at.
type Checked struct {
	Shards  int
	Blocks  int   // live ones
	Bytes   int64 // of these
	L0s     int   // pprof blocks in sealed minutes
	Sources int   // of live blocks
	Damaged int   // findings that are damage
}

// Check reads every live block whole and compares what HEADs say with what is there.
// It calls found for each finding, shard by shard. It changes nothing and may run
// while others compact. What a tenant's retention lets go of need not be there. The error
// says what could not be looked at. The Observer is told how far it has come.
//
// It holds about 50 bytes for each pprof block that a shard's live blocks were made of.
func (c *Compactor) Check(ctx context.Context, found func(Finding)) (Checked, error) {
	shards, err := c.listShards(ctx)
	if err != nil {
		return Checked{}, err
	}
	var total Checked
	var errs []error
	for _, s := range shards {
		k := checking{c: c, shard: s, sources: map[sourceDay]string{}, before: total}
		if err := k.check(ctx); err != nil {
			errs = append(errs, fmt.Errorf("check %s: %w", s, err))
		}
		slices.SortFunc(k.findings, func(a, b Finding) int {
			return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Detail, b.Detail))
		})
		for _, f := range k.findings {
			if f.Kind.Damage() {
				k.Damaged++
			}
			found(f)
		}
		total.Shards++
		total.Blocks += k.Blocks
		total.Bytes += k.Bytes
		total.L0s += k.L0s
		total.Sources += len(k.sources)
		total.Damaged += k.Damaged
	}
	return total, errors.Join(errs...)
}

// checking is the check of one shard.
type checking struct {
	c     *Compactor
	shard shard

	mu sync.Mutex
	Checked
	findings []Finding
	sources  map[sourceDay]string // which block has it
	before   Checked              // in shards that were checked before
	kept     block.Day            // the oldest day of which all must be there
	blind    bool                 // sources of a live block could not be read
}

// sourceDay is what may be in the sources of one live block only.
type sourceDay struct {
	id  block.ID
	day block.Day
}

func (k *checking) find(kind Kind, key, format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.blind = k.blind || kind <= Corrupt && !strings.HasPrefix(key, block.ClassMeta.Prefix())
	k.findings = append(k.findings, Finding{kind, key, fmt.Sprintf(format, args...)})
}

func (k *checking) check(ctx context.Context) error {
	s := k.shard
	h, err := k.c.cat.Head(ctx, s.tenant, s.Shard)
	if errors.Is(err, block.ErrCorrupt) || errors.Is(err, catalog.ErrNewer) {
		k.find(Unreadable, block.HeadKey(s.tenant, s.Shard), "%v", err)
		return nil
	}
	if err != nil {
		return err
	}
	if err := k.settings(ctx); err != nil {
		return err
	}
	live, err := k.live(ctx, h)
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(k.c.cfg.Readers)
	for _, m := range live {
		g.Go(func() error { return k.block(ctx, m) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := k.pprofBlocks(ctx, h); err != nil {
		return err
	}
	return k.orphans(ctx, h, live)
}

// settings learns what the tenant's retention lets go of. Settings that are broken are found
// once, with the tenant's first shard.
func (k *checking) settings(ctx context.Context) error {
	now, err := k.c.bkt.Now(ctx)
	if err != nil {
		return err
	}
	_, defaultsErr := k.c.cat.Defaults(ctx)
	_, settingsErr := k.c.cat.Settings(ctx, k.shard.tenant)
	for key, err := range map[string]error{block.DefaultsKey(): defaultsErr, block.TenantKey(k.shard.tenant): settingsErr} {
		switch {
		case err == nil:
		case !errors.Is(err, block.ErrCorrupt) && !errors.Is(err, catalog.ErrNewer):
			return err
		case k.shard.Shard == 0:
			k.find(Unreadable, key, "%v", err)
		}
	}
	if defaultsErr != nil || settingsErr != nil {
		return nil
	}
	r, err := k.c.cat.Retentions(ctx, k.shard.tenant)
	k.kept, _ = r.FirstDays(now)
	return err
}

// live is what HEAD and its arch parts name.
func (k *checking) live(ctx context.Context, h catalog.Head) ([]block.Meta, error) {
	live := slices.Clone(h.Live)
	for _, part := range h.Arch {
		key := block.ArchKey(k.shard.tenant, k.shard.Shard, part.ID)
		entries, err := k.c.cat.Archive(ctx, k.shard.tenant, k.shard.Shard, part)
		switch {
		case errors.Is(err, bucket.ErrNotExist):
			k.find(Missing, key, "HEAD says that it names %d blocks", part.Entries)
		case errors.Is(err, block.ErrCorrupt) || errors.Is(err, catalog.ErrNewer):
			k.find(Unreadable, key, "%v", err)
		case err != nil:
			return nil, err
		}
		live = append(live, entries...)
	}
	return live, nil
}

// block checks a live block, and the rollups that will outlive it.
func (k *checking) block(ctx context.Context, m block.Meta) error {
	key := m.Key(k.shard.tenant, k.shard.Shard)
	var opened *arrowblock.Block
	var err error
	if !m.Expired {
		if opened, err = k.verify(ctx, m, key, m.Size, arrowblock.Tail{Bytes: m.Tail, CRC: m.CRC}); err != nil {
			return err
		}
	}
	if m.R4 != nil {
		rollups, err := k.verify(ctx, m, m.RollupKey(k.shard.tenant, k.shard.Shard), m.R4.Size, arrowblock.Tail{Bytes: m.R4.Tail, CRC: m.R4.CRC})
		if err != nil {
			return err
		}
		if m.Expired {
			opened, key = rollups, m.RollupKey(k.shard.tenant, k.shard.Shard)
		}
	}
	k.mu.Lock()
	k.Blocks++
	k.Bytes += m.Size
	if m.R4 != nil {
		k.Bytes += m.R4.Size
	}
	k.c.cfg.Observer.checking(k.before, k.Checked)
	k.mu.Unlock()
	if opened == nil {
		return nil
	}
	sources, err := opened.Sources(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	for _, source := range sources {
		k.source(key, source)
	}
	return nil
}

// verify reads an object that HEAD names. It returns nil when there is a finding.
func (k *checking) verify(ctx context.Context, m block.Meta, key string, size int64, tail arrowblock.Tail) (*arrowblock.Block, error) {
	b, err := arrowblock.Open(ctx, object{k.c.bkt, key, size}, tail)
	if err == nil {
		err = b.Verify(ctx)
	}
	switch {
	case err == nil:
		return b, nil
	case errors.Is(err, bucket.ErrNotExist):
		return nil, k.missing(ctx, m, key)
	case errors.Is(err, block.ErrCorrupt):
		k.find(Corrupt, key, "%v", err)
		return nil, nil
	}
	return nil, fmt.Errorf("%s: %w", key, err)
}

// missing finds an object missing, unless its block was merged away meanwhile, or is one that
// the lifecycle has taken.
func (k *checking) missing(ctx context.Context, m block.Meta, key string) error {
	if m.Day < k.kept {
		return nil
	}
	h, err := k.c.cat.Head(ctx, k.shard.tenant, k.shard.Shard)
	if err != nil {
		return err
	}
	live, err := (&checking{c: k.c, shard: k.shard}).live(ctx, h)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(live, func(l block.Meta) bool { return l.ID == m.ID }) {
		k.find(Missing, key, "")
	}
	return nil
}

func (k *checking) source(key string, source arrowblock.Source) {
	if source.Rejected != "" {
		what := source.ID.String()
		if source.Profile != "" {
			what += "/" + source.Profile
		}
		k.find(Rejected, key, "its source %s: %s", what, source.Rejected)
	}
	if source.Profile != "" {
		return
	}
	at := sourceDay{source.ID, source.Day}
	k.mu.Lock()
	other, again := k.sources[at]
	k.sources[at] = key
	k.mu.Unlock()
	if again {
		k.find(Repeated, max(key, other), "source %s of %s is in %s too", source.ID, source.Day, min(key, other))
	}
}

// pprofBlocks looks for pprof blocks in sealed minutes that are in no live block.
// Nothing can be said of them when the sources of a live block are not known.
func (k *checking) pprofBlocks(ctx context.Context, h catalog.Head) error {
	merged := make(map[block.ID]bool, len(k.sources))
	for at := range k.sources {
		merged[at.id] = true
	}
	sweepFrom := h.SweepFrom(k.c.cat.Window())
	for l0, err := range k.c.cat.L0s(ctx, k.shard.tenant, k.shard.Shard, 0, h.Sealed) {
		if err != nil {
			return err
		}
		k.L0s++
		switch {
		case merged[l0.ID]:
		case k.blind: // it may be in a block that is gone or damaged
		case block.DayOf(l0.MaxTime()) < k.kept: // it may be in one that has expired
		case catalog.MinuteOf(l0.Minute) > sweepFrom:
			k.find(Straggler, l0.String(), "")
		default:
			k.find(Unread, l0.String(), "sealed up to %s, swept up to %s", h.Sealed, h.Swept)
		}
	}
	return nil
}

// orphans looks for blocks that are not live.
func (k *checking) orphans(ctx context.Context, h catalog.Head, live []block.Meta) error {
	now, err := k.c.bkt.Now(ctx)
	if err != nil {
		return err
	}
	orphans, err := k.c.orphans(ctx, k.shard, named(k.shard, h, live), now.Add(-orphanAge))
	for _, o := range orphans {
		k.find(Orphan, o.Key, "%d bytes, written %s ago", o.Size, now.Sub(o.Modified).Round(time.Minute))
	}
	return err
}

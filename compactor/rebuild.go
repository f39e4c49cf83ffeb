package compactor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// Rebuilt is a HEAD that [Compactor.RebuildHeads] has written.
type Rebuilt struct {
	Tenant     profile.Tenant
	Shard      block.Shard
	Live       int      // blocks that it names
	Outlived   int      // of these, those of which only the rollups are there
	Superseded int      // blocks of which all sources are in others
	Torn       []string // keys of blocks of which some sources are in others: what else they have is lost, unless the pprof blocks are there
	Unread     []string // keys of blocks that are damaged
	Stragglers int      // pprof blocks that the next sweep will gather
}

// RebuildHeads writes a HEAD for every shard that has blocks and no HEAD, or a broken
// one, out of what the blocks say of their sources. It must not run while others
// compact the same shards. Rollups whose block is gone stand for it, as those of a day do whose
// profiles have expired.
func (c *Compactor) RebuildHeads(ctx context.Context, told func(Rebuilt)) error {
	shards, err := c.blockShards(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range shards {
		_, err := c.cat.Head(ctx, s.tenant, s.Shard)
		if err == nil {
			_, err = c.bkt.Stat(ctx, block.HeadKey(s.tenant, s.Shard))
		}
		if errors.Is(err, bucket.ErrNotExist) || errors.Is(err, block.ErrCorrupt) {
			var r Rebuilt
			if r, err = c.rebuild(ctx, s); err == nil {
				told(r)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("rebuild %s: %w", s, err))
		}
	}
	return errors.Join(errs...)
}

var blockClasses = [...]block.Class{block.ClassB1, block.ClassB2, block.ClassB3, block.ClassB4}

// blockShards lists the shards that have Arrow blocks, or rollups that have outlived them.
func (c *Compactor) blockShards(ctx context.Context) ([]shard, error) {
	found := map[shard]bool{}
	for _, class := range append(blockClasses[:], block.ClassR4) {
		for folder, err := range c.bkt.ListFolders(ctx, class.Prefix()) {
			if err != nil {
				return nil, err
			}
			tenant, err := profile.ParseTenant(folder)
			if err != nil || len(c.cfg.Tenants) > 0 && !slices.Contains(c.cfg.Tenants, tenant) {
				continue
			}
			for folder, err := range c.bkt.ListFolders(ctx, class.TenantPrefix(tenant)) {
				if err != nil {
					return nil, err
				}
				if n, err := block.ParseShard(folder); err == nil {
					found[shard{tenant, n}] = true
				}
			}
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b shard) int { return cmp.Compare(a.String(), b.String()) }), nil
}

func (c *Compactor) rebuild(ctx context.Context, s shard) (Rebuilt, error) {
	r := Rebuilt{Tenant: s.tenant, Shard: s.Shard}
	candidates, err := c.candidates(ctx, s, &r)
	if err != nil {
		return r, err
	}
	live, torn := cover(candidates)
	r.Live, r.Superseded = len(live), len(candidates)-len(live)-len(torn)
	for _, l := range live {
		if l.Expired {
			r.Outlived++
		}
	}
	for _, t := range torn {
		key := t.Key(s.tenant, s.Shard)
		if t.Expired {
			key = t.RollupKey(s.tenant, s.Shard)
		}
		r.Torn = append(r.Torn, key)
	}
	h, stragglers, err := c.minutes(ctx, s, live)
	if err != nil {
		return r, err
	}
	r.Stragglers = stragglers
	return r, c.cat.Restore(ctx, s.tenant, s.Shard, h)
}

// candidate is a block that may be live.
type candidate struct {
	block.Meta
	sources []sourceDay
}

// cover chooses blocks of which no two share a source: merged ones before those that
// they were merged of, and rollups whose block is gone last. torn are those that share only
// some of theirs with others, outputs of commits that lost their race.
func cover(candidates []candidate) (live, torn []candidate) {
	rank := map[bool]int{true: 1} // of what has expired
	slices.SortFunc(candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(rank[a.Expired], rank[b.Expired]), cmp.Compare(b.Level, a.Level), cmp.Compare(len(b.sources), len(a.sources)), a.ID.Compare(b.ID))
	})
	covered := map[sourceDay]bool{}
	for _, c := range candidates {
		shared := 0
		for _, at := range c.sources {
			if covered[at] {
				shared++
			}
		}
		switch shared {
		case 0:
			live = append(live, c)
			for _, at := range c.sources {
				covered[at] = true
			}
		case len(c.sources):
		default:
			torn = append(torn, c)
		}
	}
	return live, torn
}

// candidates opens all of a shard's blocks.
func (c *Compactor) candidates(ctx context.Context, s shard, r *Rebuilt) ([]candidate, error) {
	var mu sync.Mutex
	var found []candidate
	var g errgroup.Group
	g.SetLimit(c.cfg.Readers)
	for _, class := range blockClasses {
		for o, err := range c.bkt.List(ctx, class.ShardPrefix(s.tenant, s.Shard)) {
			if err != nil {
				return nil, errors.Join(err, g.Wait())
			}
			key, err := block.ParseArrowKey(o.Key)
			if err != nil {
				continue
			}
			g.Go(func() error {
				candidate, err := c.candidate(ctx, key, o)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case errors.Is(err, block.ErrCorrupt):
					r.Unread = append(r.Unread, o.Key)
				case err != nil:
					return fmt.Errorf("%s: %w", o.Key, err)
				default:
					found = append(found, candidate)
				}
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	alone, err := c.findRollups(ctx, s, found, r)
	slices.Sort(r.Unread)
	return append(found, alone...), err
}

// birth is the day and the millisecond, in their IDs, in which a block and its rollups were
// made: both get their IDs at the same time.
type birth struct {
	day block.Day
	ms  uint64
}

// findRollups finds the rollups of blocks of level 4 again, by when they were made and of what,
// and returns the others: of blocks whose profiles have expired, or that were merged away.
func (c *Compactor) findRollups(ctx context.Context, s shard, found []candidate, r *Rebuilt) (alone []candidate, err error) {
	rollups := map[birth][]candidate{}
	for o, err := range c.bkt.List(ctx, block.ClassR4.ShardPrefix(s.tenant, s.Shard)) {
		if err != nil {
			return nil, err
		}
		key, err := block.ParseArrowKey(o.Key)
		if err != nil {
			continue
		}
		rolled, err := c.candidate(ctx, key, o)
		switch {
		case errors.Is(err, block.ErrCorrupt):
			r.Unread = append(r.Unread, o.Key)
			continue
		case err != nil:
			return nil, fmt.Errorf("%s: %w", o.Key, err)
		}
		at := birth{key.Day, key.ID.Time()}
		rollups[at] = append(rollups[at], rolled)
	}
	taken := map[block.ID]bool{}
	for i, f := range found {
		for _, rolled := range rollups[birth{f.Day, f.ID.Time()}] {
			if f.Level == block.L4 && slices.Equal(f.sources, rolled.sources) {
				found[i].R4, taken[rolled.ID] = rolled.R4, true
			}
		}
	}
	alone = slices.Concat(slices.Collect(maps.Values(rollups))...)
	return slices.DeleteFunc(alone, func(c candidate) bool { return taken[c.ID] }), nil
}

// openUnknown opens a block of which nothing is known but its object, and says what its tail is.
func (c *Compactor) openUnknown(ctx context.Context, o bucket.Object) (*arrowblock.Block, arrowblock.Tail, error) {
	tail := &tailOf{object: object{c.bkt, o.Key, o.Size}, from: o.Size}
	b, err := arrowblock.Open(ctx, tail, arrowblock.Tail{})
	if err != nil {
		return nil, arrowblock.Tail{}, err
	}
	size := o.Size - tail.from
	data, err := tail.object.ReadRange(ctx, tail.from, size)
	if err != nil {
		return nil, arrowblock.Tail{}, err
	}
	return b, arrowblock.Tail{Bytes: size, CRC: crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))}, nil
}

// candidate makes a block's entry from the block itself. Rollups get that of a block whose
// profiles have expired: nobody will ask for what has its ID.
func (c *Compactor) candidate(ctx context.Context, key block.ArrowKey, o bucket.Object) (candidate, error) {
	b, tail, err := c.openUnknown(ctx, o)
	if err != nil {
		return candidate{}, err
	}
	sources, err := b.Sources(ctx)
	if err != nil {
		return candidate{}, err
	}
	info := b.Info()
	found := candidate{Meta: block.Meta{
		ID: key.ID, Level: levelIn(key.Class), Day: key.Day,
		MinTime: info.MinTime, MaxTime: info.MaxTime,
		Size: o.Size, Tail: tail.Bytes, CRC: tail.CRC,
		Rows: info.Rows, Profiles: info.Profiles, Types: typesOf(b),
	}}
	if key.Class == block.ClassR4 {
		found.Expired = true
		found.R4 = &block.Rollup{ID: key.ID, Size: o.Size, Tail: tail.Bytes, CRC: tail.CRC}
	}
	for _, source := range sources {
		if source.Profile == "" {
			found.sources = append(found.sources, sourceDay{source.ID, source.Day})
		}
	}
	return found, found.Validate()
}

// tailOf notes how far from its end an object was read.
type tailOf struct {
	object
	from int64
}

// ReadRange implements [block.Source].
func (t *tailOf) ReadRange(ctx context.Context, off, n int64) ([]byte, error) {
	t.from = min(t.from, off)
	return t.object.ReadRange(ctx, off, n)
}

// levelIn is the level of the blocks of a class; that of the blocks of which rollups are.
func levelIn(class block.Class) block.Level {
	if class == block.ClassR4 {
		return block.L4
	}
	return block.L1 + block.Level(slices.Index(blockClasses[:], class))
}

func typesOf(b *arrowblock.Block) block.Types {
	types := block.Types{}
	for _, g := range b.Groups() {
		types = append(types, g.Types()...)
	}
	slices.SortFunc(types, profile.Type.Compare)
	return slices.Compact(types)
}

// minutes makes a HEAD of the live blocks: sealed up to the last pprof block that is
// in one of them, and swept so far that the next sweep looks at all that are not.
func (c *Compactor) minutes(ctx context.Context, s shard, live []candidate) (h catalog.Head, stragglers int, err error) {
	now, err := c.bkt.Now(ctx)
	if err != nil {
		return h, 0, err
	}
	merged := map[block.ID]bool{}
	for _, l := range live {
		h.Live = append(h.Live, l.Meta)
		for _, at := range l.sources {
			merged[at.id] = true
		}
	}
	uploaded := map[block.ID]catalog.Minute{} // of pprof blocks that are in live blocks
	var unread []catalog.Minute               // of those that are not, in order
	for l0, err := range c.cat.L0s(ctx, s.tenant, s.Shard, 0, catalog.MinuteOf(now)) {
		if err != nil {
			return h, 0, err
		}
		m := catalog.MinuteOf(l0.Minute)
		if merged[l0.ID] {
			uploaded[l0.ID] = m
			h.Sealed = max(h.Sealed, m)
		} else {
			unread = append(unread, m)
		}
	}
	switch {
	case h.Sealed > 0:
	case len(unread) > 0:
		h.Sealed = unread[0] - 1
	default:
		h.Sealed = lastEnded(now, c.cfg.Lag)
	}
	h.Swept = h.Sealed
	for _, m := range unread {
		if m <= h.Sealed {
			h.Swept = min(h.Swept, m-1+c.cat.Window())
			stragglers++
		}
	}
	from := h.SweepFrom(c.cat.Window())
	g := catalog.Gathering{From: from, To: h.Sealed, Time: now.Unix()}
	for _, l := range live {
		if slices.ContainsFunc(l.sources, func(at sourceDay) bool { return uploaded[at.id] > from }) {
			g.Out = append(g.Out, catalog.Output{ID: l.ID, Level: l.Level, Day: l.Day, Size: l.Size, Tail: l.Tail, CRC: l.CRC})
		}
	}
	if len(g.Out) > 0 {
		h.Commits = []catalog.Gathering{g}
	}
	return h, stragglers, nil
}

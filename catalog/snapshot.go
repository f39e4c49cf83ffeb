package catalog

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/internal/guard"
	"github.com/coldframe/coldframe/profile"
)

// Snapshot is what was live in a tenant at one moment: Arrow blocks, and the pprof
// blocks that are not in them yet. Together they hold every profile exactly once.
//
// What a snapshot names stays readable for at least as long as superseded objects
// are kept; an object that is gone is a reason to take a new snapshot.
type Snapshot struct {
	Tenant profile.Tenant
	Time   time.Time // when it was taken, by the bucket's clock
	Shards []State   // in order

	cat *Catalog
}

// State is one shard's part of a [Snapshot].
type State struct {
	Shard block.Shard
	Head  Head // zero where nothing was compacted yet
	L0    []L0 // uploaded after Head.Sealed, in the order of their keys
}

// Block is a live Arrow block of one of a tenant's shards.
type Block struct {
	Shard block.Shard
	block.Meta
}

// firstShard is what a tenant is guessed to have of whom nothing is known: most have no other.
var firstShard = []block.Shard{0}

// A snapshot lists the minutes around now before it knows whether it must: most
// often they are just those after Sealed.
const (
	guessBack  = Minute(3)
	guessAhead = Minute(1) // an uploader's clock may be a little ahead
)

// Snapshot reads the HEADs of all shards of a tenant and lists the pprof blocks that
// are not in them, in one round of requests when the shards are known from before, or
// there is one, and compaction keeps up: for each shard a read and five lists, and two lists.
//
// Shards that cannot be read are left out and told in the error, which then comes
// with a snapshot of the others.
func (c *Catalog) Snapshot(ctx context.Context, tenant profile.Tenant) (*Snapshot, error) {
	now, err := c.bkt.Now(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	guessed, known := c.shards[tenant]
	c.mu.Unlock()
	if !known {
		guessed = firstShard
	}

	var states stateSet
	reading := sync.WaitGroup{}
	read := func(shard block.Shard) {
		reading.Go(func() { states.add(c.state(ctx, tenant, shard, MinuteOf(now))) })
	}
	for _, shard := range guessed {
		read(shard)
	}
	shards, err := c.Shards(ctx, tenant)
	for _, shard := range shards {
		if !slices.Contains(guessed, shard) {
			read(shard)
		}
	}
	reading.Wait()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.shards[tenant] = shards
	c.mu.Unlock()
	states.read = slices.DeleteFunc(states.read, func(s State) bool { return !slices.Contains(shards, s.Shard) })
	slices.SortFunc(states.read, func(a, b State) int { return cmp.Compare(a.Shard, b.Shard) })
	return &Snapshot{Tenant: tenant, Time: now, Shards: states.read, cat: c}, states.err
}

// stateSet gathers states from many goroutines.
type stateSet struct {
	mu   sync.Mutex
	read []State
	err  error
}

func (s *stateSet) add(state State, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.err = errors.Join(s.err, err)
		return
	}
	s.read = append(s.read, state)
}

// state reads a shard's HEAD and lists the minutes around now at once, and then
// whatever lies between the two. In which order the two happen does not matter: what
// Sealed covers is dropped from the list, and what it does not cover is still there.
func (c *Catalog) state(ctx context.Context, tenant profile.Tenant, shard block.Shard, now Minute) (State, error) {
	s := State{Shard: shard}
	var guess [guessBack + 1 + guessAhead][]L0
	first := now - guessBack
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		s.Head, err = c.Head(gctx, tenant, shard)
		return err
	})
	for i := range guess {
		m := first + Minute(i)
		g.Go(func() (err error) {
			guess[i], err = c.listed(gctx, tenant, shard, m-1, m)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return State{}, err
	}
	rest, err := c.listed(ctx, tenant, shard, s.Head.Sealed, first-1)
	if err != nil {
		return State{}, err
	}
	s.L0 = rest
	for i, l0s := range guess {
		if first+Minute(i) > s.Head.Sealed || guard.Removed(guard.Unsealed) {
			s.L0 = append(s.L0, l0s...)
		}
	}
	return s, nil
}

func (c *Catalog) listed(ctx context.Context, tenant profile.Tenant, shard block.Shard, after, upTo Minute) ([]L0, error) {
	var l0s []L0
	for l0, err := range c.L0s(ctx, tenant, shard, after, upTo) {
		if err != nil {
			return nil, err
		}
		l0s = append(l0s, l0)
	}
	return l0s, nil
}

// Blocks are the live Arrow blocks that may hold profiles in r, by shard, day and
// time. Entries that HEAD had no room for are read where r needs them, a request for
// each arch part that was not read before. Parts that cannot be read are told in the
// error, beside the blocks of all others.
func (s *Snapshot) Blocks(ctx context.Context, r profile.TimeRange) ([]Block, error) {
	var blocks []Block
	var errs error
	for _, state := range s.Shards {
		live, err := s.entries(ctx, state, r)
		errs = errors.Join(errs, err)
		for _, m := range live {
			if m.Overlaps(r) {
				blocks = append(blocks, Block{state.Shard, m})
			}
		}
	}
	return blocks, errs
}

// entries are a shard's entries in HEAD and in the arch parts that r overlaps.
func (s *Snapshot) entries(ctx context.Context, state State, r profile.TimeRange) ([]block.Meta, error) {
	var entries []block.Meta
	var errs error
	for _, part := range state.Head.Arch {
		if !part.overlaps(r) {
			continue
		}
		old, err := s.cat.Archive(ctx, s.Tenant, state.Shard, part)
		errs = errors.Join(errs, err)
		entries = append(entries, old...)
	}
	if entries == nil {
		return state.Head.Live, errs
	}
	entries = append(entries, state.Head.Live...)
	slices.SortFunc(entries, order)
	return entries, errs
}

func (p Part) overlaps(r profile.TimeRange) bool {
	return r.Overlaps(time.UnixMilli(p.MinTime), time.UnixMilli(p.MaxTime))
}

// L0 are the pprof blocks that may hold profiles in r of series that sel matches, as
// far as their keys tell, by shard and minute.
func (s *Snapshot) L0(r profile.TimeRange, sel profile.Selector) []L0 {
	var found []L0
	for _, state := range s.Shards {
		for _, l0 := range state.L0 {
			if r.Overlaps(l0.MinTime, l0.MaxTime()) && l0.Bloom.MayMatch(sel) {
				found = append(found, l0)
			}
		}
	}
	return found
}

package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// register is a HEAD as it was last written, and what follows from it.
type register struct {
	catalog.Head
	txns    map[block.ID]bool
	live    map[string]bool    // keys, those in arch parts too, without those that have expired
	rollups map[string]rollups // by key
	sources map[source]string
	expired map[source]bool // ever
}

// rollups are those of a live block, or of one that has expired.
type rollups struct {
	day   block.Day
	block string // its key; empty when it has expired
}

// source is a day of a pprof block, which is in one live block at most.
type source struct {
	id  block.ID
	day block.Day
}

// headWritten holds a new version of HEAD against the one before.
func (l *laws) headWritten(now time.Time, key string, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, err := placeOf(key)
	if err != nil {
		l.breakLocked("%w", err)
		return
	}
	h, err := catalog.ParseHead(data)
	if err != nil {
		l.breakLocked("%s: %w", key, err)
		return
	}
	old := l.registers[at]
	if old == nil {
		old = &register{txns: map[block.ID]bool{}, expired: map[source]bool{}}
	}
	r := &register{Head: h, txns: old.txns, expired: old.expired}
	if err := l.follow(now, at, old, r); err != nil {
		l.breakLocked("%s, seq %d: %w", key, h.Seq, err)
	}
	r.txns[h.Txn] = true
	l.registers[at] = r
	l.count(old, r)
}

func placeOf(headKey string) (place, error) {
	parts := strings.Split(headKey, "/")
	if len(parts) != 5 || parts[4] != "HEAD" {
		return place{}, fmt.Errorf("%s was replaced and is no HEAD", headKey)
	}
	shard, err := block.ParseShard(parts[3])
	return place{profile.Tenant(parts[2]), shard}, err
}

func (l *laws) count(old, r *register) {
	l.counts.Commits++
	switch {
	case r.Sweep > old.Sweep:
		l.counts.Sweeps++
	case r.Sealed == old.Sealed:
		l.counts.Merges++
	}
}

// follow checks that r is consistent and may come after old.
func (l *laws) follow(now time.Time, at place, old, r *register) error {
	switch {
	case r.Seq != old.Seq+1:
		return fmt.Errorf("seq is %d, after %d", r.Seq, old.Seq)
	case r.txns[r.Txn]:
		return fmt.Errorf("transaction %s has landed twice", r.Txn)
	case r.Sealed < old.Sealed || r.Swept < old.Swept || r.Sweep < old.Sweep:
		return fmt.Errorf("sealed, swept, sweep are %d, %d, %d after %d, %d, %d", r.Sealed, r.Swept, r.Sweep, old.Sealed, old.Swept, old.Sweep)
	case r.Sealed > old.Sealed && old.Sealed != old.Swept && r.Sealed > old.Swept+l.w.window/2:
		return fmt.Errorf("sealed up to %d, swept up to %d: sweeps may have to list and remember any number of minutes", r.Sealed, old.Swept)
	}
	if err := l.resolve(at, r); err != nil {
		return err
	}
	if err := l.goneWithReason(now, old, r); err != nil {
		return err
	}
	for _, g := range r.Commits {
		for _, out := range g.Out {
			if b := l.blocks[out.Key(at.tenant, at.shard)]; b != nil && b.damaged {
				l.blind[at] = append(l.blind[at], g)
			}
		}
	}
	for key := range old.live {
		if b := l.blocks[key]; !r.live[key] && b.left.IsZero() {
			b.left = now
		}
	}
	return l.onceEach(at, r)
}

// goneWithReason checks that what was live is in other blocks, or is too old to be kept, and
// that what was too old is not back.
func (l *laws) goneWithReason(now time.Time, old, r *register) error {
	const skew = 25 * time.Second // of a compactor's clock
	raw, rollups := l.w.firstDays(now.Add(skew))
	for s, in := range old.sources {
		if _, still := r.sources[s]; still {
			continue
		}
		if s.day >= raw {
			return fmt.Errorf("source %s of %s was in %s and is in no live block", s.id, s.day, in)
		}
		r.expired[s] = true
		l.counts.Expired++
	}
	for key, of := range old.rollups {
		if _, still := r.rollups[key]; still || of.day < rollups {
			continue
		}
		if of.block == "" || slices.ContainsFunc(l.blocks[of.block].sources, func(s arrowblock.Source) bool { return r.expired[source{s.ID, s.Day}] }) {
			return fmt.Errorf("rollups %s are gone, and are kept from %s on", key, rollups)
		}
	}
	for s, in := range r.sources {
		if r.expired[s] {
			return fmt.Errorf("source %s of %s had expired and is in %s", s.id, s.day, in)
		}
	}
	return nil
}

// resolve finds out what is live.
func (l *laws) resolve(at place, r *register) error {
	entries := r.Live
	for _, p := range r.Arch {
		data, _, err := l.mem.Get(context.Background(), block.ArchKey(at.tenant, at.shard, p.ID))
		if err != nil {
			return err
		}
		old, err := catalog.ParseArchive(data)
		if err != nil {
			return err
		}
		entries = append(entries[:len(entries):len(entries)], old...)
	}
	r.live, r.rollups, r.sources = make(map[string]bool, len(entries)), map[string]rollups{}, map[source]string{}
	for _, m := range entries {
		key := m.Key(at.tenant, at.shard)
		if m.Expired {
			key = ""
		}
		if rolled := m.RollupKey(at.tenant, at.shard); rolled != "" {
			if _, err := l.mem.Stat(context.Background(), rolled); err != nil {
				return fmt.Errorf("the rollups of a live block are gone: %w", err)
			}
			r.rollups[rolled] = rollups{m.Day, key}
		}
		if m.Expired {
			continue
		}
		b := l.blocks[key]
		if b == nil {
			return fmt.Errorf("%s is live and was never written", key)
		}
		if b.abandoned {
			return fmt.Errorf("%s is live; its commit said that it conflicted", key)
		}
		if _, err := l.mem.Stat(context.Background(), key); err != nil {
			return fmt.Errorf("a live block is gone: %w", err)
		}
		b.named = true
		r.live[key] = true
		for _, s := range b.sources {
			if s.Profile != "" {
				continue
			}
			if other, again := r.sources[source{s.ID, s.Day}]; again {
				return fmt.Errorf("source %s of %s is in %s and in %s", s.ID, s.Day, other, key)
			}
			r.sources[source{s.ID, s.Day}] = key
		}
	}
	return nil
}

// onceEach checks that no profile counts twice in HEAD and the pprof blocks after Sealed.
func (l *laws) onceEach(at place, r *register) error {
	var all []*content
	for key := range r.live {
		all = append(all, l.blocks[key].content)
	}
	for id, u := range l.uploads {
		if (place{u.key.Tenant, u.key.Shard}) == at && catalog.MinuteOf(u.key.Minute) > r.Sealed && !u.damaged {
			all = append(all, &content{id: id, hashes: u.hashes})
		}
	}
	_, err := l.tally(at.tenant, all)
	return err
}

package sim

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// laws watch a run. They know everything that was written, in the order in which the
// bucket applied it, and are told what readers see.
type laws struct {
	w   *world
	mem *bucket.Memory

	mu     sync.Mutex
	broken error
	parsed map[bucket.Version]*content

	profiles  map[uint64]*sent  // by hash
	uploads   map[block.ID]*l0  // pprof blocks that landed
	blocks    map[string]*arrow // by key
	registers map[place]*register
	blind     map[place][]catalog.Gathering // whose blocks are damaged: sweeps do not know what they gathered

	zip    *gzip.Writer // of bodies
	unzip  profile.Decoder
	counts Counts
}

// Counts is how much happened in a run.
type Counts struct {
	Requests, Uploads, Commits, Sweeps, Merges, Abandoned, Reads, Deletes, Stragglers, GivenUp, TooLate, TriedAgain, Quarantined, Blind int
}

// place is a shard of a tenant.
type place struct {
	tenant profile.Tenant
	shard  block.Shard
}

// l0 is a pprof block that landed, where and when it did so first.
type l0 struct {
	key          block.L0Key
	at           time.Time
	damaged      bool
	acknowledged bool
	hashes       []uint64
}

// arrow is an Arrow block that was written.
type arrow struct {
	*content
	damaged   bool
	abandoned bool
	named     bool      // by a HEAD, ever
	left      time.Time // when a HEAD first named it no more
}

// register is a HEAD as it was last written, and what follows from it.
type register struct {
	catalog.Head
	txns    map[block.ID]bool
	live    map[string]bool // keys, those in arch parts too
	rollups map[string]bool // keys of those that outlive them
	sources map[source]string
}

// source is a day of a pprof block, which is in one live block at most.
type source struct {
	id  block.ID
	day block.Day
}

func newLaws(w *world) *laws {
	return &laws{
		zip:       gzip.NewWriter(nil),
		w:         w,
		mem:       w.mem,
		parsed:    map[bucket.Version]*content{},
		profiles:  map[uint64]*sent{},
		uploads:   map[block.ID]*l0{},
		blocks:    map[string]*arrow{},
		registers: map[place]*register{},
		blind:     map[place][]catalog.Gathering{},
	}
}

// breakWith ends the run.
func (l *laws) breakWith(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.breakLocked(format, args...)
}

func (l *laws) breakLocked(format string, args ...any) {
	if l.broken == nil {
		l.broken = fmt.Errorf(format, args...)
	}
}

func (l *laws) isBroken() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken != nil
}

// newProfile makes a profile that no other is like.
func (l *laws) newProfile(rng *rand.Rand, tenant profile.Tenant, now time.Time) *sent {
	at := timeFor(rng, now)
	l.mu.Lock()
	defer l.mu.Unlock()
	p := makeProfile(l.zip, int64(len(l.profiles)+1), tenant, at)
	l.profiles[p.hash] = p
	return p
}

// triedAgain is told of a profile that is sent once more, and may be in the bucket already.
func (l *laws) triedAgain(p *sent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.TriedAgain++
	p.again = true
}

// uploaded is told of a pprof block that landed.
func (l *laws) uploaded(now time.Time, key block.L0Key, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Uploads++
	if l.uploads[key.ID] != nil {
		return // the laws of HEAD and of answers say that it may count once
	}
	c, err := parseL0(&l.unzip, data)
	if err != nil {
		l.breakLocked("an uploader wrote %s: %w", key, err)
		return
	}
	l.uploads[key.ID] = &l0{key: key, at: now, hashes: c.hashes}
	if r := l.registers[place{key.Tenant, key.Shard}]; r != nil && catalog.MinuteOf(key.Minute) <= r.Sealed {
		l.counts.Stragglers++
	}
}

func (l *laws) damaged(id block.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.uploads[id].damaged = true
}

// acknowledged is told of a pprof block that an uploader has seen land.
func (l *laws) acknowledged(key block.L0Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.uploads[key.ID]
	if u == nil {
		l.breakLocked("%s is acknowledged and was never written", key)
		return
	}
	u.acknowledged = true
}

// blockDamaged is told of an Arrow block that is not any more what was written.
func (l *laws) blockDamaged(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocks[key].damaged = true
}

// quarantined is told of a block that a compactor calls damaged.
func (l *laws) quarantined(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Quarantined++
	if b := l.blocks[key]; b == nil || !b.damaged {
		l.breakLocked("%s is called damaged, and is not", key)
	}
}

func (l *laws) givenUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.GivenUp++
}

// blockWritten is told of an Arrow block.
func (l *laws) blockWritten(key string, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, err := parseBlock(data)
	if err != nil {
		l.breakLocked("a compactor wrote %s: %w", key, err)
		return
	}
	l.blocks[key] = &arrow{content: c}
}

// abandoned is told of a block whose commit has conflicted: no HEAD has ever named it.
func (l *laws) abandoned(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Abandoned++
	l.blocks[key].abandoned = true
	if l.blocks[key].named {
		l.breakLocked("a commit says that it conflicted, and %s is or was live", key)
	}
}

// deleted is told of an object that is gone.
func (l *laws) deleted(_ time.Time, key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Deletes++
	for _, r := range l.registers {
		if r.live[key] || r.rollups[key] {
			l.breakLocked("%s is live and was deleted", key)
		}
	}
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
		old = &register{txns: map[block.ID]bool{}}
	}
	r := &register{Head: h, txns: old.txns}
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
	for s, in := range old.sources {
		if _, still := r.sources[s]; !still {
			return fmt.Errorf("source %s of %s was in %s and is in no live block", s.id, s.day, in)
		}
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
	r.live, r.rollups, r.sources = make(map[string]bool, len(entries)), map[string]bool{}, map[source]string{}
	for _, m := range entries {
		if rollups := m.RollupKey(at.tenant, at.shard); rollups != "" {
			if _, err := l.mem.Stat(context.Background(), rollups); err != nil {
				return fmt.Errorf("the rollups of a live block are gone: %w", err)
			}
			r.rollups[rollups] = true
		}
		key := m.Key(at.tenant, at.shard)
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

// tally counts profiles, and finds those that are there twice, or with another value,
// or were never sent by the tenant. What a client has tried again may be in two blocks, of
// which queries count one, and is in one once.
func (l *laws) tally(tenant profile.Tenant, all []*content) (map[uint64]bool, error) {
	found := map[uint64]bool{}
	for _, c := range all {
		here := map[uint64]bool{}
		for i, hash := range c.hashes {
			p := l.profiles[hash]
			switch {
			case p == nil || p.tenant != tenant:
				return nil, fmt.Errorf("there is a profile that %s has not sent", tenant)
			case here[hash] || found[hash] && !p.again:
				return nil, fmt.Errorf("profile %d counts twice", p.value)
			case c.values != nil && c.values[i] != p.value:
				return nil, fmt.Errorf("profile %d has the value %d", p.value, c.values[i])
			}
			found[hash], here[hash] = true, true
		}
	}
	return found, nil
}

// seen holds what a reader saw against the laws.
func (l *laws) seen(v view) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Reads++
	found, err := l.tally(v.tenant, append(v.blocks, v.l0s...))
	if err != nil {
		l.breakLocked("a reader of %s: %w", v.tenant, err)
		return
	}
	sealed := map[place]catalog.Minute{}
	for _, s := range v.snapshot.Shards {
		sealed[place{v.tenant, s.Shard}] = s.Head.Sealed
	}
	listed := catalog.MinuteOf(v.began) + 1
	for _, u := range l.uploads {
		m := catalog.MinuteOf(u.key.Minute)
		at := place{u.key.Tenant, u.key.Shard}
		if u.key.Tenant != v.tenant || u.damaged || !u.at.Before(v.began) || m > listed || m <= sealed[at] {
			continue // what is sealed is in HEAD, of which other laws tell, or is a straggler
		}
		for _, hash := range u.hashes {
			if !found[hash] {
				l.breakLocked("a reader of %s: %s landed before and is missing; sealed is %s", v.tenant, u.key, sealed[at])
			}
		}
	}
}

// final holds what is there at last against the laws: everything that was
// acknowledged, or that landed less than K after its minute, counts once.
func (l *laws) final(v view) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found, err := l.tally(v.tenant, append(v.blocks, v.l0s...))
	if err != nil {
		l.breakLocked("in the end: %w", err)
		return
	}
	merged := map[block.ID]bool{}
	for at, r := range l.registers {
		if at.tenant == v.tenant {
			for s := range r.sources {
				merged[s.id] = true
			}
		}
	}
	// A compactor whose clock is ahead seals, and so sweeps, that much earlier.
	const skew = catalog.Minute(1)
	for _, u := range l.uploads {
		if u.key.Tenant != v.tenant {
			continue
		}
		inTime := catalog.MinuteOf(u.at) < catalog.MinuteOf(u.key.Minute)+l.w.window-skew
		if !inTime && !u.acknowledged {
			l.counts.TooLate++
			continue
		}
		if !merged[u.key.ID] && l.lostSight(u) {
			l.counts.Blind++
			continue
		}
		if !merged[u.key.ID] {
			l.breakLocked("in the end: %s, which landed at %s, is in no block (acknowledged: %v)", u.key, u.at.Format(time.TimeOnly), u.acknowledged)
			return
		}
		for _, hash := range u.hashes {
			if !found[hash] && !u.damaged {
				l.breakLocked("in the end: profile %d of %s is missing", l.profiles[hash].value, u.key)
			}
		}
	}
}

// lostSight says whether no sweep could know that a pprof block was not gathered.
func (l *laws) lostSight(u *l0) bool {
	m := catalog.MinuteOf(u.key.Minute)
	return slices.ContainsFunc(l.blind[place{u.key.Tenant, u.key.Shard}], func(g catalog.Gathering) bool { return m > g.From && m <= g.To })
}

// created is told of every object that was created, and damages some blocks.
func (w *world) created(key string, data []byte) {
	if k, err := block.ParseL0Key(key); err == nil {
		w.laws.uploaded(w.now(), k, data)
		if !w.calm && w.rng.Float64() < w.damage {
			w.spoil(key, data)
			w.laws.damaged(k.ID)
		}
	}
	if k, err := block.ParseArrowKey(key); err == nil && k.Class != block.ClassR4 {
		w.laws.blockWritten(key, data)
		if !w.calm && w.rng.Float64() < w.rot {
			w.spoil(key, data)
			w.laws.blockDamaged(key)
		}
	}
}

// spoil damages an object at rest.
func (w *world) spoil(key string, data []byte) {
	data = bytes.Clone(data)
	switch w.rng.IntN(3) {
	case 0:
		data = data[:w.rng.IntN(len(data))]
	default:
		data[w.rng.IntN(len(data))] ^= 1 << w.rng.IntN(8)
	}
	if err := w.mem.Put(nobody, key, data); err != nil {
		w.laws.breakWith("damage %s: %w", key, err)
	}
}

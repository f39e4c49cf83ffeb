package sim

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"slices"
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
	Requests, Uploads, Commits, Sweeps, Merges, Abandoned, Reads, Deletes, Stragglers, GivenUp, TooLate, TriedAgain, Quarantined, Blind, Expired int
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
		if _, rollups := r.rollups[key]; rollups || r.live[key] {
			l.breakLocked("%s is live and was deleted", key)
		}
	}
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
	kept, _ := l.w.firstDays(l.w.now())
	for hash := range found {
		if day := block.DayOf(l.profiles[hash].at); day < kept {
			l.breakLocked("in the end: profile %d of %s is there, and days are kept from %s on", l.profiles[hash].value, day, kept)
		}
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
		if l.tooOld(u) {
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
			if !found[hash] && !u.damaged && block.DayOf(l.profiles[hash].at) >= kept {
				l.breakLocked("in the end: profile %d of %s is missing", l.profiles[hash].value, u.key)
			}
		}
	}
}

// tooOld says whether all that is in a pprof block has expired.
func (l *laws) tooOld(u *l0) bool {
	kept, _ := l.w.firstDays(l.w.now())
	return !slices.ContainsFunc(u.hashes, func(hash uint64) bool { return block.DayOf(l.profiles[hash].at) >= kept })
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

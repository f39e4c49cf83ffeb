// Package upload takes profiles in and puts pprof blocks into the bucket.
//
// It has two doors. [Uploader.Add] is for who produces profiles all the time, agents
// and scrapers: it gathers a window and returns at once. [Uploader.Push] is for
// clients who wait for an answer: it returns when the object that holds their
// profiles is in the bucket, and not before.
//
// Every block counts once. A block keeps its key from the first try that may have
// landed on, so that a repeated try meets its own object and is done; a try that
// cannot have landed gives the key back, and the next takes a fresh minute. What
// cannot be written for 30 minutes under one key is given up, because a
// minute's late objects are gathered for an hour only. Whatever is given up is told.
//
// While the bucket is away blocks wait in memory, or in a spool on disk that outlives
// the process. Both are bounded; the oldest block goes first.
package upload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/profile"
)

// ErrUnavailable says that profiles were not taken, or not stored in time, through
// no fault of theirs. The same call may succeed later: a server answers 503.
var ErrUnavailable = errors.New("cannot store profiles now")

// Config is how to upload. A zero field means its default.
type Config struct {
	// Agent names the uploader among those of its tenants. It chooses the shard and the
	// second in which windows end, and stands in every block for people to read.
	Agent string
	// Shards is how many shards the tenants have; 1.
	Shards int

	// Window is how long Add gathers; 60 s. A shorter one shows data sooner, and costs
	// a PUT and a GET for each block. Windows of different agents end in different seconds.
	Window time.Duration
	// FlushBytes ends a window or a group early; 8 MiB, at most 1 GiB.
	FlushBytes int64
	// PushDelay is the longest that pushed profiles wait for others to share their
	// object; 500 ms. They do not wait at all while the tenant has no PUT under way.
	PushDelay time.Duration
	// PushTimeout is when a push is answered with ErrUnavailable; 10 s.
	PushTimeout time.Duration
	// RetryFor is how long a block that may have landed is tried again under its key;
	// 30 min. What lands later after the minute in its key than the catalog's window, 60
	// minutes, is never read: this and the longest PUT must stay well below it.
	RetryFor time.Duration

	// MemoryBytes bounds the profiles in memory, gathering and waiting; 256 MiB.
	MemoryBytes int64
	// SpoolDir is a folder of this process alone, in which blocks wait while the bucket is
	// away. It is made if it is not there. Without one they wait in memory.
	SpoolDir string
	// SpoolBytes bounds the spool; 1 GiB.
	SpoolBytes int64

	// MaxAge is how old a tenant's profiles may be; 0, as without MaxAge, is any age.
	// It is the tenant's retention, since what is older would be hidden at once. An error
	// refuses the profile, of whatever age. It is asked for each, and should remember.
	MaxAge func(profile.Tenant) (time.Duration, error)
	// Limits of a profile.
	Limits profile.Limits

	// NewID makes the IDs of blocks; [block.NewID].
	NewID func(time.Time) block.ID
	// Jitter chooses the random part of a pause between tries, in [0, most); [rand.N].
	Jitter func(most time.Duration) time.Duration

	Observer Observer
}

func (c Config) withDefaults() Config {
	setDefault(&c.Shards, 1)
	setDefault(&c.Window, time.Minute)
	setDefault(&c.FlushBytes, 8<<20)
	c.FlushBytes = min(c.FlushBytes, maxTogether)
	setDefault(&c.PushDelay, 500*time.Millisecond)
	setDefault(&c.PushTimeout, 10*time.Second)
	setDefault(&c.RetryFor, 30*time.Minute)
	setDefault(&c.MemoryBytes, 256<<20)
	setDefault(&c.SpoolBytes, 1<<30)
	if c.NewID == nil {
		c.NewID = block.NewID
	}
	if c.Jitter == nil {
		c.Jitter = rand.N[time.Duration]
	}
	return c
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Uploader puts profiles into the bucket. Its methods may be called concurrently.
type Uploader struct {
	bkt   bucket.Bucket
	cfg   Config
	shard block.Shard
	spool *spool // nil without a SpoolDir

	decoders sync.Pool
	checking chan struct{}                 // holds one for each call that decodes: one a CPU, so that what decoding takes is bounded
	ahead    atomic.Pointer[time.Duration] // the bucket's clock before ours, once known

	running context.Context // until the end of Close
	stop    context.CancelFunc
	workers sync.WaitGroup
	began   sync.Once // what only Add needs

	backlog backlog
	keeping sync.Mutex // held by who makes room in the spool and fills it

	mu      sync.Mutex
	closed  bool
	windows map[profile.Tenant]*gathering
	lanes   map[profile.Tenant]*lane
}

// senders is how many blocks of the backlog are on their way at a time. Pushes are
// not counted.
const senders = 4

// New makes an uploader to a bucket and takes over what an earlier one left in the
// spool. It fails when the spool cannot be used, or is used by another process.
func New(bkt bucket.Bucket, cfg Config) (*Uploader, error) {
	cfg = cfg.withDefaults()
	u := &Uploader{
		bkt: bkt, cfg: cfg, shard: block.ShardOf(cfg.Agent, cfg.Shards),
		backlog: newBacklog(cfg.MemoryBytes, cfg.Jitter),
		windows: map[profile.Tenant]*gathering{},
		lanes:   map[profile.Tenant]*lane{},

		checking: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
	u.decoders.New = func() any { return &profile.Decoder{Limits: cfg.Limits} }
	if cfg.SpoolDir != "" {
		var left []*parcel
		var err error
		if u.spool, left, err = openSpool(cfg.SpoolDir, cfg.SpoolBytes, cfg.Observer); err != nil {
			return nil, fmt.Errorf("spool %s: %w", cfg.SpoolDir, err)
		}
		for _, p := range left {
			u.backlog.put(p)
		}
	}
	u.running, u.stop = context.WithCancel(context.Background())
	u.workers.Go(u.learnClock)
	for range senders {
		u.workers.Go(u.send)
	}
	return u, nil
}

// Backlog says what waits at this moment.
type Backlog struct {
	MemoryBytes int64 // of profiles gathered, being sent or waiting
	SpoolBytes  int64
	SpoolBlocks int
}

// Backlog says what waits at this moment.
func (u *Uploader) Backlog() Backlog {
	b := Backlog{MemoryBytes: u.backlog.memoryBytes()}
	if u.spool != nil {
		b.SpoolBlocks, b.SpoolBytes = u.spool.size()
	}
	return b
}

// Close ends the windows and groups, and returns when all that was taken is in the
// bucket or in the spool. What is in neither by the end of ctx goes into the spool,
// or is lost without one: the error says how much. Add and Push fail from now on.
func (u *Uploader) Close(ctx context.Context) error {
	u.mu.Lock()
	again := u.closed
	u.closed = true
	for tenant, l := range u.lanes {
		u.flush(tenant, l)
	}
	u.mu.Unlock()
	if again {
		return nil
	}
	u.endWindows()
	u.backlog.hurry()
	u.backlog.waitForMemory(ctx)
	u.stop()
	u.workers.Wait()
	return u.abandon()
}

// abandon ends what Close could not wait for.
func (u *Uploader) abandon() error {
	var blocks, profiles int
	for _, p := range u.backlog.drain() {
		if p.file != "" || u.keep(p) {
			continue
		}
		blocks, profiles = blocks+1, profiles+p.profiles
		u.lose(p, Closed, errClosed)
	}
	if u.spool != nil {
		u.spool.close()
	}
	if blocks > 0 {
		return fmt.Errorf("%d profiles in %d blocks are lost: the bucket did not take them in time", profiles, blocks)
	}
	return nil
}

var errClosed = fmt.Errorf("uploader is closed: %w", ErrUnavailable)

// now is the bucket's clock as far as it is known.
func (u *Uploader) now() time.Time {
	now := time.Now()
	if ahead := u.ahead.Load(); ahead != nil {
		now = now.Add(*ahead)
	}
	return now
}

// learnClock asks for the bucket's clock, so that profiles can be compared with it
// before the first block is sent. If that fails, sending asks again.
func (u *Uploader) learnClock() { _, _ = u.askNow(u.running) }

// askNow asks the bucket for its clock.
func (u *Uploader) askNow(ctx context.Context) (time.Time, error) {
	now, err := u.bkt.Now(ctx)
	if err == nil {
		ahead := time.Until(now)
		u.ahead.Store(&ahead)
	}
	return now, err
}

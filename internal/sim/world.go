package sim

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/coldframe/coldframe/bucket"
)

// world is one run: a bucket, its clock, and everybody who sends it requests. Requests
// park until the world serves them, one at a time, when nobody else can move. So what
// happens follows from the seed alone, although everything runs in goroutines.
type world struct {
	shape
	weather

	rng    *rand.Rand // of the schedule and of the weather
	mem    *bucket.Memory
	laws   *laws
	calm   bool // no more faults
	actors sync.WaitGroup
	over   context.Context // ends with the run
	stop   context.CancelFunc

	mu      sync.Mutex
	parked  []*request
	arrived chan struct{} // has room for one
	alive   map[*client]struct{}

	// The scheduler's own.
	late    []lateWrite
	serial  int // of the last that was put there
	trace   xxhash.Digest
	history []step // the latest
	applied int    // requests
}

// request is one request of a client, from when it is sent until it is answered.
type request struct {
	from   *client
	op     string
	key    string
	detail string // tells it from others of the same client for the same key
	write  bool
	do     func() answer
	reply  chan answer // has room for one

	left      bool // the client has given up
	slowed    bool
	notBefore time.Time
}

// answer is what a request brings.
type answer struct {
	data    []byte
	version bucket.Version
	objects []bucket.Object
	folders []string
	err     error
}

// lateWrite is a write that the bucket applies some time after its client has heard
// something, or nothing, of it.
type lateWrite struct {
	at     time.Time
	serial int
	*request
}

// step is a served request, for the story of a run that broke a law.
type step struct {
	at      time.Time
	who, op string
	key     string
	fate    fate
	err     error
}

func (s step) String() string {
	outcome := "ok"
	if s.err != nil {
		outcome = s.err.Error()
	}
	return fmt.Sprintf("%s %-14s %-8s %-10s %s: %s", s.at.Format("15:04:05.000"), s.who, s.fate, s.op, s.key, outcome)
}

var (
	// errInjected is the failure of a request of which the client knows nothing.
	errInjected = errors.New("injected failure")
	// errDead ends the requests of a process that has crashed.
	errDead = errors.New("process is dead")
)

// now is the bucket's clock. The bubble's begins in 2000.
func (w *world) now() time.Time { return time.Now().UTC().Truncate(time.Millisecond).Add(w.ahead) }

// drive serves requests until done or until a law is broken.
func (w *world) drive(done func() bool) {
	for !done() && !w.laws.isBroken() {
		w.tick()
		synctest.Wait()
		select {
		case <-w.arrived:
		default:
		}
		w.landLate()
		w.strike()
		if r := w.pick(); r != nil {
			w.serve(r)
		} else {
			w.await()
		}
	}
}

// tick lets time pass up to a whole millisecond of the clock. Product code sleeps for a
// random number of nanoseconds here and there; whatever it draws, it has parked by then.
func (w *world) tick() {
	pause := time.Duration(1+w.rng.ExpFloat64()*w.paceMillis) * time.Millisecond
	time.Sleep(pause + time.Millisecond - time.Duration(time.Now().UnixNano()%1e6))
}

// await waits until there may be something to do.
func (w *world) await() {
	next := w.now().Add(10 * time.Second)
	for _, l := range w.late {
		next = earlier(next, l.at)
	}
	w.mu.Lock()
	for _, r := range w.parked {
		next = earlier(next, r.notBefore)
	}
	w.mu.Unlock()
	timer := time.NewTimer(next.Sub(w.now()))
	defer timer.Stop()
	select {
	case <-w.arrived:
	case <-timer.C:
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// park queues a request; it is false when its process is dead.
func (w *world) park(r *request) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.from.dead {
		return false
	}
	w.parked = append(w.parked, r)
	select {
	case w.arrived <- struct{}{}:
	default:
	}
	return true
}

// leave marks a request that its client does not wait for any more.
func (w *world) leave(r *request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.left = true
}

// pick takes a parked request out, any that is due. Which there are does not depend on
// how goroutines were scheduled, but their order does: they are sorted first.
func (w *world) pick() *request {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.parked = slices.DeleteFunc(w.parked, func(r *request) bool { return r.left })
	slices.SortFunc(w.parked, func(a, b *request) int {
		return cmp.Or(
			strings.Compare(a.from.name, b.from.name), strings.Compare(a.op, b.op),
			strings.Compare(a.key, b.key), strings.Compare(a.detail, b.detail),
		)
	})
	now := w.now()
	due := 0
	for _, r := range w.parked {
		if !r.notBefore.After(now) {
			due++
		}
	}
	if due == 0 {
		return nil
	}
	n := w.rng.IntN(due)
	for i, r := range w.parked {
		if r.notBefore.After(now) {
			continue
		}
		if n == 0 {
			w.parked = slices.Delete(w.parked, i, i+1)
			return r
		}
		n--
	}
	panic("sim: fewer requests are due than were counted")
}

// serve decides what becomes of a request, and does it.
func (w *world) serve(r *request) {
	f := w.fateOf(r)
	var a answer
	switch f {
	case slow:
		r.slowed, r.notBefore = true, w.now().Add(w.upTo(w.slowest))
		w.mu.Lock()
		w.parked = append(w.parked, r)
		w.mu.Unlock()
		w.note(r, f, nil)
		return
	case lost:
		a.err = errInjected
	case refused:
		a.err = errRefused
	case late:
		w.landLater(r)
		a.err = errInjected
	case answerLost:
		w.apply(r)
		a.err = errInjected
	case twice:
		a = w.apply(r)
		w.landLater(r)
	case crashBefore:
		if r.write && w.rng.IntN(3) == 0 {
			w.landLater(r)
		}
		a.err = errDead
	case crashAfter:
		w.apply(r)
		a.err = errDead
	default:
		a = w.apply(r)
	}
	w.note(r, f, a.err)
	if f == crashBefore || f == crashAfter {
		w.kill(r.from) // before it can do anything with the answer
	}
	r.reply <- a
}

// apply has the bucket do what a request says.
func (w *world) apply(r *request) answer {
	a := r.do()
	w.applied++
	return a
}

func (w *world) landLater(r *request) {
	w.serial++
	w.late = append(w.late, lateWrite{w.now().Add(w.upTo(w.latest)), w.serial, r})
}

// landLate applies the writes whose time has come.
func (w *world) landLate() {
	slices.SortFunc(w.late, func(a, b lateWrite) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.serial, b.serial)) })
	for len(w.late) > 0 && !w.late[0].at.After(w.now()) {
		l := w.late[0]
		w.late = w.late[1:]
		a := w.apply(l.request)
		w.note(l.request, landed, a.err)
	}
}

// kill ends a process: none of its requests is served from now on.
func (w *world) kill(c *client) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.killLocked(c)
}

func (w *world) killLocked(c *client) {
	if c.dead {
		return
	}
	c.dead = true
	delete(w.alive, c)
	c.cancel()
	w.parked = slices.DeleteFunc(w.parked, func(r *request) bool {
		if r.from == c {
			r.reply <- answer{err: errDead}
		}
		return r.from == c
	})
}

// killAll ends all processes that match.
func (w *world) killAll(match func(*client) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.alive {
		if match(c) {
			w.killLocked(c)
		}
	}
}

const kept = 80 // steps of history

func (w *world) note(r *request, f fate, err error) {
	s := step{at: w.now(), who: r.from.name, op: r.op, key: r.key, fate: f, err: err}
	if len(w.history) >= 2*kept {
		w.history = append(w.history[:0], w.history[kept:]...)
	}
	w.history = append(w.history, s)
	at := binary.LittleEndian.AppendUint64(nil, uint64(s.at.UnixMilli()))
	_, _ = w.trace.Write(at) // a Digest's writes do not fail
	for _, word := range [...]string{s.who, s.op, s.key, f.String()} {
		_, _ = w.trace.WriteString(word)
	}
	if err != nil {
		_, _ = w.trace.WriteString("failed")
	}
}

// story is the latest steps, for people.
func (w *world) story() string {
	var b strings.Builder
	for _, s := range w.history[max(0, len(w.history)-kept):] {
		fmt.Fprintln(&b, s)
	}
	return b.String()
}

// process runs one process after another under a name, each until it dies, and waits a
// while before it starts the next, until ctx ends. Then it calls ended, if there is one.
func (w *world) process(ctx context.Context, name string, r role, live func(*client), ended func()) {
	w.actors.Go(func() {
		if ended != nil {
			defer ended()
		}
		rng := rand.New(rand.NewPCG(w.seed, xxhash.Sum64String(name)))
		for n := 0; ctx.Err() == nil; n++ {
			if sleep(ctx, w.downFor(r, w.now())) != nil {
				return
			}
			c := w.connect(fmt.Sprintf("%s.%d", name, n), r, rng)
			live(c)
			w.kill(c)
			_ = sleep(ctx, time.Duration(1+rng.IntN(40))*time.Second)
		}
	})
}

// sleep fails when ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

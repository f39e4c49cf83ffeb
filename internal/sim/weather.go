package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/catalog"
)

// shape is who takes part in a run, and for how long. The seed decides.
type shape struct {
	seed   uint64
	ahead  time.Duration // the bucket's clock before the bubble's
	length time.Duration // until the weather calms down

	window    catalog.Minute // K
	retryFor  time.Duration  // of an uploader; well below K
	grace     time.Duration  // between a commit and the deletion of what it superseded
	headBytes int            // above which HEAD spills; small ones do so often
	jobBytes  int64          // small ones cut a backlog into many jobs

	tenants    int
	places     []place // the shards of all tenants
	shards     int     // of a tenant
	uploaders  int     // of a tenant
	compactors int
	mergers    int
	attempts   int // of a commit
	readers    int
	deletes    bool
	retention  catalog.Retentions // of all tenants; only where somebody deletes

	paceMillis float64 // between two requests that are served, on average
}

// weather is what may befall requests, and how likely each is. Fields are named like the
// fate that they are the chance of.
type weather struct {
	lost, answerLost, late, twice, slow, refused, crash, damage, rot float64 // rot damages Arrow blocks, damage pprof blocks

	slowest time.Duration // that a request may take
	latest  time.Duration // that a write may land after its client has given up

	bucketAway []span // nothing is served
	cutOff     []span // no uploader is served
	idle       []span // no compactor is running
}

type span struct{ from, to time.Time }

func (s span) has(t time.Time) bool { return !t.Before(s.from) && t.Before(s.to) }

func hasAny(spans []span, t time.Time) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return s.has(t) })
}

// fate is what becomes of a request.
type fate int

const (
	served      fate = iota
	lost             // nothing happens, and the client hears of a failure
	answerLost       // it is done, and the client hears of a failure
	late             // a write is done some time after the client has heard of a failure
	twice            // a write is done, and some time later again
	slow             // the client waits
	refused          // nothing happens, and the client is told so
	crashBefore      // the client dies; a write may still be done
	crashAfter       // it is done, and the client dies
	landed           // what was late is done
)

var fates = [...]string{"", "lost", "unheard", "late", "twice", "slow", "refused", "crash<", "crash>", "landed"}

func (f fate) String() string { return fates[f] }

// errRefused says that there was no connection, so that nothing can have happened.
var errRefused = fmt.Errorf("put: %w", &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")})

const oneDay = catalog.Retention(24 * time.Hour)

var midnight = time.Date(2026, 8, 22, 0, 0, 0, 0, time.UTC)

// draw makes a shape and its weather of a seed.
func draw(seed uint64) (shape, weather) {
	rng := rand.New(rand.NewPCG(seed, 1))
	between := func(low, high int) int { return low + rng.IntN(high-low+1) }
	oneOf := func(list ...float64) float64 { return list[rng.IntN(len(list))] }

	start := midnight.Add(time.Duration(between(-1800, -120)) * time.Second)
	if rng.IntN(3) == 0 {
		start = midnight.Add(time.Duration(between(8, 15)) * time.Hour)
	}
	s := shape{
		seed:       seed,
		ahead:      start.Sub(time.Now().UTC().Truncate(time.Millisecond)),
		length:     time.Duration(between(45, 60)) * time.Minute,
		window:     catalog.Minute(between(8, 10)),
		headBytes:  int(oneOf(0, 0, 4000, 8000)),
		jobBytes:   int64(oneOf(0, 1, 1, 1500)),
		tenants:    between(1, 2),
		shards:     between(1, 2),
		uploaders:  between(1, 2),
		compactors: between(1, 4),
		mergers:    between(1, 2),
		readers:    1,
		attempts:   between(2, 4),
		deletes:    rng.IntN(3) > 0,
		paceMillis: oneOf(40, 120, 250),
	}
	s.retryFor = time.Duration(s.window) * time.Minute * 6 / 10
	s.grace = time.Duration(oneOf(2, 4, 15)) * time.Minute

	bad := oneOf(0.2, 1, 2)
	w := weather{
		lost:       0.01 * bad * oneOf(0, 1, 2),
		answerLost: 0.02 * bad * oneOf(0, 1, 2),
		late:       0.02 * bad * oneOf(0, 1, 2),
		twice:      0.01 * bad * oneOf(0, 1, 2),
		slow:       0.01 * bad * oneOf(0, 1, 2),
		refused:    0.03 * bad * oneOf(0, 1),
		crash:      0.003 * bad * oneOf(0, 1, 2),
		damage:     oneOf(0, 0, 0.05),
		rot:        oneOf(0, 0, 0.04),
		slowest:    30 * time.Second,
		latest:     50 * time.Second,
	}
	for range between(0, 2) {
		w.bucketAway = append(w.bucketAway, spanIn(rng, start, s.length, 4*time.Minute))
	}
	for range between(0, 3) { // what was tried before comes late
		w.cutOff = append(w.cutOff, spanIn(rng, start, s.length, s.retryFor))
	}
	if rng.IntN(3) == 0 { // longer than K
		w.bucketAway = append(w.bucketAway, spanIn(rng, start, s.length/2, time.Duration(s.window+4)*time.Minute))
	}
	if rng.IntN(3) == 0 {
		w.idle = append(w.idle, spanIn(rng, start, s.length/2, time.Duration(2*s.window)*time.Minute))
	}
	if rng.IntN(2) == 0 && s.deletes { // what is a day old goes at midnight, and its rollups a day later, or with it
		s.retention = catalog.Retentions{Raw: oneDay, Rollups: []catalog.Retention{0, 2 * oneDay}[rng.IntN(2)]}
	}
	return s, w
}

// firstDays are the oldest days of which profiles, and of which rollups, are kept.
func (s *shape) firstDays(now time.Time) (raw, rollups block.Day) {
	if s.retention.Raw == 0 {
		return 0, 0
	}
	return block.DayOf(now.Add(-time.Duration(s.retention.Raw))), block.DayOf(now.Add(-time.Duration(s.retention.RollupsFor())))
}

func spanIn(rng *rand.Rand, start time.Time, within, longest time.Duration) span {
	from := start.Add(time.Duration(rng.Int64N(int64(within))))
	return span{from, from.Add(longest/2 + time.Duration(rng.Int64N(int64(longest/2))))}
}

// upTo is a random time, in whole milliseconds.
func (w *world) upTo(most time.Duration) time.Duration {
	return time.Duration(1+w.rng.Int64N(most.Milliseconds())) * time.Millisecond
}

// fateOf decides what becomes of a request.
func (w *world) fateOf(r *request) fate {
	if w.calm {
		return served
	}
	now := w.now()
	uploads := r.from.role == uploading
	switch {
	case uploads && hasAny(w.cutOff, now):
		return lost
	case uploads && hasAny(w.bucketAway, now) && w.rng.IntN(3) == 0:
		return refused
	case hasAny(w.bucketAway, now) && r.write && w.rng.IntN(3) == 0:
		return late
	case hasAny(w.bucketAway, now):
		return lost
	}
	x := w.rng.Float64()
	chance := func(p float64) bool {
		x -= p
		return x < 0
	}
	switch {
	case chance(w.crash) && r.from.role.mayCrash():
		return []fate{crashBefore, crashAfter}[w.rng.IntN(2)]
	case chance(w.weather.lost):
		return lost
	case chance(w.weather.answerLost):
		return answerLost
	case chance(w.weather.slow) && !r.slowed:
		return slow
	case chance(w.weather.late) && r.write:
		return late
	case chance(w.weather.twice) && r.write:
		return twice
	case chance(w.weather.refused) && uploads:
		return refused
	}
	return served
}

// strike ends the compactors when a time without any begins.
func (w *world) strike() {
	if w.calm {
		return
	}
	if hasAny(w.idle, w.now()) {
		w.killAll(func(c *client) bool { return c.role == compacting })
	}
}

// downFor is how long a process of the role must wait before it may start.
func (w *world) downFor(r role, now time.Time) time.Duration {
	for _, s := range w.idle {
		if r == compacting && s.has(now) {
			return s.to.Sub(now)
		}
	}
	return 0
}

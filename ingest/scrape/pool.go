package scrape

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/common/config"
)

// pool is a job at work: its targets, each with a loop of its own.
type pool struct {
	job    *Job
	client *http.Client
	loops  map[string]*loop // by the target's key
	out    []Status         // what is not scraped, and why
}

// maxOut bounds how many targets of a job that are not scraped are remembered.
const maxOut = 1000

func newPool(job *Job) (*pool, error) {
	client, err := config.NewClientFromConfig(job.Client, job.Name, config.WithUserAgent("coldframe"))
	if err != nil {
		return nil, fmt.Errorf("job %q: HTTP client: %w", job.Name, err)
	}
	client.Timeout = 0 // every scrape has its own
	return &pool{job: job, client: client, loops: map[string]*loop{}}, nil
}

// loop scrapes one target until it is stopped.
type loop struct {
	target *target
	stop   context.CancelFunc
	status Status // guarded by Scraper.mu
}

// sync makes the pool scrape what was found, and nothing else. Loops of targets that
// were there before go on. room is how many targets there may be. Scraper.mu is held.
func (s *Scraper) sync(ctx context.Context, p *pool, found []*target, room int) {
	p.out = nil
	var failed error
	wanted := map[string]bool{}
	added := 0
	for _, t := range found {
		key := t.key()
		switch {
		case t.dropped:
			p.leaveOut(t, Dropped)
		case t.err != nil:
			failed = t.err
			p.leaveOut(t, Failed)
		case wanted[key]: // found twice
		case len(wanted) >= room:
			t.err = fmt.Errorf("over the limit of %d targets in all", s.settings.MaxTargets)
			failed = t.err
			p.leaveOut(t, Failed)
		default:
			wanted[key] = true
			if p.loops[key] == nil {
				s.begin(ctx, p, key, t)
				added++
			}
		}
	}
	removed := 0
	for key, l := range p.loops {
		if !wanted[key] {
			l.stop()
			delete(p.loops, key)
			removed++
		}
	}
	s.settings.Observer.synced(Sync{Job: p.job.Name, Active: len(p.loops), Out: len(p.out), Added: added, Removed: removed, Err: failed})
}

func (p *pool) leaveOut(t *target, state State) {
	if len(p.out) < maxOut {
		st := t.status()
		st.State, st.Err = state, t.err
		p.out = append(p.out, st)
	}
}

// begin starts a loop. Scraper.mu is held.
func (s *Scraper) begin(ctx context.Context, p *pool, key string, t *target) {
	ctx, stop := context.WithCancel(ctx)
	l := &loop{target: t, stop: stop, status: t.status()}
	p.loops[key] = l
	s.loops.Go(func() {
		defer stop()
		s.poll(ctx, p.client, l)
		s.mu.Lock()
		last := l.status
		s.mu.Unlock()
		s.settings.Observer.gone(last)
	})
}

// end stops all loops of a pool. Scraper.mu is held.
func (p *pool) end() {
	for _, l := range p.loops {
		l.stop()
	}
	p.client.CloseIdleConnections()
}

// poll scrapes until ctx ends. Each target has its place in the interval, counted
// from 1970, so that it keeps it when processes start again. One whose job wants it
// seen at once begins at once.
func (s *Scraper) poll(ctx context.Context, client *http.Client, l *loop) {
	job := l.target.job
	wait := untilPlace(time.Now(), job.Interval, l.target.place())
	seconds := l.target.endpoint.Seconds
	if job.First > 0 {
		wait = 0
		seconds = min(seconds, max(1, int(job.First/time.Second)))
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(wait):
	}
	tick := time.NewTicker(job.Interval)
	defer tick.Stop()
	for {
		s.observe(ctx, client, l, seconds)
		seconds = l.target.endpoint.Seconds
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// place spreads targets over the interval, each always at the same place.
func (t *target) place() time.Duration {
	return time.Duration(xxhash.Sum64String(t.key()) % uint64(t.job.Interval))
}

// untilPlace is how long it is until the next time at which the time since 1970, modulo
// the interval, is place.
func untilPlace(now time.Time, interval, place time.Duration) time.Duration {
	wait := place - time.Duration(now.UnixNano()%int64(interval))
	if wait < 0 {
		wait += interval
	}
	return wait
}

func (s *Scraper) observe(ctx context.Context, client *http.Client, l *loop, seconds int) {
	began := time.Now()
	err := s.scrape(ctx, client, l.target, seconds)
	if ctx.Err() != nil {
		return // stopped, which is not the target's fault
	}
	s.mu.Lock()
	l.status.Before, l.status.Health = l.status.Health, Up
	if err != nil {
		l.status.Health = Down
	}
	l.status.Last, l.status.Duration, l.status.Err = began, time.Since(began), err
	st := l.status
	s.mu.Unlock()
	s.settings.Observer.scraped(st, st.Before != st.Health)
}

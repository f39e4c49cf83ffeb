// Package scrape polls targets for profiles, as a parca.yaml tells it.
//
// Targets are found by Prometheus' own discovery and changed by its relabelling. Each
// profile of each target has a loop of its own: it waits for its place in the interval,
// so that a fleet's scrapes are spread, asks, checks and hands the body on as it came.
// A target that hangs costs its own loop only. What was last seen of every target can
// be asked at any time, and another configuration can be applied at any time: jobs that
// are the same in both go on undisturbed.
package scrape

import (
	"context"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/targetgroup"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

// Sink takes profiles on their way to the bucket.
type Sink interface {
	Add(ctx context.Context, tenant profile.Tenant, profiles ...upload.Profile) error
}

// Settings are how to scrape. A zero field means its default.
type Settings struct {
	// Tenant owns what is scraped; the default tenant.
	Tenant profile.Tenant
	// MaxTargets is how many targets there may be, each profile of an address counted;
	// 100,000. A waiting one takes about 20 KiB. Those over it are not scraped, and told.
	MaxTargets int
	// MemoryBytes bounds the answers that are being read or checked at a time; 256 MiB. A
	// scrape for which there is no room fails.
	MemoryBytes int64
	// Together is how many answers are checked at a time; twice the number of CPUs.
	// Waiting for an answer is not counted, so that targets that hang stop no other.
	Together int
	// Logger is told what discovery says; nil: silence.
	Logger *slog.Logger
	// Metrics is where discovery counts, under names that begin with prometheus_sd_; nil:
	// nowhere. It must not have been given to another Scraper.
	Metrics  prometheus.Registerer
	Observer Observer
}

func (s Settings) withDefaults() Settings {
	if s.Tenant == "" {
		s.Tenant = profile.DefaultTenant
	}
	if s.MaxTargets <= 0 {
		s.MaxTargets = 100_000
	}
	if s.MemoryBytes <= 0 {
		s.MemoryBytes = 256 << 20
	}
	if s.Together <= 0 {
		s.Together = 2 * runtime.GOMAXPROCS(0)
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	if s.Metrics == nil {
		s.Metrics = prometheus.NewRegistry()
	}
	return s
}

// Scraper polls the targets of its jobs. Its methods may be called concurrently.
type Scraper struct {
	sink     Sink
	settings Settings
	budget   atomic.Int64  // bytes of answers that are being read or checked
	turns    chan struct{} // to check an answer
	changed  chan struct{} // a configuration waits to be applied by Run
	loops    sync.WaitGroup

	mu       sync.Mutex
	external profile.Labels
	pools    map[string]*pool // by the job's name
}

// New makes a scraper that hands profiles to sink. It has nothing to scrape yet.
func New(sink Sink, settings Settings) *Scraper {
	settings = settings.withDefaults()
	return &Scraper{
		sink: sink, settings: settings,
		turns:   make(chan struct{}, settings.Together),
		changed: make(chan struct{}, 1),
		pools:   map[string]*pool{},
	}
}

// Apply replaces what is scraped. Jobs that are the same as before go on. It fails,
// and leaves everything as it was, when a job's HTTP client cannot be made.
func (s *Scraper) Apply(c Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	same := s.external.Compare(c.External) == 0
	pools := map[string]*pool{}
	for i := range c.Jobs {
		job := &c.Jobs[i]
		if old := s.pools[job.Name]; same && old != nil && old.job.text == job.text && old.job.First == job.First {
			pools[job.Name] = old
			continue
		}
		p, err := newPool(job)
		if err != nil {
			return err
		}
		pools[job.Name] = p
	}
	for name, old := range s.pools {
		if pools[name] != old {
			old.end()
			s.settings.Observer.synced(Sync{Job: name, Removed: len(old.loops)})
		}
	}
	s.pools, s.external = pools, c.External
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return nil
}

// Run scrapes until ctx ends and every scrape has stopped. It is called once.
func (s *Scraper) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.loops.Wait()
	defer cancel()
	finder, err := newDiscovery(ctx, s.settings.Logger, s.settings.Metrics)
	if err != nil {
		return err
	}
	s.loops.Go(func() { _ = finder.Run() }) // it ends with ctx, and says so
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
			if err := finder.ApplyConfig(s.discoveries()); err != nil {
				return err
			}
		case groups, open := <-finder.SyncCh():
			if !open {
				return nil
			}
			s.syncAll(ctx, groups)
		}
	}
}

// discoveries are how the targets of each job are found.
func (s *Scraper) discoveries() map[string]discovery.Configs {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]discovery.Configs{}
	for name, p := range s.pools {
		all[name] = p.job.Discovery
	}
	return all
}

// syncAll makes all pools scrape what was found for them.
func (s *Scraper) syncAll(ctx context.Context, groups map[string][]*targetgroup.Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	room := s.settings.MaxTargets
	for _, name := range slices.Sorted(maps.Keys(s.pools)) {
		p := s.pools[name]
		found, looked := groups[name]
		if looked {
			s.sync(ctx, p, p.job.targets(found, s.external), max(room, 0))
		}
		room -= len(p.loops)
	}
}

package scrape

import (
	"cmp"
	"slices"
	"time"

	"github.com/coldframe/coldframe/profile"
)

// State says whether what was found is scraped.
type State string

// The states.
const (
	Active  State = "active"
	Dropped State = "dropped" // by a relabelling rule
	Failed  State = "failed"  // it has no address that can be scraped; the error says why
)

// Health is what the last scrape of a target said.
type Health string

// The three healths of a target.
const (
	Unknown Health = "unknown" // not scraped yet
	Up      Health = "up"
	Down    Health = "down"
)

// Status is one profile of one target as last seen.
type Status struct {
	Job        string
	URL        string
	Labels     profile.Labels // of its series
	Discovered profile.Labels // before relabelling, with those that begin with "__"
	Name       string         // the profile's name
	State      State
	Health     Health
	Before     Health        // what the scrape before the last said
	Last       time.Time     // when the last scrape began; zero: none yet
	Duration   time.Duration // of the last scrape
	Err        error         // why the target is down, or not scraped
}

// status is a target's before the first scrape.
func (t *target) status() Status {
	st := Status{Job: t.job.Name, Labels: t.labels, Discovered: t.discovered, Name: t.name, State: Active, Health: Unknown}
	if st.Name == "" {
		st.Name = t.endpoint.Name
	}
	if t.url.Host != "" {
		u := t.url
		u.RawQuery = t.query.Encode()
		st.URL = u.String()
	}
	return st
}

// Targets tells the state of every target, by job, URL and profile. Of those that are
// not scraped it remembers 1,000 of each job.
func (s *Scraper) Targets() []Status {
	s.mu.Lock()
	var all []Status
	for _, p := range s.pools {
		for _, l := range p.loops {
			all = append(all, l.status)
		}
		all = append(all, p.out...)
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.Job, b.Job), cmp.Compare(a.State, b.State), cmp.Compare(a.URL, b.URL), cmp.Compare(a.Name, b.Name), a.Labels.Compare(b.Labels))
	})
	return all
}

// Sync is what a job's targets became after they were looked for.
type Sync struct {
	Job     string
	Active  int // targets that are scraped, each profile counted
	Out     int // targets that are not: dropped, without an address, or over the limit
	Added   int
	Removed int
	Err     error // why one of those out has Failed, nil if none has
}

// Observer is told what happens, for logs and metrics. Nil fields are not called.
// Calls come from many goroutines, and must return soon and not call the Scraper.
type Observer struct {
	// Scraped: a scrape ended. changed says that the target's health is another than before.
	Scraped func(_ Status, changed bool)
	// Gone: a target is no longer scraped.
	Gone func(Status)
	// Synced: a job's targets were looked through.
	Synced func(Sync)
}

func (o *Observer) scraped(st Status, changed bool) {
	if o.Scraped != nil {
		o.Scraped(st, changed)
	}
}

func (o *Observer) gone(st Status) {
	if o.Gone != nil {
		o.Gone(st)
	}
}

func (o *Observer) synced(s Sync) {
	if o.Synced != nil {
		o.Synced(s)
	}
}

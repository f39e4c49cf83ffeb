// Package scrape polls targets for profiles, as a parca.yaml tells it.
//
// Each profile of each target has a loop of its own: it waits its turn within the
// interval, so that a fleet's scrapes are spread, asks, checks and hands the body on
// as it came. A target that hangs costs its own loop only. What was last seen of
// every target can be asked at any time.
package scrape

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

// maxBody bounds what a target may answer with.
const maxBody = 64 << 20

// Sink takes profiles on their way to the bucket.
type Sink interface {
	Add(ctx context.Context, tenant profile.Tenant, profiles ...upload.Profile) error
}

// Observer is told what happens, for logs and metrics. Nil fields are not called.
type Observer struct {
	Scraped func(Status)
}

// Scraper polls the targets of its jobs.
type Scraper struct {
	sink     Sink
	tenant   profile.Tenant
	client   *http.Client
	observer Observer

	mu     sync.Mutex
	status map[*loop]Status
}

// New makes a scraper that hands profiles of tenant to sink.
func New(sink Sink, tenant profile.Tenant, observer Observer) *Scraper {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true // profiles are gzip already
	transport.MaxIdleConnsPerHost = 8
	return &Scraper{
		sink:     sink,
		tenant:   tenant,
		client:   &http.Client{Transport: transport},
		observer: observer,
		status:   map[*loop]Status{},
	}
}

// Health is what the last scrape of a target said.
type Health string

// The three states of a target.
const (
	Unknown Health = "unknown" // not scraped yet
	Up      Health = "up"
	Down    Health = "down"
)

// Status is one profile of one target as last seen.
type Status struct {
	Job      string
	URL      string
	Labels   profile.Labels // with __name__ left out
	Name     string         // the profile's name
	Health   Health
	Last     time.Time     // when the last scrape began; zero: none yet
	Duration time.Duration // of the last scrape
	Err      error         // why the target is down
}

// Targets tells the state of every target.
func (s *Scraper) Targets() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Status, 0, len(s.status))
	for _, st := range s.status {
		all = append(all, st)
	}
	return all
}

// Run scrapes the targets of the jobs until ctx ends and every scrape has stopped.
func (s *Scraper) Run(ctx context.Context, jobs []Job) error {
	loops, err := newLoops(jobs)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for _, l := range loops {
		s.set(l, Status{Health: Unknown})
		wg.Go(func() {
			s.poll(ctx, l)
			s.mu.Lock()
			delete(s.status, l)
			s.mu.Unlock()
		})
	}
	wg.Wait()
	return nil
}

// loop is one profile of one target.
type loop struct {
	job      Job
	endpoint Endpoint
	labels   profile.Labels
	url      url.URL
	query    url.Values
}

func newLoops(jobs []Job) ([]*loop, error) {
	var loops []*loop
	for _, job := range jobs {
		for _, group := range job.Static {
			for _, address := range group.Addresses {
				labels, err := targetLabels(job, group, address)
				if err != nil {
					return nil, fmt.Errorf("job %q, target %q: %w", job.Name, address, err)
				}
				for _, e := range job.Endpoints {
					loops = append(loops, &loop{
						job: job, endpoint: e, labels: labels, query: job.Params,
						url: url.URL{Scheme: job.Scheme, Host: withPort(address, job.Scheme), Path: e.Path},
					})
				}
			}
		}
	}
	return loops, nil
}

// targetLabels gives a target's series labels: its group's, job, and instance,
// which the group may have set itself.
func targetLabels(job Job, group StaticGroup, address string) (profile.Labels, error) {
	pairs := map[string]string{"job": job.Name, "instance": address}
	for _, l := range group.Labels {
		pairs[l.Name] = l.Value
	}
	return profile.LabelsFromMap(pairs)
}

func withPort(address, scheme string) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	if scheme == "https" {
		return net.JoinHostPort(address, "443")
	}
	return net.JoinHostPort(address, "80")
}

// poll scrapes until ctx ends. The first scrape waits for the target's place in the
// interval, unless the job wants its targets seen at once.
func (s *Scraper) poll(ctx context.Context, l *loop) {
	first := l.place()
	seconds := l.endpoint.Seconds
	if l.job.First > 0 {
		first = 0
		seconds = min(seconds, max(1, int(l.job.First/time.Second)))
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(first):
	}
	tick := time.NewTicker(l.job.Interval)
	defer tick.Stop()
	for {
		s.observe(ctx, l, seconds)
		seconds = l.endpoint.Seconds
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// place spreads targets over the interval, each always at the same place.
func (l *loop) place() time.Duration {
	h := xxhash.Sum64String(l.url.String() + l.labels.String())
	return time.Duration(h % uint64(l.job.Interval))
}

func (s *Scraper) observe(ctx context.Context, l *loop, seconds int) {
	began := time.Now()
	err := s.scrape(ctx, l, seconds)
	if ctx.Err() != nil {
		return // stopped, which is not the target's fault
	}
	st := Status{Health: Up, Last: began, Duration: time.Since(began), Err: err}
	if err != nil {
		st.Health = Down
	}
	st = s.set(l, st)
	if s.observer.Scraped != nil {
		s.observer.Scraped(st)
	}
}

func (s *Scraper) set(l *loop, st Status) Status {
	st.Job, st.URL, st.Labels, st.Name = l.job.Name, l.url.String(), l.labels, l.endpoint.Name
	s.mu.Lock()
	s.status[l] = st
	s.mu.Unlock()
	return st
}

// scrape asks once. A delta profile takes its seconds before it answers, so the
// deadline is never shorter than those and 3 s more.
func (s *Scraper) scrape(ctx context.Context, l *loop, seconds int) error {
	timeout := max(l.job.Timeout, time.Duration(seconds)*time.Second+3*time.Second)
	asking, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	body, err := s.fetch(asking, l, seconds)
	if err != nil {
		return err
	}
	if len(l.endpoint.Keep) > 0 {
		if body, err = keepSampleTypes(body, l.endpoint.Keep); err != nil {
			return fmt.Errorf("GET %s: %w", l.url.String(), err)
		}
	}
	// What was fetched is worth keeping even when the scraper is being stopped.
	err = s.sink.Add(context.WithoutCancel(ctx), s.tenant, upload.Profile{Name: l.endpoint.Name, Labels: l.labels, Body: body})
	if err != nil {
		return fmt.Errorf("GET %s: %w", l.url.String(), err)
	}
	return nil
}

func (s *Scraper) fetch(ctx context.Context, l *loop, seconds int) ([]byte, error) {
	u := l.url
	query := url.Values{}
	for name, values := range l.query {
		query[name] = values
	}
	if seconds > 0 {
		query.Set("seconds", strconv.Itoa(seconds))
	}
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "coldframe")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err // names method and URL itself
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("GET %s: reading the body: %w", u.String(), err)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("GET %s: %s: %.200s", u.String(), resp.Status, bytes.TrimSpace(body))
	case len(body) > maxBody:
		return nil, fmt.Errorf("GET %s: the profile is over %d MiB", u.String(), maxBody>>20)
	case len(body) == 0:
		return nil, fmt.Errorf("GET %s: the body is empty", u.String())
	}
	return body, nil
}

// keepSampleTypes drops all other sample types of a pprof, and the samples that
// have no value left.
func keepSampleTypes(body []byte, keep []profile.ValueType) ([]byte, error) {
	p, err := pprof.ParseData(body)
	if err != nil {
		return nil, fmt.Errorf("keep_sample_type: %w", err)
	}
	var columns []int
	var types []*pprof.ValueType
	for i, st := range p.SampleType {
		for _, k := range keep {
			if k.Type == st.Type && k.Unit == st.Unit {
				columns, types = append(columns, i), append(types, st)
			}
		}
	}
	if len(columns) == 0 {
		return nil, errors.New("keep_sample_type: the profile has none of the sample types to keep")
	}
	samples := p.Sample[:0]
	for _, sample := range p.Sample {
		values := make([]int64, len(columns))
		some := false
		for i, column := range columns {
			values[i] = sample.Value[column]
			some = some || values[i] != 0
		}
		if some {
			sample.Value = values
			samples = append(samples, sample)
		}
	}
	p.SampleType, p.Sample = types, samples
	if !slices.ContainsFunc(types, func(t *pprof.ValueType) bool { return t.Type == p.DefaultSampleType }) {
		p.DefaultSampleType = ""
	}
	var out bytes.Buffer
	if err := p.Compact().Write(&out); err != nil {
		return nil, fmt.Errorf("keep_sample_type: %w", err)
	}
	return out.Bytes(), nil
}

package scrape

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	httppprof "net/http/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

// gathered is a Sink that keeps what it gets.
type gathered struct {
	mu       sync.Mutex
	profiles []upload.Profile
	refuse   error
	got      chan upload.Profile
}

func (g *gathered) Add(_ context.Context, _ profile.Tenant, profiles ...upload.Profile) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refuse != nil {
		return g.refuse
	}
	g.profiles = append(g.profiles, profiles...)
	for _, p := range profiles {
		g.got <- p
	}
	return nil
}

func goProgram(t *testing.T, routes map[string]http.HandlerFunc) (address string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", httppprof.Index)
	mux.HandleFunc("/debug/pprof/profile", httppprof.Profile)
	for path, h := range routes {
		mux.HandleFunc(path, h)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func parse(t testing.TB, format string, args ...any) Config {
	t.Helper()
	c, err := ParseConfig("parca.yaml", fmt.Appendf(nil, format, args...))
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.Jobs {
		c.Jobs[i].First = time.Second // at once
	}
	return c
}

// start scrapes until the test ends.
func start(t testing.TB, sink Sink, settings Settings, c Config) *Scraper {
	t.Helper()
	s := New(sink, settings)
	if err := s.Apply(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// A Go program is asked for the five default profiles, and what it answers arrives
// with the labels of its target.
func TestScrapeGoProgram(t *testing.T) {
	address := goProgram(t, nil)
	c := parse(t, "scrape_configs: [{job_name: api, static_configs: [{targets: [%q], labels: {env: test}}]}]", address)
	sink := &gathered{got: make(chan upload.Profile, 100)}
	s := start(t, sink, Settings{}, c)
	want := []string{"block", "goroutine", "memory", "mutex", "process_cpu"}
	seen := map[string]upload.Profile{}
	for len(seen) < len(want) {
		select {
		case p := <-sink.got:
			seen[p.Name] = p
		case <-time.After(time.Minute):
			t.Fatalf("only %d profiles arrived; targets: %v", len(seen), s.Targets())
		}
	}
	for _, st := range s.Targets() {
		if st.Err != nil || !slices.Contains(want, st.Name) {
			t.Errorf("%+v", st)
		}
	}
	for name, p := range seen {
		if got, want := p.Labels.String(), fmt.Sprintf(`{env="test", instance=%q, job="api"}`, address); got != want {
			t.Errorf("%s: labels %s, want %s", name, got, want)
		}
		decoded, err := pprof.ParseData(p.Body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if name == "process_cpu" && decoded.DurationNanos > int64(1500*time.Millisecond) {
			t.Errorf("the first CPU profile lasts %s, want about 1s", time.Duration(decoded.DurationNanos))
		}
	}
}

// What a target may answer instead of a profile, and what is told of it.
func TestScrapeFailures(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		refuse error
		want   string
	}{
		"status": {answer: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "go away", http.StatusForbidden) }, want: "403 Forbidden: go away"},
		"empty":  {answer: func(http.ResponseWriter, *http.Request) {}, want: "the body is empty"},
		"hangs":  {answer: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, want: "context deadline exceeded"},
		"refused": {
			answer: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "not a pprof") },
			refuse: fmt.Errorf("pprof: field 1: %w", profile.ErrInvalid), want: "pprof: field 1: invalid",
		},
	} {
		t.Run(name, func(t *testing.T) {
			address := goProgram(t, map[string]http.HandlerFunc{"/custom": c.answer})
			config := parse(t, `scrape_configs: [{job_name: api, static_configs: [{targets: [%q]}], profiling_config: {pprof_config: {
				custom: {path: /custom}, memory: {enabled: false}, block: {enabled: false}, goroutine: {enabled: false}, mutex: {enabled: false}, process_cpu: {enabled: false}}}}]`, address)
			if name == "hangs" {
				config.Jobs[0].Timeout = 200 * time.Millisecond
			}
			told := make(chan Status, 10)
			start(t, &gathered{refuse: c.refuse, got: make(chan upload.Profile, 1)}, Settings{Observer: Observer{Scraped: func(st Status, _ bool) { told <- st }}}, config)
			st := <-told
			if st.Health != Down || st.Err == nil || !strings.Contains(st.Err.Error(), c.want) || !strings.Contains(st.Err.Error(), "/custom") {
				t.Errorf("got %v: %v, want down: …/custom… %s", st.Health, st.Err, c.want)
			}
			if c.refuse != nil && !errors.Is(st.Err, profile.ErrInvalid) {
				t.Errorf("%v does not wrap what the sink said", st.Err)
			}
		})
	}
}

func TestKeepSampleTypes(t *testing.T) {
	f := &pprof.Function{ID: 1, Name: "f"}
	loc := &pprof.Location{ID: 1, Line: []pprof.Line{{Function: f}}}
	p := &pprof.Profile{
		SampleType:        []*pprof.ValueType{{Type: "alloc_space", Unit: "bytes"}, {Type: "inuse_space", Unit: "bytes"}},
		DefaultSampleType: "alloc_space",
		Function:          []*pprof.Function{f},
		Location:          []*pprof.Location{loc},
		Sample:            []*pprof.Sample{{Location: []*pprof.Location{loc}, Value: []int64{7, 3}}, {Location: []*pprof.Location{loc}, Value: []int64{7, 0}}},
	}
	var body bytes.Buffer
	if err := p.Write(&body); err != nil {
		t.Fatal(err)
	}
	kept, err := keepSampleTypes(body.Bytes(), []profile.ValueType{{Type: "inuse_space", Unit: "bytes"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := pprof.ParseData(kept)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.SampleType) != 1 || got.SampleType[0].Type != "inuse_space" || got.DefaultSampleType != "" || len(got.Sample) != 1 || got.Sample[0].Value[0] != 3 {
		t.Errorf("got %v", got)
	}
	if _, err := keepSampleTypes(body.Bytes(), []profile.ValueType{{Type: "x", Unit: "y"}}); err == nil {
		t.Error("a profile without any of the types to keep is no error")
	}
}

// Two targets, or two profiles of one, are scraped at different places of the interval,
// and keep them.
func TestScrapesAreSpread(t *testing.T) {
	c := parse(t, `scrape_configs: [{job_name: a, static_configs: [{targets: ["a:1", "b:1", "c:1"]}]}]`)
	job := &c.Jobs[0]
	places := map[time.Duration]bool{}
	for _, target := range job.targets(job.static(), nil) {
		place := target.place()
		if place < 0 || place >= job.Interval || places[place] {
			t.Errorf("%s is scraped %s after the start of the interval", target.url.String(), place)
		}
		places[place] = true
		now := time.Unix(1_700_000_000, 123)
		at := now.Add(untilPlace(now, job.Interval, place))
		if got := time.Duration(at.UnixNano() % int64(job.Interval)); got != place || at.Before(now) || at.Sub(now) >= job.Interval {
			t.Errorf("begun at %s it waits until %s, which is %s after the start of the interval, want %s", now, at, got, place)
		}
	}
}

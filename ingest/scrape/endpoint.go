package scrape

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/coldframe/coldframe/profile"
)

// Endpoint is one profile that a target offers.
type Endpoint struct {
	Name    string              // the profile's name: "process_cpu"
	Path    string              // with the job's path_prefix
	Query   string              // what the path had behind a question mark
	Seconds int                 // for how long a delta profile is taken; 0: not a delta profile
	Keep    []profile.ValueType // sample types to keep; empty: all
}

type profilingYAML struct {
	PathPrefix  string                   `yaml:"path_prefix"`
	PprofConfig map[string]*endpointYAML `yaml:"pprof_config"`
}

type endpointYAML struct {
	Enabled        *bool  `yaml:"enabled"`
	Path           string `yaml:"path"`
	Delta          *bool  `yaml:"delta"`
	Seconds        int    `yaml:"seconds"`
	KeepSampleType []struct {
		Type string `yaml:"type"`
		Unit string `yaml:"unit"`
	} `yaml:"keep_sample_type"`
}

// defaultEndpoints are what net/http/pprof offers, by the names and paths of Parca.
func defaultEndpoints() map[string]endpointYAML {
	return map[string]endpointYAML{
		"memory":      {Path: "/debug/pprof/allocs"},
		"block":       {Path: "/debug/pprof/block"},
		"goroutine":   {Path: "/debug/pprof/goroutine"},
		"mutex":       {Path: "/debug/pprof/mutex"},
		"process_cpu": {Path: "/debug/pprof/profile", Delta: new(true)},
	}
}

// maxSeconds bounds a delta profile. A longer one would be a connection that waits all day.
const maxSeconds = 3600

// endpoints are the defaults with what the file says of them, and the file's own.
func (y *profilingYAML) endpoints(interval time.Duration) ([]Endpoint, error) {
	entries := defaultEndpoints()
	for name, e := range y.PprofConfig {
		if e == nil { // "memory:" says nothing
			continue
		}
		changed, byDefault := *e, entries[name]
		if changed.Path == "" {
			changed.Path = byDefault.Path
		}
		if changed.Delta == nil {
			changed.Delta = byDefault.Delta
		}
		entries[name] = changed
	}
	var endpoints []Endpoint
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		e := entries[name]
		if e.Enabled != nil && !*e.Enabled {
			continue
		}
		endpoint, err := e.endpoint(name, y.PathPrefix, interval)
		if err != nil {
			return nil, at(err, "pprof_config", name)
		}
		endpoints = append(endpoints, endpoint)
	}
	return endpoints, nil
}

func (e *endpointYAML) endpoint(name, prefix string, interval time.Duration) (Endpoint, error) {
	if name == "" || strings.Contains(name, ":") {
		return Endpoint{}, fmt.Errorf("%q cannot be a profile's name", name)
	}
	if e.Path == "" {
		return Endpoint{}, errors.New("path is empty")
	}
	if e.Seconds < 0 || e.Seconds > maxSeconds {
		return Endpoint{}, at(fmt.Errorf("%d is not in [0, %d]", e.Seconds, maxSeconds), "seconds")
	}
	onPath, query, _ := strings.Cut(e.Path, "?")
	endpoint := Endpoint{Name: name, Path: path.Join("/", prefix, onPath), Query: query}
	if e.isDelta() {
		endpoint.Seconds = e.Seconds
		if e.Seconds == 0 {
			endpoint.Seconds = min(max(1, int(interval/time.Second)), maxSeconds)
		}
	}
	for _, k := range e.KeepSampleType {
		endpoint.Keep = append(endpoint.Keep, profile.ValueType{Type: k.Type, Unit: k.Unit})
	}
	return endpoint, nil
}

// isDelta says whether the target is told for how long. What ends in /profile or
// /fgprof samples for a time of its own choosing, 30 s, unless it is told.
func (e *endpointYAML) isDelta() bool {
	if e.Delta != nil {
		return *e.Delta
	}
	onPath, _, _ := strings.Cut(e.Path, "?")
	switch path.Base(onPath) {
	case "profile", "fgprof":
		return true
	}
	return false
}

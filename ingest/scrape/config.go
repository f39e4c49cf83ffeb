package scrape

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"gopkg.in/yaml.v3"

	"github.com/coldframe/coldframe/profile"
)

// Config is what to scrape: the scrape_configs of a parca.yaml.
type Config struct {
	Jobs []Job
	// ObjectStorage is the file's object_storage.bucket as YAML, nil without one.
	ObjectStorage []byte
}

// Job is one scrape config: targets that are asked alike.
type Job struct {
	Name      string
	Interval  time.Duration // between two scrapes of a profile; default 10 s
	Timeout   time.Duration // of one scrape; default Interval + 3 s
	Scheme    string        // http or https; default http
	Params    url.Values    // sent with every request
	Endpoints []Endpoint    // what each target is asked for, sorted by name
	Static    []StaticGroup // the targets

	// First is how long the first profile of a delta endpoint lasts when the job
	// starts; 0: as long as every other. It lets a new target be seen early.
	First time.Duration
}

// StaticGroup is a list of host:port addresses with labels of their own.
type StaticGroup struct {
	Addresses []string
	Labels    profile.Labels
}

// Endpoint is one profile that a target offers.
type Endpoint struct {
	Name    string              // the profile's name: "process_cpu"
	Path    string              // with the job's path_prefix
	Seconds int                 // for how long a delta profile is taken; 0: not a delta profile
	Keep    []profile.ValueType // sample types to keep; empty: all
}

// defaultEndpoints are Parca's: what net/http/pprof offers.
var defaultEndpoints = map[string]endpointYAML{
	"memory":      {Path: "/debug/pprof/allocs"},
	"block":       {Path: "/debug/pprof/block"},
	"goroutine":   {Path: "/debug/pprof/goroutine"},
	"mutex":       {Path: "/debug/pprof/mutex"},
	"process_cpu": {Path: "/debug/pprof/profile", Delta: ptr(true)},
}

const defaultInterval = 10 * time.Second

func ptr[T any](v T) *T { return &v }

type fileYAML struct {
	ObjectStorage struct {
		Bucket yaml.Node `yaml:"bucket"`
	} `yaml:"object_storage"`
	ScrapeConfigs []jobYAML `yaml:"scrape_configs"`
}

type jobYAML struct {
	JobName         string     `yaml:"job_name"`
	ScrapeInterval  string     `yaml:"scrape_interval"`
	ScrapeTimeout   string     `yaml:"scrape_timeout"`
	Scheme          string     `yaml:"scheme"`
	Params          url.Values `yaml:"params"`
	ProfilingConfig struct {
		PathPrefix  string                  `yaml:"path_prefix"`
		PprofConfig map[string]endpointYAML `yaml:"pprof_config"`
	} `yaml:"profiling_config"`
	StaticConfigs []struct {
		Targets []string          `yaml:"targets"`
		Labels  map[string]string `yaml:"labels"`
	} `yaml:"static_configs"`
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

// ParseConfig reads a parca.yaml. file names it in errors, each of which is one
// line: file, line, key and reason. Durations are Prometheus' ("10s", "1m30s").
//
// It differs from Parca where Parca surprises: an entry of pprof_config that names
// a default profile changes only what it says (in Parca, giving process_cpu another
// path turns delta off), an entry without enabled is enabled, and scrape_timeout
// may be shorter than scrape_interval.
func ParseConfig(file string, text []byte) (Config, error) {
	var y fileYAML
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&y); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, yamlError(file, text, err)
	}
	var c Config
	if !y.ObjectStorage.Bucket.IsZero() {
		var err error
		if c.ObjectStorage, err = yaml.Marshal(&y.ObjectStorage.Bucket); err != nil {
			return Config{}, fmt.Errorf("%s: object_storage.bucket: %w", file, err)
		}
	}
	var lines struct {
		ScrapeConfigs []yaml.Node `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal(text, &lines); err != nil {
		return Config{}, yamlError(file, text, err)
	}
	seen := map[string]int{}
	for i, jy := range y.ScrapeConfigs {
		line := lines.ScrapeConfigs[i].Line
		job, err := jy.job()
		if err != nil {
			return Config{}, fmt.Errorf("%s:%d: scrape_configs[%d]: %w: %w", file, line, i, err, profile.ErrInvalid)
		}
		if first, twice := seen[job.Name]; twice {
			return Config{}, fmt.Errorf("%s:%d: scrape_configs[%d].job_name: %q is also the name of the job in line %d: %w", file, line, i, job.Name, first, profile.ErrInvalid)
		}
		seen[job.Name] = line
		c.Jobs = append(c.Jobs, job)
	}
	return c, nil
}

var (
	unknownField = regexp.MustCompile(`^line (\d+): field (\S+) not found in type .*$`)
	wrongType    = regexp.MustCompile(`^line (\d+): (cannot unmarshal .*)$`)
	keyOfLine    = regexp.MustCompile(`^[\s{-]*([A-Za-z_]+)\s*:`)
)

// yamlError turns yaml.v3's errors into file:line: key and reason, without Go's type names.
func yamlError(file string, text []byte, err error) error {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	if e, ok := errors.AsType[*yaml.TypeError](err); ok && len(e.Errors) > 0 {
		message = e.Errors[0]
	}
	if m := unknownField.FindStringSubmatch(message); m != nil {
		return fmt.Errorf("%s:%s: unknown key %q: %w", file, m[1], m[2], profile.ErrInvalid)
	}
	if m := wrongType.FindStringSubmatch(message); m != nil {
		return fmt.Errorf("%s:%s: %s%s: %w", file, m[1], keyAt(text, m[1]), m[2], profile.ErrInvalid)
	}
	if rest, ok := strings.CutPrefix(message, "line "); ok {
		return fmt.Errorf("%s:%s: %w", file, rest, profile.ErrInvalid)
	}
	return fmt.Errorf("%s: %s: %w", file, message, profile.ErrInvalid)
}

// keyAt is the key that begins a line, with ": " behind it, or "" if none does.
func keyAt(text []byte, line string) string {
	n, err := strconv.Atoi(line)
	lines := bytes.Split(text, []byte("\n"))
	if err != nil || n < 1 || n > len(lines) {
		return ""
	}
	if m := keyOfLine.FindSubmatch(lines[n-1]); m != nil {
		return string(m[1]) + ": "
	}
	return ""
}

func (y jobYAML) job() (Job, error) {
	job := Job{Name: y.JobName, Scheme: y.Scheme, Params: y.Params}
	if job.Name == "" {
		return Job{}, errors.New("job_name is empty")
	}
	var err error
	if job.Interval, err = duration(y.ScrapeInterval, defaultInterval); err != nil {
		return Job{}, fmt.Errorf("scrape_interval: %w", err)
	}
	if job.Timeout, err = duration(y.ScrapeTimeout, job.Interval+3*time.Second); err != nil {
		return Job{}, fmt.Errorf("scrape_timeout: %w", err)
	}
	if job.Scheme == "" {
		job.Scheme = "http"
	}
	if job.Scheme != "http" && job.Scheme != "https" {
		return Job{}, fmt.Errorf("scheme %q: want http or https", job.Scheme)
	}
	for _, s := range y.StaticConfigs {
		group := StaticGroup{Addresses: s.Targets}
		for _, address := range s.Targets {
			if err := checkAddress(address); err != nil {
				return Job{}, fmt.Errorf("static_configs: target %q: %w", address, err)
			}
		}
		if group.Labels, err = profile.LabelsFromMap(s.Labels); err != nil {
			return Job{}, fmt.Errorf("static_configs.labels: %w", err)
		}
		job.Static = append(job.Static, group)
	}
	job.Endpoints, err = y.endpoints(job.Interval)
	return job, err
}

// duration reads Prometheus' form, "" being the default.
func duration(s string, byDefault time.Duration) (time.Duration, error) {
	if s == "" {
		return byDefault, nil
	}
	d, err := model.ParseDuration(s)
	if err == nil && d == 0 {
		err = errors.New("want more than 0")
	}
	return time.Duration(d), err
}

func checkAddress(address string) error {
	if strings.Contains(address, "/") {
		return errors.New("want host:port without scheme or path (they are the keys scheme and path)")
	}
	if host, _, err := net.SplitHostPort(address); err == nil && host == "" {
		return errors.New("host is empty")
	}
	return nil
}

func (y jobYAML) endpoints(interval time.Duration) ([]Endpoint, error) {
	entries := map[string]endpointYAML{}
	for name, e := range defaultEndpoints {
		entries[name] = e
	}
	for name, e := range y.ProfilingConfig.PprofConfig {
		byDefault := defaultEndpoints[name]
		if e.Path == "" {
			e.Path = byDefault.Path
		}
		if e.Delta == nil {
			e.Delta = byDefault.Delta
		}
		if e.Path == "" {
			return nil, fmt.Errorf("profiling_config.pprof_config.%s: path is empty", name)
		}
		entries[name] = e
	}
	var endpoints []Endpoint
	for name, e := range entries {
		if e.Enabled != nil && !*e.Enabled {
			continue
		}
		if e.Seconds < 0 {
			return nil, fmt.Errorf("profiling_config.pprof_config.%s.seconds: %d is negative", name, e.Seconds)
		}
		endpoint := Endpoint{Name: name, Path: path.Join("/", y.ProfilingConfig.PathPrefix, e.Path)}
		if e.Delta != nil && *e.Delta {
			endpoint.Seconds = max(1, e.Seconds)
			if e.Seconds == 0 {
				endpoint.Seconds = max(1, int(interval/time.Second))
			}
		}
		for _, k := range e.KeepSampleType {
			endpoint.Keep = append(endpoint.Keep, profile.ValueType{Type: k.Type, Unit: k.Unit})
		}
		endpoints = append(endpoints, endpoint)
	}
	slices.SortFunc(endpoints, func(a, b Endpoint) int { return strings.Compare(a.Name, b.Name) })
	return endpoints, nil
}

// Self is the job by which a process scrapes itself at address: every default
// profile each 10 s, and a first CPU profile of 5 s at once.
func Self(address string) Job {
	job, err := jobYAML{JobName: "coldframe"}.job()
	if err != nil {
		panic(fmt.Sprintf("scrape: the default job is invalid: %v", err))
	}
	job.Static = []StaticGroup{{Addresses: []string{address}}}
	job.First = 5 * time.Second
	return job
}

package scrape

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"time"

	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/model/relabel"
	"gopkg.in/yaml.v3"

	"github.com/coldframe/coldframe/profile"
)

// Config is a parca.yaml: what to scrape.
type Config struct {
	Jobs []Job
	// External are labels of every series that has no label of that name itself.
	External profile.Labels
	// ObjectStorage is the file's object_storage.bucket as YAML, nil without one.
	ObjectStorage []byte
}

// Job is one scrape config: targets that are found and asked alike.
type Job struct {
	Name      string
	Interval  time.Duration // between two scrapes of a profile; default 10 s
	Timeout   time.Duration // of one scrape; default Interval + 3 s
	Scheme    string        // http or https; default http
	Params    url.Values    // sent with every request
	Endpoints []Endpoint    // what each target is asked for, sorted by name
	Relabel   []*relabel.Config
	Discovery discovery.Configs // static_configs and all *_sd_configs
	Client    config.HTTPClientConfig

	// First is how long the first profile of a delta endpoint lasts when the job
	// starts; 0: as long as every other. It lets a new target be seen early.
	First time.Duration

	text string // what it was read from; jobs of one text are the same
}

const defaultInterval = 10 * time.Second

type fileYAML struct {
	ObjectStorage *struct {
		Bucket yaml.Node `yaml:"bucket"`
	} `yaml:"object_storage"`
	ExternalLabels map[string]string `yaml:"external_labels"`
	ScrapeConfigs  []jobYAML         `yaml:"scrape_configs"`
}

// jobYAML is a scrape config as it is written. Its fields must be exported for
// discovery, which adds the keys of all kinds of discovery to them.
type jobYAML struct {
	JobName             string                  `yaml:"job_name"`
	ScrapeInterval      string                  `yaml:"scrape_interval"`
	ScrapeTimeout       string                  `yaml:"scrape_timeout"`
	Scheme              string                  `yaml:"scheme"`
	Params              url.Values              `yaml:"params"`
	NormalizedAddresses bool                    `yaml:"normalized_addresses"` // says what is so anyway
	ProfilingConfig     profilingYAML           `yaml:"profiling_config"`
	RelabelConfigs      []*relabel.Config       `yaml:"relabel_configs"`
	Client              config.HTTPClientConfig `yaml:",inline"`
	Discovery           discovery.Configs       `yaml:"-"`
}

// UnmarshalYAML implements the interface by which Prometheus' packages read YAML.
func (y *jobYAML) UnmarshalYAML(unmarshal func(any) error) error {
	*y = jobYAML{Client: config.DefaultHTTPClientConfig}
	return discovery.UnmarshalYAMLWithInlineConfigs(y, unmarshal)
}

// ParseConfig reads a parca.yaml. file names it in errors, each of which is one line:
// file, line, key and reason; paths in it are relative to file's folder. Durations are
// Prometheus' ("10s", "1m30s"). Keys that are not known are errors.
//
// It differs from Parca where Parca surprises: an entry of pprof_config that names
// a default profile changes only what it says (in Parca, giving process_cpu another
// path turns delta off), an entry without enabled is enabled, one whose path ends in
// /profile or /fgprof is a delta profile unless it says otherwise, and redirects and
// HTTP/2 are on, as in Prometheus.
func ParseConfig(file string, text []byte) (Config, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return Config{}, decodeError(file, nil, err)
	}
	var y fileYAML
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&y); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, decodeError(file, &root, err)
	}
	c, err := y.config(filepath.Dir(file), &root)
	if err != nil {
		return Config{}, located(file, &root, err)
	}
	return c, nil
}

func (y *fileYAML) config(dir string, root *yaml.Node) (c Config, err error) {
	if y.ObjectStorage != nil {
		if y.ObjectStorage.Bucket.IsZero() {
			return c, at(errors.New("bucket is missing"), "object_storage")
		}
		if c.ObjectStorage, err = yaml.Marshal(&y.ObjectStorage.Bucket); err != nil {
			return c, at(err, "object_storage", "bucket")
		}
	}
	if c.External, err = profile.LabelsFromMap(y.ExternalLabels); err != nil {
		return c, at(err, "external_labels")
	}
	lines := map[string]int{}
	for i := range y.ScrapeConfigs {
		job, err := y.ScrapeConfigs[i].job(dir)
		if err != nil {
			return c, at(err, "scrape_configs", i)
		}
		node, _ := find(root, []any{"scrape_configs", i})
		if first, twice := lines[job.Name]; twice {
			return c, at(fmt.Errorf("duplicate job_name found in scrape configs: %s (first in line %d)", job.Name, first), "scrape_configs", i, "job_name")
		}
		lines[job.Name] = node.Line
		written, err := yaml.Marshal(node)
		if err != nil {
			return c, at(err, "scrape_configs", i)
		}
		job.text = dir + "\n" + string(written)
		c.Jobs = append(c.Jobs, job)
	}
	return c, nil
}

func (y *jobYAML) job(dir string) (job Job, err error) {
	job = Job{
		Name: y.JobName, Scheme: y.Scheme, Params: y.Params,
		Relabel: y.RelabelConfigs, Discovery: y.Discovery, Client: y.Client,
	}
	if job.Name == "" {
		return job, errors.New("job_name is empty")
	}
	if job.Scheme == "" {
		job.Scheme = "http"
	}
	if job.Scheme != "http" && job.Scheme != "https" {
		return job, at(fmt.Errorf("invalid scheme: %q: want http or https", job.Scheme), "scheme")
	}
	if job.Interval, err = duration(y.ScrapeInterval, defaultInterval); err != nil {
		return job, at(err, "scrape_interval")
	}
	if job.Timeout, err = duration(y.ScrapeTimeout, job.Interval+3*time.Second); err != nil {
		return job, at(err, "scrape_timeout")
	}
	if job.Timeout <= job.Interval {
		return job, at(fmt.Errorf("scrape timeout must be greater than the interval: %s (%s is not more than %s)", job.Name, job.Timeout, job.Interval), "scrape_timeout")
	}
	if job.Endpoints, err = y.ProfilingConfig.endpoints(job.Interval); err != nil {
		return job, at(err, "profiling_config")
	}
	if job.asks("process_cpu") && job.Timeout < 2*time.Second {
		return job, at(fmt.Errorf("process_cpu scrape_timeout must be at least 2 seconds in %s", job.Name), "scrape_timeout")
	}
	if err := checkRules(job.Relabel); err != nil {
		return job, err
	}
	if err := job.Client.Validate(); err != nil {
		return job, err
	}
	job.Client.SetDirectory(dir)
	job.Discovery.SetDirectory(dir)
	return job, job.checkStatic()
}

// asks says whether targets are asked for a profile of that name.
func (j *Job) asks(name string) bool {
	for _, e := range j.Endpoints {
		if e.Name == name {
			return true
		}
	}
	return false
}

// checkRules checks relabelling rules, which do not check themselves when they are read.
func checkRules(rules []*relabel.Config) error {
	for i, rule := range rules {
		if rule == nil {
			return at(errors.New("empty or null target relabeling rule in scrape config"), "relabel_configs", i)
		}
		if err := rule.Validate(model.UTF8Validation); err != nil {
			return at(err, "relabel_configs", i)
		}
	}
	return nil
}

// checkStatic refuses static targets that no scrape can reach. With relabelling rules
// they need not be addresses yet, and are checked when the rules have run.
func (j *Job) checkStatic() error {
	for i, group := range j.static() {
		for k, target := range group.Targets {
			if len(j.Relabel) > 0 {
				continue
			}
			if err := checkAddress(string(target[model.AddressLabel])); err != nil {
				return at(err, "static_configs", i, "targets", k)
			}
		}
	}
	return nil
}

// static are the groups of static_configs.
func (j *Job) static() discovery.StaticConfig {
	for _, d := range j.Discovery {
		if s, ok := d.(discovery.StaticConfig); ok {
			return s
		}
	}
	return nil
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

// Self is the job by which a process scrapes itself at address: every default
// profile each 10 s, and a first CPU profile of 5 s at once.
func Self(address string) Job {
	text := fmt.Sprintf("scrape_configs: [{job_name: coldframe, static_configs: [{targets: [%q]}]}]", address)
	c, err := ParseConfig("coldframe itself", []byte(text))
	if err != nil {
		panic(fmt.Sprintf("scrape: the default job is invalid: %v", err))
	}
	job := c.Jobs[0]
	job.First = 5 * time.Second
	return job
}

package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"gopkg.in/yaml.v3"

	"github.com/coldframe/coldframe/profile"
)

// Relabel makes a series' labels of all that is known of a process, or says that nobody
// wants its samples. It may change the map that it is given.
type Relabel func(known map[string]string) (_ profile.Labels, keep bool, err error)

// asKnown keeps what does not begin with "__".
func asKnown(known map[string]string) (profile.Labels, bool, error) {
	maps.DeleteFunc(known, func(name, _ string) bool { return strings.HasPrefix(name, "__") })
	ls, err := profile.LabelsFromMap(known)
	return ls, true, err
}

// ParseRelabel reads the relabel_configs of a YAML file, which mean what they mean to
// Prometheus. Labels whose names begin with "__" are there to be asked for, and are gone
// afterwards:
//
//	__meta_process_pid, __meta_process_ppid
//	__meta_process_cmdline           arguments, separated by spaces
//	__meta_process_cgroup            what /proc/PID/cgroup says
//	__meta_process_executable_path   as the process sees it
//
// file is what errors call the text. A key that is not known is an error.
func ParseRelabel(file string, text []byte) (Relabel, error) {
	var config struct {
		RelabelConfigs []*relabel.Config `yaml:"relabel_configs"`
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&config); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w: %w", file, err, profile.ErrInvalid)
	}
	rules := config.RelabelConfigs
	for i, r := range rules {
		if r == nil {
			return nil, fmt.Errorf("%s: relabel_configs: rule %d is empty: %w", file, i+1, profile.ErrInvalid)
		}
		if err := r.Validate(model.UTF8Validation); err != nil {
			return nil, fmt.Errorf("%s: relabel_configs: rule %d: %w: %w", file, i+1, err, profile.ErrInvalid)
		}
	}
	return func(known map[string]string) (profile.Labels, bool, error) { return apply(rules, known) }, nil
}

func apply(rules []*relabel.Config, known map[string]string) (profile.Labels, bool, error) {
	changed := labels.NewBuilder(labels.FromMap(known))
	if !relabel.ProcessBuilder(changed, rules...) {
		return nil, false, nil
	}
	var pairs []profile.Label
	changed.Range(func(l labels.Label) {
		if !strings.HasPrefix(l.Name, "__") {
			pairs = append(pairs, profile.Label{Name: l.Name, Value: l.Value})
		}
	})
	ls, err := profile.NewLabels(pairs...)
	if err != nil {
		// The rules made what no series can be: unchanged is better than lost.
		unchanged, _, _ := asKnown(known)
		return unchanged, true, fmt.Errorf("relabelling: %w", err)
	}
	return ls, true, nil
}

// maxCommandLine bounds the label of a process' arguments, in bytes.
const maxCommandLine = 4 << 10

// hidden are labels that only relabelling sees.
func hidden(p *process) map[string]string {
	all := map[string]string{
		"__meta_process_pid":             strconv.FormatUint(uint64(p.pid), 10),
		"__meta_process_ppid":            strconv.FormatUint(uint64(p.parent), 10),
		"__meta_process_cgroup":          clean(strings.TrimSpace(p.cgroup)),
		"__meta_process_executable_path": clean(p.exe),
	}
	if b, err := readSome(procPath(p.pid, "cmdline"), maxCommandLine); err == nil {
		all["__meta_process_cmdline"] = clean(strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " ")))
	}
	return all
}

package scrape

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/coldframe/coldframe/profile"
)

// pathLabel is what relabelling sees of an endpoint's path, as in Parca.
const pathLabel = "__profile_path__"

// target is one endpoint at one address.
type target struct {
	job        *Job
	endpoint   Endpoint
	discovered profile.Labels // before relabelling, with what begins with "__"
	labels     profile.Labels // of the series
	name       string         // of the profiles
	url        url.URL
	query      url.Values
	dropped    bool  // by relabelling
	err        error // why it cannot be scraped
}

// key is the same for targets that are scraped alike and stored alike.
func (t *target) key() string {
	u := t.url
	u.RawQuery = t.query.Encode()
	return t.name + "\n" + u.String() + "\n" + t.labels.String()
}

// targets are what a job finds in groups: every address with every endpoint.
func (j *Job) targets(groups []*targetgroup.Group, external profile.Labels) []*target {
	var all []*target
	builder := labels.NewBuilder(labels.EmptyLabels())
	for _, group := range groups {
		if group == nil {
			continue
		}
		for _, one := range group.Targets {
			for _, e := range j.Endpoints {
				all = append(all, j.target(builder, group.Labels.Merge(one), e, external))
			}
		}
	}
	return all
}

// target relabels one endpoint at one address, in the order of Parca: what was
// discovered, path and name, what the job says, rules, port, instance.
func (j *Job) target(b *labels.Builder, found model.LabelSet, e Endpoint, external profile.Labels) *target {
	t := &target{job: j, endpoint: e}
	b.Reset(labels.EmptyLabels())
	for name, value := range found {
		b.Set(string(name), strings.ToValidUTF8(string(value), "\uFFFD"))
	}
	b.Set(pathLabel, e.Path)
	b.Set(model.MetricNameLabel, e.Name)
	setMissing(b, model.JobLabel, j.Name)
	setMissing(b, model.SchemeLabel, j.Scheme)
	for name, values := range j.Params {
		if len(values) > 0 {
			setMissing(b, model.ParamLabelPrefix+name, values[0])
		}
	}
	t.discovered = all(b)
	if !relabel.ProcessBuilder(b, j.Relabel...) {
		t.dropped = true
		return t
	}
	if t.err = t.settle(b); t.err != nil {
		return t
	}
	for _, l := range external {
		setMissing(b, l.Name, l.Value)
	}
	var pairs []profile.Label
	b.Range(func(l labels.Label) {
		if !strings.HasPrefix(l.Name, "__") {
			pairs = append(pairs, profile.Label{Name: l.Name, Value: l.Value})
		}
	})
	t.labels, t.err = profile.NewLabels(pairs...)
	return t
}

// settle reads what relabelling left: where to ask and for what.
func (t *target) settle(b *labels.Builder) error {
	address, scheme := b.Get(model.AddressLabel), b.Get(model.SchemeLabel)
	if scheme != "http" && scheme != "https" {
		return fmt.Errorf("invalid scheme: %q: want http or https", scheme)
	}
	if err := checkAddress(address); err != nil {
		return fmt.Errorf("address %q: %w", address, err)
	}
	address = withPort(address, scheme)
	setMissing(b, model.InstanceLabel, address)
	if t.name = b.Get(model.MetricNameLabel); t.name == "" || strings.Contains(t.name, ":") {
		return fmt.Errorf("__name__ %q cannot be a profile's name", t.name)
	}
	t.url = url.URL{Scheme: scheme, Host: address, Path: b.Get(pathLabel)}
	if !strings.HasPrefix(t.url.Path, "/") {
		t.url.Path = "/" + t.url.Path
	}
	t.query = url.Values{}
	for name, values := range t.job.Params {
		t.query[name] = append([]string(nil), values...) // each target has its own
	}
	own, _ := url.ParseQuery(t.endpoint.Query)
	for name, values := range own {
		t.query[name] = values
	}
	b.Range(func(l labels.Label) {
		name, ok := strings.CutPrefix(l.Name, model.ParamLabelPrefix)
		switch {
		case !ok:
		case len(t.query[name]) > 0:
			if own[name] == nil {
				t.query[name][0] = l.Value
			}
		default:
			t.query.Set(name, l.Value)
		}
	})
	return nil
}

func setMissing(b *labels.Builder, name, value string) {
	if b.Get(name) == "" {
		b.Set(name, value)
	}
}

// all are a builder's labels, "__" and all.
func all(b *labels.Builder) profile.Labels {
	var ls profile.Labels
	b.Labels().Range(func(l labels.Label) { ls = append(ls, profile.Label{Name: l.Name, Value: l.Value}) })
	return ls
}

func checkAddress(address string) error {
	host, _, err := net.SplitHostPort(address)
	switch {
	case address == "":
		return errors.New("no address")
	case strings.ContainsAny(address, "/?#@ "):
		return fmt.Errorf("%q is not a valid hostname: want host:port without scheme or path (they are the keys scheme and path)", address)
	case err == nil && host == "":
		return errors.New("host is empty")
	}
	return nil
}

func withPort(address, scheme string) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	host := strings.Trim(address, "[]")
	if scheme == "https" {
		return net.JoinHostPort(host, "443")
	}
	return net.JoinHostPort(host, "80")
}

package scrape

import (
	"fmt"
	"io"
	"strings"

	"github.com/prometheus/common/model"
)

// Describe writes what a configuration means, for people: each job with its profiles,
// the static targets as relabelling leaves them, and where others are looked for. It
// asks nobody.
func (c Config) Describe(w io.Writer) {
	targets := 0
	for i := range c.Jobs {
		targets += c.Jobs[i].describe(w, c)
	}
	fmt.Fprintf(w, "%d jobs, %d static targets\n", len(c.Jobs), targets)
}

func (j *Job) describe(w io.Writer, c Config) (targets int) {
	fmt.Fprintf(w, "job %s: every %s, timeout %s\n", j.Name, model.Duration(j.Interval), model.Duration(j.Timeout))
	for _, e := range j.Endpoints {
		fmt.Fprintf(w, "  profile %s: %s\n", e.Name, e.describe())
	}
	if auth := j.authentication(); auth != "" {
		fmt.Fprintf(w, "  with %s\n", auth)
	}
	seen := map[string]bool{}
	for _, t := range j.targets(j.static(), c.External) {
		line := t.describe()
		if !seen[line] {
			seen[line] = true
			targets++
			fmt.Fprintf(w, "  %s\n", line)
		}
	}
	for _, kind := range j.kindsOf() {
		if kind != "static" {
			fmt.Fprintf(w, "  targets from %s_sd_configs\n", kind)
		}
	}
	return targets
}

func (e Endpoint) describe() string {
	s := e.Path
	if e.Query != "" {
		s += "?" + e.Query
	}
	if e.Seconds > 0 {
		s += fmt.Sprintf(" for %ds", e.Seconds)
	}
	for i, k := range e.Keep {
		if i == 0 {
			s += ", of it only"
		}
		s += " " + k.String()
	}
	return s
}

// describe names a target without its endpoint.
func (t *target) describe() string {
	switch {
	case t.dropped:
		return fmt.Sprintf("target %s: dropped by relabel_configs", t.discovered.Get(model.AddressLabel))
	case t.err != nil:
		return fmt.Sprintf("target %s: cannot be scraped: %v", t.discovered.Get(model.AddressLabel), t.err)
	}
	s := "target " + t.url.Scheme + "://" + t.url.Host + " " + t.labels.String()
	if len(t.query) > 0 {
		s += " ?" + t.query.Encode()
	}
	return s
}

// authentication names the means by which a job's client says who it is.
func (j *Job) authentication() string {
	var means []string
	add := func(used bool, name string) {
		if used {
			means = append(means, name)
		}
	}
	c := j.Client
	add(c.BasicAuth != nil, "basic_auth")
	add(c.Authorization != nil, "authorization")
	add(c.OAuth2 != nil, "oauth2")
	add(c.TLSConfig.CertFile != "" || c.TLSConfig.Cert != "", "a client certificate")
	add(c.TLSConfig.InsecureSkipVerify, "insecure_skip_verify")
	add(c.ProxyURL.URL != nil || c.ProxyFromEnvironment, "a proxy")
	add(c.HTTPHeaders != nil, "http_headers")
	add(!c.FollowRedirects, "follow_redirects: false")
	add(!c.EnableHTTP2, "enable_http2: false")
	return strings.Join(means, ", ")
}

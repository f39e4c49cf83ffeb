package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/coldframe/coldframe/ingest/scrape"
)

// maxTargetMetrics bounds how many targets are shown one by one. Beyond it those that are
// down come first; all are counted by job, and listed by GET /api/v1/targets.
const maxTargetMetrics = 1000

// targetMetrics shows every target's health and the duration of its last scrape.
type targetMetrics struct {
	targets      func() []scrape.Status
	up, duration *prometheus.Desc
}

func newTargetMetrics(targets func() []scrape.Status) *targetMetrics {
	labels := []string{"job", "instance", "profile"}
	return &targetMetrics{
		targets:  targets,
		up:       prometheus.NewDesc("coldframe_scrape_target_up", "1 if the last scrape of the target succeeded, 0 if it failed. At most 1000 targets, those that are down first.", labels, nil),
		duration: prometheus.NewDesc("coldframe_scrape_target_duration_seconds", "How long the last scrape of the target took, the seconds of a delta profile included. The same targets.", labels, nil),
	}
}

// Describe implements [prometheus.Collector].
func (m *targetMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- m.up
	to <- m.duration
}

// Collect implements [prometheus.Collector]. Targets that differ by other labels alone are one: it
// is down if one of them is.
func (m *targetMetrics) Collect(to chan<- prometheus.Metric) {
	type key struct{ job, instance, profile string }
	all := m.targets()
	shown := map[key]bool{}
	for _, health := range []scrape.Health{scrape.Down, scrape.Up} {
		for _, s := range all {
			k := key{s.Job, s.Labels.Get("instance"), s.Name}
			if s.Health != health || s.State != scrape.Active || shown[k] || len(shown) >= maxTargetMetrics {
				continue
			}
			shown[k] = true
			up := 0.0
			if health == scrape.Up {
				up = 1
			}
			to <- prometheus.MustNewConstMetric(m.up, prometheus.GaugeValue, up, k.job, k.instance, k.profile)
			to <- prometheus.MustNewConstMetric(m.duration, prometheus.GaugeValue, s.Duration.Seconds(), k.job, k.instance, k.profile)
		}
	}
}

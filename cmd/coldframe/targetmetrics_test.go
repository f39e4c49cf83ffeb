package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/coldframe/coldframe/ingest/scrape"
	"github.com/coldframe/coldframe/profile"
)

// Every target is shown by job, instance and profile, once, and of too many first those that
// are down. What has not been scraped yet is neither.
func TestTargetMetrics(t *testing.T) {
	target := func(instance string, health scrape.Health) scrape.Status {
		labels, err := profile.NewLabels(profile.Label{Name: "instance", Value: instance}, profile.Label{Name: "pod", Value: instance + string(health)})
		if err != nil {
			t.Fatal(err)
		}
		return scrape.Status{Job: "api", Name: "memory", Labels: labels, State: scrape.Active, Health: health, Duration: time.Second / 2}
	}
	var all []scrape.Status
	m := newTargetMetrics(func() []scrape.Status { return all })
	reg := prometheus.NewRegistry()
	reg.MustRegister(m)
	all = []scrape.Status{target("a:1", scrape.Up), target("b:1", scrape.Up), target("b:1", scrape.Down), target("c:1", scrape.Unknown), {Job: "api", State: scrape.Dropped}}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP coldframe_scrape_target_up 1 if the last scrape of the target succeeded, 0 if it failed. At most 1000 targets, those that are down first.
# TYPE coldframe_scrape_target_up gauge
coldframe_scrape_target_up{instance="a:1",job="api",profile="memory"} 1
coldframe_scrape_target_up{instance="b:1",job="api",profile="memory"} 0
`), "coldframe_scrape_target_up"); err != nil {
		t.Error(err)
	}
	all = nil
	for n := range 2000 {
		all = append(all, target(fmt.Sprintf("host%04d:1", n), scrape.Up))
	}
	all = append(all, target("late:1", scrape.Down))
	if n := testutil.CollectAndCount(m, "coldframe_scrape_target_up"); n != maxTargetMetrics {
		t.Errorf("%d targets are shown, want %d", n, maxTargetMetrics)
	}
	families, err := reg.Gather()
	if err != nil || !strings.Contains(fmt.Sprint(families), "late:1") {
		t.Errorf("the target that is down is not among them: %v", err)
	}
}

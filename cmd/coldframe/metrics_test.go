package main

import (
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coldframe/coldframe/compactor"
)

// Every metric that the guide names is one that a process shows.
func TestGuideNamesMetrics(t *testing.T) {
	guide, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var sources strings.Builder
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".go") && !strings.HasSuffix(f.Name(), "_test.go") {
			source, err := os.ReadFile(f.Name())
			if err != nil {
				t.Fatal(err)
			}
			sources.Write(source)
		}
	}
	names := regexp.MustCompile(`coldframe_[a-z_]+`).FindAllString(string(guide), -1)
	for _, name := range names {
		if !strings.Contains(sources.String(), `"`+name+`"`) {
			t.Errorf("%s is in the guide and nowhere else", name)
		}
	}
	if len(names) < 8 {
		t.Errorf("the guide names %q", names)
	}
}

// What a compactor's shards hold, owe and have too much of is shown.
func TestCompactorMetrics(t *testing.T) {
	p := newPast(t, time.Date(2026, 8, 21, 12, 0, 0, 0, time.UTC))
	reg := newRegistry()
	observer := observeCompact(reg, slog.New(slog.DiscardHandler))
	for range 3 {
		p.push(2, map[string]int64{})
		p.time = p.time.Add(90 * time.Second)
		p.compact(compactor.Config{Observer: observer})
	}
	gathered, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range gathered {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, l := range m.GetLabel() {
				if l.GetName() == "level" || l.GetName() == "kind" {
					name += "/" + l.GetValue()
				}
			}
			values[name] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	for _, name := range []string{"coldframe_compact_live_bytes/b1", "coldframe_compact_live_blocks/b1", "coldframe_compact_commits_total/seal", "coldframe_compact_sealed_lag_seconds"} {
		if values[name] <= 0 {
			t.Errorf("%s is %v", name, values[name])
		}
	}
	if _, shown := values["coldframe_compact_debt_bytes"]; !shown {
		t.Error("no debt is shown")
	}
}

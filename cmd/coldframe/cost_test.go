package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// The bill of docs/cost.md: its lines, and what makes it larger.
func TestCost(t *testing.T) {
	bill := func(args ...string) (dollars float64, lines map[string]float64) {
		t.Helper()
		var answer struct {
			Lines []struct {
				Name    string
				Dollars float64
			}
			Total float64 `json:"dollars_a_month"`
		}
		if err := json.Unmarshal([]byte(must(t, append([]string{"cost", "--format", "json"}, args...)...)), &answer); err != nil {
			t.Fatal(err)
		}
		lines, sum := map[string]float64{}, 0.0
		for _, l := range answer.Lines {
			lines[l.Name] = l.Dollars
			sum += l.Dollars
		}
		if sum-answer.Total > 1e-6 || answer.Total-sum > 1e-6 {
			t.Errorf("the lines make %f, the bill says %f", sum, answer.Total)
		}
		return answer.Total, lines
	}
	usual, lines := bill("--hosts", "100", "--flush", "60s", "--retention", "30d", "--queries-per-day", "1000", "--delete")
	for name, want := range map[string]float64{ // by hand
		"uploads":                 4.32 * 5,                       // 100 hosts, 43,200 minutes
		"compaction reads blocks": 4.32 * 0.4,                     //
		"pprof blocks":            0.947 * 3.6 * 0.023,            // an hour of 947 kB/s
		"Arrow blocks":            14.2e6 * 100 * 30 / 1e9 * .023, //
		"queries read":            30e3 * 125 / 1e6 * 0.4,         //
	} {
		if got := lines[name]; got < want*0.999 || got > want*1.001 {
			t.Errorf("%s: $%.3f, want $%.3f", name, got, want)
		}
	}
	if usual < 25 || usual > 45 {
		t.Errorf("100 hosts cost $%.2f, want about a third of a dollar each", usual)
	}
	for what, args := range map[string][]string{
		"more hosts":       {"--hosts", "200"},
		"shorter flushes":  {"--flush", "10s"},
		"longer retention": {"--retention", "1y"},
		"more queries":     {"--queries-per-day", "100000"},
	} {
		if more, _ := bill(append([]string{"--hosts", "100", "--delete"}, args...)...); more <= usual {
			t.Errorf("%s: $%.2f, no more than $%.2f", what, more, usual)
		}
	}
	if longer, _ := bill("--flush", "300s", "--delete"); longer >= usual {
		t.Errorf("longer flushes: $%.2f, no less than $%.2f", longer, usual)
	}
	if idle, _ := bill("--hosts", "0", "--queries-per-day", "0"); idle > 1 {
		t.Errorf("without hosts and queries: $%.2f", idle)
	}
	if text := must(t, "cost"); !strings.Contains(text, "a month") || !strings.Contains(text, "docs/cost.md") {
		t.Errorf("got:\n%s", text)
	}
}

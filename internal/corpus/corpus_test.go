package corpus_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/internal/corpus"
)

// small is a fleet that takes no time: every program once, two profiles of each instance.
func small() corpus.Config {
	return corpus.Config{Services: 14, Instances: 20, Window: time.Minute, Samples: 100}
}

// With AllDistinct no two rows of a service have one stack, not even in different profiles.
func TestAllDistinct(t *testing.T) {
	c := small()
	c.AllDistinct = true
	s, err := corpus.Measure(slices.Collect(corpus.All(c)))
	if err != nil {
		t.Fatal(err)
	}
	if int64(s.Stacks) != s.Rows {
		t.Errorf("%d distinct stacks of %d rows, want all distinct", s.Stacks, s.Rows)
	}
}

func TestAllIsDeterministic(t *testing.T) {
	first, again := slices.Collect(corpus.All(small())), slices.Collect(corpus.All(small()))
	same := func(a, b corpus.Profile) bool {
		return a.Name == b.Name && a.Time.Equal(b.Time) && a.Labels.Equal(b.Labels) && bytes.Equal(a.Body, b.Body)
	}
	if !slices.EqualFunc(first, again, same) {
		t.Error("the same Config gave other profiles")
	}
	other := small()
	other.Seed = 1
	if slices.EqualFunc(first, slices.Collect(corpus.All(other)), same) {
		t.Error("another Seed gave the same profiles")
	}
}

// Profiles come in the order of their times, each series one every Interval, and
// the body tells the same time.
func TestTimes(t *testing.T) {
	c := small()
	c.Start, c.Interval, c.Window = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), 20*time.Second, time.Minute
	last := map[string]time.Time{}
	previous := c.Start
	for p := range corpus.All(c) {
		if p.Time.Before(previous) || p.Time.Sub(c.Start) >= c.Window {
			t.Fatalf("%s comes after one at %s", p, previous)
		}
		previous = p.Time
		series := p.Name + p.Labels.String()
		if before, ok := last[series]; ok && p.Time.Sub(before) > c.Interval {
			t.Errorf("%s: %s after the one before, want at most %s", p, p.Time.Sub(before), c.Interval)
		}
		last[series] = p.Time
		decoded, err := pprof.ParseData(p.Body)
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		if decoded.TimeNanos != p.Time.UnixNano() {
			t.Errorf("%s: body says %s", p, time.Unix(0, decoded.TimeNanos).UTC())
		}
	}
	if len(last) < 30 {
		t.Errorf("%d series, want two for each of most of 20 instances", len(last))
	}
}

func BenchmarkAll(b *testing.B) {
	for _, distinct := range []bool{false, true} {
		b.Run(map[bool]string{false: "repeating", true: "distinct"}[distinct], func(b *testing.B) {
			defer corpus.ReportCPU(b, 800)()
			for b.Loop() {
				if n := len(slices.Collect(corpus.All(corpus.Config{AllDistinct: distinct}))); n != 800 {
					b.Fatalf("%d profiles, want 800", n)
				}
			}
		})
	}
}

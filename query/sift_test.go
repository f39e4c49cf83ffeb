package query

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coldframe/coldframe/profile"
)

// plainSeries are the totals of what is asked for, in the plainest way: by labels and step.
func plainSeries(t testing.TB, all []sent, req SeriesRequest) map[string]int64 {
	type moment struct{ time, value int64 }
	totals := map[string]int64{}
	latest := map[string]moment{} // of each series and line in a step
	for _, s := range refer(t, all, Request{Selector: profile.Selector{Type: req.Selector.Type}, Range: req.Range}).profiles {
		p := s.parse(t)
		column := defaultColumn(p, columnsOf(p, s.name, req.Selector.Type))
		ofLine := map[string]int64{}
		for _, sample := range p.Sample {
			labels := allLabels(s, sample)
			if slices.ContainsFunc(req.Selector.Matchers, func(m *profile.Matcher) bool { return !m.Matches(labels[m.Name]) }) ||
				slices.ContainsFunc(req.Filters, func(f Filter) bool { return !f.Frames && !keepsStack(f, spots(sample)) }) {
				continue
			}
			by := map[string]string{}
			for name, value := range labels {
				if slices.Contains(req.By, name) || req.ByAll && s.labels.Get(name) != "" {
					by[name] = value
				}
			}
			line, _ := profile.LabelsFromMap(by)
			ofLine[line.String()] += sample.Value[column]
		}
		ms := s.time.UnixMilli()
		begin := ms - ms%req.Step.Milliseconds()
		for line, value := range ofLine {
			totals[fmt.Sprint(line, begin)] += value
			if at := fmt.Sprint(s.labels, line, "\n", line, begin); ms >= latest[at].time {
				latest[at] = moment{ms, value}
			}
		}
	}
	if req.Aggregate == Last {
		clear(totals)
		for at, m := range latest {
			_, line, _ := strings.Cut(at, "\n")
			totals[line] += m.value
		}
	}
	return totals
}

// randomSeries asks for steps, lines, filters and labels of every kind.
func randomSeries(t testing.TB, rng *rand.Rand, all []sent) SeriesRequest {
	req := SeriesRequest{Request: randomSampleRequest(t, rng, all), ByAll: rng.IntN(6) == 0}
	req.Step = []time.Duration{time.Minute, 15 * time.Minute, time.Hour}[rng.IntN(3)]
	if !req.ByAll {
		req.By = [][]string{nil, {"pod"}, {"span"}, {"span", "pod"}, {"bytes", "nobody"}, {"zone", "service_name"}}[rng.IntN(6)]
	}
	for range rng.IntN(3) {
		req.Filters = append(req.Filters, randomFilter(rng))
	}
	return req
}

// Series of any labels, with any filters, are what comes of google/pprof's samples one by one,
// whoever adds them up.
func TestSeriesAgainstGooglePprof(t *testing.T) {
	for name, layOut := range layouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(19, 20))
			all := fleet{rng, start, 8 * time.Hour}.profiles(t, 50)
			h := newHouse()
			layOut(t, h, all)
			alone := h.q
			workers := shareAll(h, 2)
			answered := 0
			for range 25 {
				req := randomSeries(t, rng, all)
				for _, req.Aggregate = range []Aggregate{Sum, Last} {
					what := fmt.Sprintf("%s %v by %v, step %s, aggregate %d [%s, %s)", req.Selector, req.Filters, req.By, req.Step, req.Aggregate, formatTime(req.Range.From), formatTime(req.Range.To))
					want := plainSeries(t, all, req)
					maps.DeleteFunc(want, func(_ string, v int64) bool { return v == 0 })
					for who, q := range map[string]*Querier{"one process": alone, "several": h.q} {
						list, err := q.Series(t.Context(), req)
						if errors.Is(err, ErrNoType) {
							continue
						}
						if err != nil {
							t.Fatalf("%s: %v", what, err)
						}
						got := map[string]int64{}
						for _, s := range list.Series {
							for _, p := range s.Points {
								if p.Value != 0 {
									got[fmt.Sprint(s.Labels.String(), p.Time)] += p.Value
								}
							}
						}
						compareMaps(t, who+": "+what, got, want)
						answered += len(got)
					}
				}
			}
			if answered < 200 {
				t.Errorf("only %d points", answered)
			}
			if name != "pprof blocks" && workers.asked < 10 {
				t.Errorf("workers were asked %d times", workers.asked)
			}
		})
	}
}

// Filters apply to sums of whole windows too, which series over long times are made of.
func TestFilteredSeriesOfWindows(t *testing.T) {
	rng := rand.New(rand.NewPCG(43, 3))
	all := fleet{rng, start, 20 * time.Hour}.profiles(t, 80)
	h := newHouse()
	h.putArrow(t, all...)
	for range 15 {
		req := SeriesRequest{Request: request(t, []string{"{}", `{service_name="api"}`, `{pod="a"}`}[rng.IntN(3)], "process_cpu/cpu", start, start.Add(24*time.Hour)), Step: time.Hour}
		req.Filters = []Filter{randomFilter(rng)}
		want := plainSeries(t, all, req)
		maps.DeleteFunc(want, func(_ string, v int64) bool { return v == 0 })
		list, err := h.q.Series(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int64{}
		for _, s := range list.Series {
			for _, p := range s.Points {
				if p.Value != 0 {
					got[fmt.Sprint(s.Labels.String(), p.Time)] += p.Value
				}
			}
		}
		compareMaps(t, fmt.Sprintf("%s %v", req.Selector, req.Filters), got, want)
	}
}

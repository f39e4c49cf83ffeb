package query

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/profile"
)

// gauge is a profile of memory in use, as many bytes as are said.
func gauge(t *testing.T, at time.Time, pod string, inUse int64) sent {
	t.Helper()
	p := &pprof.Profile{
		SampleType: []*pprof.ValueType{{Type: "inuse_space", Unit: "bytes"}},
		PeriodType: &pprof.ValueType{Type: "space", Unit: "bytes"},
		TimeNanos:  at.UnixNano(),
		Location:   []*pprof.Location{{ID: 1, Address: 1}},
	}
	p.Sample = []*pprof.Sample{{Location: p.Location, Value: []int64{inUse}}}
	return sent{"memory", mustLabels("job", "api", "pod", pod), at, write(t, p)}
}

// Levels are not added up over time, but the latest of each series are over series.
func TestAggregate(t *testing.T) {
	h := newHouse()
	h.putL0(t, gauge(t, start, "a", 100), gauge(t, start.Add(10*time.Second), "a", 70), gauge(t, start.Add(70*time.Second), "a", 50))
	h.putArrow(t, gauge(t, start.Add(20*time.Second), "b", 9), gauge(t, start.Add(5*time.Second), "a", 80))
	for aggregate, want := range map[Aggregate]string{
		Sum:  fmt.Sprintf("[{{} [{%d 259 4 1m0s} {%d 50 1 0s}]}]", start.UnixMilli(), start.Add(time.Minute).UnixMilli()),
		Last: fmt.Sprintf("[{{} [{%d 79 2 1m0s} {%d 50 1 0s}]}]", start.UnixMilli(), start.Add(time.Minute).UnixMilli()),
	} {
		list, err := h.q.Series(t.Context(), SeriesRequest{Request: request(t, "{}", "memory", start, start.Add(time.Hour)), Step: time.Minute, Aggregate: aggregate})
		if got := fmt.Sprint(list.Series); err != nil || got != want {
			t.Errorf("aggregate %d: %s and %v, want %s", aggregate, got, err, want)
		}
	}
}

// With steps, each has a tree of its own; of levels it is the latest of each series in it.
func TestTreeByTime(t *testing.T) {
	h := newHouse()
	h.putL0(t, gauge(t, start, "a", 100), gauge(t, start.Add(10*time.Second), "a", 70), gauge(t, start.Add(70*time.Second), "a", 50))
	h.putArrow(t, gauge(t, start.Add(20*time.Second), "b", 9), gauge(t, start.Add(5*time.Second), "a", 80))
	for _, c := range []struct {
		aggregate Aggregate
		labels    []string
		want      string
	}{
		{Sum, nil, `{__time__="2026-08-20T20:00:00.000Z"} 259, {__time__="2026-08-20T20:01:00.000Z"} 50`},
		{Last, nil, `{__time__="2026-08-20T20:00:00.000Z"} 79, {__time__="2026-08-20T20:01:00.000Z"} 50`},
		{Last, []string{"pod"}, `{__time__="2026-08-20T20:00:00.000Z", pod="a"} 70, {__time__="2026-08-20T20:00:00.000Z", pod="b"} 9, {__time__="2026-08-20T20:01:00.000Z", pod="a"} 50`},
	} {
		tree, err := h.q.Tree(t.Context(), TreeRequest{
			Request: request(t, "{}", "memory", start, start.Add(time.Hour)), View: View{Step: time.Minute, Labels: c.labels}, Aggregate: c.aggregate,
		})
		var steps []string
		for i, depth := range tree.Depth {
			if depth == 1 {
				steps = append(steps, fmt.Sprint(tree.Frames[tree.Frame[i]].Name, " ", tree.Total[i]))
			}
		}
		if got := strings.Join(steps, ", "); err != nil || got != c.want {
			t.Errorf("aggregate %d by %v: %s and %v, want %s", c.aggregate, c.labels, got, err, c.want)
		}
	}
}

// A line for each label set has all its labels; lists of label sets have those asked for.
func TestLabelSets(t *testing.T) {
	h := newHouse()
	h.putL0(t, gauge(t, start, "a", 1), gauge(t, start, "b", 2), gauge(t, start.Add(time.Second), "a", 4))
	h.putArrow(t, gauge(t, start, "c", 8))
	req := request(t, "{}", "memory", start, start.Add(time.Hour))
	series, err := h.q.Series(t.Context(), SeriesRequest{Request: req, Step: time.Minute, ByAll: true})
	want := fmt.Sprintf(`[{{job="api", pod="a"} [{%[1]d 5 2 1m0s}]} {{job="api", pod="b"} [{%[1]d 2 1 0s}]} {{job="api", pod="c"} [{%[1]d 8 1 0s}]}]`, start.UnixMilli())
	if got := fmt.Sprint(series.Series); err != nil || got != want {
		t.Errorf("got %s and %v, want %s", got, err, want)
	}
	for want, names := range map[string][]string{
		`[{job="api", pod="a"} {job="api", pod="b"} {job="api", pod="c"}]`: nil,
		`[{pod="a"} {pod="b"} {pod="c"}]`:                                  {"pod"},
		`[{job="api"}]`:                                                    {"job", "none"},
		`[{}]`:                                                             {"none"},
	} {
		list, err := h.q.LabelSets(t.Context(), req, names)
		var sets []profile.Labels
		for _, set := range list.Sets {
			sets = append(sets, set.Labels)
			if len(set.Types) != 1 || set.Types[0].Sample.Type != "inuse_space" {
				t.Errorf("by %v: types %v", names, set.Types)
			}
		}
		if err != nil || fmt.Sprint(sets) != want {
			t.Errorf("by %v: %v and %v, want %s", names, sets, err, want)
		}
	}
}

func TestSteps(t *testing.T) {
	for span, want := range map[time.Duration]time.Duration{
		time.Second: time.Second, time.Hour: 30 * time.Second, 6 * time.Hour: 5 * time.Minute, 7 * 24 * time.Hour: 2 * time.Hour,
		365 * 24 * time.Hour: 7 * 24 * time.Hour, 3650 * 24 * time.Hour: 5 * 7 * 24 * time.Hour,
	} {
		if got := niceStep(profile.TimeRange{From: start, To: start.Add(span)}); got != want {
			t.Errorf("a step of %s for %s, want %s", got, span, want)
		}
	}
	hour := profile.TimeRange{From: start, To: start.Add(time.Hour)}
	for step, want := range map[time.Duration]error{
		time.Second: nil, 400 * time.Millisecond: nil, time.Hour: nil, 24 * time.Hour: nil,
		300 * time.Millisecond: profile.ErrInvalid, time.Microsecond: profile.ErrInvalid, -time.Second: profile.ErrInvalid, 1500 * time.Microsecond: profile.ErrInvalid,
	} {
		if err := checkStep(step, hour); !errors.Is(err, want) {
			t.Errorf("step %s: %v, want %v", step, err, want)
		}
	}
}

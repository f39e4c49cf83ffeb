package query

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
)

// SeriesRequest asks for totals over time.
type SeriesRequest struct {
	Request
	// Step is the length of a step, at least 1 ms; steps begin at multiples of it
	// since 1970. 0 chooses one that gives at most 120 steps.
	Step      time.Duration
	By        []string // label names to group by
	ByAll     bool     // a line for each label set; By is not read
	Aggregate Aggregate
}

// SeriesList is the totals of profiles over time, by label.
type SeriesList struct {
	Type   profile.Type
	Range  profile.TimeRange
	Step   time.Duration
	By     []string
	Series []Series // by labels
	Stats  Stats
}

// Series is the totals of the profiles whose labels agree in those grouped by.
type Series struct {
	Labels profile.Labels
	Points []Point // by time; steps without a profile have none
}

// Point is what the profiles of one step add up to.
type Point struct {
	Time     int64 // the step's beginning, in milliseconds since 1970
	Value    int64
	Profiles int
	// Duration is what the value was gathered in: that of the longest profile when all
	// began together, else the step.
	Duration time.Duration
}

// maxSteps is what one request may ask for, as in Prometheus.
const maxSteps = 11_000

// Series adds up the selected profiles by step and labels. It reads stacks only for filters of
// them, and samples only for filters and labels that only samples have. Of a type pattern
// that leaves several sample types it takes the default one.
func (q *Querier) Series(ctx context.Context, req SeriesRequest) (*SeriesList, error) {
	list := &SeriesList{Range: req.Range, By: req.By, Step: req.Step}
	if err := validateFilters(req.Filters); err != nil {
		return nil, serve.Field("filter", err)
	}
	if list.Step == 0 {
		list.Step = niceStep(req.Range)
	}
	if err := checkStep(list.Step, req.Range); err != nil {
		return nil, serve.Field("step", err)
	}
	stats, err := q.answer(ctx, "series", req.Request, func(ctx context.Context, r *run) error {
		list.Type, list.Series = profile.Type{}, nil
		r.by, r.alone = req.By, r.alone || req.Aggregate != Sum
		if req.Aggregate == Sum {
			PartSteps{StepMillis: list.Step.Milliseconds(), ByAll: req.ByAll}.ask(r)
		}
		s, err := r.selectProfiles(ctx)
		if err != nil {
			return err
		}
		c, err := s.chooseTypes(req.Selector.Type)
		if err != nil || c == nil {
			return err
		}
		c = c.single()
		list.Type = c.typ(0)
		if err := req.Aggregate.counts(list.Type); err != nil {
			return err
		}
		s.keep(c)
		sums := newStepSums(req, list.Step, &r.groups)
		here, err := r.siftShared(ctx, s, c, sums)
		if err != nil {
			return err
		}
		r.counted(s.profiles())
		if req.Aggregate == Difference {
			list.Type.Delta = true
			sums.addDifferences(&selection{parts: here}, c)
		} else {
			sums.addAll(here, c)
		}
		list.Series = sums.series()
		return nil
	})
	list.Stats = stats
	return list, err
}

// niceSteps are those that people think in.
var niceSteps = []time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}

// niceStep gives at most 120 steps: a nice one, or else whole weeks.
func niceStep(r profile.TimeRange) time.Duration {
	const week = 7 * 24 * time.Hour
	length := r.To.Sub(r.From)
	for _, step := range niceSteps {
		if length <= 120*step {
			return step
		}
	}
	return (length/120/week + 1) * week
}

func checkStep(step time.Duration, r profile.TimeRange) error {
	switch {
	case step < time.Millisecond || step%time.Millisecond != 0:
		return fmt.Errorf("step %s: want whole milliseconds: %w", step, profile.ErrInvalid)
	case r.To.Sub(r.From)/step > maxSteps:
		return fmt.Errorf("step %s: the range has %d steps of it, at most %d are allowed: %w", step, r.To.Sub(r.From)/step, maxSteps, profile.ErrInvalid)
	}
	return nil
}

// beginOf is when the step of so many milliseconds began that a time lies in. No profile is
// older than 1970.
func beginOf(ms, stepMS int64) int64 { return ms - ms%stepMS }

// windowsOf says which windows of rollups steps are made of: these begin at midnight, and so
// must the steps. No step takes any.
func windowsOf(step time.Duration) func(window time.Duration) bool {
	if step == 0 {
		return anyWindow
	}
	return func(window time.Duration) bool { return step%window == 0 && (24*time.Hour)%step == 0 }
}

// stepSums adds up profiles by step and by the labels that are grouped by.
type stepSums struct {
	by     []string
	all    bool
	stepMS int64
	last   bool
	groups *grouping
	lines  map[string]*line  // by their labels
	levels map[string]*level // by name and labels of a series; only for Last
}

type line struct {
	labels profile.Labels
	steps  map[int64]*step // by their beginning
}

// step is the profiles of a line in one step.
type step struct {
	value    int64
	profiles int
	first    int64 // when the first one that was met began
	several  bool  // others began at another time
	nanos    int64 // of the longest
}

func (s *step) add(d dated) {
	if s.profiles == 0 {
		s.first = d.time
	}
	s.value += d.value
	s.profiles++
	s.several = s.several || s.first != d.time
	s.nanos = max(s.nanos, d.nanos)
}

// dated is a profile's value, and when and for how long it was gathered.
type dated struct{ time, value, nanos int64 }

// level is one series' latest profile in each step.
type level struct {
	line   *line
	latest map[int64]dated // by the step's beginning
}

func newStepSums(req SeriesRequest, step time.Duration, groups *grouping) *stepSums {
	return &stepSums{
		by: req.By, all: req.ByAll, stepMS: step.Milliseconds(), last: req.Aggregate == Last, groups: groups,
		lines: map[string]*line{}, levels: map[string]*level{},
	}
}

// addAll adds the chosen profiles of some parts. c is of one sample type.
func (s *stepSums) addAll(parts []*part, c *choice) {
	for _, p := range parts {
		for _, k := range p.picks {
			s.add(p, k, c.columns(p.blk.Groups()[k.group])[0])
		}
	}
}

// add adds a pick's profiles by the values of a sample type.
func (s *stepSums) add(p *part, k pick, column int) {
	for _, w := range k.windows {
		s.addWindows(p, w, column)
	}
	var to *line
	var level *level
	var last struct {
		series uint32
		group  int
	}
	for w := range k.worths(column) {
		if series := k.totals.Series[w.row]; to == nil || series != last.series || w.group != last.group {
			labels := p.blk.Series()[series].Labels
			to, last.series, last.group = s.lineOf(labels, w.group), series, w.group
			if s.last {
				level = s.level(labels, to)
			}
		}
		d := dated{p.start() + int64(k.totals.T[w.row]), w.value, k.totals.DurationNanos[w.row]}
		begin := beginOf(d.time, s.stepMS)
		if level == nil {
			to.step(begin).add(d)
		} else if latest, ok := level.latest[begin]; !ok || cmp.Or(cmp.Compare(d.time, latest.time), cmp.Compare(d.value, latest.value)) > 0 {
			level.latest[begin] = d
		}
	}
}

// addWindows adds sums, each of which lies in one step.
func (s *stepSums) addWindows(p *part, w windows, column int) {
	for n, i := range w.chosen {
		var labels profile.Labels // of sums over services nothing is told apart
		if w.rollup.Axis == arrowblock.BySeries {
			labels = p.blk.Series()[w.cells.Key[i]].Labels
		}
		first := p.start() + int64(w.cells.FirstT[i])
		to := s.line(labels).step(beginOf(first, s.stepMS))
		profiles := int(w.cells.Profiles[i])
		to.add(dated{first, w.value(n, column), w.cells.DurationNanos[i]})
		to.profiles += profiles - 1
		to.several = to.several || profiles > 1
	}
}

// addDifferences adds by how much each series grew.
func (s *stepSums) addDifferences(selected *selection, c *choice) {
	for _, profiles := range selected.bySeries(c) {
		at := profiles[0]
		p := selected.parts[at.part]
		to := s.lineOf(p.blk.Series()[p.picks[at.pick].totals.Series[at.row]].Labels, at.group)
		for _, d := range differences(profiles) {
			to.step(beginOf(d.time, s.stepMS)).add(d)
		}
	}
}

func (l *line) step(begin int64) *step {
	if l.steps[begin] == nil {
		l.steps[begin] = &step{}
	}
	return l.steps[begin]
}

// lineOf is the line of a series, or of a group where one is named.
func (s *stepSums) lineOf(labels profile.Labels, group int) *line {
	if group != ofSeries {
		labels = s.groups.labels[group]
	}
	return s.line(labels)
}

func (s *stepSums) line(labels profile.Labels) *line {
	var grouped profile.Labels
	for _, l := range labels {
		if s.all || slices.Contains(s.by, l.Name) {
			grouped = append(grouped, l)
		}
	}
	key := grouped.String()
	if s.lines[key] == nil {
		s.lines[key] = &line{grouped, map[int64]*step{}}
	}
	return s.lines[key]
}

func (s *stepSums) level(labels profile.Labels, to *line) *level {
	key := labels.String() + to.labels.String()
	if s.levels[key] == nil {
		s.levels[key] = &level{to, map[int64]dated{}}
	}
	return s.levels[key]
}

// series are the sums, ordered by labels and time.
func (s *stepSums) series() []Series {
	for _, level := range s.levels {
		for begin, latest := range level.latest {
			level.line.step(begin).add(latest)
		}
	}
	var all []Series
	for _, line := range s.lines {
		one := Series{Labels: line.labels}
		for _, begin := range slices.Sorted(maps.Keys(line.steps)) {
			step := line.steps[begin]
			point := Point{Time: begin, Value: step.value, Profiles: step.profiles, Duration: time.Duration(step.nanos)}
			if step.several {
				point.Duration = time.Duration(s.stepMS) * time.Millisecond
			}
			one.Points = append(one.Points, point)
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Series) int { return a.Labels.Compare(b.Labels) })
	return all
}

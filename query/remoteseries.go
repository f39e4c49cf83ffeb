package query

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

// PartSteps has a [Part] answered by totals over time.
type PartSteps struct {
	StepMillis int64    `json:"step_ms"`
	ByAll      bool     `json:"by_all,omitempty"` // a line for each label set
	Filters    []string `json:"filters,omitempty"`
}

// ask prepares a run that adds up by steps.
func (s PartSteps) ask(r *run) {
	r.sums = windowsOf(time.Duration(s.StepMillis) * time.Millisecond)
	r.apart, r.alike = len(r.by) > 0 || s.ByAll, true
}

// request is the question of a whole series that a part belongs to.
func (s PartSteps) request(by []string) SeriesRequest { return SeriesRequest{By: by, ByAll: s.ByAll} }

func (s PartSteps) filters() ([]Filter, error) {
	if s.StepMillis <= 0 {
		return nil, fmt.Errorf("steps of %d ms: %w", s.StepMillis, profile.ErrInvalid)
	}
	var filters []Filter
	for _, text := range s.Filters {
		f, err := ParseFilter(text, false)
		if err != nil {
			return nil, err
		}
		filters = append(filters, f)
	}
	return filters, validateFilters(filters)
}

// Line is the totals over time of the profiles whose labels agree in those grouped by.
type Line struct {
	Labels profile.Labels `json:"labels"`
	Steps  []LineStep     `json:"steps"` // by time
}

// LineStep is the profiles of a line in one step.
type LineStep struct {
	Begin    int64 `json:"t"` // milliseconds since 1970
	Value    int64 `json:"v"`
	Profiles int   `json:"n"`
	First    int64 `json:"first"`             // when one of them began
	Several  bool  `json:"several,omitempty"` // others began at another time
	Nanos    int64 `json:"ns"`                // of the longest
}

// export is the sums as another process takes them.
func (s *stepSums) export() []Line {
	lines := make([]Line, 0, len(s.lines))
	for _, l := range s.lines {
		one := Line{Labels: l.labels}
		for _, begin := range slices.Sorted(maps.Keys(l.steps)) {
			of := l.steps[begin]
			one.Steps = append(one.Steps, LineStep{begin, of.value, of.profiles, of.first, of.several, of.nanos})
		}
		lines = append(lines, one)
	}
	slices.SortFunc(lines, func(a, b Line) int { return a.Labels.Compare(b.Labels) })
	return lines
}

// addLines adds what another process has added up.
func (s *stepSums) addLines(lines []Line) {
	for _, l := range lines {
		to := s.line(l.Labels)
		for _, other := range l.Steps {
			of := to.step(other.Begin)
			if of.profiles == 0 {
				of.first = other.First
			}
			of.value += other.Value
			of.profiles += other.Profiles
			of.several = of.several || other.Several || of.first != other.First
			of.nanos = max(of.nanos, other.Nanos)
		}
	}
}

// checkLines refuses what no process would answer to a question of steps.
func checkLines(lines []Line, stepMillis int64) error {
	for _, l := range lines {
		for _, of := range l.Steps {
			if of.Begin < 0 || of.Begin%stepMillis != 0 || of.Profiles <= 0 {
				return fmt.Errorf("a partial answer has %d profiles in a step at %d: %w", of.Profiles, of.Begin, block.ErrCorrupt)
			}
		}
	}
	return nil
}

// computeSteps answers a part that asks for totals over time.
func (r *run) computeSteps(ctx context.Context, s *selection, c *choice, p Part, out *Partial) (err error) {
	if s.parts, err = each(ctx, r.ledger, mergesAtATime(), s.parts, (*part).name, func(ctx context.Context, p *part) error { return r.sift(ctx, p, c) }); err != nil {
		return err
	}
	r.counted(s.profiles())
	sums := newStepSums(p.Steps.request(p.By), time.Duration(p.Steps.StepMillis)*time.Millisecond, &r.groups)
	sums.addAll(s.parts, c)
	out.Lines = sums.export()
	return nil
}

// siftShared finds what the selected profiles are worth where their totals do not tell, which
// other processes may help with: what they have added up is in sums. It returns the parts that
// are still to be added. A part that fails leaves the selection and is missing from the result.
func (r *run) siftShared(ctx context.Context, s *selection, c *choice, sums *stepSums) ([]*part, error) {
	var plain, sifted []*part
	for _, p := range s.parts {
		if r.mustSift(p) {
			sifted = append(sifted, p)
		} else {
			plain = append(plain, p)
		}
	}
	here, others := r.share(sifted)
	answers := make([][]*part, len(others)) // parts whose profiles are in sums
	lines := make([][]Line, len(others))
	fallback := make([][]*part, len(others))
	sift := func(ctx context.Context, p *part) error { return r.sift(ctx, p, c) }
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		here, err = each(gctx, r.ledger, mergesAtATime(), here, (*part).name, sift)
		return err
	})
	for i, a := range others {
		g.Go(func() (err error) {
			if lines[i], answers[i], err = r.siftAway(gctx, a, c, sums); err == nil || gctx.Err() != nil || errors.Is(err, ErrTooLarge) {
				return err
			}
			r.remoteFailed(a.worker, err)
			fallback[i], err = each(gctx, r.ledger, mergesAtATime(), a.parts, (*part).name, sift)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, l := range lines {
		sums.addLines(l)
	}
	here = slices.Concat(append(fallback, plain, here)...)
	s.parts = slices.Concat(append(answers, here)...)
	return here, nil
}

// siftAway has a worker add up some parts by steps, and returns those that are in the sums.
func (r *run) siftAway(ctx context.Context, a away, c *choice, sums *stepSums) ([]Line, []*part, error) {
	question := r.partOf(a.parts, c, false)
	question.Steps = &PartSteps{StepMillis: sums.stepMS, ByAll: sums.all}
	for _, f := range r.stackFilters() {
		question.Steps.Filters = append(question.Steps.Filters, f.String())
	}
	partial, err := r.cfg.Remote.Compute(ctx, a.worker, question)
	if err != nil {
		return nil, nil, err
	}
	if err := checkLines(partial.Lines, sums.stepMS); err != nil {
		return nil, nil, err
	}
	r.charge(partial)
	sound, err := r.credit(ctx, a.parts, partial, false)
	return partial.Lines, sound, err
}

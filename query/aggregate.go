package query

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
)

// Aggregate says how the profiles of one series become one value or one tree.
type Aggregate int

const (
	// Sum adds them: right for what belongs to a profile's duration, and what adds up.
	Sum Aggregate = iota
	// Last takes of each series the latest profile and adds those: right for levels, as
	// memory in use.
	Last
	// Difference is by how much they grew: right for what is counted since a program
	// began, as Go's allocations, contentions and delays. Each profile counts with what it has more
	// than the one before it in the series, and with all it has when it has less, because then the
	// program began anew. The first one in the range counts nothing. Nothing is ever negative.
	Difference
)

// aggregates are the words for an Aggregate; the first is the default.
var aggregates = []string{"sum", "last", "difference"}

func (p *params) aggregate() Aggregate {
	return Aggregate(slices.Index(aggregates, p.choice("aggregate", aggregates...)))
}

// counts refuses to take differences of what is not counted since a program began.
func (a Aggregate) counts(t profile.Type) error {
	if a != Difference {
		return nil
	}
	why := ""
	switch {
	case t.Delta:
		why = "its profiles belong to their durations, and are differences already"
	case strings.HasPrefix(t.Sample.Type, "inuse"), strings.HasPrefix(t.Sample.Type, "goroutine"):
		why = "it is a level that rises and falls; aggregate=last shows the latest"
	default:
		return nil
	}
	return serve.Field("aggregate", fmt.Errorf("difference of %s: %s: %w", t, why, profile.ErrInvalid))
}

// chosen is a chosen profile: where it lies, when it was taken, and its total.
type chosen struct {
	part, pick int
	row        uint32
	group      int // of run.groups, or ofSeries
	dated
}

// bySeries are the chosen profiles of each series by time, for the first of the chosen types.
func (s *selection) bySeries(c *choice) map[string][]chosen {
	all := map[string][]chosen{}
	for i, p := range s.parts {
		for j, k := range p.picks {
			column := c.columns(p.blk.Groups()[k.group])[0]
			if column < 0 {
				continue
			}
			last, key := uint32(0), ""
			for w := range k.worths(column) {
				if series := k.totals.Series[w.row]; key == "" || series != last {
					last, key = series, p.blk.Series()[series].Labels.String()
				}
				of := key
				if w.group != ofSeries {
					of = fmt.Sprint(key, w.group)
				}
				d := dated{p.start() + int64(k.totals.T[w.row]), w.value, k.totals.DurationNanos[w.row]}
				all[of] = append(all[of], chosen{i, j, w.row, w.group, d})
			}
		}
	}
	for _, profiles := range all {
		slices.SortFunc(profiles, func(a, b chosen) int { return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.value, b.value)) })
	}
	return all
}

// ends finds of each series the profiles at the ends of every stretch in which its
// program ran on: their trees' difference is the sum of all differences in between.
func (s *selection) ends(c *choice) (last, first *selection) {
	var lasts, firsts []chosen
	for _, profiles := range s.bySeries(c) {
		from := 0 // of the stretch; -1: it began with the program, at nothing
		for i, p := range profiles {
			if i+1 < len(profiles) && profiles[i+1].value >= p.value {
				continue
			}
			if from != i {
				lasts = append(lasts, p)
				if from >= 0 {
					firsts = append(firsts, profiles[from])
				}
			}
			from = -1
		}
	}
	return s.only(lasts), s.only(firsts)
}

// latest are the latest profiles of each series, or of each in every step of so many
// milliseconds; 0: the range is one.
func (s *selection) latest(c *choice, stepMS int64) *selection {
	var lasts []chosen
	for _, profiles := range s.bySeries(c) {
		for i, p := range profiles {
			if i+1 == len(profiles) || stepMS > 0 && beginOf(profiles[i+1].time, stepMS) != beginOf(p.time, stepMS) {
				lasts = append(lasts, p)
			}
		}
	}
	return s.only(lasts)
}

// only is a selection of some of the chosen profiles.
func (s *selection) only(some []chosen) *selection {
	picks := map[[2]int][]uint32{}
	for _, p := range some {
		at := [2]int{p.part, p.pick}
		picks[at] = append(picks[at], p.row)
	}
	out := &selection{types: s.types}
	for i, p := range s.parts {
		part := *p
		part.picks = nil
		for j, k := range p.picks {
			k.windows = nil // what is left of profiles that have expired is no profile
			if k.chosen = picks[[2]int{i, j}]; len(k.chosen) > 0 {
				slices.Sort(k.chosen)
				part.picks = append(part.picks, k)
			}
		}
		if len(part.picks) > 0 {
			out.parts = append(out.parts, &part)
		}
	}
	return out
}

// differences are by how much each profile of a series is more than the one before it.
func differences(profiles []chosen) []dated {
	var grown []dated
	for i := 1; i < len(profiles); i++ {
		d, before := profiles[i].dated, profiles[i-1].dated
		if d.value >= before.value {
			d.value -= before.value
		}
		d.nanos = 1e6 * (d.time - before.time)
		grown = append(grown, d)
	}
	return grown
}

package parca

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/profile/draft"
)

// groupKey says which rows become one profile. The sample type is not part of it: the
// types of one profile stand side by side.
type groupKey struct {
	name   string
	series string
	period profile.ValueType
	length int64 // of a period
	at     int64 // of states
}

// groups are the profiles in the making.
type groups struct {
	byKey map[groupKey]*group
	order []*group
}

func newGroups() groups { return groups{byKey: map[groupKey]*group{}} }

// group is the rows of one profile.
type group struct {
	key         groupKey
	labels      profile.Labels
	draft       *draft.Draft
	first, last int64 // times of rows
	duration    int64 // the longest of a row
	stacks      map[*location][]draft.LocationRef
	lines       []draft.Line
	values      []int64
}

// of finds the profile that a row belongs to.
func (g *groups) of(key groupKey, pairs []profile.Label, sample profile.ValueType) (*group, error) {
	labels, err := profile.NewLabels(pairs...)
	if err != nil {
		return nil, err
	}
	key.series = labels.String()
	found := g.byKey[key]
	if found == nil {
		if len(g.order) == maxGroups {
			return nil, fmt.Errorf("more than %d series and times in one request: %w", maxGroups, profile.ErrInvalid)
		}
		if sample.Type == "" {
			return nil, fmt.Errorf("sample_type is empty: %w", profile.ErrInvalid)
		}
		found = &group{key: key, labels: labels, draft: draft.New(), stacks: map[*location][]draft.LocationRef{}}
		g.byKey[key] = found
		g.order = append(g.order, found)
	}
	return found, nil
}

// maxTypes bounds the sample types of one profile, as profile.Limits does.
const maxTypes = 64

// add adds a row.
func (g *group) add(stack []location, r row) error {
	kind := slices.Index(g.draft.SampleTypes, r.sample)
	if kind < 0 {
		if len(g.draft.SampleTypes) == maxTypes {
			return fmt.Errorf("more than %d sample types: %w", maxTypes, profile.ErrInvalid)
		}
		kind = g.draft.AddType(r.sample)
	}
	if g.first == 0 || r.at < g.first {
		g.first = r.at
	}
	g.last = max(g.last, r.at)
	g.values = append(g.values[:0], make([]int64, len(g.draft.SampleTypes))...)
	g.values[kind] = r.value
	return g.draft.Add(g.refs(stack), r.labels, g.values...)
}

// refs gives a stack's locations in the draft. Rows share stacks, so most are known.
func (g *group) refs(stack []location) []draft.LocationRef {
	if len(stack) == 0 {
		return nil
	}
	refs, ok := g.stacks[&stack[0]]
	if ok {
		return refs
	}
	for _, l := range stack {
		g.lines = g.lines[:0]
		for _, at := range l.lines {
			g.lines = append(g.lines, draft.Line{Function: g.draft.Function(at.function), Line: at.line, Column: at.column})
		}
		mapping := draft.MappingRef(0)
		if l.mapping.File != "" || l.mapping.BuildID != "" || l.mapping.Limit != 0 {
			mapping = g.draft.Mapping(l.mapping)
		}
		refs = append(refs, g.draft.Location(mapping, l.address, g.lines...))
	}
	g.stacks[&stack[0]] = refs
	return refs
}

var (
	samples = profile.ValueType{Type: "samples", Unit: "count"}
	cpu     = profile.ValueType{Type: "cpu", Unit: "nanoseconds"}
)

// originalName is the label that keeps what a producer was called whose name was changed.
const originalName = "original_name"

// finish writes the profiles.
func (g *groups) finish() ([]draft.Profile, error) {
	made := make([]draft.Profile, 0, len(g.order))
	for _, group := range g.order {
		p, err := group.finish()
		if err != nil {
			return nil, err
		}
		made = append(made, p)
	}
	return made, nil
}

// finish writes a profile. Samples of a CPU, each of which stands for a period, are what
// others call process_cpu.
func (g *group) finish() (draft.Profile, error) {
	d := g.draft
	name, labels := g.key.name, g.labels
	if g.key.period == cpu && g.key.length > 0 && len(d.SampleTypes) == 1 && d.SampleTypes[0] == samples {
		d.Derive(cpu, 0, g.key.length)
		if name != "process_cpu" && labels.Get(originalName) == "" {
			var err error
			if labels, err = profile.NewLabels(append([]profile.Label{{Name: originalName, Value: name}}, labels...)...); err != nil {
				return draft.Profile{}, err
			}
		}
		name = "process_cpu"
	}
	d.PeriodType, d.Period = g.key.period, g.key.length
	if g.first > 0 {
		d.Time = time.Unix(0, g.first).UTC()
	}
	if g.duration > 0 {
		d.Duration = time.Duration(max(g.duration, g.last-g.first))
	}
	return draft.Profile{Name: strings.ReplaceAll(name, ":", "_"), Labels: labels, Body: d.Encode(), Time: d.Time}, nil
}

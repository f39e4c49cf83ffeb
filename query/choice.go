package query

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/profile"
)

// kind is what the types of one profile have in common. An answer is of one kind.
type kind struct {
	name   string
	period profile.ValueType
	delta  bool
}

func kindOf(g arrowblock.Group) kind { return kind{g.Name, g.Period, g.Delta} }

// choice is which types an answer is about: of one kind, one or more sample types.
type choice struct {
	kind
	samples  []profile.ValueType
	def      int  // which of samples is the default
	declared bool // by the profiles; else it is just the last
}

// holds says whether a group has any of the chosen types.
func (c *choice) holds(g arrowblock.Group) bool {
	return kindOf(g) == c.kind && slices.ContainsFunc(c.samples, func(v profile.ValueType) bool { return slices.Contains(g.SampleTypes, v) })
}

// typ is one of the chosen types.
func (c *choice) typ(sample int) profile.Type {
	return profile.Type{Name: c.name, Sample: c.samples[sample], Period: c.period, Delta: c.delta}
}

// columns are where the chosen sample types stand in a group, -1 for those it has not.
func (c *choice) columns(g arrowblock.Group) []int {
	columns := make([]int, len(c.samples))
	for i, v := range c.samples {
		columns[i] = slices.Index(g.SampleTypes, v)
	}
	return columns
}

// chooseTypes settles which types are meant by a pattern, among those of the chosen
// profiles. nil and no error say that nothing is selected.
func (s *selection) chooseTypes(pattern profile.TypePattern) (*choice, error) {
	groups := s.groups()
	if len(groups) == 0 {
		return nil, s.explainNothing(pattern)
	}
	kinds := map[kind]bool{}
	for _, c := range groups {
		kinds[kindOf(c.group)] = true
	}
	if len(kinds) > 1 {
		return nil, ambiguous(pattern, groups)
	}
	c := &choice{kind: kindOf(groups[0].group)}
	for _, g := range groups {
		for _, t := range g.group.Types() {
			if pattern.Matches(t) && !slices.Contains(c.samples, t.Sample) {
				c.samples = append(c.samples, t.Sample)
			}
		}
	}
	if pattern.OneSample() && len(c.samples) > 1 { // NAME/SAMPLE in several units
		return nil, ambiguous(pattern, groups)
	}
	c.def, c.declared = defaultSample(groups, c.samples)
	return c, nil
}

// defaultSample is the default_sample_type of most profiles, else the last sample type.
func defaultSample(groups []counted, samples []profile.ValueType) (i int, declared bool) {
	votes := map[string]int{}
	for _, g := range groups {
		votes[g.group.DefaultSampleType] += g.profiles
	}
	names := slices.SortedFunc(maps.Keys(votes), func(a, b string) int {
		return cmp.Or(cmp.Compare(votes[b], votes[a]), cmp.Compare(a, b))
	})
	for _, name := range names {
		if i := slices.IndexFunc(samples, func(v profile.ValueType) bool { return v.Type == name }); i >= 0 {
			return i, true
		}
	}
	return len(samples) - 1, false
}

// single is the choice reduced to one sample type: the default one.
func (c *choice) single() *choice {
	return &choice{kind: c.kind, samples: c.samples[c.def : c.def+1]}
}

func ambiguous(pattern profile.TypePattern, groups []counted) error {
	types := map[profile.Type]bool{}
	for _, g := range groups {
		for _, t := range g.group.Types() {
			if pattern.Matches(t) {
				types[t] = true
			}
		}
	}
	if pattern.IsZero() {
		return fmt.Errorf("no type is given, and the selected profiles have several: %s: %w", listed(types), ErrAmbiguous)
	}
	return fmt.Errorf("type %q: the selected profiles have several that match: %s: %w", pattern, listed(types), ErrAmbiguous)
}

// explainNothing is an error when nothing was found because the type is unknown. A
// known one of which nothing is selected is no error, nor is anything in an empty bucket.
func (s *selection) explainNothing(pattern profile.TypePattern) error {
	if len(s.types) == 0 {
		return nil
	}
	for t := range s.types {
		if pattern.Matches(t) {
			return nil
		}
	}
	return fmt.Errorf("type %q: there are only %s: %w", pattern, listed(s.types), ErrNoType)
}

// maxListed is how many types an error names.
const maxListed = 50

func listed(types map[profile.Type]bool) string {
	var names []string
	for _, t := range slices.SortedFunc(maps.Keys(types), profile.Type.Compare) {
		if len(names) == maxListed {
			names = append(names, "…")
			break
		}
		names = append(names, t.String())
	}
	return strings.Join(names, ", ")
}

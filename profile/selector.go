package profile

import (
	"fmt"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Matcher is one condition of a selector: name, operator (=, !=, =~, !~), value.
// As in Prometheus, an absent label has the empty value.
type Matcher = labels.Matcher

// Selector says which series are meant. Its zero value selects all.
type Selector struct {
	Type     TypePattern // from the selector's metric name, if it had one
	Matchers []*Matcher  // all must hold
}

// ParseSelector reads a Prometheus vector selector without range or offset. Its
// metric name, if any, is a profile type in any form of [ParseTypePattern]:
//
//	{service_name="checkout", pod=~"a|b"}
//	process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta{job="api"}
//
// An empty string and {} select everything.
func ParseSelector(s string) (Selector, error) {
	if t := strings.TrimSpace(s); t == "" || t == "{}" {
		return Selector{}, nil
	}
	matchers, err := parser.NewParser(parser.Options{}).ParseMetricSelector(s)
	if err != nil {
		return Selector{}, fmt.Errorf("selector %q: %w: %w", s, err, ErrInvalid)
	}
	var sel Selector
	for _, m := range matchers {
		if m.Name != model.MetricNameLabel {
			sel.Matchers = append(sel.Matchers, m)
			continue
		}
		if m.Type != labels.MatchEqual {
			return Selector{}, fmt.Errorf("selector %q: __name__ is the profile type and can only be matched by =: %w", s, ErrInvalid)
		}
		if sel.Type, err = ParseTypePattern(m.Value); err != nil {
			return Selector{}, fmt.Errorf("selector %q: %w", s, err)
		}
	}
	return sel, nil
}

// Matches says whether the labels satisfy every matcher. It does not look at Type.
func (s Selector) Matches(ls Labels) bool {
	for _, m := range s.Matchers {
		if !m.Matches(ls.Get(m.Name)) {
			return false
		}
	}
	return true
}

// String gives a form that [ParseSelector] reads.
func (s Selector) String() string {
	var b strings.Builder
	name := s.Type.String()
	plain := !strings.Contains(name, "/")
	if plain {
		b.WriteString(name)
	}
	b.WriteByte('{')
	sep := ""
	if !plain {
		fmt.Fprintf(&b, "__name__=%q", name)
		sep = ", "
	}
	for _, m := range s.Matchers {
		b.WriteString(sep)
		b.WriteString(m.String())
		sep = ", "
	}
	b.WriteByte('}')
	return b.String()
}

package profile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Label is one name and its value.
type Label struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Labels says which series a profile belongs to: sorted by name, each name once,
// no empty values. The zero Labels is the empty set. Use [NewLabels] to make one.
type Labels []Label

// Limits of a label set. Prometheus' servers commonly set the same.
const (
	maxLabels     = 128
	maxLabelName  = 1 << 10
	maxLabelValue = 16 << 10
)

// NewLabels sorts pairs into a label set and drops empty values. A repeated or
// empty name, broken UTF-8, or a set over the limits (128 labels, names of 1 KiB,
// values of 16 KiB) is ErrInvalid. The slice is not kept.
func NewLabels(pairs ...Label) (Labels, error) {
	if len(pairs) > maxLabels {
		return nil, fmt.Errorf("%d labels, at most %d are allowed: %w", len(pairs), maxLabels, ErrInvalid)
	}
	ls := make(Labels, 0, len(pairs))
	for _, l := range pairs {
		switch {
		case l.Name == "":
			return nil, fmt.Errorf("label with value %q has no name: %w", l.Value, ErrInvalid)
		case len(l.Name) > maxLabelName:
			return nil, fmt.Errorf("label name %.40q… is %d bytes, at most %d are allowed: %w", l.Name, len(l.Name), maxLabelName, ErrInvalid)
		case len(l.Value) > maxLabelValue:
			return nil, fmt.Errorf("label %q: value is %d bytes, at most %d are allowed: %w", l.Name, len(l.Value), maxLabelValue, ErrInvalid)
		case !utf8.ValidString(l.Name) || !utf8.ValidString(l.Value):
			return nil, fmt.Errorf("label %q=%q is not valid UTF-8: %w", l.Name, l.Value, ErrInvalid)
		}
		if l.Value != "" {
			ls = append(ls, l)
		}
	}
	slices.SortFunc(ls, func(a, b Label) int { return cmp.Compare(a.Name, b.Name) })
	for i := 1; i < len(ls); i++ {
		if ls[i].Name == ls[i-1].Name {
			return nil, fmt.Errorf("label %q is given twice: %w", ls[i].Name, ErrInvalid)
		}
	}
	return ls, nil
}

// LabelsFromMap is [NewLabels] of a map's pairs.
func LabelsFromMap(m map[string]string) (Labels, error) {
	pairs := make([]Label, 0, len(m))
	for name, value := range m {
		pairs = append(pairs, Label{name, value})
	}
	return NewLabels(pairs...)
}

// Get returns the value of a name, or "" when the set does not have it.
func (ls Labels) Get(name string) string {
	i, ok := slices.BinarySearchFunc(ls, name, func(l Label, name string) int { return cmp.Compare(l.Name, name) })
	if !ok {
		return ""
	}
	return ls[i].Value
}

// Map returns the set as a map, for JSON.
func (ls Labels) Map() map[string]string {
	m := make(map[string]string, len(ls))
	for _, l := range ls {
		m[l.Name] = l.Value
	}
	return m
}

// Compare orders label sets by their pairs, first difference first.
func (ls Labels) Compare(other Labels) int {
	return slices.CompareFunc(ls, other, func(a, b Label) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Value, b.Value))
	})
}

// Equal says whether two sets hold the same pairs.
func (ls Labels) Equal(other Labels) bool { return slices.Equal(ls, other) }

// String gives Prometheus' form: {job="api", pod="a"}.
func (ls Labels) String() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, l := range ls {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(l.Name)
		b.WriteByte('=')
		b.WriteString(strconv.Quote(l.Value))
	}
	b.WriteByte('}')
	return b.String()
}

// ServiceLabels are the labels that may name a series' service, the first
// non-empty one deciding. They are also those that an L0 key's bloom filter holds.
var ServiceLabels = [...]string{"service_name", "service", "job", "comm"}

// UnknownService is the service of a series that has none of [ServiceLabels].
const UnknownService = "unknown"

// Service names the service that a series belongs to.
func (ls Labels) Service() string {
	for _, name := range ServiceLabels {
		if v := ls.Get(name); v != "" {
			return v
		}
	}
	return UnknownService
}

package profile

import (
	"cmp"
	"fmt"
	"strings"
)

// ValueType is what a number counts and in what unit, as profile.proto's
// ValueType: {cpu, nanoseconds}.
type ValueType struct {
	Type string // "cpu", "alloc_space", …
	Unit string // "nanoseconds", "bytes", "count", …
}

// String gives "type:unit".
func (v ValueType) String() string { return v.Type + ":" + v.Unit }

// Type is a profile type: one kind of value that profiles of one name carry.
//
// A Go CPU profile holds two: samples:count and cpu:nanoseconds.
type Type struct {
	Name   string    // what the profile is called: "process_cpu", "memory"
	Sample ValueType // what each sample's value counts
	Period ValueType // what happens between two samples
	Delta  bool      // the values belong to the profile's duration, not to the time since the program began
}

// String gives Parca's form, NAME:SAMPLE_TYPE:SAMPLE_UNIT:PERIOD_TYPE:PERIOD_UNIT
// with ":delta" at the end for a delta type.
func (t Type) String() string {
	s := t.Name + ":" + t.Sample.String() + ":" + t.Period.String()
	if t.Delta {
		s += ":delta"
	}
	return s
}

// Compare orders types by name, sample, period, and cumulative before delta.
func (t Type) Compare(u Type) int {
	return cmp.Or(
		cmp.Compare(t.Name, u.Name),
		cmp.Compare(t.Sample.Type, u.Sample.Type),
		cmp.Compare(t.Sample.Unit, u.Sample.Unit),
		cmp.Compare(t.Period.Type, u.Period.Type),
		cmp.Compare(t.Period.Unit, u.Period.Unit),
		compareBool(t.Delta, u.Delta),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// ParseType reads the form that [Type.String] writes: five parts, or six of which
// the last is "delta".
func ParseType(s string) (Type, error) {
	parts := strings.Split(s, ":")
	if len(parts) != 5 && (len(parts) != 6 || parts[5] != "delta") {
		return Type{}, fmt.Errorf("profile type %q: want NAME:SAMPLE_TYPE:SAMPLE_UNIT:PERIOD_TYPE:PERIOD_UNIT with an optional :delta: %w", s, ErrInvalid)
	}
	if parts[0] == "" || parts[1] == "" {
		return Type{}, fmt.Errorf("profile type %q: name and sample type must not be empty: %w", s, ErrInvalid)
	}
	return Type{
		Name:   parts[0],
		Sample: ValueType{parts[1], parts[2]},
		Period: ValueType{parts[3], parts[4]},
		Delta:  len(parts) == 6,
	}, nil
}

// TypePattern is how people name profile types: by Parca's whole form, by
// NAME/SAMPLE_TYPE, or by NAME alone, which stands for all that the profiles of
// that name hold. The zero TypePattern matches every type.
type TypePattern struct {
	name, sample string
	whole        Type
}

// ParseTypePattern reads any of the three forms. An empty string matches everything.
func ParseTypePattern(s string) (TypePattern, error) {
	if s == "" {
		return TypePattern{}, nil
	}
	if strings.Contains(s, ":") {
		t, err := ParseType(s)
		return TypePattern{whole: t}, err
	}
	name, sample, slash := strings.Cut(s, "/")
	if name == "" || slash && sample == "" {
		return TypePattern{}, fmt.Errorf("profile type %q: want NAME, NAME/SAMPLE_TYPE or the whole form: %w", s, ErrInvalid)
	}
	return TypePattern{name: name, sample: sample}, nil
}

// Matches says whether t is one of the types that the pattern names.
func (p TypePattern) Matches(t Type) bool {
	switch {
	case p.whole != Type{}:
		return p.whole == t
	case p.name == "":
		return true
	}
	return p.name == t.Name && (p.sample == "" || p.sample == t.Sample.Type)
}

// IsZero says whether the pattern matches everything because nothing was asked.
func (p TypePattern) IsZero() bool { return p == TypePattern{} }

// OneSample says whether the pattern settles on a single sample type, so that
// no default has to be chosen among those of a profile.
func (p TypePattern) OneSample() bool { return p.whole != Type{} || p.sample != "" }

// String gives the form that [ParseTypePattern] reads.
func (p TypePattern) String() string {
	switch {
	case p.whole != Type{}:
		return p.whole.String()
	case p.sample != "":
		return p.name + "/" + p.sample
	}
	return p.name
}

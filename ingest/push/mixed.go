package push

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
)

// named is a pprof and its name; an empty name is chosen by what it measures.
type named struct {
	name string
	body []byte
}

// unmix takes a pprof apart that is several: .NET's SDK makes one of all that it measures, in
// which each sample has values of one kind and zeros for the rest. Every other pprof stays as it
// is, and gets a name only where its types are not enough to tell. A kind without samples is
// left out.
func unmix(body []byte, config map[string]sampleTypeConfig) ([]named, error) {
	var d profile.Decoder
	decoded, err := d.Decode(body)
	if err != nil {
		return nil, serve.Field("profile", err)
	}
	var kinds []string
	kindOfType := make([]string, len(decoded.SampleTypes))
	for i, t := range decoded.SampleTypes {
		word := decoded.ValueType(t).Type
		kind := kindOf(word, config[word])
		if kindOfType[i] = kind; kind != "" && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) == 1 && (kinds[0] == "mutex" || kinds[0] == "block") { // which count the same
		return []named{{kinds[0], body}}, nil
	}
	if len(kinds) < 2 {
		return []named{{"", body}}, nil
	}
	for i, kind := range kindOfType {
		if kind == "" {
			kindOfType[i] = kinds[0]
		}
	}
	mixed, err := parsePprof(body)
	if err != nil {
		return nil, serve.Field("profile", err)
	}
	if slices.ContainsFunc(mixed.Sample, func(s *pprof.Sample) bool { return isOfSeveral(s, kindOfType) }) {
		return []named{{"", body}}, nil
	}
	var apart []named
	for _, kind := range kinds {
		one, err := only(mixed, kind, kindOfType)
		if err != nil {
			return nil, serve.Field("profile", fmt.Errorf("%s: %w", kind, err))
		}
		if one != nil {
			apart = append(apart, named{kind, one})
		}
	}
	return apart, nil
}

// kindOf is the name of the profile to which a sample type belongs, by its word and what the SDK
// says of it; empty if it may belong to any.
func kindOf(word string, c sampleTypeConfig) string {
	for _, name := range []string{"mutex", "block"} {
		if strings.HasPrefix(c.DisplayName, name+"_") {
			return name
		}
	}
	switch word {
	case "cpu", "cpu_samples":
		return "process_cpu"
	case "alloc_objects", "alloc_samples", "alloc_size", "alloc_space", "inuse_objects", "inuse_space":
		return "memory"
	case "lock_count", "lock_time":
		return "mutex"
	case "wall", "exception":
		return word
	case "request_time":
		return "network"
	}
	return ""
}

// isOfSeveral says whether a sample has values of more than one kind.
func isOfSeveral(s *pprof.Sample, kindOfType []string) bool {
	kind := ""
	for i, v := range s.Value {
		switch {
		case v == 0 || kind == kindOfType[i]:
		case kind != "":
			return true
		default:
			kind = kindOfType[i]
		}
	}
	return false
}

// only writes the sample types of one kind and the samples that have values of them; nil if
// there are none.
func only(mixed *pprof.Profile, kind string, kindOfType []string) ([]byte, error) {
	one := &pprof.Profile{Mapping: mixed.Mapping, Location: mixed.Location, Function: mixed.Function, Comments: mixed.Comments}
	if kind == "process_cpu" { // .NET's SDK says its period for everything
		one.PeriodType, one.Period = mixed.PeriodType, mixed.Period
	} else {
		one.PeriodType = &pprof.ValueType{}
	}
	for i, t := range mixed.SampleType {
		if kindOfType[i] == kind {
			one.SampleType = append(one.SampleType, t)
		}
	}
	for _, s := range mixed.Sample {
		kept := &pprof.Sample{Location: s.Location, Label: s.Label, NumLabel: s.NumLabel, NumUnit: s.NumUnit}
		measured := false
		for i, v := range s.Value {
			if kindOfType[i] == kind {
				kept.Value = append(kept.Value, v)
				measured = measured || v != 0
			}
		}
		if measured {
			one.Sample = append(one.Sample, kept)
		}
	}
	if len(one.Sample) == 0 {
		return nil, nil
	}
	compact, err := pprof.Merge([]*pprof.Profile{one}) // without what only other kinds refer to
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, profile.ErrInvalid)
	}
	compact.TimeNanos, compact.DurationNanos = mixed.TimeNanos, mixed.DurationNanos
	var out bytes.Buffer
	err = compact.Write(&out)
	return out.Bytes(), err
}

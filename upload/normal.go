package upload

import (
	"bytes"
	"fmt"
	"slices"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/profile"
)

// unit is what a unit is stored as: the usual word, of which it is times as much.
type unit struct {
	usual string
	times int64
}

// units are the words for units that clients use beside the usual ones. Values are
// converted, so that profiles of one type can be added.
var units = map[string]unit{
	"ns": {"nanoseconds", 1}, "nanosecond": {"nanoseconds", 1},
	"us": {"nanoseconds", 1e3}, "µs": {"nanoseconds", 1e3}, "microsecond": {"nanoseconds", 1e3}, "microseconds": {"nanoseconds", 1e3},
	"ms": {"nanoseconds", 1e6}, "millisecond": {"nanoseconds", 1e6}, "milliseconds": {"nanoseconds", 1e6},
	"s": {"nanoseconds", 1e9}, "second": {"nanoseconds", 1e9}, "seconds": {"nanoseconds", 1e9},
	"byte": {"bytes", 1}, "B": {"bytes", 1},
	"kb": {"bytes", 1 << 10}, "kB": {"bytes", 1 << 10}, "KB": {"bytes", 1 << 10}, "KiB": {"bytes", 1 << 10}, "kilobytes": {"bytes", 1 << 10},
	"mb": {"bytes", 1 << 20}, "MB": {"bytes", 1 << 20}, "MiB": {"bytes", 1 << 20}, "megabytes": {"bytes", 1 << 20},
	"counts": {"count", 1}, "objects": {"count", 1}, "samples": {"count", 1}, "goroutines": {"count", 1},
}

// kinds are the words for sample types that clients use beside the usual ones, with the
// usual unit to which they belong: Node's heap profiles, Node's samples, .NET's types, OpenTelemetry's allocations.
var kinds = map[profile.ValueType]string{
	{Type: "sample", Unit: "count"}:            "samples",
	{Type: "objects", Unit: "count"}:           "inuse_objects",
	{Type: "space", Unit: "bytes"}:             "inuse_space",
	{Type: "alloc-objects", Unit: "count"}:     "alloc_objects",
	{Type: "alloc-space", Unit: "bytes"}:       "alloc_space",
	{Type: "alloc-samples", Unit: "count"}:     "alloc_samples", // as in JFR: not scaled to all allocations
	{Type: "alloc-size", Unit: "bytes"}:        "alloc_space",
	{Type: "alloc_size", Unit: "bytes"}:        "alloc_space",
	{Type: "allocated_objects", Unit: "count"}: "alloc_objects",
	{Type: "allocated_space", Unit: "bytes"}:   "alloc_space",
	{Type: "inuse-objects", Unit: "count"}:     "inuse_objects",
	{Type: "inuse-space", Unit: "bytes"}:       "inuse_space",
	{Type: "lock-count", Unit: "count"}:        "contentions",
	{Type: "lock-time", Unit: "nanoseconds"}:   "delay",
	{Type: "lock_count", Unit: "count"}:        "contentions",
	{Type: "lock_time", Unit: "nanoseconds"}:   "delay",
	{Type: "cpu_samples", Unit: "count"}:       "samples",
}

// usual gives the usual words for what a sample counts, and by what its values are to
// be multiplied.
func usual(t profile.ValueType) (profile.ValueType, int64) {
	times := int64(1)
	if u, ok := units[t.Unit]; ok {
		t.Unit, times = u.usual, u.times
	}
	if kind, ok := kinds[t]; ok {
		t.Type = kind
	}
	return t, times
}

// normalise gives a profile the usual words for what it counts and in what unit, if it
// has others. The pprof is then written anew, and what it said stands in its comments.
// same says that nothing had to be done, which is so for all but a few clients.
func normalise(decoded *profile.Profile, body []byte) (_ []byte, same bool, _ error) {
	changed := false
	after := make([]profile.ValueType, len(decoded.SampleTypes))
	for i, ref := range decoded.SampleTypes {
		before := decoded.ValueType(ref)
		after[i], _ = usual(before)
		changed = changed || after[i] != before
	}
	before := decoded.ValueType(decoded.PeriodType)
	period := before
	if before.Type != "space" { // of which heap profiles have a period in every language
		period, _ = usual(before)
	}
	if !changed && period == before || hasTwice(after) {
		return body, true, nil
	}
	p, err := pprof.ParseData(body)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", err, profile.ErrInvalid)
	}
	rename(p, period)
	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		return nil, false, fmt.Errorf("%w: %w", err, profile.ErrInvalid)
	}
	return out.Bytes(), false, nil
}

// hasTwice says whether the usual words would make two sample types the same.
func hasTwice(types []profile.ValueType) bool {
	for i, t := range types {
		if slices.Contains(types[:i], t) {
			return true
		}
	}
	return false
}

// rename changes a profile's sample types and values to the usual ones.
func rename(p *pprof.Profile, period profile.ValueType) {
	for i, t := range p.SampleType {
		before := profile.ValueType{Type: t.Type, Unit: t.Unit}
		after, times := usual(before)
		if after == before {
			continue
		}
		if p.DefaultSampleType == t.Type {
			p.DefaultSampleType = after.Type
		}
		t.Type, t.Unit = after.Type, after.Unit
		p.Comments = append(p.Comments, fmt.Sprintf("%s was sent as %s", after, before))
		for _, s := range p.Sample {
			s.Value[i] *= times
		}
	}
	if p.PeriodType == nil {
		return
	}
	before := profile.ValueType{Type: p.PeriodType.Type, Unit: p.PeriodType.Unit}
	if before != period {
		_, times := usual(before)
		p.PeriodType.Type, p.PeriodType.Unit = period.Type, period.Unit
		p.Period *= times
		p.Comments = append(p.Comments, fmt.Sprintf("period %s was sent as %s", period, before))
	}
}

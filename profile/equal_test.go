package profile_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/profile"
)

// requireSame fails unless got holds what want holds, everything of it.
func requireSame(t *testing.T, got *profile.Profile, want *pprof.Profile) {
	t.Helper()
	g, w := strings.Split(describe(got), "\n"), strings.Split(describeGoogle(want), "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("content differs from google/pprof's at line %d of %d and %d:\n got %s\nwant %s", i, len(g), len(w), lineAt(g, i), lineAt(w, i))
		}
	}
}

func lineAt(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "nothing"
}

// describe writes all content of a profile, references as positions, each thing on
// a line of its own.
func describe(p *profile.Profile) string {
	var b strings.Builder
	str := func(ref uint32) string { return p.Strings[ref] }
	for _, t := range p.SampleTypes {
		fmt.Fprintf(&b, "type %q %q\n", str(t.Type), str(t.Unit))
	}
	fmt.Fprintf(&b, "default %q\nperiod %q %q %d\n", str(p.DefaultSampleType), str(p.PeriodType.Type), str(p.PeriodType.Unit), p.Period)
	fmt.Fprintf(&b, "time %d %d\ndrop %q keep %q url %q\n", p.TimeNanos, p.DurationNanos, str(p.DropFrames), str(p.KeepFrames), str(p.DocURL))
	for _, c := range p.Comments {
		fmt.Fprintf(&b, "comment %q\n", str(c))
	}
	for _, m := range p.Mappings {
		fmt.Fprintf(&b, "mapping %#x %#x %#x %q %q %t %t %t %t\n", m.Start, m.Limit, m.Offset, str(m.File), str(m.BuildID), m.HasFunctions, m.HasFilenames, m.HasLineNumbers, m.HasInlineFrames)
	}
	for _, f := range p.Functions {
		fmt.Fprintf(&b, "function %q %q %q %d\n", str(f.Name), str(f.SystemName), str(f.Filename), f.StartLine)
	}
	for _, l := range p.Locations {
		fmt.Fprintf(&b, "location %d %#x %t", l.Mapping, l.Address, l.Folded)
		for _, line := range p.Lines[l.LineFrom:l.LineTo] {
			fmt.Fprintf(&b, " %d:%d:%d", line.Function, line.Line, line.Column)
		}
		b.WriteByte('\n')
	}
	for i := range p.NumSamples() {
		labels := map[string][]string{}
		for _, l := range p.LabelsOf(i) {
			if l.Str != 0 {
				labels["s"+str(l.Key)] = append(labels["s"+str(l.Key)], str(l.Str))
			} else {
				labels["n"+str(l.Key)] = append(labels["n"+str(l.Key)], fmt.Sprint(l.Num, str(l.NumUnit)))
			}
		}
		describeSample(&b, p.Stack(i), p.SampleValues(i), labels)
	}
	return b.String()
}

// describeGoogle does the same for google/pprof's form.
func describeGoogle(p *pprof.Profile) string {
	var b strings.Builder
	for _, t := range p.SampleType {
		fmt.Fprintf(&b, "type %q %q\n", t.Type, t.Unit)
	}
	fmt.Fprintf(&b, "default %q\nperiod %q %q %d\n", p.DefaultSampleType, p.PeriodType.Type, p.PeriodType.Unit, p.Period)
	fmt.Fprintf(&b, "time %d %d\ndrop %q keep %q url %q\n", p.TimeNanos, p.DurationNanos, p.DropFrames, p.KeepFrames, p.DocURL)
	for _, c := range p.Comments {
		fmt.Fprintf(&b, "comment %q\n", c)
	}
	mappings := map[*pprof.Mapping]int{nil: -1}
	for i, m := range p.Mapping {
		mappings[m] = i
		fmt.Fprintf(&b, "mapping %#x %#x %#x %q %q %t %t %t %t\n", m.Start, m.Limit, m.Offset, m.File, m.BuildID, m.HasFunctions, m.HasFilenames, m.HasLineNumbers, m.HasInlineFrames)
	}
	functions := map[*pprof.Function]int{}
	for i, f := range p.Function {
		functions[f] = i
		fmt.Fprintf(&b, "function %q %q %q %d\n", f.Name, f.SystemName, f.Filename, f.StartLine)
	}
	locations := map[*pprof.Location]uint32{}
	for i, l := range p.Location {
		locations[l] = uint32(i)
		fmt.Fprintf(&b, "location %d %#x %t", mappings[l.Mapping], l.Address, l.IsFolded)
		for _, line := range l.Line {
			fmt.Fprintf(&b, " %d:%d:%d", functions[line.Function], line.Line, line.Column)
		}
		b.WriteByte('\n')
	}
	for _, s := range p.Sample {
		var stack []uint32
		for _, l := range s.Location {
			stack = append(stack, locations[l])
		}
		labels := map[string][]string{}
		for key, values := range s.Label {
			labels["s"+key] = values
		}
		for key, values := range s.NumLabel {
			for i, v := range values {
				unit := ""
				if units := s.NumUnit[key]; i < len(units) {
					unit = units[i]
				}
				labels["n"+key] = append(labels["n"+key], fmt.Sprint(v, unit))
			}
		}
		describeSample(&b, stack, s.Value, labels)
	}
	return b.String()
}

func describeSample(b *strings.Builder, stack []uint32, values []int64, labels map[string][]string) {
	fmt.Fprintf(b, "sample %d %d", stack, values)
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		fmt.Fprintf(b, " %q=%q", key, labels[key])
	}
	b.WriteByte('\n')
}

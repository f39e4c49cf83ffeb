package query

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/coldframe/coldframe/profile"
)

// WriteFolded writes one line a stack, root first: "main;work;malloc 30". It is what
// flamegraph.pl, speedscope and inferno read. Stacks without a value of their own
// are left out, so that a pruned tree gives less than its total.
func (t *Tree) WriteFolded(w io.Writer) error {
	out := bufio.NewWriter(w)
	var path []string
	for i := 1; i < len(t.Depth); i++ {
		path = append(path[:t.Depth[i]-1], foldedName(t.Frames[t.Frame[i]].Name))
		if t.Self[i] != 0 {
			fmt.Fprintf(out, "%s %d\n", strings.Join(path, ";"), t.Self[i])
		}
	}
	if len(t.Self) > 0 && t.Self[0] != 0 { // samples without a stack
		fmt.Fprintf(out, "[no stack] %d\n", t.Self[0])
	}
	return out.Flush()
}

// foldedName replaces what separates frames and lines in the folded form.
func foldedName(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ';':
			return ':'
		case unicode.IsControl(r):
			return ' '
		}
		return r
	}, name)
}

// WriteText writes an indented call tree for people. A line "(other)" has no place
// in it: it shows what [Tree.Prune] cut below a function.
func (t *Tree) WriteText(w io.Writer) error {
	out := bufio.NewWriter(w)
	unit := t.Type.Sample.Unit
	whole := t.total()
	c := t.Comparison()
	writeTextHeader(out, t.Type, t.Range, whole, t.Filtered, c)
	fmt.Fprintf(out, "%10s %7s %10s %7s", "self", "self%", "total", "total%")
	if c != nil {
		fmt.Fprintf(out, " %10s %11s", "base", "diff")
	}
	fmt.Fprintln(out)
	line := func(depth uint32, self, total, base int64, name string) {
		fmt.Fprintf(out, "%10s %7s %10s %7s", formatValue(self, unit), formatShare(self, whole), formatValue(total, unit), formatShare(total, whole))
		if c != nil {
			fmt.Fprintf(out, " %10s %11s", formatValue(base, unit), formatSigned(c.Diff(total, base), unit))
		}
		fmt.Fprintf(out, "  %s%s\n", strings.Repeat("  ", int(depth)-1), name)
	}
	rest := t.rest(t.Self, t.Total)
	restOfBase := make([]int64, len(rest))
	if c != nil {
		restOfBase = t.rest(t.BaseSelf, t.BaseTotal)
	}
	for i := range t.Depth {
		if i > 0 {
			base := int64(0)
			if c != nil {
				base = t.BaseTotal[i]
			}
			line(t.Depth[i], t.Self[i], t.Total[i], base, foldedName(t.Frames[t.Frame[i]].Name))
			if rest[i] != 0 || restOfBase[i] != 0 {
				line(t.Depth[i]+1, rest[i], rest[i], restOfBase[i], "(other)")
			}
		}
	}
	if len(rest) > 0 && (rest[0] != 0 || restOfBase[0] != 0) {
		line(1, rest[0], rest[0], restOfBase[0], "(other)")
	}
	return out.Flush()
}

// rest is what was cut directly below each node: its total less its self and its
// children's totals.
func (t *Tree) rest(self, total []int64) []int64 {
	rest := make([]int64, len(t.Depth))
	var path []int
	for i, depth := range t.Depth {
		path = append(path[:depth], i)
		rest[i] = total[i] - self[i]
		if depth > 0 {
			rest[path[depth-1]] -= total[i]
		}
	}
	return rest
}

// WriteText writes a table for people.
func (t *Top) WriteText(w io.Writer) error {
	out := bufio.NewWriter(w)
	unit := t.Type.Sample.Unit
	writeTextHeader(out, t.Type, t.Range, t.Total, t.Filtered, t.Base)
	fmt.Fprintf(out, "Showing %d of %d functions\n", len(t.Functions), t.Count)
	if t.Base != nil {
		t.writeDiff(out, unit)
		return out.Flush()
	}
	fmt.Fprintf(out, "%10s %7s %7s %10s %7s\n", "self", "self%", "sum%", "total", "total%")
	sum := int64(0)
	for _, f := range t.Functions {
		sum += f.Self
		fmt.Fprintf(out, "%10s %7s %7s %10s %7s  %s\n", formatValue(f.Self, unit), formatShare(f.Self, t.Total), formatShare(sum, t.Total),
			formatValue(f.Total, unit), formatShare(f.Total, t.Total), foldedName(f.Name))
	}
	return out.Flush()
}

// writeDiff writes the lines of a comparison.
func (t *Top) writeDiff(out io.Writer, unit string) {
	fmt.Fprintf(out, "%10s %10s %11s %10s %10s %11s\n", "self", "base", "diff", "total", "base", "diff")
	for _, f := range t.Functions {
		fmt.Fprintf(out, "%10s %10s %11s %10s %10s %11s  %s\n",
			formatValue(f.Self, unit), formatValue(f.BaseSelf, unit), formatSigned(t.Base.Diff(f.Self, f.BaseSelf), unit),
			formatValue(f.Total, unit), formatValue(f.BaseTotal, unit), formatSigned(t.Base.Diff(f.Total, f.BaseTotal), unit), foldedName(f.Name))
	}
}

func writeTextHeader(w io.Writer, typ profile.Type, r profile.TimeRange, total, filtered int64, c *Comparison) {
	unit := typ.Sample.Unit
	if typ != (profile.Type{}) {
		fmt.Fprintf(w, "Type: %s\n", typ)
	}
	fmt.Fprintf(w, "Range: %s to %s\n", formatTime(r.From), formatTime(r.To))
	fmt.Fprintf(w, "Total: %s\n", formatValue(total, unit))
	if filtered != 0 {
		fmt.Fprintf(w, "Filtered out: %s\n", formatValue(filtered, unit))
	}
	if c == nil {
		return
	}
	fmt.Fprintf(w, "Base: %s to %s, total %s\n", formatTime(c.Range.From), formatTime(c.Range.To), formatValue(c.Total, unit))
	switch {
	case c.Scale != 1:
		fmt.Fprintf(w, "Differences are relative: values count %.3g times\n", c.Scale)
	case c.BaseScale != 1:
		fmt.Fprintf(w, "Differences are relative: values of the base count %.3g times\n", c.BaseScale)
	}
}

// formatSigned is formatValue with a sign.
func formatSigned(v int64, unit string) string {
	if v > 0 {
		return "+" + formatValue(v, unit)
	}
	return formatValue(v, unit)
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func formatShare(v, of int64) string {
	if of == 0 {
		return "0%"
	}
	return strconv.FormatFloat(100*float64(v)/float64(of), 'f', 2, 64) + "%"
}

// scales are the larger names of units, as pprof writes them: times in powers of
// ten and sixty, bytes in powers of 1024.
var scales = map[string][]struct {
	name  string
	units float64
}{
	"nanoseconds":  {{"hrs", 3600e9}, {"mins", 60e9}, {"s", 1e9}, {"ms", 1e6}, {"us", 1e3}, {"ns", 1}},
	"microseconds": {{"hrs", 3600e6}, {"mins", 60e6}, {"s", 1e6}, {"ms", 1e3}, {"us", 1}},
	"milliseconds": {{"hrs", 3600e3}, {"mins", 60e3}, {"s", 1e3}, {"ms", 1}},
	"bytes":        {{"TB", 1 << 40}, {"GB", 1 << 30}, {"MB", 1 << 20}, {"kB", 1 << 10}, {"B", 1}},
}

// formatValue writes a value in the largest unit in which it is at least 1, with two
// decimals at most.
func formatValue(v int64, unit string) string {
	for _, scale := range scales[unit] {
		if scaled := float64(v) / scale.units; math.Abs(scaled) >= 1 {
			return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(scaled, 'f', 2, 64), "0"), ".") + scale.name
		}
	}
	return strconv.FormatInt(v, 10)
}

// WriteCSV writes a header and one line a point: its time, the labels that the
// series are grouped by, its value.
func (l *SeriesList) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	row := append(append([]string{"time"}, l.By...), "value")
	if err := out.Write(row); err != nil {
		return err
	}
	for _, s := range l.Series {
		for i, name := range l.By {
			row[1+i] = s.Labels.Get(name)
		}
		for _, p := range s.Points {
			row[0], row[len(row)-1] = formatTime(time.UnixMilli(p.Time)), strconv.FormatInt(p.Value, 10)
			if err := out.Write(row); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

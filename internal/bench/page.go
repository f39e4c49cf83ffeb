package main

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A table on the page: its specification, then what was written before.
var tables = regexp.MustCompile(`(?s)(<!-- bench: (\S+)\n(.*?)-->\n).*?(<!-- /bench -->)`)

var machineLine = regexp.MustCompile(`(?s)<!-- machine -->.*?<!-- /machine -->`)

// fill writes every table of the page anew of which anything was measured, and leaves the
// others. It tells which benchmarks the page names and nobody measured.
func fill(page string, r results) (filled []byte, missing []string, err error) {
	page = tables.ReplaceAllStringFunc(page, func(old string) string {
		m := tables.FindStringSubmatch(old)
		body, absent, bad := table(m[2], m[3], r)
		missing = append(missing, absent...)
		if bad != nil {
			err = bad
		}
		if body == "" {
			return old
		}
		return m[1] + body + m[4]
	})
	page = machineLine.ReplaceAllLiteralString(page, "<!-- machine -->"+r.machine+"<!-- /machine -->")
	return []byte(page), missing, err
}

func table(unit, rows string, r results) (body string, missing []string, err error) {
	grid := [][]string{{"what", "stacks", "ours, " + unit, "theirs", "ratio", "target"}}
	for row := range strings.Lines(rows) {
		cells := strings.Split(strings.TrimSpace(row), "|")
		if len(cells) != 4 {
			return "", nil, fmt.Errorf("row %q: want what | ours | theirs | target", strings.TrimSpace(row))
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		stacks := []string{""}
		if strings.Contains(row, "{stacks}") {
			stacks = []string{"repeating", "distinct"}
		}
		for _, s := range stacks {
			ours, theirs := strings.ReplaceAll(cells[1], "{stacks}", s), strings.ReplaceAll(cells[2], "{stacks}", s)
			us, ok := r.median(ours, unit)
			if !ok {
				missing = append(missing, ours+" "+unit)
				continue
			}
			them, ok := r.median(theirs, unit)
			if !ok && theirs != "" {
				missing = append(missing, theirs+" "+unit)
				continue
			}
			peer, ratio := "", ""
			if theirs != "" {
				peer, ratio = figure(them), figure(timesBetter(us, them, unit))+"×"
			}
			grid = append(grid, []string{cells[0], s, figure(us), peer, ratio, cells[3]})
		}
	}
	return markdown(grid), missing, nil
}

// markdown writes a table whose first row is the header, without the columns that
// are empty below it. Columns from the third on are numbers.
func markdown(grid [][]string) string {
	var used []int
	for column := range grid[0] {
		if slices.ContainsFunc(grid[1:], func(row []string) bool { return row[column] != "" }) {
			used = append(used, column)
		}
	}
	if len(used) == 0 {
		return ""
	}
	var b strings.Builder
	for i, row := range grid {
		for _, column := range used {
			b.WriteString("| " + row[column] + " ")
		}
		b.WriteString("|\n")
		if i > 0 {
			continue
		}
		for _, column := range used {
			b.WriteString([...]string{"|---", "|--:"}[min(column/2, 1)])
		}
		b.WriteString("|\n")
	}
	return b.String()
}

// timesBetter is how many times ours is better: less of everything, but more of
// what is a rate.
func timesBetter(ours, theirs float64, unit string) float64 {
	if strings.HasSuffix(unit, "/s") {
		return ours / theirs
	}
	return theirs / ours
}

// figure writes three significant digits, and whole numbers whole.
func figure(x float64) string {
	if x >= 100 || x == math.Trunc(x) {
		return thousands(strconv.FormatFloat(x, 'f', 0, 64))
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(x))))
	return strconv.FormatFloat(x, 'f', min(digits, 6), 64)
}

func thousands(s string) string {
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

package corpus_test

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/coldframe/coldframe/internal/corpus"
)

const page = "../../docs/benchmarks.md"

var corpusTable = regexp.MustCompile(`(?s)<!-- corpus -->\n.*<!-- /corpus -->`)

// Every profile of FiveMinutes is one that google/pprof reads and finds valid, and
// docs/benchmarks.md publishes its figures. They may differ by 2 %, as the last bits
// of logarithms do between machines and gzip does between versions of Go. With
// -update, the table is written.
func TestFiveMinutes(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	published := string(corpusTable.Find(text))
	columns := []corpus.Stats{measure(t, corpus.FiveMinutes(), "process_cpu"), measure(t, corpus.FiveMinutes(), "memory")}
	if n := columns[0].Profiles + columns[1].Profiles; n != 800 || columns[0].Services != 14 {
		t.Errorf("%d profiles of %d services, want 800 of 14", n, columns[0].Services)
	}
	if *update {
		distinct := corpus.FiveMinutesDistinct()
		columns = append(columns, measure(t, distinct, "process_cpu"), measure(t, distinct, "memory"))
		text = corpusTable.ReplaceAllLiteral(text, []byte(figures(columns)))
		if err := os.WriteFile(page, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !tablesAgree(published, figures(columns)) {
		t.Errorf("docs/benchmarks.md publishes\n%s\nof a corpus with\n%s", published, figures(columns))
	}
}

func measure(t *testing.T, all []corpus.Profile, name string) corpus.Stats {
	t.Helper()
	var named []corpus.Profile
	for _, p := range all {
		if p.Name == name {
			named = append(named, p)
		}
	}
	s, err := corpus.Measure(named)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func figures(columns []corpus.Stats) string {
	var b strings.Builder
	b.WriteString("<!-- corpus -->\n| | CPU | heap | CPU, all distinct | heap, all distinct |\n|---|--:|--:|--:|--:|\n")
	for _, row := range []struct {
		name  string
		value func(corpus.Stats) float64
		digit int
	}{
		{"profiles", func(s corpus.Stats) float64 { return float64(s.Profiles) }, 0},
		{"services", func(s corpus.Stats) float64 { return float64(s.Services) }, 0},
		{"series (instances)", func(s corpus.Stats) float64 { return float64(s.Series) }, 0},
		{"samples drawn, a profile", func(s corpus.Stats) float64 { return float64(s.Samples) / float64(s.Profiles) }, 0},
		{"rows (pprof's samples), a profile", corpus.Stats.RowsPerProfile, 0},
		{"rows in all", func(s corpus.Stats) float64 { return float64(s.Rows) }, 0},
		{"distinct stacks in all", func(s corpus.Stats) float64 { return float64(s.Stacks) }, 0},
		{"nodes of their tree", func(s corpus.Stats) float64 { return float64(s.Nodes) }, 0},
		{"depth of a row's stack, mean", corpus.Stats.MeanDepth, 1},
		{"depth, largest", func(s corpus.Stats) float64 { return float64(s.Depth) }, 0},
		{"gzip, KB a profile", func(s corpus.Stats) float64 { return float64(s.GzipBytes) / float64(s.Profiles) / 1e3 }, 1},
		{"protobuf, KB a profile", func(s corpus.Stats) float64 { return float64(s.RawBytes) / float64(s.Profiles) / 1e3 }, 1},
	} {
		fmt.Fprintf(&b, "| %s |", row.name)
		for _, s := range columns {
			fmt.Fprintf(&b, " %.*f |", row.digit, row.value(s))
		}
		b.WriteString("\n")
	}
	b.WriteString("<!-- /corpus -->")
	return b.String()
}

// tablesAgree compares cell by cell, as many as the fresh table has in each row.
func tablesAgree(published, fresh string) bool {
	old, now := strings.Split(published, "\n"), strings.Split(fresh, "\n")
	if len(old) != len(now) {
		return false
	}
	for i := range now {
		was, is := strings.Split(old[i], "|"), strings.Split(now[i], "|")
		for k := 1; k+1 < len(is); k++ {
			if k+1 >= len(was) || !cellsAgree(strings.TrimSpace(was[k]), strings.TrimSpace(is[k])) {
				return false
			}
		}
	}
	return true
}

func cellsAgree(was, is string) bool {
	a, notA := strconv.ParseFloat(was, 64)
	b, notB := strconv.ParseFloat(is, 64)
	if notA != nil || notB != nil {
		return was == is
	}
	return math.Abs(a-b) <= 0.02*max(math.Abs(a), math.Abs(b))
}

package corpus_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/coldframe/coldframe/internal/corpus"
)

var update = flag.Bool("update", false, "write the tables of README.md and docs/benchmarks.md")

// The seeds are few enough to commit, of enough programs to stand for many, and
// tell nothing of the machine that recorded them.
func TestSeeds(t *testing.T) {
	seeds, err := corpus.Seeds()
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	programs := map[string]bool{}
	private := regexp.MustCompile(`^(/root|/home|/work|/tmp|/Users)\b`)
	for _, s := range seeds {
		size += len(s.Body)
		programs[s.Program] = true
		if s.Version == "" || s.Command == "" {
			t.Errorf("%s.%s: version %q, command %q: both must be known", s.Program, s.Kind, s.Version, s.Command)
		}
		if err := s.Profile.CheckValid(); err != nil {
			t.Errorf("%s.%s: %v", s.Program, s.Kind, err)
		}
		for _, f := range s.Profile.Function {
			if private.MatchString(f.Filename) {
				t.Errorf("%s.%s: %s lies in %s, a folder of one machine", s.Program, s.Kind, f.Name, f.Filename)
				break
			}
		}
		for _, m := range s.Profile.Mapping {
			if private.MatchString(m.File) {
				t.Errorf("%s.%s: mapping %s is a folder of one machine", s.Program, s.Kind, m.File)
			}
		}
		for _, l := range s.Profile.Location {
			if l.Mapping == nil {
				t.Errorf("%s.%s: location %#x has no mapping, which drawing from it needs", s.Program, s.Kind, l.Address)
				break
			}
		}
	}
	if len(programs) < 7 {
		t.Errorf("%d programs, want at least 7", len(programs))
	}
	if size > 6<<20 {
		t.Errorf("the seeds are %d bytes, want at most 6 MiB", size)
	}
}

func TestREADME(t *testing.T) {
	seeds, err := corpus.Seeds()
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("<!-- seeds -->\n| program | version | kind | samples | distinct stacks | depth, mean | max | bytes | recorded from |\n")
	table.WriteString("|---|---|---|--:|--:|--:|--:|--:|---|\n")
	for _, s := range seeds {
		stats := s.Stats()
		fmt.Fprintf(&table, "| %s | %s | %s | %d | %d | %.1f | %d | %d | %s |\n",
			s.Program, s.Version, s.Kind, stats.Samples, stats.Stacks, stats.MeanDepth(), stats.Depth, len(s.Body), s.Command)
	}
	table.WriteString("<!-- /seeds -->")

	old, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	now := regexp.MustCompile(`(?s)<!-- seeds -->.*<!-- /seeds -->`).ReplaceAllLiteral(old, []byte(table.String()))
	if bytes.Equal(old, now) {
		return
	}
	if !*update {
		t.Fatalf("README.md is not about these seeds; go test -run TestREADME -update writes\n%s", table.String())
	}
	if err := os.WriteFile("README.md", now, 0o644); err != nil {
		t.Fatal(err)
	}
}

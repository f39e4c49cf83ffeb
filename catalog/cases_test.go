package catalog

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite what the case files expect")

// eachCase runs the cases in testdata/dir, one a file: prose, then sections that
// begin with "-- name --". The last section is what run makes of the others.
func eachCase(t *testing.T, dir string, run func(t *testing.T, sections map[string]string) string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in testdata/%s: %v", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text := string(data)
			sections := map[string]string{}
			var last string
			var lastAt int
			for at := strings.Index(text, "\n-- "); at >= 0; {
				header, body, _ := strings.Cut(text[at+1:], "\n")
				end := strings.Index(body, "\n-- ")
				last, lastAt = strings.Trim(header, "- "), at+1+len(header)+1
				if end < 0 {
					sections[last] = body
					break
				}
				sections[last] = body[:end+1]
				at = lastAt + end
			}
			want := sections[last]
			delete(sections, last)
			got := run(t, sections)
			if *update {
				if err := os.WriteFile(file, []byte(text[:lastAt]+got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("%s\ngot\n%s\nwant\n%s", text[:lastAt], got, want)
			}
		})
	}
}

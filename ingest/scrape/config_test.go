package scrape

import (
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coldframe/coldframe/profile"
)

var update = flag.Bool("update", false, "rewrite the expected parts of testdata")

// Each file of testdata/config is prose, a parca.yaml, and what comes of it: what the
// file means, or the one line that says what is wrong.
func TestParseConfig(t *testing.T) {
	files, err := filepath.Glob("testdata/config/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			const in, out = "-- parca.yaml --\n", "-- result --\n"
			prose, rest, _ := strings.Cut(string(text), in)
			config, want, _ := strings.Cut(rest, out)
			var got string
			c, err := ParseConfig("parca.yaml", []byte(config))
			if err != nil {
				got = err.Error() + "\n"
				if !errors.Is(err, profile.ErrInvalid) || strings.Count(got, "\n") != 1 {
					t.Errorf("want one line that is ErrInvalid, got %q", got)
				}
			} else {
				var b strings.Builder
				c.Describe(&b)
				got = b.String()
			}
			if *update {
				if err := os.WriteFile(file, []byte(prose+in+config+out+got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func FuzzParseConfig(f *testing.F) {
	files, err := filepath.Glob("testdata/config/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "-- parca.yaml --\n")
		config, _, _ := strings.Cut(rest, "-- result --\n")
		f.Add([]byte(config))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseConfig("parca.yaml", text)
		if err != nil {
			if !errors.Is(err, profile.ErrInvalid) {
				t.Errorf("%v is not ErrInvalid", err)
			}
			return
		}
		c.Describe(io.Discard) // which relabels
	})
}

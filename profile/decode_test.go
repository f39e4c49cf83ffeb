package profile_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/internal/corpus"
	"github.com/coldframe/coldframe/profile"
)

// googleTestdata returns google/pprof's own test profiles by name.
func googleTestdata(t testing.TB) map[string][]byte {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/google/pprof").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	paths, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "profile", "testdata", "*"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("google/pprof's testdata: %d files, %v", len(paths), err)
	}
	files := map[string][]byte{}
	for _, path := range paths {
		if files[filepath.Base(path)], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func TestGooglesTestdataHasTheContentThatGoogleReads(t *testing.T) {
	var d profile.Decoder
	for name, data := range googleTestdata(t) {
		t.Run(name, func(t *testing.T) {
			want, wantErr := pprof.ParseData(data)
			got, err := d.Decode(data)
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("got error %v, google/pprof %v", err, wantErr)
			}
			if err != nil {
				if !errors.Is(err, profile.ErrInvalid) {
					t.Errorf("error %v is not ErrInvalid", err)
				}
				return
			}
			requireSame(t, got, want)

			// As profile.proto, too.
			var proto bytes.Buffer
			if err := want.Write(&proto); err != nil {
				t.Fatal(err)
			}
			if got, err = d.Decode(proto.Bytes()); err != nil {
				t.Fatalf("rewritten as profile.proto: %v", err)
			}
			if want, err = pprof.Parse(&proto); err != nil {
				t.Fatal(err)
			}
			requireSame(t, got, want)
		})
	}
}

func TestCorpusHasTheContentThatGoogleReads(t *testing.T) {
	var d profile.Decoder
	for name, set := range corpus.Sets() {
		profiles := set()
		for i := 0; i < len(profiles); i += 97 {
			got, err := d.Decode(profiles[i].Body)
			if err != nil {
				t.Fatalf("%s: %s: %v", name, profiles[i], err)
			}
			want, err := pprof.ParseData(profiles[i].Body)
			if err != nil {
				t.Fatal(err)
			}
			requireSame(t, got, want)
		}
	}
}

package deploy

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// A release has archives, functions, a package, and what the binaries are made of; its list of sums tells all of them.
func TestRelease(t *testing.T) {
	needsRelease(t)
	dir, err := released()
	if err != nil {
		t.Fatal(err)
	}
	arch := runtime.GOARCH
	var listed []string
	sums, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(sums)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(content)); got != sum {
			t.Errorf("%s: the list says %s, it is %s", name, sum, got)
		}
		listed = append(listed, name)
	}
	for _, pattern := range []string{"coldframe-*-linux-" + arch + ".tar.gz", "coldframe_*_" + arch + ".deb", "coldframe-linux-" + arch + ".cdx.json", "coldframe-lambda-" + arch + ".zip", "coldframe-lambda-ingest-" + arch + ".zip"} {
		if !slices.ContainsFunc(listed, func(name string) bool { ok, _ := path.Match(pattern, name); return ok }) {
			t.Errorf("no %s among %v", pattern, listed)
		}
	}
	for _, name := range []string{"coldframe-lambda-", "coldframe-lambda-ingest-"} {
		checkFunction(t, filepath.Join(dir, name+arch+".zip"))
	}
	checkArchive(t, dir, arch)
	checkComponents(t, filepath.Join(dir, "coldframe-linux-"+arch))
}

// checkFunction looks at what Lambda is given: a bootstrap that it may run, of less than 20 MB.
func checkFunction(t *testing.T, file string) {
	t.Helper()
	z, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = z.Close() }()
	if len(z.File) != 1 || z.File[0].Name != "bootstrap" || z.File[0].Mode()&0o111 != 0o111 {
		t.Errorf("%s: want one file, bootstrap, that all may run", file)
	}
	if info, err := os.Stat(file); err != nil || info.Size() >= 20_000_000 {
		t.Errorf("%s: %d bytes, want fewer than 20 MB, %v", file, info.Size(), err)
	}
}

// checkArchive takes an archive apart and runs what is in it.
func checkArchive(t *testing.T, dir, arch string) {
	t.Helper()
	archives, err := filepath.Glob(filepath.Join(dir, "coldframe-*-linux-"+arch+".tar.gz"))
	if err != nil || len(archives) != 1 {
		t.Fatal(archives, err)
	}
	file, err := os.Open(archives[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	has := map[string]bool{}
	binary := filepath.Join(t.TempDir(), "coldframe")
	for r := tar.NewReader(unzipped); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(h.Name, "/")
		has[name] = true
		if name != "coldframe" {
			continue
		}
		content, err := io.ReadAll(r)
		if err == nil {
			err = os.WriteFile(binary, content, 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"coldframe", "LICENSE", "README.md", "coldframe.1.gz", "coldframe.bash", "_coldframe", "coldframe.fish"} {
		if !has[name] {
			t.Errorf("%s: no %s", archives[0], name)
		}
	}
	version, err := exec.CommandContext(t.Context(), binary, "--version").Output()
	if err != nil || !bytes.Contains(version, []byte("(commit ")) || bytes.Contains(version, []byte("unknown")) {
		t.Errorf("--version: %q, %v: want a commit and its date", version, err)
	}
}

// checkComponents looks at the list of what a binary is made of.
func checkComponents(t *testing.T, binary string) {
	t.Helper()
	text, err := os.ReadFile(binary + ".cdx.json")
	if err != nil {
		t.Fatal(err)
	}
	var bill struct {
		Format   string `json:"bomFormat"`
		Metadata struct {
			Component struct {
				Hashes []struct{ Content string } `json:"hashes"`
			} `json:"component"`
		} `json:"metadata"`
		Components []struct{ Name string } `json:"components"`
	}
	if err := json.Unmarshal(text, &bill); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(content))
	if bill.Format != "CycloneDX" || len(bill.Components) < 50 || len(bill.Metadata.Component.Hashes) != 1 || bill.Metadata.Component.Hashes[0].Content != sum {
		t.Errorf("%s.cdx.json: %s of %d components, of a binary %v, which is %s", binary, bill.Format, len(bill.Components), bill.Metadata.Component.Hashes, sum)
	}
}

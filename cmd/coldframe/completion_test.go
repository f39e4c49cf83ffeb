package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What is offered in bash, by bash itself, which takes a word apart at =.
func TestCompletionInBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	dir := t.TempDir()
	binary := asBinary(t, dir)
	write(t, dir, "bucket.yaml", nil)
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	script := must(t, "completion", "bash")
	for _, c := range []struct{ words, want string }{
		{"q", "query"},
		{"co", "compact cost completion"},
		{"block ", "ls inspect cat verify"},
		{"--tenant x block v", "verify"},
		{"query --cluster-k", "--cluster-key-file="},
		{"get --diff-", "--diff-absolute --diff-from= --diff-to="},
		{"query --log-level ", "error warn info debug"},
		{"query --log-level = w", "warn"}, // --log-level=w, as bash has it
		{"query --log-format = ", "logfmt json"},
		{"query --bucket-config buc", "bucket.yaml"},
		{"query --bucket-config = buc", "bucket.yaml"},
		{"dev --data d", "data"},
		{"push --label a=b buc", "bucket.yaml"},
		{"completion ", "bash zsh fish"},
		{"query --http-address ", ""},
		{"nothing ", ""},
	} {
		words := strings.Split(c.words, " ")
		test := script + `
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
_coldframe
echo "${COMPREPLY[*]}"`
		cmd := exec.CommandContext(t.Context(), bash, append([]string{"-c", test, "bash", binary}, words...)...)
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%q: %v", c.words, err)
		}
		if got := strings.TrimSpace(string(out)); got != c.want {
			t.Errorf("%q: got %q, want %q", c.words, got, c.want)
		}
	}
}

// And in fish, where there is one, whose own command tells what it would offer.
func TestCompletionInFish(t *testing.T) {
	fish, err := exec.LookPath("fish")
	if err != nil {
		t.Skip("no fish")
	}
	dir := t.TempDir()
	binary := asBinary(t, dir)
	write(t, dir, "bucket.yaml", nil)
	script := write(t, dir, "completion.fish", []byte(must(t, "completion", "fish")))
	for line, want := range map[string]string{
		"coldframe q":                          "query",
		"coldframe query --log-level=w":        "--log-level=warn",
		"coldframe query --bucket-config buc":  "bucket.yaml",
		"coldframe query --bucket-config=buc":  "--bucket-config=bucket.yaml",
		"coldframe query --http-address :7070": "",
	} {
		cmd := exec.CommandContext(t.Context(), fish, "--no-config", "-c", "source "+script+"; complete -C '"+line+"'")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"), "HOME="+dir)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if got, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\t"); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

// asBinary is a program named coldframe.
func asBinary(t *testing.T, dir string) string {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary := write(t, dir, "coldframe", []byte("#!/bin/sh\n"+asCommand+"=1 exec '"+executable+"' \"$@\"\n"))
	if err := os.Chmod(binary, 0o700); err != nil {
		t.Fatal(err)
	}
	return binary
}

// The scripts of all shells are what their shells can read, where these are.
func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script := must(t, "completion", shell)
		binary, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		cmd := exec.CommandContext(t.Context(), binary, "-n", write(t, t.TempDir(), "script", []byte(script)))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
	if status, _, stderr := command(t, "completion", "csh"); status != exitUsage || !strings.Contains(stderr, "bash") {
		t.Errorf("csh: %d %s", status, stderr)
	}
}

// The manual page has every command and flag that --help has, and roff takes it without a warning.
func TestManualPage(t *testing.T) {
	page := must(t, "man")
	for _, command := range []string{"dev", "agent", "block ls", "tenant set", "lifecycle apply", "cost", "fsck", "completion"} {
		if !strings.Contains(page, "\n.SS "+command) {
			t.Errorf("the page has no %s", command)
		}
		for line := range strings.SplitSeq(must(t, append(strings.Fields(command), "--help")...), "\n") {
			name, found := strings.CutPrefix(strings.TrimSpace(line), "--")
			if !found {
				continue
			}
			name, _, _ = strings.Cut(strings.Fields(name)[0], "=")
			if !strings.Contains(page, "\n\\fB"+roff("--"+strings.TrimSuffix(name, ","))+"\\fR") {
				t.Errorf("%s: the page has no --%s", command, name)
			}
		}
	}
	if strings.Contains(page, "\n.SS complete ") {
		t.Error("the page tells of what is hidden")
	}
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("no groff")
	}
	cmd := exec.CommandContext(t.Context(), groff, "-man", "-ww", "-Tutf8", "-z")
	cmd.Stdin = strings.NewReader(page)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("groff: %v\n%s", err, out)
	}
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coldframe/coldframe/internal/truth"
)

// A lost HEAD is written again from the blocks, and the same answers come back.
func TestRebuildHead(t *testing.T) {
	dir := t.TempDir()
	bkt := "{type: FILESYSTEM, config: {directory: " + dir + "}}"
	for _, name := range []string{"one", "two", "three"} {
		must(t, "push", "--bucket-config", bkt, "--type-name", "test", write(t, t.TempDir(), name, oneSample(t, name)))
		must(t, "compact", "--bucket-config", bkt, "--once", "--seal-now")
	}
	before := truth.Samples(get(t, bkt, "--type", "test"))
	if err := os.Remove(filepath.Join(dir, "v1", "man", "default", "00", "HEAD")); err != nil {
		t.Fatal(err)
	}
	out := must(t, "fsck", "--bucket-config", bkt, "--rebuild-head")
	if !strings.Contains(out, "rebuilt default/00") {
		t.Errorf("fsck says nothing of the HEAD that it wrote:\n%s", out)
	}
	if difference := truth.Difference(truth.Samples(get(t, bkt, "--type", "test")), before); difference != "" || len(before) != 3 {
		t.Errorf("of %d samples:\n%s", len(before), difference)
	}
}

// A damaged block costs itself: the rest is answered with status 3, which object it is
// and why is told, fsck and verify find it.
func TestDamageCostsOneObject(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"truncated":  func(b []byte) []byte { return b[:len(b)/2] },
		"bit flip":   func(b []byte) []byte { b[len(b)-30] ^= 4; return b },
		"foreign":    func([]byte) []byte { return []byte("something else entirely") },
		"emptied":    func([]byte) []byte { return nil },
		"first half": func(b []byte) []byte { b[len(b)/8] ^= 1; return b },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			bkt := "{type: FILESYSTEM, config: {directory: " + dir + "}}"
			must(t, "push", "--bucket-config", bkt, "--type-name", "test", write(t, t.TempDir(), "p", oneSample(t, "harmed")))
			must(t, "compact", "--bucket-config", bkt, "--once", "--seal-now")
			blocks, err := filepath.Glob(filepath.Join(dir, "v1", "b1", "*", "*", "*", "*.arrow.zip"))
			if err != nil || len(blocks) != 1 {
				t.Fatal(blocks, err)
			}
			must(t, "push", "--bucket-config", bkt, "--type-name", "test", write(t, t.TempDir(), "p", oneSample(t, "sound")))
			must(t, "compact", "--bucket-config", bkt, "--once", "--seal-now") // its minute was sealed: the sweep finds it

			body, err := os.ReadFile(blocks[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(blocks[0], damage(body), 0o600); err != nil {
				t.Fatal(err)
			}
			key, err := filepath.Rel(dir, blocks[0])
			if err != nil {
				t.Fatal(err)
			}

			status, stdout, stderr := command(t, "get", "--bucket-config", bkt, "--format", "folded", "--type", "test", "--from", "now-1h", "--to", "now+1h")
			if status != exitPartial || !strings.Contains(stdout, "sound") || !strings.Contains(stderr, key) {
				t.Errorf("get: exit status %d\n%s%s", status, stdout, stderr)
			}
			if status, stdout, _ := command(t, "fsck", "--bucket-config", bkt); status != exitPartial || !strings.Contains(stdout, key) {
				t.Errorf("fsck: exit status %d\n%s", status, stdout)
			}
			if status, _, stderr := command(t, "block", "verify", "--bucket-config", bkt, key); status != exitPartial || !strings.Contains(stderr, key) {
				t.Errorf("verify: exit status %d\n%s", status, stderr)
			}
			if status, _, _ := command(t, "get", "--bucket-config", bkt, "--strict", "--format", "folded", "--type", "test"); status != exitFailed {
				t.Errorf("get --strict: exit status %d, want %d", status, exitFailed)
			}
		})
	}
}

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coldframe/coldframe/internal/truth"
)

// What perf, the JVM and Parca's agent have recorded is told by what a file begins with,
// stored through a server and straight into the bucket, and counted as they count it.
func TestPushWhatOthersRecorded(t *testing.T) {
	perfData, v2 := filepath.Join("..", "..", "ingest", "push", "perf", "testdata", "small.perf.data"), filepath.Join("..", "..", "ingest", "push", "parca", "testdata", "v2.arrows")
	batch, err := os.ReadFile(v2)
	if err != nil {
		t.Fatal(err)
	}
	n := len(batch)
	head := []byte{0xa6, 0xe7, 0xcc, 0xca, 0, 1, 0, 1, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	dir := t.TempDir()
	padata := write(t, dir, "1767607200-1.padata", append(head, batch...))
	cut := write(t, dir, "1767607200-2.padata", append(append(head, batch...), 0, 0, 1))

	bkt, address := folder(t), freeAddress(t)
	url := "http://" + address
	spawn(t, "ingest", "--bucket-config", bkt, "--http-address", address).ready(t, url)

	out := must(t, "push", "--bucket-config", bkt, "--label", "job=perf", perfData)
	if !strings.Contains(out, "stored 1 of 1 profiles") {
		t.Errorf("perf.data: %s", out)
	}
	out = must(t, "push", "--server", url, "--label", "job=parca", padata)
	if !strings.Contains(out, "stored 3 of 3 profiles") {
		t.Errorf("padata: %s", out)
	}
	var stdout, stderr strings.Builder
	if status := run(t.Context(), []string{"push", "--server", url, "--label", "job=cut", cut}, &stdout, &stderr); status != exitPartial || !strings.Contains(stdout.String(), "stored 3 of 3") {
		t.Errorf("a file that is cut off: status %d, %s %s", status, &stdout, &stderr)
	}
	sum := func(name, job, from string) (total int64) {
		for _, values := range truth.Samples(get(t, bkt, "--from", from, "--type", name, `{job="`+job+`"}`)) {
			total += values[0]
		}
		return total
	}
	if got := sum("process_cpu", "parca", "2026-01-01T00:00:00Z"); got != 4 {
		t.Errorf("Parca's agent: %d samples, want 4", got)
	}
	want := int64(-1)
	if perf, err := exec.LookPath("perf"); err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		script, err := exec.CommandContext(ctx, perf, "script", "-i", perfData, "-F", "comm,pid,event").Output()
		if err != nil {
			t.Fatal(err)
		}
		want = int64(strings.Count(string(script), "cpu-clock"))
	}
	if got := sum("process_cpu", "perf", "2020-01-01T00:00:00Z"); got == 0 || want > 0 && got != want {
		t.Errorf("perf: %d samples, want %d", got, want)
	}
}

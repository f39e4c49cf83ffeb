package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/bpf"
)

// The guide's way to combine both: the agent takes CPU, the scraper the other four, by the
// guide's own file but for the address. CPU is there once, whatever the question.
func TestGuideBesideTheAgent(t *testing.T) {
	t.Parallel()
	if refused := bpf.Inspect().Refused; refused != nil {
		t.Skipf("the agent needs a machine that can be sampled: %v", refused)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "cfguide")
	e, target, err := example{
		make: []string{"go", "build", "-o", program, "."}, run: []string{program, "-http-address", "127.0.0.1:0"},
	}.start(t, "go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../ingest/scrape/testdata/config/guide_no_cpu.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, config, _ := strings.Cut(string(text), "-- parca.yaml --\n")
	config, _, _ = strings.Cut(config, "-- result --\n")
	file := write(t, dir, "parca.yaml", []byte(strings.ReplaceAll(config, "127.0.0.1:7070", target)))
	data, address := t.TempDir(), freeAddress(t)
	bkt := fmt.Sprintf("{type: FILESYSTEM, config: {directory: %q}}", data)
	dev := spawn(t, "dev", "--agent", "on", "--data", data, "--http-address", address, "--config-path", file)
	dev.ready(t, "http://"+address)
	byAgent := `{comm="cfguide"}`
	for selector, kind := range map[string]string{byAgent: "process_cpu/cpu", `{job="default", env="prod"}`: "memory/alloc_space"} {
		eventually(t, time.Minute, func() (string, bool) {
			status, out, stderr := command(t, "get", "--bucket-config", bkt, "--format", "pprof", "--type", kind, selector)
			if status != 0 {
				return kind + ": " + stderr, false
			}
			return e.missing(t, kind, []byte(out), []string{"main.burn"})
		})
	}
	if err := dev.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err = <-dev.done
	dev.done <- nil
	if err != nil {
		t.Fatalf("dev did not stop cleanly: %v\n%s", err, dev.stderr)
	}

	// Other tests may burn CPU in a main.burn of another binary: the agent samples all.
	burned := func(selector string) (n int64) {
		for _, s := range get(t, bkt, "--type", "process_cpu/samples", selector).Sample {
			ours := slices.ContainsFunc(s.Location, func(l *pprof.Location) bool { return l.Mapping != nil && strings.HasSuffix(l.Mapping.File, program) })
			if ours && slices.ContainsFunc(s.Location, isIn("main.burn")) {
				n += s.Value[0]
			}
		}
		return n
	}
	if all, agents := burned(`{}`), burned(byAgent); all != agents || all == 0 {
		t.Errorf("%d samples of CPU in main.burn, %d of them by the agent", all, agents)
	}
	if status, out, _ := command(t, "get", "--bucket-config", bkt, "--from", "now-1h", "--type", "process_cpu/samples", `{job="default"}`); status == 0 && strings.Contains(out, "main.burn") {
		t.Errorf("the job has CPU profiles too:\n%s", out)
	}
}

// isIn says whether a location is in a function.
func isIn(function string) func(*pprof.Location) bool {
	return func(l *pprof.Location) bool {
		return slices.ContainsFunc(l.Line, func(line pprof.Line) bool { return line.Function.Name == function })
	}
}

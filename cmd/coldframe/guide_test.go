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

// The ingestion guide's two examples beside the agent, as they are but for the address: fgprof added, and CPU left to the
// agent. (TestGuide of ingest/scrape runs them without the agent.) In the second CPU is there once, whatever the question.
func TestGuideBesideTheAgent(t *testing.T) {
	t.Parallel()
	if refused := bpf.Inspect().Refused; refused != nil {
		t.Skipf("the agent needs a machine that can be sampled: %v", refused)
	}
	for file, c := range map[string]struct {
		program   string
		scraped   map[string][]string // functions of the job by type
		scrapeCPU bool
	}{
		"guide_no_cpu.txt": {"cfguide", map[string][]string{"memory/alloc_space": {"main.burn"}, "goroutine": {"main.work"}}, false},
		"guide_fgprof.txt": {"cffgprof", map[string][]string{"fgprof/time": {"main.burn", "main.wait"}, "process_cpu/cpu": {"main.burn"}, "memory/alloc_space": {"main.burn"}}, true},
	} {
		t.Run(strings.TrimSuffix(file, ".txt"), func(t *testing.T) {
			t.Parallel()
			if testing.Short() && c.scrapeCPU {
				t.Skip("waits for an interval of 45 s")
			}
			g := startGuide(t, file, c.program)
			for kind, functions := range c.scraped {
				g.eventually(t, kind, `{job="default"}`, functions)
			}
			g.eventually(t, "process_cpu/cpu", g.byAgent, []string{"main.burn"})
			g.stop(t)

			all, agents, job := g.burned(t, `{}`), g.burned(t, g.byAgent), g.burned(t, `{job="default"}`)
			if agents == 0 || all != agents+job || (job > 0) != c.scrapeCPU {
				t.Errorf("%d samples of CPU in main.burn, %d of them by the agent, %d scraped", all, agents, job)
			}
		})
	}
}

// guide is the program of infra/examples/go, scraped as an example of the guide says and sampled by the agent.
type guide struct {
	dev                   *spawned
	program, bkt, byAgent string
}

// startGuide builds the program with a build ID of its own: a mapping is called as its binary was first.
func startGuide(t *testing.T, file, name string) guide {
	t.Helper()
	dir := t.TempDir()
	g := guide{program: filepath.Join(dir, name), byAgent: fmt.Sprintf(`{comm=%q}`, name)}
	_, target, err := example{
		make: []string{"go", "build", "-ldflags", "-X main.name=" + name, "-o", g.program, "."}, run: []string{g.program, "-http-address", "127.0.0.1:0"},
	}.start(t, "go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("../../ingest/scrape/testdata/config", file))
	if err != nil {
		t.Fatal(err)
	}
	_, config, _ := strings.Cut(string(text), "-- parca.yaml --\n")
	config, _, _ = strings.Cut(config, "-- result --\n")
	parcaYAML := write(t, dir, "parca.yaml", []byte(strings.ReplaceAll(config, "127.0.0.1:7070", target)))
	data, address := t.TempDir(), freeAddress(t)
	g.bkt = fmt.Sprintf("{type: FILESYSTEM, config: {directory: %q}}", data)
	g.dev = spawn(t, "dev", "--agent", "on", "--data", data, "--http-address", address, "--config-path", parcaYAML)
	g.dev.ready(t, "http://"+address)
	return g
}

// eventually waits until functions are in the profiles of a type.
func (g guide) eventually(t *testing.T, kind, selector string, functions []string) {
	t.Helper()
	eventually(t, 4*time.Minute, func() (string, bool) {
		status, out, stderr := command(t, "get", "--bucket-config", g.bkt, "--format", "pprof", "--type", kind, selector)
		if status != 0 {
			return kind + ": " + stderr, false
		}
		return example{}.missing(t, kind, []byte(out), functions)
	})
}

func (g guide) stop(t *testing.T) {
	t.Helper()
	if err := g.dev.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err := <-g.dev.done
	g.dev.done <- nil
	if err != nil {
		t.Fatalf("dev did not stop cleanly: %v\n%s", err, g.dev.stderr)
	}
}

// burned is how many samples of CPU there are in main.burn of the program. Other tests may burn CPU in a main.burn
// of another binary: the agent samples all.
func (g guide) burned(t *testing.T, selector string) (n int64) {
	t.Helper()
	status, out, _ := command(t, "get", "--bucket-config", g.bkt, "--from", "0", "--to", "now+1h", "--format", "pprof", "--type", "process_cpu/samples", selector)
	if status != 0 {
		return 0 // no profile of this type
	}
	p, err := pprof.ParseData([]byte(out))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Sample {
		ours := slices.ContainsFunc(s.Location, func(l *pprof.Location) bool { return l.Mapping != nil && strings.HasSuffix(l.Mapping.File, g.program) })
		if ours && slices.ContainsFunc(s.Location, isIn("main.burn")) {
			n += s.Value[0]
		}
	}
	return n
}

// isIn says whether a location is in a function.
func isIn(function string) func(*pprof.Location) bool {
	return func(l *pprof.Location) bool {
		return slices.ContainsFunc(l.Line, func(line pprof.Line) bool { return line.Function.Name == function })
	}
}

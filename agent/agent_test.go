package agent

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"
)

// memory is a sink that keeps profiles.
type memory struct {
	mu       sync.Mutex
	profiles []Profile
	tallies  []tallied // of the first profiles
}

func (m *memory) Write(_ context.Context, p Profile) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.profiles = append(m.profiles, p)
	return nil
}

// of returns the decoded profiles of one name whose comm is the given one.
func (m *memory) of(t testing.TB, name, comm string) []*pprof.Profile {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*pprof.Profile
	for _, p := range m.profiles {
		if p.Name != name || p.Labels.Get("comm") != comm {
			continue
		}
		d := decode(t, p)
		out = append(out, d)
	}
	return out
}

// countOf is how many samples, or waits, there are of some programs.
func (m *memory) countOf(name string, comms ...string) (n int64) {
	for _, c := range m.tally() {
		if c.name == name && slices.Contains(comms, c.comm) {
			n += c.n
		}
	}
	return n
}

// countSince is how many on-CPU samples there are of a process in profiles that begin after since.
func (m *memory) countSince(since time.Time, pid int) (n int64) {
	for _, c := range m.tally() {
		if c.name == "process_cpu" && !c.from.Before(since) {
			n += c.pids[strconv.Itoa(pid)]
		}
	}
	return n
}

// tallied is what is counted of a profile.
type tallied struct {
	name, comm string
	from       time.Time
	n          int64
	pids       map[string]int64
}

func (m *memory) tally() []tallied {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.profiles[len(m.tallies):] {
		c := tallied{name: p.Name, comm: p.Labels.Get("comm"), from: p.Range.From, pids: map[string]int64{}}
		d, err := pprof.ParseData(p.Pprof)
		if err != nil {
			panic(err) // a test's: what the agent writes can be read
		}
		for _, s := range d.Sample {
			c.n += s.Value[0]
			for _, pid := range s.Label["pid"] {
				c.pids[pid] += s.Value[0]
			}
		}
		m.tallies = append(m.tallies, c)
	}
	return m.tallies
}

func decode(t testing.TB, p Profile) *pprof.Profile {
	t.Helper()
	d, err := pprof.Parse(bytes.NewReader(p.Pprof))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.CheckValid(); err != nil {
		t.Fatal(err)
	}
	return d
}

// compile builds a program.
func compile(t testing.TB, source, out string, argv ...string) string {
	t.Helper()
	tool, err := exec.LookPath(argv[0])
	if err != nil {
		missing(t, err)
	}
	path := filepath.Join(t.TempDir(), out)
	args := append(argv[1:], "-o", path, source)
	if b, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", tool, args, err, b)
	}
	return path
}

// start runs a program until the test's end, below the agent's own priority, for the machine may be
// small and they never rest.
func start(t testing.TB, path string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nice", append([]string{"-n", "5", path}, args...)...)
	cmd.Dir = t.TempDir()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// folded counts stacks as "leaf;caller;…", user frames only.
func folded(ps []*pprof.Profile) map[string]int64 {
	out := map[string]int64{}
	for _, p := range ps {
		for _, s := range p.Sample {
			var names []string
			for _, l := range s.Location {
				if l.Mapping != nil && l.Mapping.File == "[kernel.kallsyms]" {
					continue
				}
				if len(l.Line) == 0 {
					names = append(names, "?")
				}
				for _, line := range l.Line {
					names = append(names, line.Function.Name)
				}
			}
			out[strings.Join(names, ";")] += s.Value[0]
		}
	}
	return out
}

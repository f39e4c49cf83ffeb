package agent

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/bpf"
	"github.com/coldframe/coldframe/internal/machine"
)

// memory is a sink that keeps profiles.
type memory struct {
	mu       sync.Mutex
	profiles []Profile
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

// run profiles the machine for a while. during runs beside it.
func run(t testing.TB, c Config, d time.Duration) (*memory, Stats) {
	t.Helper()
	machine.Sampled(t, bpf.Inspect().Refused)
	c.Node = "testnode"
	c.Observer.Failed = func(err error) { t.Log(err) }
	m := &memory{}
	a, err := New(c, m)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	time.Sleep(d)
	s, err := a.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return m, s
}

// fixture compiles a program and runs it until the test's end.
func compile(t testing.TB, source, out string, argv ...string) string {
	t.Helper()
	tool, err := exec.LookPath(argv[0])
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	path := filepath.Join(t.TempDir(), out)
	args := append(argv[1:], "-o", path, source)
	if b, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", tool, args, err, b)
	}
	return path
}

func start(t testing.TB, path string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = t.TempDir()
	if err := cmd.Start(); err != nil {
		t.Skip(err)
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

package agent

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coldframe/coldframe/bpf"
	"github.com/coldframe/coldframe/internal/machine"
)

// profiling is an agent at work while a test goes on. Tests wait for counts of samples, not for
// times: how long it takes to get them depends on what else the machine does.
type profiling struct {
	*memory
	t     testing.TB
	agent *Agent
	stop  func() Stats // ends it; what was sampled is in memory then
}

// patience is for machines with much else to do. Quiet ones need seconds.
const patience = 4 * time.Minute

func begin(t testing.TB, c Config) *profiling {
	t.Helper()
	machine.Sampled(t, bpf.Inspect().Refused)
	c.Node, c.PID = "testnode", true
	c.Observer.Failed = func(err error) { t.Log(err) }
	if c.Window == 0 {
		c.Window = 500 * time.Millisecond
	}
	p := &profiling{memory: &memory{}, t: t}
	var err error
	if p.agent, err = New(c, p.memory); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.agent.Run(ctx) }()
	p.stop = func() Stats {
		t.Helper()
		s, err := p.agent.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		return s
	}
	return p
}

// until waits until something holds.
func (p *profiling) until(what string, holds func() bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// settled says whether the agent knows all that a process has mapped and has opened it, so that
// from now on its stacks are walked as they ought to be.
func (p *profiling) settled(pid int) bool {
	p.t.Helper()
	maps, err := readMaps(uint32(pid))
	if err != nil {
		p.t.Fatalf("process %d: %v", pid, err)
	}
	ok := false
	err = p.agent.call(p.t.Context(), func() {
		known := p.agent.processes.byPID[uint32(pid)]
		if known == nil || !known.sampled || known.dirty {
			return
		}
		for _, m := range known.mappings {
			if b := m.binary; b != nil && (b.state == opening || b.state == unopened && b.tries < 3) {
				return
			}
		}
		for _, m := range maps {
			// Nobody tells of what was cut off a mapping: on arm64 the loader does so to every library.
			holds := func(k mapping) bool { return k.start == m.start && k.offset == m.offset && k.end >= m.end }
			if strings.HasPrefix(m.path, "/") && !slices.ContainsFunc(known.mappings, holds) {
				return
			}
		}
		ok = true
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return ok
}

// gathered is what was sampled of a process since it had settled.
type gathered struct {
	pid               int
	since             time.Time
	samples, complete uint64 // as the kernel saw them
	before            ProcessInfo
}

// gather waits until n samples were taken of each process since it has settled, and written.
func (p *profiling) gather(n uint64, pids ...int) map[int]*gathered {
	p.t.Helper()
	all := map[int]*gathered{}
	for _, pid := range pids {
		all[pid] = &gathered{pid: pid}
	}
	p.until("samples of all processes", func() bool {
		infos, err := p.agent.Processes(p.t.Context())
		if err != nil {
			p.t.Fatal(err)
		}
		enough := 0
		for _, i := range infos {
			g := all[int(i.PID)]
			switch {
			case g == nil:
			case !p.settled(g.pid):
				g.since = time.Time{}
			case g.since.IsZero():
				g.since, g.before = time.Now(), i
			default:
				g.samples, g.complete = i.Samples-g.before.Samples, i.Complete-g.before.Complete
				if g.samples >= n && p.countSince(g.since, g.pid) >= int64(n) {
					enough++
				}
			}
		}
		return enough == len(all)
	})
	return all
}

package agent

import (
	"debug/elf"
	"encoding/hex"
	"os/exec"
	"slices"
	"testing"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/agent/symbols"
	"github.com/coldframe/coldframe/bpf"
	"github.com/coldframe/coldframe/internal/machine"
)

// The leaves of processes that live for milliseconds are resolved, and nothing is kept of the
// processes. Resolved is what has a name, and what has none in a stripped file and comes with the
// file's build ID and the address as the file has it, by which a backend names it. Where files have
// symbols, that is names alone.
func TestChurn(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	brief := compile(t, testdata+"brief.c", "cf_brief", "gcc", "-O2", "-static")
	script := "while :; do " + brief + "; gcc -O1 -c -o /dev/null " + testdata + "chain.c; ls / >/dev/null; perl -e 1; done"
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	if err := cmd.Start(); err != nil {
		missing(t, err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	others := []string{"cc1", "gcc", "as", "ls", "perl", "bash"}
	m := begin(t, Config{Sampler: bpf.Config{Frequency: 199}})
	m.until("samples of short-lived processes", func() bool {
		return m.countOf("process_cpu", others...) >= 600 && m.countOf("process_cpu", "cf_brief") >= 300
	})
	s := m.stop()
	t.Logf("%+v", s)
	withSymbols := leavesOf(t, m.of(t, "process_cpu", "cf_brief"))
	t.Logf("of a program with symbols: %+v", withSymbols)
	wantMost(t, "leaves have names", withSymbols.named, withSymbols.total)
	all := withSymbols
	for _, comm := range others {
		l := leavesOf(t, m.of(t, "process_cpu", comm))
		t.Logf("of %s: %+v", comm, l)
		all = all.plus(l)
	}
	t.Logf("of all: %+v", all)
	wantMost(t, "leaves are resolved", all.named+all.byFile, all.total)
	if s.EventsLost != 0 || s.Kernel.RingFull != 0 {
		t.Errorf("lost: %d events, %d samples", s.EventsLost, s.Kernel.RingFull)
	}
	if alive := len(listProcesses()); s.Processes > alive+50 {
		t.Errorf("%d processes are kept where %d run", s.Processes, alive)
	}
}

func wantMost(t *testing.T, what string, n, total int64) {
	t.Helper()
	if total == 0 || n*100 < total*98 {
		t.Errorf("%d of %d %s, want 98 %%", n, total, what)
	}
}

// leaves are counts of samples by what is known of their leaf.
type leaves struct{ total, named, byFile int64 }

func (l leaves) plus(o leaves) leaves {
	return leaves{l.total + o.total, l.named + o.named, l.byFile + o.byFile}
}

func leavesOf(t *testing.T, ps []*pprof.Profile) (l leaves) {
	t.Helper()
	files := map[string]*stripped{}
	for _, p := range ps {
		for _, s := range p.Sample {
			n := s.Value[0]
			l.total += n
			if len(s.Location) == 0 {
				continue
			}
			leaf := s.Location[0]
			switch m := leaf.Mapping; {
			case len(leaf.Line) > 0:
				l.named += n
			case m == nil || m.BuildID == "":
				t.Logf("%d samples at %#x, of no file", n, leaf.Address)
			default:
				if files[m.File] == nil {
					files[m.File] = readStripped(t, m.File)
				}
				if why := files[m.File].refuses(m.BuildID, leaf.Address); why != "" {
					t.Logf("%d samples at %#x of %s: %s", n, leaf.Address, m.File, why)
				} else {
					l.byFile += n
				}
			}
		}
	}
	return l
}

// stripped is a file as debug/elf reads it.
type stripped struct {
	buildID string
	code    []*elf.Prog
	symbols []elf.Symbol
}

func readStripped(t *testing.T, path string) *stripped {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // it was only read
	s := &stripped{code: slices.DeleteFunc(f.Progs, func(p *elf.Prog) bool { return p.Type != elf.PT_LOAD || p.Flags&elf.PF_X == 0 })}
	for _, read := range []func() ([]elf.Symbol, error){f.Symbols, f.DynamicSymbols} {
		if found, err := read(); err == nil {
			s.symbols = append(s.symbols, found...)
		}
	}
	if note := f.Section(".note.gnu.build-id"); note != nil {
		b, err := note.Data()
		if err != nil {
			t.Fatal(err)
		}
		s.buildID = hex.EncodeToString(symbols.FindBuildID(b))
	}
	return s
}

// refuses says why an address without a name is not all that can be had of the file.
func (s *stripped) refuses(buildID string, addr uint64) string {
	if buildID != s.buildID {
		return "the file has the build ID " + s.buildID + ", not " + buildID
	}
	if !slices.ContainsFunc(s.code, func(p *elf.Prog) bool { return addr >= p.Vaddr && addr < p.Vaddr+p.Filesz }) {
		return "the file has no code there"
	}
	for _, x := range s.symbols {
		if elf.ST_TYPE(x.Info) == elf.STT_FUNC && x.Section != elf.SHN_UNDEF && addr >= x.Value && addr < x.Value+x.Size {
			return "the file has the name " + x.Name
		}
	}
	return ""
}

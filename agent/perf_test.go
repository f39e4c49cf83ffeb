package agent

import (
	"cmp"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/bpf"
	"github.com/coldframe/coldframe/internal/machine"
)

// The walk finds the stacks that perf finds by copying the stack and unwinding it with DWARF: what
// is often seen by one is seen by the other. Of Go's programs perf so sees the leaf alone, for they
// have no .eh_frame; by frame pointers it misses the callers of functions without a frame, and no
// others.
func TestAgreesWithPerf(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	perf, err := exec.LookPath("perf")
	if err != nil {
		missing(t, err)
	}
	inC := regexp.MustCompile(`^(leaf_spin|leaf_sys|f[1-5]|compare|main|_start)$`)
	for name, x := range map[string]struct {
		build  func(*testing.T) string
		args   []string
		own    *regexp.Regexp
		graph  string // how perf is to find stacks, when not by DWARF
		misses string // which of the program's functions it does not find so
	}{
		"c without frame pointers": {build: c("chain.c", "-O2", "-fomit-frame-pointer"), own: inC},
		"c with frame pointers":    {build: c("chain.c", "-O2", "-fno-omit-frame-pointer"), own: inC},
		"c through a callback":     {build: c("chain.c", "-O2", "-fomit-frame-pointer"), args: []string{"2"}, own: inC},
		"c in system calls":        {build: c("chain.c", "-O2", "-fomit-frame-pointer"), args: []string{"1"}, own: inC},
		"rust":                     {build: tool("rs.rs", "rustc", "-O"), own: regexp.MustCompile(`^(rs::\w+|main|_start)$`)},
		"c++":                      {build: tool("throw.cc", "g++", "-O2"), own: regexp.MustCompile(`^(work::.*|main|_start)$`)},
		"go":                       {build: goFixture, own: regexp.MustCompile(`^(main\.\w+|runtime\.main)$`), graph: "fp", misses: "main.g3"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := start(t, x.build(t), x.args...)
			m := begin(t, Config{Sampler: bpf.Config{Frequency: 499}})
			const enough = 150
			theirs := perfStacks(t, perf, cmp.Or(x.graph, "dwarf"), cmd.Process.Pid, enough, x.own)
			g := m.gather(enough, cmd.Process.Pid)[cmd.Process.Pid]
			m.stop()
			ours := map[string]int64{}
			for _, p := range m.ofProcess(t, g) {
				for _, s := range p.Sample {
					found := slices.DeleteFunc(outermost(s), func(f string) bool { return f == x.misses })
					ours[own(found, x.own)] += s.Value[0]
				}
			}
			seenByBoth(t, "ours", ours, "perf's", theirs)
			seenByBoth(t, "perf's", theirs, "ours", ours)
		})
	}
}

// outermost are the functions of a user stack that were not inlined.
func outermost(s *pprof.Sample) (names []string) {
	for _, l := range s.Location {
		switch {
		case l.Mapping != nil && l.Mapping.File == "[kernel.kallsyms]":
		case len(l.Line) == 0:
			names = append(names, "?")
		default:
			names = append(names, l.Line[len(l.Line)-1].Function.Name)
		}
	}
	return names
}

// perfStacks are the stacks that perf sees of a process, at least so many of them.
func perfStacks(t *testing.T, perf, graph string, pid, enough int, ours *regexp.Regexp) map[string]int64 {
	t.Helper()
	data := filepath.Join(t.TempDir(), "perf.data")
	frame := regexp.MustCompile(`^\s+[0-9a-f]+ (.*) \((.*)\)\n?$`) // address, name, file
	stacks := map[string]int64{}
	for n, end := 0, time.Now().Add(patience); n < enough; {
		if time.Now().After(end) {
			t.Fatalf("perf has taken %d samples in %s, want %d", n, patience, enough)
		}
		record := exec.CommandContext(t.Context(), perf, "record", "-q", "-e", "cpu-clock", "-F", "499", "--call-graph", graph, "-p", strconv.Itoa(pid), "-o", data, "--", "sleep", "1")
		if b, err := record.CombinedOutput(); err != nil {
			t.Fatalf("perf record: %v\n%s", err, b)
		}
		out, err := exec.CommandContext(t.Context(), perf, "script", "--no-inline", "-i", data, "-F", "comm,ip,sym,dso").Output()
		if err != nil {
			t.Fatalf("perf script: %v", err)
		}
		for text := range strings.SplitSeq(string(out), "\n\n") {
			var names []string
			for line := range strings.Lines(text) {
				if f := frame.FindStringSubmatch(line); f != nil && f[2] != "[kernel.kallsyms]" {
					names = append(names, f[1])
				}
			}
			if len(names) > 0 {
				stacks[own(names, ours)]++
				n++
			}
		}
	}
	return stacks
}

// seenByBoth wants each stack that makes a tenth of some to be among the others. The chance that 150
// samples miss such a one is one in seven million.
func seenByBoth(t *testing.T, whose string, some map[string]int64, whoseElse string, others map[string]int64) {
	t.Helper()
	var total, known int64
	for _, n := range some {
		total += n
	}
	for stack, n := range some {
		if others[stack] > 0 {
			known += n
		} else if n*10 >= total {
			t.Errorf("%d of %d times %s and never %s: %s", n, total, whose, whoseElse, stack)
		}
	}
	t.Logf("%d of %d samples, %s, have a stack that is %s, too", known, total, whose, whoseElse)
}

// own keeps the names of the program's functions, without arguments and hashes, and the places of all
// others, for which libc and its debug file have different names.
func own(names []string, ours *regexp.Regexp) string {
	kept := slices.Clone(names)
	for i, n := range kept {
		n, _, _ = strings.Cut(n, "(")
		n = hash.ReplaceAllString(n, "")
		if kept[i] = n; !ours.MatchString(n) {
			kept[i] = "."
		}
	}
	return strings.Join(kept, ";")
}

// hash is what Rust's compiler ends names with.
var hash = regexp.MustCompile(`::h[0-9a-f]{16}$`)

package agent

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coldframe/coldframe/bpf"
	"github.com/coldframe/coldframe/internal/machine"
	"github.com/coldframe/coldframe/profile"
)

// Threads that only wait account for all of their time, where they wait.
func TestOffCPU(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	path := compile(t, testdata+"waits.c", "cf_waits", "gcc", "-O2", "-pthread")
	start(t, path)
	m, s := run(t, Config{Window: time.Second, Sampler: bpf.Config{OffCPU: 1}}, 6*time.Second)
	if s.Kernel.OffCPULost != 0 {
		t.Errorf("%d waits lost", s.Kernel.OffCPULost)
	}
	by := map[string]int64{}
	var total, wall int64
	for _, p := range m.of(t, "off_cpu", "cf_waits") {
		wall += p.DurationNanos
		for _, x := range p.Sample {
			total += x.Value[1]
			stack := ""
			for _, l := range x.Location {
				for _, line := range l.Line {
					stack += line.Function.Name + ";"
				}
			}
			for _, f := range []string{"slow", "fast", "locked"} {
				if strings.Contains(stack, ";"+f+";") {
					by[f] += x.Value[1]
				}
			}
		}
	}
	share := float64(total) / float64(2*wall)
	t.Logf("%.1f %% of two threads' time is accounted for, by function: %v; %d waits", 100*share, by, s.Waits)
	if share < 0.95 || share > 1.02 {
		t.Errorf("%.1f %% of the time of two waiting threads", 100*share)
	}
	// How long each waits depends on when a busy machine wakes it.
	if by["slow"] == 0 || by["fast"] == 0 || by["locked"] == 0 {
		t.Errorf("waits are not told apart: %v", by)
	}
}

// The addresses of processes that live for milliseconds are found in their mappings, and
// nothing is kept of them.
func TestChurn(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	source := testdata + "chain.c"
	script := "while :; do gcc -O1 -c -o /dev/null " + source + "; ls / >/dev/null; perl -e 1; done"
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	m, s := run(t, Config{Window: 2 * time.Second, Sampler: bpf.Config{Frequency: 199}}, 8*time.Second)
	user := s.Samples - s.Kernels
	unknown := 100 * float64(s.UnknownLeaf) / float64(user)
	var leaves, named int
	for _, comm := range []string{"cc1", "gcc", "as", "ls", "perl", "bash"} {
		for _, p := range m.of(t, "process_cpu", comm) {
			for _, x := range p.Sample {
				leaves++
				if len(x.Location) > 0 && len(x.Location[0].Line) > 0 {
					named++
				}
			}
		}
	}
	t.Logf("%d samples, %.2f %% of user leaves in no mapping; of %d stacks %d leaves have names; %+v", s.Samples, unknown, leaves, named, s)
	if unknown > 2 {
		t.Errorf("%.1f %% of leaf addresses are in no mapping", unknown)
	}
	if leaves == 0 || named*100 < leaves*50 {
		t.Errorf("%d of %d leaves have names", named, leaves)
	}
	if s.EventsLost != 0 || s.Kernel.RingFull != 0 {
		t.Errorf("lost: %d events, %d samples", s.EventsLost, s.Kernel.RingFull)
	}
	if alive := len(listProcesses()); s.Processes > alive+50 {
		t.Errorf("%d processes are kept where %d run", s.Processes, alive)
	}
}

// Time is where the program spends it: heavy three times as much as light.
func TestShares(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	path := compile(t, testdata+"ratio.c", "cf_ratio", "gcc", "-O2")
	start(t, path)
	m, _ := run(t, Config{Window: time.Second, Sampler: bpf.Config{Frequency: 499}}, 5*time.Second)
	var heavy, light float64
	for stack, n := range folded(m.of(t, "process_cpu", "cf_ratio")) {
		switch {
		case strings.Contains(stack, "heavy;"):
			heavy += float64(n)
		case strings.Contains(stack, "light;"):
			light += float64(n)
		}
	}
	n := heavy + light
	off := 3*math.Sqrt(0.75*0.25*n) + 0.01*n // three standard deviations, and what the loops add
	t.Logf("%.0f heavy, %.0f light", heavy, light)
	if n < 100 || math.Abs(heavy-0.75*n) > off {
		t.Errorf("%.0f of %.0f samples in heavy, want three quarters ± %.0f", heavy, n, off)
	}
}

// A reader of /dev/zero shows the kernel's functions above its own.
func TestKernelStack(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	path := compile(t, testdata+"chain.c", "cf_read", "gcc", "-O2")
	start(t, path, "1")
	m, _ := run(t, Config{Window: time.Second}, 3*time.Second)
	var in, total int64
	for _, p := range m.of(t, "process_cpu", "cf_read") {
		for _, s := range p.Sample {
			total += s.Value[0]
			stack := ""
			for _, l := range s.Location {
				for _, line := range l.Line {
					stack += line.Function.Name + ";"
				}
			}
			if strings.Contains(stack, "vfs_read;") && strings.Contains(stack, ";leaf_sys;") {
				in += s.Value[0]
			}
		}
	}
	t.Logf("%d of %d samples in vfs_read", in, total)
	if total == 0 || in*2 < total {
		t.Errorf("%d of %d samples show vfs_read called by leaf_sys", in, total)
	}
}

// A reader that stalls loses nothing: the ring holds five seconds.
func TestStall(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	start(t, compile(t, testdata+"ratio.c", "cf_stall", "gcc", "-O2"))
	a, err := New(Config{Node: "testnode"}, &memory{})
	if err != nil {
		t.Skip(err)
	}
	time.Sleep(5 * time.Second) // nobody reads
	if err := a.turn(0); err != nil {
		t.Fatal(err)
	}
	c, err := a.sampler.Counters()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d samples after the stall, %d events lost", a.stats.Samples, a.stats.EventsLost)
	if c.RingFull != 0 || a.stats.EventsLost != 0 || a.stats.Samples < 99 {
		t.Errorf("%d samples lost, %d events lost, %d seen", c.RingFull, a.stats.EventsLost, a.stats.Samples)
	}
	if err := a.sampler.Close(); err != nil {
		t.Fatal(err)
	}
}

// Of a process that runs for long the walk is what perf finds by copying stacks and
// unwinding them with DWARF.
func TestAgreesWithPerf(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	perf, err := exec.LookPath("perf")
	if err != nil {
		missing(t, err)
	}
	cmd := start(t, compile(t, testdata+"chain.c", "cf_perf", "gcc", "-O2"), "2")
	pid := strconv.Itoa(cmd.Process.Pid)
	data := filepath.Join(t.TempDir(), "perf.data")
	if b, err := exec.CommandContext(t.Context(), perf, "record", "-q", "-e", "cpu-clock:u", "-F", "199", "--call-graph", "dwarf", "-p", pid, "-o", data, "--", "sleep", "3").CombinedOutput(); err != nil {
		t.Skipf("perf: %v\n%s", err, b)
	}
	out, err := exec.CommandContext(t.Context(), perf, "script", "--no-inline", "-i", data, "-F", "comm,ip,sym").Output()
	if err != nil {
		t.Skip(err)
	}
	theirs := map[string]int64{}
	for text := range strings.SplitSeq(strings.TrimSpace(string(out)), "cf_perf") {
		var names []string
		for line := range strings.Lines(text) {
			if f := strings.Fields(line); len(f) == 2 {
				names = append(names, f[1])
			}
		}
		if len(names) > 0 {
			theirs[own(names)]++
		}
	}
	m, _ := run(t, Config{Window: time.Second, Sampler: bpf.Config{Frequency: 199}}, 4*time.Second)
	ours := folded(m.of(t, "process_cpu", "cf_perf"))
	var total, known int64
	for stack, n := range ours {
		total += n
		stack = own(strings.Split(stack, ";"))
		if theirs[stack] > 0 {
			known += n
		} else {
			t.Logf("%d × only ours: %s", n, stack)
		}
	}
	t.Logf("%d of our %d samples have a stack that perf saw, too; it saw %d different ones", known, total, len(theirs))
	if total == 0 || known*100 < total*90 {
		t.Errorf("%d of %d samples have a stack that perf saw", known, total)
	}
}

// own keeps the names of the program's functions and the places of all others, for which
// libc and its debug file have different names.
func own(names []string) string {
	kept := slices.Clone(names)
	for i, n := range kept {
		if !slices.Contains([]string{"leaf_spin", "f1", "f2", "f3", "f4", "f5", "compare", "main", "_start"}, n) {
			kept[i] = "."
		}
	}
	return strings.Join(kept, ";")
}

// FP alone misses no whole stack where frame pointers are.
func TestFramePointersOnly(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	path := compile(t, testdata+"chain.c", "cf_fp", "gcc", "-O1", "-fno-omit-frame-pointer", "-static")
	start(t, path)
	m, s := run(t, Config{Unwind: UnwindFP, Window: time.Second}, 4*time.Second)
	if s.TableRows != 0 || s.Kernel.TableSteps != 0 {
		t.Errorf("unwind tables were used: %d rows, %d steps", s.TableRows, s.Kernel.TableSteps)
	}
	var good, total int64
	for stack, n := range folded(m.of(t, "process_cpu", "cf_fp")) {
		total += n
		if strings.Contains(stack, "f4;f3;f2;f1;main") {
			good += n
		}
	}
	t.Logf("%d of %d stacks are whole by frame pointers", good, total)
	if total == 0 || good*100 < total*90 {
		t.Errorf("%d of %d stacks are whole by frame pointers", good, total)
	}
}

// What profiling costs: the kernel's part a sample, the agent's part of the machine, memory.
// The budgets are far above what is measured, for the machine may be shared.
func TestCost(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	if testing.Short() {
		t.Skip("takes 20 s")
	}
	stats, err := bpf.KeepStatistics()
	if err != nil {
		t.Skip(err)
	}
	defer stats.Close()
	churn := exec.CommandContext(t.Context(), "bash", "-c", "while :; do gcc -O1 -c -o /dev/null "+testdata+"chain.c; ls / >/dev/null; perl -e 1; sleep 0.2; done")
	if err := churn.Start(); err != nil {
		t.Skip(err)
	}
	defer func() {
		_ = churn.Process.Kill()
		_ = churn.Wait()
	}()
	start(t, compile(t, testdata+"chain.c", "cf_cost", "gcc", "-O2"))
	m := &memory{}
	a, err := New(Config{Node: "testnode"}, m)
	if err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	time.Sleep(11 * time.Second) // past the first window, which reads every symbol table
	before, began := cpuTime(t), time.Now()
	first, err := a.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Second)
	own, wall := cpuTime(t)-before, time.Since(began)
	s, err := a.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cost, err := a.sampler.SampleCost()
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	samples := s.Samples - first.Samples
	perRun := cost.Time / time.Duration(max(1, cost.Runs))
	machine := 100 * own.Seconds() / wall.Seconds() / float64(runtime.NumCPU())
	rss := residentBytes(t)
	bytes := 0
	for _, p := range m.profiles {
		bytes += len(p.Pprof)
	}
	t.Logf("kernel: %v a run; agent: %.2f %% of the machine, %v a sample, %d samples in %.0f s; resident %d MiB; %d profiles, %.1f bytes a sample",
		perRun, machine, own/time.Duration(max(1, samples)), samples, wall.Seconds(), rss>>20, len(m.profiles), float64(bytes)/float64(s.Samples))
	if perRun > 100*time.Microsecond || machine > 4 || rss > 250<<20 {
		t.Errorf("%v a run, %.2f %% of the machine, %d MiB", perRun, machine, rss>>20)
	}
}

func cpuTime(t *testing.T) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func residentBytes(t *testing.T) int {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// What relabelling does not keep is dropped by the kernel, and what it changes is changed.
func TestRelabel(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	start(t, compile(t, testdata+"ratio.c", "cf_dropped", "gcc", "-O2"))
	start(t, compile(t, testdata+"ratio.c", "cf_kept", "gcc", "-O2"))
	relabel := func(known map[string]string) (profile.Labels, bool, error) {
		known["seen"] = "yes"
		out, err := profile.LabelsFromMap(known)
		return out, known["comm"] != "cf_dropped", err
	}
	m, s := run(t, Config{Window: time.Second, Relabel: relabel}, 3*time.Second)
	if got := m.of(t, "process_cpu", "cf_dropped"); len(got) != 0 {
		t.Errorf("%d profiles of the process that was dropped", len(got))
	}
	if len(m.of(t, "process_cpu", "cf_kept")) == 0 || m.profiles[0].Labels.Get("seen") != "yes" {
		t.Errorf("no profiles of the process that was kept, or no label: %v", m.profiles[0].Labels)
	}
	t.Logf("%d samples dropped by the kernel, %d before it knew", s.Kernel.Filtered, s.Dropped)
	if s.Kernel.Filtered == 0 || s.Dropped > s.Kernel.Filtered {
		t.Errorf("%d samples dropped by the kernel, %d before it knew", s.Kernel.Filtered, s.Dropped)
	}
}

// Python that waits shows where, too.
func TestOffCPUPython(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	python, err := exec.LookPath("/usr/bin/python3")
	if err != nil {
		missing(t, err)
	}
	start(t, python, mustAbs(t, testdata+"sleep.py"))
	m, _ := run(t, Config{Window: time.Second, Sampler: bpf.Config{OffCPU: 1}}, 4*time.Second)
	var in, total int64
	for stack, n := range folded(m.of(t, "off_cpu", "python3")) {
		total += n
		if strings.Contains(stack, ";waits;<module>;") {
			in += n
		}
	}
	t.Logf("%d of %d waits are in waits", in, total)
	if total == 0 || in*100 < total*90 {
		t.Errorf("%d of %d waits are in waits", in, total)
	}
}

func mustAbs(t *testing.T, path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// A process that has the ID of one that ended is another: none of its samples are named by
// what the first had mapped.
func TestPIDReuse(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	first := compile(t, testdata+"chain.c", "cf_first", "gcc", "-O2", "-static")
	second := compile(t, testdata+"ratio.c", "cf_second", "gcc", "-O2", "-static")
	reused := make(chan error, 1)
	go func() { reused <- reuse(t.Context(), first, second) }()
	m, _ := run(t, Config{Window: time.Second, PID: true}, 7*time.Second)
	if err := <-reused; err != nil {
		t.Skip(err)
	}
	stacks := folded(m.of(t, "process_cpu", "cf_second"))
	var right, total int64
	for stack, n := range stacks {
		total += n
		if strings.Contains(stack, "main;") && (strings.Contains(stack, "heavy;") || strings.Contains(stack, "light;")) {
			right += n
		}
		if strings.Contains(stack, "leaf_spin") || strings.Contains(stack, "f1;") {
			t.Errorf("%d × a stack of the process before: %s", n, stack)
		}
	}
	t.Logf("%d of %d stacks are of the second program", right, total)
	if total < 40 || right*100 < total*80 {
		t.Errorf("%d of %d stacks are of the second program: %v", right, total, stacks)
	}
}

// reuse runs one program for two seconds and then another, for three, with the same ID.
func reuse(ctx context.Context, first, second string) error {
	const last = "/proc/sys/kernel/ns_last_pid"
	time.Sleep(time.Second)
	a := exec.CommandContext(ctx, first)
	if err := a.Start(); err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	pid := a.Process.Pid
	_ = a.Process.Kill()
	_ = a.Wait()
	for range 200 { // others take IDs too
		if err := os.WriteFile(last, []byte(strconv.Itoa(pid-1)), 0); err != nil {
			return err
		}
		b := exec.CommandContext(ctx, second)
		if err := b.Start(); err != nil {
			return err
		}
		if b.Process.Pid == pid {
			time.Sleep(3 * time.Second)
		}
		_ = b.Process.Kill()
		_ = b.Wait()
		if b.Process.Pid == pid {
			return nil
		}
	}
	return fmt.Errorf("the ID %d did not come back in 200 tries", pid)
}

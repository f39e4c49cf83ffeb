package agent

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/bpf"
	"github.com/coldframe/coldframe/internal/machine"
	"github.com/coldframe/coldframe/profile"
)

// Threads that mostly wait account for all of their time: where they wait, and where they run.
func TestOffCPU(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	start(t, compile(t, testdata+"waits.c", "cf_waits", "gcc", "-O2", "-pthread"))
	m := begin(t, Config{Window: time.Second, Sampler: bpf.Config{OffCPU: 1}})
	const enough = 600
	m.until("waits", func() bool { return m.countOf("off_cpu", "cf_waits") >= enough })
	s := m.stop()
	if s.Kernel.OffCPULost != 0 {
		t.Errorf("%d waits lost", s.Kernel.OffCPULost)
	}
	by := map[string]int64{}
	var total int64
	for _, p := range m.of(t, "process_cpu", "cf_waits") {
		for _, x := range p.Sample {
			total += x.Value[1]
		}
	}
	for _, p := range m.of(t, "off_cpu", "cf_waits") {
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
	wall := m.profiles[len(m.profiles)-1].Range.To.Sub(m.profiles[0].Range.From)
	share := float64(total) / float64(2*wall)
	t.Logf("%.1f %% of two threads' time is accounted for, by function: %v; %d waits", 100*share, by, s.Waits)
	if share < 0.93 || share > 1.05 { // waits at the beginning and at the end are seen whole or not at all
		t.Errorf("%.1f %% of the time of two waiting threads", 100*share)
	}
	// How long each waits depends on when a busy machine wakes it.
	if by["slow"] == 0 || by["fast"] == 0 || by["locked"] == 0 {
		t.Errorf("waits are not told apart: %v", by)
	}
}

// Time is where the program spends it: heavy three times as much as light.
func TestShares(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	path := compile(t, testdata+"ratio.c", "cf_ratio", "gcc", "-O2")
	cmd := start(t, path)
	m := begin(t, Config{Sampler: bpf.Config{Frequency: 499}})
	m.gather(600, cmd.Process.Pid)
	m.stop()
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
	cmd := start(t, path, "1")
	m := begin(t, Config{Sampler: bpf.Config{Frequency: 499}})
	m.gather(200, cmd.Process.Pid)
	m.stop()
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

// FP alone misses no whole stack where frame pointers are.
func TestFramePointersOnly(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	path := compile(t, testdata+"chain.c", "cf_fp", "gcc", "-O1", "-fno-omit-frame-pointer", "-static")
	cmd := start(t, path)
	m := begin(t, Config{Unwind: UnwindFP, Sampler: bpf.Config{Frequency: 499}})
	g := m.gather(200, cmd.Process.Pid)[cmd.Process.Pid]
	s := m.stop()
	if s.TableRows != 0 || s.Kernel.TableSteps != 0 {
		t.Errorf("unwind tables were used: %d rows, %d steps", s.TableRows, s.Kernel.TableSteps)
	}
	var good, total int64
	for stack, n := range folded(m.ofProcess(t, g)) {
		total += n
		if strings.Contains(stack, "f4;f3;f2;f1;main") {
			good += n
		}
	}
	checkShare(t, "are whole by frame pointers", good, total)
}

// What relabelling does not keep is dropped by the kernel, and what it changes is changed.
func TestRelabel(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	start(t, compile(t, testdata+"ratio.c", "cf_dropped", "gcc", "-O2"))
	kept := start(t, compile(t, testdata+"ratio.c", "cf_kept", "gcc", "-O2"))
	relabel := func(known map[string]string) (profile.Labels, bool, error) {
		known["seen"] = "yes"
		out, err := profile.LabelsFromMap(known)
		return out, known["comm"] != "cf_dropped", err
	}
	m := begin(t, Config{Relabel: relabel, Sampler: bpf.Config{Frequency: 499}})
	m.gather(100, kept.Process.Pid)
	m.until("samples dropped by the kernel", func() bool {
		s, err := m.agent.Stats(t.Context())
		return err == nil && s.Kernel.Filtered >= 100 && s.Kernel.Filtered > s.Dropped
	})
	s := m.stop()
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
	m := begin(t, Config{Sampler: bpf.Config{OffCPU: 1}})
	m.until("waits, before its binaries are open", func() bool { return m.countOf("off_cpu", "python3") >= 50 })
	since := time.Now()
	m.until("waits", func() bool { return m.countOf("off_cpu", "python3") >= 250 })
	m.stop()
	var in, total int64
	for _, p := range m.of(t, "off_cpu", "python3") {
		if p.TimeNanos < since.UnixNano() {
			continue
		}
		for stack, n := range folded([]*pprof.Profile{p}) {
			total += n
			if strings.Contains(stack, ";waits;<module>;") {
				in += n
			}
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
	first := compile(t, testdata+"chain.c", "cf_first", "gcc", "-O2", "-static")
	second := compile(t, testdata+"ratio.c", "cf_second", "gcc", "-O2", "-static")
	m := begin(t, Config{Sampler: bpf.Config{Frequency: 499}})
	before := exec.CommandContext(t.Context(), first)
	if err := before.Start(); err != nil {
		t.Fatal(err)
	}
	pid := before.Process.Pid
	m.gather(100, pid)
	_ = before.Process.Kill()
	_ = before.Wait()
	after := startAs(t, pid, second)
	g := m.gather(200, pid)[pid]
	_ = after.Process.Kill()
	_ = after.Wait()
	m.stop()
	for stack, n := range folded(m.of(t, "process_cpu", "cf_second")) {
		if strings.Contains(stack, "leaf_spin") || strings.Contains(stack, "f1;") {
			t.Errorf("%d × a stack of the process before: %s", n, stack)
		}
	}
	var right, total int64
	for stack, n := range folded(m.ofProcess(t, g)) {
		total += n
		if strings.Contains(stack, "main;") {
			right += n
		}
	}
	checkShare(t, "are of the second program", right, total)
}

// startAs starts a program that has the ID of one that has ended.
func startAs(t *testing.T, pid int, path string) *exec.Cmd {
	t.Helper()
	const tries = 1000 // others take IDs too
	for range tries {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Skip(err)
		}
		cmd := exec.CommandContext(t.Context(), path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if cmd.Process.Pid == pid {
			return cmd
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Skipf("the ID %d did not come back in %d tries: others start too many processes", pid, tries)
	return nil
}

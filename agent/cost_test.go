package agent

import (
	"context"
	"fmt"
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
)

// What being profiled costs, beside perf on the same load: make bench-agent. On every CPU a program
// counts how much work it does in a second of its own CPU time, which the interrupts, the walks and
// the copying of its stacks make less, whatever else the machine does. The ways to profile take
// turns, at a frequency at which the difference can be seen.
func TestCost(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	if os.Getenv("COLDFRAME_BENCH_AGENT") == "" {
		t.Skip("measures for minutes: make bench-agent")
	}
	perf, err := exec.LookPath("perf")
	if err != nil {
		t.Fatal(err)
	}
	const (
		frequency = 999
		rounds    = 9
		seconds   = 4
	)
	work := compile(t, testdata+"work.c", "cf_work", "gcc", "-O2", "-fomit-frame-pointer")
	ways := []costly{
		{"nothing", func(*testing.T) func() spent { return func() spent { return spent{} } }},
		{"coldframe agent", profileByAgent(Config{Sampler: bpf.Config{Frequency: frequency}})},
		{"coldframe agent `--unwind=fp`", profileByAgent(Config{Unwind: UnwindFP, Sampler: bpf.Config{Frequency: frequency}})},
		{"`perf record -g`", profileByPerf(perf, frequency, "-g")},
		{"`perf record --call-graph dwarf`", profileByPerf(perf, frequency, "--call-graph", "dwarf")},
	}
	rates := make([][]float64, len(ways))
	sums := make([]spent, len(ways))
	for range rounds {
		for i, w := range ways {
			stop := w.begin(t)
			rate := workOn(t, work, seconds)
			s := stop()
			rates[i] = append(rates[i], rate)
			sums[i].cpu += s.cpu
			sums[i].bytes += s.bytes
			sums[i].samples += float64(runtime.NumCPU() * frequency * seconds)
		}
	}
	var table strings.Builder
	fmt.Fprintf(&table, "| at %d Hz, %d rounds of %d s | taken from what is sampled, µs a sample | of a busy core, at 99 Hz | its own CPU, µs a sample | bytes a sample |\n|---|--:|--:|--:|--:|\n", frequency, rounds, seconds)
	for i, w := range ways[1:] {
		var lost []float64
		for round, rate := range rates[i+1] {
			lost = append(lost, 1-rate/rates[0][round])
		}
		slices.Sort(lost)
		perSample := lost[len(lost)/2] / frequency
		s := sums[i+1]
		fmt.Fprintf(&table, "| %s | %.1f | %.2f %% | %.1f | %.0f |\n", w.name, 1e6*perSample, 100*99*perSample, 1e6*s.cpu.Seconds()/s.samples, float64(s.bytes)/s.samples)
	}
	t.Log("\n" + table.String())
}

// costly is a way to profile the machine; stop tells what it has spent since begin.
type costly struct {
	name  string
	begin func(t *testing.T) (stop func() spent)
}

type spent struct {
	cpu     time.Duration
	bytes   int
	samples float64
}

// workOn keeps every CPU busy, and returns the mean work in a second of CPU time.
func workOn(t *testing.T, path string, seconds int) (rate float64) {
	t.Helper()
	var all []*exec.Cmd
	var outs []*strings.Builder
	for n := range runtime.NumCPU() {
		cmd, out := exec.CommandContext(t.Context(), path, strconv.Itoa(n), strconv.Itoa(seconds)), &strings.Builder{}
		cmd.Stdout = out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all, outs = append(all, cmd), append(outs, out)
	}
	for i, cmd := range all {
		var r, cpu float64
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(outs[i].String(), &r, &cpu); err != nil {
			t.Fatal(err)
		}
		rate += r / float64(len(all))
	}
	return rate
}

// profileByAgent counts the CPU time of this process, which does nothing else meanwhile.
func profileByAgent(c Config) func(*testing.T) func() spent {
	return func(t *testing.T) func() spent {
		t.Helper()
		c.Node = "testnode"
		m := &memory{}
		a, err := New(c, m)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		time.Sleep(time.Second) // the binaries of what runs are opened once, not every round
		before := cpuTime(t)
		return func() spent {
			cancel()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			s := spent{cpu: cpuTime(t) - before} // names are looked up at the end
			for _, p := range m.profiles {
				s.bytes += len(p.Pprof)
			}
			return s
		}
	}
}

func profileByPerf(perf string, frequency int, graph ...string) func(*testing.T) func() spent {
	return func(t *testing.T) func() spent {
		t.Helper()
		data := filepath.Join(t.TempDir(), "perf.data")
		args := append([]string{"record", "-q", "-a", "-e", "cpu-clock", "-F", strconv.Itoa(frequency)}, graph...)
		cmd := exec.CommandContext(t.Context(), perf, append(args, "-o", data)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		return func() spent {
			_ = cmd.Process.Signal(unix.SIGINT)
			_ = cmd.Wait() // says that it was interrupted
			s := spent{cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
			if info, err := os.Stat(data); err == nil {
				s.bytes = int(info.Size())
			}
			return s
		}
	}
}

func cpuTime(t *testing.T) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

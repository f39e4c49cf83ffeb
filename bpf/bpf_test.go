package bpf

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/coldframe/coldframe/internal/machine"
)

// open opens a sampler, or skips the test and says why.
func open(t testing.TB, c Config) *Sampler {
	t.Helper()
	machine.Sampled(t, Inspect().Refused)
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// The verifier's work is the measure of what a program may cost older kernels, which
// give up at a million instructions.
func TestVerifierBudget(t *testing.T) {
	s := open(t, Config{OffCPU: 1})
	const budget = 50_000
	for name, cost := range map[string]func() (ProgramCost, error){"sample": s.SampleCost, "off_cpu": s.OffCPUCost, "sample_python": s.PythonCost} {
		c, err := cost()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d instructions verified", name, c.Verified)
		if c.Verified > budget {
			t.Errorf("%s: the verifier looks at %d instructions, at most %d are allowed", name, c.Verified, budget)
		}
	}
}

// A spinning thread is sampled at the frequency asked for, through garbage collections: as often
// as the kernel's clock ticks for whoever asks it the same. A machine that is itself a guest may be
// stopped for a while, and ticks of that time never come for anybody, so what time has passed says
// only how many there may be at most.
func TestFrequency(t *testing.T) {
	s := open(t, Config{})
	theirs := openClocks(t, s)
	spin(t, 1)
	read := func() (mine int) {
		err := s.ReadSamples(func(x *Sample) {
			if x.PID == uint32(os.Getpid()) {
				mine++
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return mine
	}
	read()
	start, last, theirLast, mine := time.Now(), s.ticks(t), theirs.ticks(), 0
	for end := start.Add(3 * time.Second); time.Now().Before(end) || mine < 20 && time.Since(start) < time.Minute; time.Sleep(100 * time.Millisecond) {
		runtime.GC()
		mine += read()
	}
	ticks, want, cpus := s.ticks(t)-last, theirs.ticks()-theirLast, float64(len(s.cpus))
	most := 99 * time.Since(start).Seconds() * cpus
	t.Logf("%.0f ticks of %d CPUs, %.0f of the kernel's own clocks, at most %.0f; %d samples of this process", ticks, len(s.cpus), want, most, mine)
	if math.Abs(ticks-want) > 0.03*want+2*cpus { // the clocks do not tick at the same moments
		t.Errorf("%.0f ticks, the kernel's own clocks have %.0f", ticks, want)
	}
	if ticks > 1.03*most+2*cpus {
		t.Errorf("%.0f ticks, at most %.0f are possible", ticks, most)
	}
	if mine < 20 {
		t.Errorf("%d samples of a spinning process", mine)
	}
	after, err := s.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if after.RingFull != 0 || after.Sent+after.RingFull+after.Filtered != after.Samples {
		t.Errorf("counters do not add up: %+v", after)
	}
}

// clocks are what a sampler attaches to, without its programs: the kernel writes a record at each
// tick.
type clocks []*eventRing

func openClocks(t *testing.T, s *Sampler) (all clocks) {
	t.Helper()
	for n := range s.cpus {
		fd, err := unix.PerfEventOpen(&unix.PerfEventAttr{
			Type:        unix.PERF_TYPE_SOFTWARE,
			Config:      unix.PERF_COUNT_SW_CPU_CLOCK,
			Sample:      uint64(s.config.Frequency),
			Sample_type: unix.PERF_SAMPLE_TIME,
			Bits:        unix.PerfBitFreq,
		}, -1, n, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		// Who maps a ring to read only is never waited for.
		memory, err := unix.Mmap(fd, 0, 2*unix.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		r := &eventRing{fd: fd, memory: memory}
		t.Cleanup(func() { _ = r.close() })
		all = append(all, r)
	}
	return all
}

// ticks is how many records there were.
func (c clocks) ticks() (n float64) {
	const recordBytes = 16 // perf_event_header and a time
	for _, r := range c {
		n += float64(atomic.LoadUint64(&(*unix.PerfEventMmapPage)(unsafe.Pointer(&r.memory[0])).Data_head) / recordBytes)
	}
	return n
}

// ticks is how often the clock has ticked on all CPUs, idle or not.
func (s *Sampler) ticks(t *testing.T) float64 {
	t.Helper()
	c, err := s.Counters()
	if err != nil {
		t.Fatal(err)
	}
	return float64(c.Samples + c.Idle)
}

// A CPU that goes offline and comes back is sampled again, even where nobody has looked meanwhile.
func TestCPUsComeAndGo(t *testing.T) {
	s := open(t, Config{Frequency: 499})
	last := runtime.NumCPU() - 1
	file := fmt.Sprintf("/sys/devices/system/cpu/cpu%d/online", last)
	set := func(to string) error { return os.WriteFile(file, []byte(to), 0) }
	if last == 0 {
		t.Skip("this machine has one CPU")
	}
	if err := set("1"); err != nil {
		t.Skipf("CPUs cannot be taken offline here: %v", err)
	}
	t.Cleanup(func() {
		if err := set("1"); err != nil {
			t.Error(err)
		}
	})
	sampled := func() {
		t.Helper()
		if err := s.ReadSamples(func(*Sample) {}); err != nil { // of the time before
			t.Fatal(err)
		}
		for n, end := 0, time.Now().Add(2*time.Minute); n < 10; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("no samples of CPU %d", last)
			}
			if err := s.FollowCPUs(); err != nil {
				t.Fatal(err)
			}
			err := s.ReadSamples(func(x *Sample) {
				if x.CPU == uint32(last) {
					n++
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	spin(t, 2)
	sampled()
	if err := set("0"); err != nil {
		t.Skipf("CPU %d cannot be taken offline: %v", last, err)
	}
	if err := s.FollowCPUs(); err != nil {
		t.Fatal(err)
	}
	if s.cpus[last] != nil {
		t.Errorf("CPU %d is sampled while it is away", last)
	}
	if err := set("1"); err != nil {
		t.Fatal(err)
	}
	sampled()
	// Away and back between two looks.
	if err := errors.Join(set("0"), set("1")); err != nil {
		t.Fatal(err)
	}
	sampled()
}

// Nothing is sampled in a pause, and everything after.
func TestPause(t *testing.T) {
	s := open(t, Config{Frequency: 499, OffCPU: 1})
	spin(t, 2)
	count := func(d time.Duration) (n int) {
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if err := s.ReadSamples(func(*Sample) { n++ }); err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	for range 2 {
		if err := s.Pause(); err != nil {
			t.Fatal(err)
		}
		count(100 * time.Millisecond) // what was there before
		if n := count(200 * time.Millisecond); n != 0 {
			t.Errorf("%d samples in a pause", n)
		}
		if err := s.Resume(); err != nil {
			t.Fatal(err)
		}
		n := 0
		for end := time.Now().Add(time.Minute); n == 0 && time.Now().Before(end); {
			n = count(100 * time.Millisecond)
		}
		if n == 0 {
			t.Error("no samples after a pause")
		}
	}
}

// spin keeps some threads busy until the test's end.
func spin(t *testing.T, threads int) {
	var stop atomic.Bool
	for range threads {
		go func() {
			for !stop.Load() {
			}
		}()
	}
	t.Cleanup(func() { stop.Store(true) })
}

// Events tell of a child from its fork to its exit, in order.
func TestEvents(t *testing.T) {
	s := open(t, Config{})
	p, err := os.StartProcess("/bin/true", []string{"/bin/true"}, &os.ProcAttr{})
	if err != nil {
		t.Skip(err)
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	seen := map[EventKind]int{}
	withID := 0
	err = s.ReadEvents(func(e Event) {
		if e.PID != uint32(p.Pid) {
			return
		}
		seen[e.Kind]++
		if e.Kind == Mapped && e.BuildID != nil {
			withID++
		}
		if e.Kind == Execed && e.Comm != "true" {
			t.Errorf("the child runs %q, want true", e.Comm)
		}
		if e.Kind == Mapped && e.Path == "" {
			t.Errorf("mapping without a path: %+v", e)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen[Forked] != 1 || seen[Execed] != 1 || seen[Mapped] < 2 || seen[Exited] != 1 {
		t.Errorf("events of /bin/true: %v", seen)
	}
	t.Logf("%d of %d mappings carry a build ID", withID, seen[Mapped])
}

// What nobody reads is counted, and nothing else is lost.
func TestFullRing(t *testing.T) {
	s := open(t, Config{Frequency: 5000, RingBytes: 4096})
	var c Counters
	for end := time.Now().Add(time.Minute); c.RingFull == 0 && time.Now().Before(end); {
		var err error
		if c, err = s.Counters(); err != nil {
			t.Fatal(err)
		}
	}
	if c.RingFull == 0 {
		t.Errorf("a ring of 4 KiB took all: %+v", c)
	}
}

func TestInspect(t *testing.T) {
	for _, c := range Inspect().Checks {
		t.Logf("%-32s %-5t %s (else: %s)", c.Name, c.OK, c.Found, c.Else)
	}
}

func TestUnsafeKernels(t *testing.T) {
	for release, want := range map[string]bool{
		"5.15.0-91-generic": false, "5.18.19": false, "5.19.0": true, "6.0.19-amd64": true, "6.1.0-18-amd64": false, "6.18.44": false,
	} {
		v, ok := parseRelease(release)
		if !ok {
			t.Errorf("%s was not understood", release)
		}
		if got := unsafeKernel(v) != ""; got != want {
			t.Errorf("%s: unsafe is %t, want %t", release, got, want)
		}
	}
	for _, bad := range []string{"", "5", "x.y", "5.", "99999.1"} {
		if v, ok := parseRelease(bad); ok {
			t.Errorf("%q was read as %x", bad, v)
		}
	}
}

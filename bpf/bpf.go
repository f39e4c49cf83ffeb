// Package bpf is the kernel half of the agent: it samples what every CPU does, walks
// stacks inside the kernel, and tells of processes as they come and go.
//
// A [Sampler] gives two streams that the caller merges by time: samples, which are
// stacks of bare addresses, and events, which say what a process has mapped where. In
// the other direction go [Tables]: how to walk the binaries that processes run.
//
// Samples travel through one ring buffer, one by one, and are never hashed or counted
// in the kernel: a full ring is the only way to lose one, and each loss is counted.
//
// The package knows nothing of files, symbols or labels. It is the only one that
// imports an eBPF library.
package bpf

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"
	"runtime"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// Config says what to sample. The zero Config samples CPUs at 99 Hz and unwinds by tables.
type Config struct {
	// Frequency is in samples per second and CPU; 0 means 99. It is not 100 because much
	// periodic work runs every 10 ms, and would always or never be seen.
	Frequency int

	// RingBytes is the size of the ring buffer, rounded up to a power of two. 0 means room
	// for five seconds of samples, at least 4 MiB. Larger costs locked memory.
	RingBytes int

	// TableBytes bounds the unwind tables of all binaries together; 0 means 32 MiB, which
	// is four million rows of 8 bytes. Binaries beyond it are walked by frame pointers.
	// It is locked memory, and at most 32 MiB.
	TableBytes int

	// OffCPU is the share of waits that are followed, in [0, 1]. 0 turns it off. Each costs
	// about 15 µs and a machine may wait ten thousand times a second.
	OffCPU float64

	// AllowUnsafeKernel samples on kernels that are known to lock up under it.
	AllowUnsafeKernel bool
}

// Validate says what of a configuration cannot be, before anything is loaded.
func (c Config) Validate() error {
	_, err := c.withDefaults(1)
	return err
}

func (c Config) withDefaults(cpus int) (Config, error) {
	if c.Frequency == 0 {
		c.Frequency = 99
	}
	if c.Frequency < 1 || c.Frequency > 10_000 {
		return c, fmt.Errorf("sampling frequency %d Hz: not in [1, 10000]", c.Frequency)
	}
	if c.OffCPU < 0 || c.OffCPU > 1 || math.IsNaN(c.OffCPU) {
		return c, fmt.Errorf("share of off-CPU waits %v: not in [0, 1]", c.OffCPU)
	}
	if c.RingBytes == 0 {
		const recordBytes, seconds = 512, 5
		c.RingBytes = max(4<<20, c.Frequency*cpus*recordBytes*seconds)
	}
	if c.RingBytes < 4096 || c.RingBytes > 1<<30 {
		return c, fmt.Errorf("ring buffer of %d bytes: not in [4 KiB, 1 GiB]", c.RingBytes)
	}
	c.RingBytes = 1 << bits.Len(uint(c.RingBytes-1))
	if c.TableBytes == 0 {
		c.TableBytes = maxRows * rowBytes
	}
	if c.TableBytes < rowBytes || c.TableBytes > maxRows*rowBytes {
		return c, fmt.Errorf("unwind tables of %d bytes: not in [%d, %d]", c.TableBytes, rowBytes, maxRows*rowBytes)
	}
	return c, nil
}

// Sampler samples the machine from [Open] until Close. Its methods are for one goroutine,
// but for Tables' own and Counters.
type Sampler struct {
	tables  *Tables
	objects kernelObjects
	ring    *ringbuf.Reader
	record  ringbuf.Record
	cpus    map[int]*cpu
	config  Config
	online  string // the list of CPUs that cpus was made from
	offCPU  closer
	paused  bool
}

type closer interface{ Close() error }

// Open loads the programs and begins to sample. It needs the capabilities BPF and
// PERFMON, and a kernel that [Inspect] does not refuse.
func Open(config Config) (*Sampler, error) {
	online, cpus, err := onlineCPUs()
	if err != nil {
		return nil, err
	}
	config, err = config.withDefaults(len(cpus))
	if err != nil {
		return nil, err
	}
	if err := Inspect().Refused; err != nil && !(config.AllowUnsafeKernel && errors.Is(err, ErrUnsafeKernel)) {
		return nil, err
	}
	// Kernels before 5.11 count BPF's memory against this limit, later ones do not: a
	// refusal means nothing by itself.
	_ = rlimit.RemoveMemlock()
	s := &Sampler{config: config, cpus: map[int]*cpu{}}
	if err := s.load(); err != nil {
		return nil, err
	}
	if err := s.attach(online, cpus); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Sampler) load() error {
	spec, err := loadKernel()
	if err != nil {
		return fmt.Errorf("read the embedded programs: %w", err)
	}
	spec.Maps[kernelMapRing].MaxEntries = uint32(s.config.RingBytes)
	spec.Maps[kernelMapRows].MaxEntries = uint32(s.config.TableBytes / rowBytes)
	share := uint32(min(s.config.OffCPU*(1<<32), math.MaxUint32))
	if err := spec.Variables[kernelVarOffCpuShare].Set(share); err != nil {
		return fmt.Errorf("set the share of off-CPU waits: %w", err)
	}
	if s.config.OffCPU == 0 {
		// Left out rather than not attached: they need more of the kernel.
		leaveOut(spec, kernelProgOffCpu, kernelProgOffCpuPython)
	}
	python := tailCallsWithFunctions()
	if !python {
		leaveOut(spec, kernelProgSamplePython, kernelProgOffCpuPython)
		if err := spec.Variables[kernelVarWithPython].Set(uint8(0)); err != nil {
			return fmt.Errorf("turn Python off: %w", err)
		}
	}
	if err := spec.LoadAndAssign(&s.objects, nil); err != nil {
		return fmt.Errorf("load programs: %w", err)
	}
	if err := s.linkPython(python); err != nil {
		return err
	}
	s.tables = newTables(&s.objects, s.config.TableBytes/rowBytes)
	s.ring, err = ringbuf.NewReader(s.objects.Ring)
	if err != nil {
		return fmt.Errorf("open the ring buffer: %w", err)
	}
	return nil
}

// leaveOut replaces programs by one that any kernel takes.
func leaveOut(spec *ebpf.CollectionSpec, names ...string) {
	for _, name := range names {
		spec.Programs[name] = &ebpf.ProgramSpec{Type: ebpf.SocketFilter, Instructions: nothing(), License: "GPL"}
	}
}

// linkPython names the programs that walk Python's stacks as those to go on with.
func (s *Sampler) linkPython(possible bool) error {
	if !possible {
		return nil
	}
	if err := s.objects.AfterSample.Put(uint32(0), s.objects.SamplePython); err != nil {
		return fmt.Errorf("link the walk of Python's stack: %w", err)
	}
	if s.config.OffCPU == 0 {
		return nil
	}
	if err := s.objects.AfterOffCpu.Put(uint32(0), s.objects.OffCpuPython); err != nil {
		return fmt.Errorf("link the walk of Python's stack off CPU: %w", err)
	}
	return nil
}

// tailCallsWithFunctions says whether a program may have both: on arm64 since Linux 6.0.
func tailCallsWithFunctions() bool {
	v, _ := parseRelease(kernelRelease())
	return runtime.GOARCH == "amd64" || v >= kernel(6, 0)
}

// Tables is where unwind tables and the mappings of processes go.
func (s *Sampler) Tables() *Tables { return s.tables }

// Period is the time that one CPU sample stands for.
func (s *Sampler) Period() time.Duration { return time.Second / time.Duration(s.config.Frequency) }

// Close stops sampling and frees everything. What is still in the ring is lost.
func (s *Sampler) Close() error {
	var errs []error
	for _, c := range s.cpus {
		errs = append(errs, c.close())
	}
	clear(s.cpus)
	if s.offCPU != nil {
		errs = append(errs, s.offCPU.Close())
	}
	if s.ring != nil {
		errs = append(errs, s.ring.Close())
	}
	return errors.Join(append(errs, s.objects.Close())...)
}

// Counters are sums since Open.
type Counters struct {
	Samples       uint64 // taken, before anything else was done to them
	Idle          uint64 // ticks of idle CPUs; no samples
	Filtered      uint64 // of processes that [Drop] was said of
	RingFull      uint64 // lost because the reader was too slow
	Sent          uint64
	TableSteps    uint64 // frames walked by unwind tables
	FPSteps       uint64 // frames walked by frame pointers
	SignalSteps   uint64 // signal handlers crossed
	OffCPU        uint64 // waits followed
	OffCPULost    uint64 // waits lost because the reader was too slow or too many waited
	Python        uint64 // samples with a Python stack
	PythonUnknown uint64 // samples of Python processes whose thread is not Python's
	PythonCut     uint64 // Python stacks too deep
}

// Counters sums what the CPUs have counted.
func (s *Sampler) Counters() (Counters, error) {
	var c Counters
	for which, to := range map[kernelCounter]*uint64{
		kernelCounterCOUNTER_SAMPLES:          &c.Samples,
		kernelCounterCOUNTER_IDLE:             &c.Idle,
		kernelCounterCOUNTER_FILTERED:         &c.Filtered,
		kernelCounterCOUNTER_RING_FULL:        &c.RingFull,
		kernelCounterCOUNTER_SENT:             &c.Sent,
		kernelCounterCOUNTER_TABLE_STEPS:      &c.TableSteps,
		kernelCounterCOUNTER_FP_STEPS:         &c.FPSteps,
		kernelCounterCOUNTER_SIGNAL_STEPS:     &c.SignalSteps,
		kernelCounterCOUNTER_OFF_CPU:          &c.OffCPU,
		kernelCounterCOUNTER_OFF_CPU_LOST:     &c.OffCPULost,
		kernelCounterCOUNTER_PYTHON:           &c.Python,
		kernelCounterCOUNTER_PYTHON_NO_THREAD: &c.PythonUnknown,
		kernelCounterCOUNTER_PYTHON_TRUNCATED: &c.PythonCut,
	} {
		var byCPU []uint64
		if err := s.objects.Counters.Lookup(which, &byCPU); err != nil {
			return c, fmt.Errorf("read counter %d: %w", which, err)
		}
		for _, n := range byCPU {
			*to += n
		}
	}
	return c, nil
}

// ProgramCost says what a program costs: instructions that the verifier looked at when
// it was loaded, and, where the kernel keeps statistics, runs and time.
type ProgramCost struct {
	Verified uint32
	Runs     uint64
	Time     time.Duration
}

// KeepStatistics lets the kernel measure the run time of all BPF programs of the machine
// until it is closed. It costs some 20 ns a run and needs the capability SYS_ADMIN.
func KeepStatistics() (io.Closer, error) {
	c, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return nil, fmt.Errorf("measure BPF programs: %w", err)
	}
	return c, nil
}

// SampleCost is the cost of the sampling program. Time is measured only while some
// process holds BPF's run-time statistics open.
func (s *Sampler) SampleCost() (ProgramCost, error) { return costOf(s.objects.Sample) }

// PythonCost is the cost of the program that walks Python's stacks.
func (s *Sampler) PythonCost() (ProgramCost, error) { return costOf(s.objects.SamplePython) }

// OffCPUCost is the cost of the program that follows waits.
func (s *Sampler) OffCPUCost() (ProgramCost, error) { return costOf(s.objects.OffCpu) }

func costOf(p *ebpf.Program) (ProgramCost, error) {
	info, err := p.Info()
	if err != nil {
		return ProgramCost{}, fmt.Errorf("ask for a program's cost: %w", err)
	}
	verified, _ := info.VerifiedInstructions() // kernels before 5.16 do not say
	cost := ProgramCost{Verified: verified}
	if stats, err := p.Stats(); err == nil {
		cost.Runs, cost.Time = stats.RunCount, stats.Runtime
	}
	return cost, nil
}

const onlineList = "/sys/devices/system/cpu/online"

// onlineCPUs reads the kernel's list of CPUs, such as "0-3,5".
func onlineCPUs() (list string, cpus []int, err error) {
	b, err := os.ReadFile(onlineList)
	if err != nil {
		return "", nil, fmt.Errorf("list CPUs: %w", err)
	}
	cpus, err = parseCPUs(string(b))
	return string(b), cpus, err
}

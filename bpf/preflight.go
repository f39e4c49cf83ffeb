package bpf

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// ErrUnsafeKernel marks kernels that sampling may lock up.
var ErrUnsafeKernel = errors.New("unsafe kernel")

// Check is one thing that sampling needs, and whether this machine has it.
type Check struct {
	Name   string
	Found  string // what there is
	OK     bool
	Needed bool   // without it nothing works
	Else   string // what happens without it
}

// Report is what [Inspect] found.
type Report struct {
	Checks  []Check
	Refused error // why [Open] will refuse; wraps ErrUnsafeKernel when it can be overridden
}

// Inspect looks at the kernel and at what this process may do. It changes nothing.
func Inspect() Report {
	release := kernelRelease()
	version, _ := parseRelease(release)
	r := Report{}
	add := func(c Check) {
		if c.Needed && !c.OK && r.Refused == nil {
			r.Refused = fmt.Errorf("%s: %s: %s", c.Name, c.Found, c.Else)
		}
		r.Checks = append(r.Checks, c)
	}
	add(Check{Name: "kernel", Found: release, OK: version >= kernel(5, 15), Needed: true, Else: "Linux 5.15 or newer is needed"})
	unsafe := unsafeKernel(version)
	add(Check{Name: "known bugs", Found: orNone(unsafe), OK: unsafe == "", Else: "refused unless unsafe kernels are allowed"})
	if unsafe != "" && r.Refused == nil {
		r.Refused = fmt.Errorf("kernel %s: %s: %w", release, unsafe, ErrUnsafeKernel)
	}
	types, err := btf.LoadKernelSpec()
	add(Check{Name: "BTF", Found: found(err), OK: err == nil, Needed: true, Else: "the kernel must be built with CONFIG_DEBUG_INFO_BTF"})
	err = features.HaveProgramType(ebpf.PerfEvent)
	add(Check{Name: "BPF on perf events", Found: found(err), OK: err == nil, Needed: true, Else: "capability BPF or root, and CONFIG_BPF_EVENTS"})
	err = features.HaveMapType(ebpf.RingBuf)
	add(Check{Name: "BPF ring buffer", Found: found(err), OK: err == nil, Needed: true, Else: "capability BPF or root"})
	err = haveClock()
	add(Check{Name: "CPU clock", Found: found(err), OK: err == nil, Needed: true, Else: "capability PERFMON or root, and CONFIG_PERF_EVENTS"})
	err = haveSwitch(types)
	add(Check{Name: "scheduler tracepoint", Found: found(err), OK: err == nil, Else: "no off-CPU profiles"})
	for _, c := range []struct {
		bit  int
		name string
		lack string
	}{
		{unix.CAP_SYS_PTRACE, "capability SYS_PTRACE", "binaries of other users' processes cannot be read: no tables, no symbols"},
		{unix.CAP_CHECKPOINT_RESTORE, "capability CHECKPOINT_RESTORE", "deleted or replaced binaries cannot be read"},
		{unix.CAP_SYSLOG, "capability SYSLOG", "no names of kernel functions, unless kernel.perf_event_paranoid is below 2"},
	} {
		ok := haveCapability(c.bit)
		add(Check{Name: c.name, Found: map[bool]string{true: "held", false: "not held"}[ok], OK: ok, Else: c.lack})
	}
	return r
}

// unsafeKernel names the bug that a version is known for. Reading user memory from a
// perf interrupt could lock up a CPU from 5.19 until the fix in 6.1. (Kernels 6.6 to
// 6.11 crash in bpf_get_stack of user stacks; these programs do not call it.)
func unsafeKernel(v version) string {
	if v >= kernel(5, 19) && v < kernel(6, 1) {
		return "reading user memory from an interrupt may lock up a CPU (fixed in 6.1)"
	}
	return ""
}

type version uint32

func kernel(major, minor uint32) version { return version(major<<16 | minor) }

func kernelRelease() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(name.Release[:])
}

// parseRelease reads the two numbers that a kernel's release begins with.
func parseRelease(release string) (version, bool) {
	majorText, rest, ok := strings.Cut(release, ".")
	digits := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if digits >= 0 {
		rest = rest[:digits]
	}
	major, err1 := strconv.ParseUint(majorText, 10, 15)
	minor, err2 := strconv.ParseUint(rest, 10, 15)
	if !ok || err1 != nil || err2 != nil {
		return 0, false
	}
	return kernel(uint32(major), uint32(minor)), true
}

// haveSwitch looks for the type of the scheduler's tracepoint, by which programs attach to it.
func haveSwitch(types *btf.Spec) error {
	if types == nil {
		return errors.New("no BTF")
	}
	_, err := types.AnyTypeByName("btf_trace_sched_switch")
	return err
}

func haveClock() error {
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Sample: 1, Bits: unix.PerfBitFreq | unix.PerfBitDisabled}
	fd, err := unix.PerfEventOpen(&attr, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("perf_event_open: %w", err)
	}
	return unix.Close(fd)
}

// haveCapability reads the effective set from /proc/self/status.
func haveCapability(bit int) bool {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	_, rest, ok := strings.Cut(string(b), "\nCapEff:\t")
	line, _, _ := strings.Cut(rest, "\n")
	set, err := strconv.ParseUint(line, 16, 64)
	return ok && err == nil && set&(1<<bit) != 0
}

func found(err error) string {
	if err != nil {
		return err.Error()
	}
	return "yes"
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

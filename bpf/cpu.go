package bpf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// cpu is what is open for one CPU: the clock that samples it and the ring that tells of
// its processes.
//
// The link must stay reachable: a finaliser closes it otherwise, and sampling stops
// without a word at the first garbage collection.
type cpu struct {
	clock  int
	link   link.Link
	events *eventRing
}

func (s *Sampler) openCPU(n int) (*cpu, error) {
	c := &cpu{clock: -1}
	var err error
	// Events first, so that no sample comes from a process of which nothing was told.
	if c.events, err = openEventRing(n); err != nil {
		return nil, err
	}
	// The software clock works everywhere, in virtual machines too, and never samples from a
	// non-maskable interrupt, where the ring buffer's lock may not be had.
	attr := unix.PerfEventAttr{
		Type:   unix.PERF_TYPE_SOFTWARE,
		Config: unix.PERF_COUNT_SW_CPU_CLOCK,
		Sample: uint64(s.config.Frequency),
		Bits:   unix.PerfBitFreq,
	}
	c.clock, err = unix.PerfEventOpen(&attr, -1, n, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the clock of CPU %d: %w", n, err), c.close())
	}
	c.link, err = link.AttachRawLink(link.RawLinkOptions{Target: c.clock, Program: s.objects.Sample, Attach: ebpf.AttachPerfEvent})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach to the clock of CPU %d: %w", n, err), c.close())
	}
	return c, nil
}

func (c *cpu) close() error {
	var errs []error
	if c.link != nil {
		errs = append(errs, c.link.Close())
	}
	if c.clock >= 0 {
		errs = append(errs, unix.Close(c.clock))
	}
	if c.events != nil {
		errs = append(errs, c.events.close())
	}
	return errors.Join(errs...)
}

func (s *Sampler) attach(online string, cpus []int) error {
	for _, n := range cpus {
		c, err := s.openCPU(n)
		if err != nil {
			return err
		}
		s.cpus[n] = c
	}
	s.online = online
	if s.config.OffCPU == 0 {
		return nil
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: s.objects.OffCpu})
	if err != nil {
		return fmt.Errorf("attach to the scheduler: %w", err)
	}
	s.offCPU = l
	return nil
}

// FollowCPUs begins to sample CPUs that have come online and forgets those that have
// gone. It costs one small read when nothing has changed.
func (s *Sampler) FollowCPUs() error {
	online, cpus, err := onlineCPUs()
	if err != nil || online == s.online {
		return err
	}
	here := map[int]bool{}
	var errs []error
	for _, n := range cpus {
		here[n] = true
		if s.cpus[n] != nil {
			continue
		}
		c, err := s.openCPU(n)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.cpus[n] = c
	}
	for n, c := range s.cpus {
		if !here[n] {
			errs = append(errs, c.close())
			delete(s.cpus, n)
		}
	}
	if len(errs) == 0 {
		s.online = online
	}
	return errors.Join(errs...)
}

func parseCPUs(list string) ([]int, error) {
	var cpus []int
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		lo, err1 := strconv.Atoi(first)
		hi, err2 := strconv.Atoi(last)
		if err1 != nil || err2 != nil || lo < 0 || hi < lo || hi > 1<<16 {
			return nil, fmt.Errorf("list of CPUs %q: want something like 0-3,5", list)
		}
		for n := lo; n <= hi; n++ {
			cpus = append(cpus, n)
		}
	}
	return cpus, nil
}

// nothing is a program that does nothing.
func nothing() asm.Instructions {
	return asm.Instructions{asm.LoadImm(asm.R0, 0, asm.DWord), asm.Return()}
}

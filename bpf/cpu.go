package bpf

import (
	"encoding/binary"
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
	clock   int
	counted uint64 // nanoseconds that the clock had counted when it was last asked
	link    link.Link
	events  *eventRing
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
	if s.paused {
		if err := unix.IoctlSetInt(c.clock, unix.PERF_EVENT_IOC_DISABLE, 0); err != nil {
			return nil, errors.Join(fmt.Errorf("pause the clock of CPU %d: %w", n, err), c.close())
		}
	}
	c.link, err = link.AttachRawLink(link.RawLinkOptions{Target: c.clock, Program: s.objects.Sample, Attach: ebpf.AttachPerfEvent})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach to the clock of CPU %d: %w", n, err), c.close())
	}
	return c, nil
}

// ticks says whether the clock has gone on since it was last asked.
func (c *cpu) ticks() bool {
	var b [8]byte
	n, err := unix.Read(c.clock, b[:])
	last := c.counted
	c.counted = binary.LittleEndian.Uint64(b[:])
	return err == nil && n == len(b) && c.counted > last
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
	return s.followWaits()
}

// followWaits attaches to the scheduler, where waits are wanted.
func (s *Sampler) followWaits() error {
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

// Pause stops sampling until [Sampler.Resume]. Events of processes go on: whoever reads them
// keeps knowing what runs.
func (s *Sampler) Pause() error { return s.pause(true) }

// Resume begins to sample again.
func (s *Sampler) Resume() error { return s.pause(false) }

func (s *Sampler) pause(on bool) error {
	if s.paused == on {
		return nil
	}
	s.paused = on
	request := uint(unix.PERF_EVENT_IOC_ENABLE)
	if on {
		request = unix.PERF_EVENT_IOC_DISABLE
	}
	var errs []error
	for n, c := range s.cpus {
		c.counted = 0
		if err := unix.IoctlSetInt(c.clock, request, 0); err != nil {
			errs = append(errs, fmt.Errorf("pause or resume the clock of CPU %d: %w", n, err))
		}
	}
	switch {
	case !on:
		errs = append(errs, s.followWaits())
	case s.offCPU != nil:
		errs = append(errs, s.offCPU.Close())
		s.offCPU = nil
	}
	return errors.Join(errs...)
}

// FollowCPUs begins to sample CPUs that have come online and forgets those that have gone. A CPU
// that was away between two calls is noticed by the second call after it: its clock stands still.
// It costs some small reads when nothing has changed, and is not to be called twice within a few
// milliseconds.
func (s *Sampler) FollowCPUs() error {
	online, cpus, err := onlineCPUs()
	if err != nil {
		return err
	}
	stopped := false
	for n, c := range s.cpus {
		if !s.paused && !c.ticks() {
			stopped = true
			delete(s.cpus, n)
			_ = c.close() // it has ended by itself
		}
	}
	if online == s.online && !stopped {
		return nil
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
	if err := errors.Join(errs...); err != nil {
		return err // and try again the next time
	}
	s.online = online
	return nil
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

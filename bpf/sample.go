package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"
)

// Kind says what a sample tells of.
type Kind uint8

// The kinds of samples.
const (
	OnCPU   = Kind(kernelKindKIND_CPU)     // a thread runs
	Blocked = Kind(kernelKindKIND_BLOCKED) // a thread begins to wait; its stack says where
	Woken   = Kind(kernelKindKIND_WOKEN)   // the same thread has waited for Sample.Waited; no stack
)

// Stop says why a user stack ends where it ends.
type Stop uint8

// The reasons to stop. The first three are the ends of whole stacks.
const (
	NoUser      = Stop(kernelStopSTOP_NO_USER)     // a kernel thread
	Outermost   = Stop(kernelStopSTOP_OUTERMOST)   // the unwind table says so
	ZeroAddress = Stop(kernelStopSTOP_ZERO)        // a return address or frame pointer of zero
	NoTables    = Stop(kernelStopSTOP_NO_TABLES)   // the process was not known to [Tables] yet
	NoMapping   = Stop(kernelStopSTOP_NO_MAPPING)  // an address outside all mappings
	Unsupported = Stop(kernelStopSTOP_UNSUPPORTED) // a rule that a row cannot hold
	Fault       = Stop(kernelStopSTOP_FAULT)       // the stack was not readable
	Misaligned  = Stop(kernelStopSTOP_MISALIGNED)  // the frame pointer was none
	Truncated   = Stop(kernelStopSTOP_TRUNCATED)   // more than 255 frames
	Code32      = Stop(kernelStopSTOP_32BIT)       // 32-bit code
)

// Complete says whether the stack reaches the thread's first function.
func (s Stop) Complete() bool { return s <= Stop(kernelStopSTOP_COMPLETE) }

var stopNames = [...]string{
	NoUser: "kernel thread", Outermost: "outermost", ZeroAddress: "zero", NoTables: "no tables", NoMapping: "no mapping",
	Unsupported: "unsupported rule", Fault: "fault", Misaligned: "misaligned", Truncated: "truncated", Code32: "32-bit",
}

func (s Stop) String() string {
	if int(s) < len(stopNames) {
		return stopNames[s]
	}
	return fmt.Sprintf("stop %d", uint8(s))
}

// PythonFrame is one frame of CPython's own stack.
type PythonFrame struct {
	Code        uint64 // address of the code object
	Instruction uint64 // the last instruction: an address or an index, as the version has it
	Entry       bool   // C has called in here: one run of the interpreter's loop ends with this frame
}

// Sample is one stack. Addresses are those of the process; all but the topmost are return
// addresses, which lie behind the call. Stacks are leaf first.
type Sample struct {
	Time     uint64 // CLOCK_MONOTONIC, nanoseconds
	Start    uint64 // when the process started, CLOCK_BOOTTIME, nanoseconds. PID and Start together never come back
	Cgroup   uint64 // ID of the cgroup (v2 only, else 0 or 1): the inode number of its directory
	LeafWord uint64 // what a leaf function that pushed nothing will return to: *sp on amd64, the link register on arm64
	Waited   time.Duration
	Kernel   []uint64
	User     []uint64
	Python   []PythonFrame
	Comm     string // the thread's name
	PID, TID uint32
	CPU      uint32
	Kind     Kind
	Stop     Stop
	// Syscall: even the topmost user address is a return address, from a system call.
	Syscall bool
	// Exact are the positions in User of further addresses that are no return addresses,
	// because a signal interrupted there.
	Exact []int
}

const recordBytes = int(unsafe.Sizeof(kernelRecord{}))

// ReadSamples calls each with every sample that the ring holds now, oldest first. The
// sample belongs to the callee.
func (s *Sampler) ReadSamples(each func(*Sample)) error {
	s.ring.SetDeadline(time.Unix(0, 1)) // long past: do not wait
	for {
		err := s.ring.ReadInto(&s.record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the ring buffer: %w", err)
		}
		sample, err := decodeSample(s.record.RawSample)
		if err != nil {
			return err
		}
		each(sample)
	}
}

// decodeSample reads struct record of c/maps.h and the words behind it.
func decodeSample(b []byte) (*Sample, error) {
	if len(b) < recordBytes {
		return nil, fmt.Errorf("sample of %d bytes: want at least %d", len(b), recordBytes)
	}
	var r kernelRecord
	if _, err := binary.Decode(b, binary.LittleEndian, &r); err != nil {
		return nil, fmt.Errorf("sample: %w", err)
	}
	words := b[recordBytes:]
	kernel, user, python := int(r.Kernel), int(r.User), int(r.Python)
	if len(words) < 8*(kernel+user+2*python) {
		return nil, fmt.Errorf("sample of %d bytes: its %d kernel, %d user and %d Python frames do not fit", len(b), kernel, user, python)
	}
	addresses := make([]uint64, kernel+user)
	for i := range addresses {
		addresses[i] = binary.LittleEndian.Uint64(words[8*i:])
	}
	words = words[8*len(addresses):]
	var interrupted []int
	for i, a := range addresses[kernel:] {
		const exact = 1 << 63
		if a&exact != 0 {
			addresses[kernel+i] = a &^ exact
			interrupted = append(interrupted, i)
		}
	}
	s := &Sample{
		Time: r.Time, Start: r.Start, Cgroup: r.Cgroup, LeafWord: r.LeafWord, Waited: time.Duration(r.Waited),
		PID: r.Pid, TID: r.Tid, CPU: r.Cpu, Kind: Kind(r.Kind), Stop: Stop(r.Stop),
		Syscall: r.Walk&uint8(kernelWalkWALK_SYSCALL) != 0,
		Kernel:  addresses[:kernel:kernel],
		User:    addresses[kernel:],
		Exact:   interrupted,
	}
	name, _, _ := bytes.Cut(r.Comm[:], []byte{0})
	s.Comm = string(name)
	for i := range python {
		const entry = 1 << 63
		code := binary.LittleEndian.Uint64(words[16*i:])
		s.Python = append(s.Python, PythonFrame{
			Code: code &^ entry, Entry: code&entry != 0,
			Instruction: binary.LittleEndian.Uint64(words[16*i+8:]),
		})
	}
	return s, nil
}

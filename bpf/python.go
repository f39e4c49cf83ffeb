package bpf

import (
	"fmt"
	"math"
)

// PythonProcess says where CPython of one process keeps what a walk needs: an address and
// offsets in its structures.
type PythonProcess struct {
	Interpreters     uint64 // address of _PyRuntime.interpreters.head
	Threads          uint32 // in PyInterpreterState: the first thread
	InterpreterNext  uint32
	ThreadNext       uint32 // in PyThreadState
	ThreadID         uint32
	ThreadFrame      uint32 // the topmost frame, or a _PyCFrame
	CFrame           bool   // the latter
	CFrameFrame      uint32 // in _PyCFrame
	FramePrevious    uint32 // in a frame
	FrameCode        uint32
	FrameInstruction uint32
	InstructionBytes uint32 // 4 or 8
	FrameEntry       uint32
	Entry            PythonEntry
}

// PythonEntry says how a frame that C has called in is told from the others.
type PythonEntry uint32

// The ways of Python's versions.
const (
	EveryFrame = PythonEntry(kernelPythonEntryENTRY_EVERY)    // 3.8 to 3.10
	EntryByte  = PythonEntry(kernelPythonEntryENTRY_IS_ENTRY) // 3.11
	ShimFrame  = PythonEntry(kernelPythonEntryENTRY_SHIM)     // 3.12 and later
)

// SetPython says how to walk the Python stacks of a process; [SetProcess] turns it on by
// the flag [Python].
func (t *Tables) SetPython(pid uint32, p PythonProcess) error {
	k := kernelPythonProcess{
		Interpreters: p.Interpreters, Threads: p.Threads, InterpreterNext: p.InterpreterNext,
		ThreadNext: p.ThreadNext, ThreadId: p.ThreadID, ThreadFrame: p.ThreadFrame, CframeFrame: math.MaxUint32,
		FramePrevious: p.FramePrevious, FrameCode: p.FrameCode, FrameInstruction: p.FrameInstruction,
		InstructionBytes: p.InstructionBytes, FrameEntry: p.FrameEntry, Entry: uint32(p.Entry),
	}
	if p.CFrame {
		k.CframeFrame = p.CFrameFrame
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.pythons.Put(pid, &k); err != nil {
		return fmt.Errorf("set Python of process %d: %w", pid, err)
	}
	t.isPython[pid] = true
	return nil
}

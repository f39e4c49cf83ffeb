// Package ehframe turns a binary's .eh_frame section into unwind rows: for each
// range of addresses, where the caller's stack pointer, frame pointer and return
// address are found.
//
// The section is what compilers write so that exceptions can be thrown: the DWARF 5
// standard, section 6.4, as changed by the Linux Standard Base, "Exception Frames".
// Of its rules the package keeps those of the registers that a stack walk needs. What
// a walk in the kernel cannot follow becomes [Unsupported] for its range, so a
// strange function costs its own stacks and no other's.
//
// Nothing here trusts the section: every length is checked, and any bytes give either
// an error or rows in strictly ascending order.
package ehframe

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// ErrCorrupt marks a section that is not one. Errors that wrap it say at which offset.
var ErrCorrupt = errors.New("corrupt .eh_frame")

// CFA says how the canonical frame address, which is the stack pointer after the
// function has returned to its caller, follows from the registers.
type CFA uint8

// The ways to a canonical frame address.
const (
	NoRule      CFA = iota // the section says nothing of this range
	FromSP                 // stack pointer + Offset
	FromFP                 // frame pointer + Offset
	FromReg                // Reg + Offset; only the leaf's registers are known
	PLT                    // stack pointer + 8, and 8 more where address & 15 ≥ Offset
	DerefSP                // the word at (stack pointer + Offset), + Add
	DerefFP                // the word at (frame pointer + Offset), + Add
	Signal                 // the kernel pushed all registers here before it called a handler
	Outermost              // there is no caller
	Unsupported            // a rule that is none of the above
)

// FP says where the caller's frame pointer is.
type FP uint8

// The places of the caller's frame pointer.
const (
	FPSame  FP = iota // still in its register
	FPSaved           // at the canonical frame address + FPOffset
	FPAtFP            // in the word that the frame pointer points at
	FPLost            // nowhere that a walk could find it
)

// RA says where the return address is. On amd64 it always lies 8 bytes below the
// canonical frame address, which is RASaved with RAOffset -8.
type RA uint8

// The places of the return address.
const (
	RASaved RA = iota // at the canonical frame address + RAOffset
	RAInLR            // in the link register
)

// Row is the rule from PC to the PC of the next row.
type Row struct {
	PC       uint64
	Offset   int64
	Add      int64
	FPOffset int64
	RAOffset int64
	Reg      uint8 // of FromReg: DWARF's number
	CFA      CFA
	FP       FP
	RA       RA
}

func (r Row) sameRule(o Row) bool {
	r.PC = o.PC
	return r == o
}

// registers are the DWARF numbers that matter on a machine.
type registers struct {
	sp, fp, ra uint64
	link       bool // a call leaves the return address in a register, ra
}

// scratch says whether a register may hold a frame address for the length of a leaf function,
// as rax, r9, r10 and r11 do in hand-written assembly and where a stack is being aligned.
func (regs registers) scratch(reg uint64) bool {
	return !regs.link && (reg == 0 || reg >= 9 && reg <= 11)
}

func registersOf(m elf.Machine) (registers, bool) {
	switch m {
	case elf.EM_X86_64:
		return registers{sp: 7, fp: 6, ra: 16}, true
	case elf.EM_AARCH64:
		return registers{sp: 31, fp: 29, ra: 30, link: true}, true
	}
	return registers{}, false
}

// Table is a parsed section: the functions it describes, in order of address. The
// rows themselves are made while they are ranged over, because those of a large
// library would take a hundred megabytes.
type Table struct {
	section   []byte
	functions []function
	regs      registers
}

// function is a frame description entry. A large library has a hundred thousand.
type function struct {
	lo, hi   uint64
	cie      *cie
	from, to uint32 // its program in the section
}

// cie is a common information entry: what the functions that refer to it share.
type cie struct {
	codeAlign uint64
	dataAlign int64
	ra        uint64
	encoding  byte // of a function's addresses
	augmented bool // functions have a length-prefixed field of their own
	signal    bool
	initial   rules
}

// Parse reads a section that is loaded at address addr of a binary for machine.
func Parse(section []byte, addr uint64, machine elf.Machine) (*Table, error) {
	regs, ok := registersOf(machine)
	if !ok {
		return nil, fmt.Errorf(".eh_frame of %s: machine is not known", machine)
	}
	t := &Table{section: section, regs: regs, functions: make([]function, 0, countEntries(section))}
	cies := map[int]*cie{}
	for at := 0; at+4 <= len(section); {
		length := int(binary.LittleEndian.Uint32(section[at:]))
		if length == 0 {
			break // the terminator
		}
		body := at + 4
		if length < 4 || length > len(section)-body {
			return nil, fmt.Errorf("entry at %#x: length %#x does not fit the section of %#x bytes: %w", at, length, len(section), ErrCorrupt)
		}
		end := body + length
		r := &reader{b: section[:end], at: body, addr: addr}
		id := int(r.u32())
		if id == 0 {
			cies[at] = parseCIE(r, regs)
		} else if c := cies[body-id]; c != nil {
			t.addFunction(r, c)
		}
		at = end
	}
	byAddress := func(a, b function) int { return cmp.Compare(a.lo, b.lo) }
	if !slices.IsSortedFunc(t.functions, byAddress) {
		slices.SortStableFunc(t.functions, byAddress)
	}
	return t, nil
}

// countEntries is how many entries a section has at most: few are common ones.
func countEntries(section []byte) int {
	n := 0
	for at := 0; at+4 <= len(section); n++ {
		length := int(binary.LittleEndian.Uint32(section[at:]))
		if length < 4 || length > len(section)-at-4 {
			break
		}
		at += 4 + length
	}
	return n
}

// parseCIE returns nil when the entry cannot be understood; its functions are then left out.
func parseCIE(r *reader, regs registers) *cie {
	c := &cie{}
	version := r.u8()
	augmentation := r.text()
	if version == 4 {
		r.skip(2) // address and segment size
	}
	c.codeAlign = r.uleb()
	c.dataAlign = r.sleb()
	if version == 1 {
		c.ra = uint64(r.u8())
	} else {
		c.ra = r.uleb()
	}
	if augmentation != "" {
		if augmentation[0] != 'z' {
			return nil
		}
		c.augmented = true
		n := r.uleb()
		end := r.at + int(n)
		if n > uint64(len(r.b)-r.at) {
			return nil
		}
		for _, what := range augmentation[1:] {
			switch what {
			case 'R':
				c.encoding = r.u8()
			case 'P':
				r.pointer(r.u8() &^ 0x80)
			case 'L':
				r.u8()
			case 'S':
				c.signal = true
			}
		}
		r.at = end
	}
	if r.failed || !c.start(regs, r.b[r.at:]) {
		return nil
	}
	return c
}

func (t *Table) addFunction(r *reader, c *cie) {
	lo := r.pointer(c.encoding)
	size := r.pointer(c.encoding & 0x0f)
	if c.augmented {
		r.skip(r.uleb())
	}
	// A function at 0 is one that the linker has dropped.
	if r.failed || lo == 0 || size == 0 || lo+size < lo {
		return
	}
	t.functions = append(t.functions, function{lo: lo, hi: lo + size, cie: c, from: uint32(r.at), to: uint32(len(r.b))})
}

// Functions is how many functions the section describes.
func (t *Table) Functions() int { return len(t.functions) }

// padding is how many bytes between two functions still count as the first's:
// compilers align functions, and a return address may lie just behind a call that never returns.
const padding = 15

// Rows yields the rules in strictly ascending order of address. Neighbours differ. The
// end of a function that has no near follower is marked by a row of [NoRule].
func (t *Table) Rows() iter.Seq[Row] {
	return func(yield func(Row) bool) {
		var last Row
		any := false
		var buf []Row
		emit := func(r Row) bool {
			if any && (r.PC <= last.PC || r.sameRule(last)) {
				return true
			}
			any, last = true, r
			return yield(r)
		}
		for i, f := range t.functions {
			buf = t.run(f, buf[:0])
			end := f.hi
			if i+1 < len(t.functions) {
				end = min(end, t.functions[i+1].lo)
			}
			for j, r := range buf {
				// Of rows for the same address the last holds.
				if j+1 < len(buf) && buf[j+1].PC <= r.PC || r.PC >= end {
					continue
				}
				if !emit(r) {
					return
				}
			}
			far := i+1 == len(t.functions) || t.functions[i+1].lo > f.hi+padding
			if far && !emit(Row{PC: f.hi}) {
				return
			}
		}
	}
}

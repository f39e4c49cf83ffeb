// Package symbols gives names to addresses: of binaries by what they carry themselves,
// of the kernel by kallsyms, of just-in-time compilers by the maps they leave behind.
//
// Symbol tables are large and profiles ask for little of them, so nothing is loaded:
// [Binary.Resolve] takes all addresses that are wanted of a binary and answers them in
// one pass over its tables, reading with ReadAt. Whoever asks keeps the answers.
//
// DWARF is left to the backend, which has the build ID and the address. Nothing here
// trusts what it reads.
package symbols

import (
	"strings"

	"github.com/ianlancetaylor/demangle"
)

// Frame is a place in source code, as far as it is known.
type Frame struct {
	Function  string // as people write it
	System    string // as the linker writes it
	File      string
	Line      int // 0 when not known
	StartLine int // of the function; 0 when not known
}

// maxName bounds a function's name; C++ templates reach some kilobytes.
const maxName = 4 << 10

// named makes the frame of a linker's symbol.
func named(system string) Frame {
	if len(system) > maxName {
		system = strings.ToValidUTF8(system[:maxName], "")
	}
	system = strings.ToValidUTF8(system, "�")
	return Frame{Function: demangle.Filter(system, demangle.NoParams, demangle.NoEnclosingParams), System: system}
}

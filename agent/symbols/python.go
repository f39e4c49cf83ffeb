package symbols

import (
	"debug/elf"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// Python is where a binary that holds CPython has what a walk of its stacks needs.
type Python struct {
	Minor   int       // of version 3
	Runtime uint64    // address of _PyRuntime
	Loops   []Segment // the interpreter's loop, _PyEval_EvalFrameDefault, with what the compiler moved away from it
}

// pythonFile matches python3.11, libpython3.11.so.1.0 and libpython3.13t.so.
var pythonFile = regexp.MustCompile(`^(?:lib)?python3\.(\d{1,2})\b`)

// Python looks for CPython in a file of the given path; nil when it is not there.
func (b *Binary) Python(file string) *Python {
	m := pythonFile.FindStringSubmatch(path.Base(file))
	if m == nil {
		return nil
	}
	p := &Python{}
	p.Minor, _ = strconv.Atoi(m[1]) // two digits
	const loop = "_PyEval_EvalFrameDefault"
	for _, kind := range []elf.SectionType{elf.SHT_SYMTAB, elf.SHT_DYNSYM} {
		t, err := openSymbols(b.file, kind)
		if err != nil || p.Runtime != 0 {
			continue
		}
		t.each(func(s symbol) bool {
			switch {
			case t.nameIs(s, "_PyRuntime"):
				p.Runtime = s.value
			case s.size > 0 && t.nameBegins(s, loop):
				if name := t.name(s); name == loop || strings.HasPrefix(name, loop+".") {
					p.Loops = append(p.Loops, Segment{Address: s.value, Size: s.size})
				}
			}
			return true
		})
	}
	if p.Runtime == 0 || len(p.Loops) == 0 {
		return nil
	}
	return p
}

func (t *symbolTable) nameBegins(s symbol, want string) bool {
	buf := make([]byte, len(want))
	_, err := t.strings.ReadAt(buf, int64(s.name))
	return err == nil && string(buf) == want
}

// InLoop says whether an address lies in the interpreter's loop.
func (p *Python) InLoop(addr uint64) bool {
	for _, l := range p.Loops {
		if addr >= l.Address && addr-l.Address < l.Size {
			return true
		}
	}
	return false
}

package perf

import (
	"encoding/hex"
	"slices"
	"strings"
)

// kernelName begins what perf calls the kernel's own code.
const kernelName = "[kernel.kallsyms]"

// area is a binary, mapped from start on.
type area struct {
	start, end, offset uint64
	file, buildID      string
	kernel             bool
}

// process is what records so far tell of a process.
type process struct {
	comm    string
	threads map[uint32]string // names that are not comm
	areas   []area            // the newest last
	known   map[uint64]uint32 // places by address, of these areas
}

// maxAreas bounds the mappings of all processes together: a fork copies them.
const maxAreas = 4 << 20

// The bits of a record's misc.
const (
	miscExec    = 1 << 13 // of COMM: after an exec
	miscBuildID = 1 << 14 // of MMAP2: it holds a build ID instead of an inode
)

func (m *maker) process(pid uint32) *process {
	p := m.processes[pid]
	if p == nil {
		p = &process{threads: map[uint32]string{}}
		m.processes[pid] = p
	}
	return p
}

// mmap notes a mapping: pid and tid (32 bits each), address, length, offset, for MMAP2 24
// bytes more and protection and flags, and the file's name.
func (m *maker) mmap(r record) error {
	const fixed = 8 + 3*8
	name := fixed
	if r.kind == recordMmap2 {
		name += 24 + 8
	}
	if len(r.body) < name {
		return invalidf("a mapping of %d bytes", len(r.body))
	}
	pid := le.Uint32(r.body)
	a := area{start: le.Uint64(r.body[8:]), offset: le.Uint64(r.body[24:]), file: text(r.body[name:])}
	if a.end = a.start + le.Uint64(r.body[16:]); a.end < a.start {
		a.end = ^uint64(0)
	}
	a.buildID = m.file.buildIDs[a.file]
	if r.kind == recordMmap2 && r.misc&miscBuildID != 0 {
		n := min(int(r.body[fixed]), 20)
		a.buildID = hex.EncodeToString(r.body[fixed+4 : fixed+4+n])
	}
	const kernelPID = ^uint32(0)
	if pid == kernelPID {
		a.kernel = true
		if strings.HasPrefix(a.file, kernelName) {
			a.file, a.offset = kernelName, 0
			if a.buildID == "" {
				a.buildID = m.file.kernel
			}
		}
		m.kernel, m.kernelKnown = append(m.kernel, a), nil
		return nil
	}
	return m.mapInto(m.process(pid), a)
}

func (m *maker) mapInto(p *process, areas ...area) error {
	if m.areas += len(areas); m.areas > maxAreas {
		return invalidf("more than %d mappings", maxAreas)
	}
	p.areas, p.known = append(p.areas, areas...), nil
	return nil
}

// comm notes a name: pid and tid, and the name.
func (m *maker) comm(r record) error {
	if len(r.body) < 8 {
		return invalidf("a name of %d bytes", len(r.body))
	}
	pid, tid, name := le.Uint32(r.body), le.Uint32(r.body[4:]), text(r.body[8:])
	p := m.process(pid)
	if r.misc&miscExec != 0 {
		m.areas -= len(p.areas)
		p.areas, p.known, p.threads = nil, nil, map[uint32]string{}
	}
	if pid == tid {
		p.comm = name
	} else {
		p.threads[tid] = name
	}
	return nil
}

// fork gives a new process the names and mappings of its parent: pid, parent, tid, parent's
// tid, in 32 bits each.
func (m *maker) fork(r record) error {
	if len(r.body) < 16 {
		return invalidf("a fork of %d bytes", len(r.body))
	}
	pid, ppid, tid, ptid := le.Uint32(r.body), le.Uint32(r.body[4:]), le.Uint32(r.body[8:]), le.Uint32(r.body[12:])
	parent := m.process(ppid)
	name, ok := parent.threads[ptid]
	if !ok {
		name = parent.comm
	}
	if pid == ppid {
		parent.threads[tid] = name
		return nil
	}
	if old := m.processes[pid]; old != nil { // its number is used again
		m.areas -= len(old.areas)
	}
	child := &process{comm: name, threads: map[uint32]string{}}
	m.processes[pid] = child
	return m.mapInto(child, parent.areas...)
}

// find gives the mapping that an address lies in, nil if none is known.
func find(areas []area, address uint64) *area {
	for i := range slices.Backward(areas) {
		if a := &areas[i]; a.start <= address && address < a.end {
			return a
		}
	}
	return nil
}

package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/coldframe/coldframe/bpf/ehframe"
)

// ErrTablesFull means that the unwind tables have no room left: remove some.
var ErrTablesFull = errors.New("unwind tables are full")

// TableID names the unwind table of a binary. 0 is none.
type TableID uint32

// Mapping is an executable mapping of a process, as the walk sees it.
type Mapping struct {
	Start, End uint64
	Bias       uint64  // address in the process minus address in the binary
	Table      TableID // 0: walk by frame pointers
	Trampoline bool    // holds CPython's perf trampolines and nothing else
}

// ProcessFlags say what to do with a process' samples.
type ProcessFlags uint32

// What can be said of a process.
const (
	Drop   = ProcessFlags(kernelProcessFlagPROCESS_DROP)   // throw its samples away, in the kernel
	Python = ProcessFlags(kernelProcessFlagPROCESS_PYTHON) // walk CPython's stack too
)

const (
	maxRows     = 1 << 22 // what the search in c/unwind.h reaches
	rowBytes    = int(unsafe.Sizeof(kernelRow{}))
	maxMappings = 16 * 30 // CHUNKS × CHUNK_MAPPINGS
	perChunk    = 30

	// Quarantine is how long the rows of a removed table are left alone: a walk on another
	// CPU may still search them.
	Quarantine = time.Second
)

// Tables holds the unwind tables of binaries and the mappings of processes. Its methods
// may be called by several goroutines.
type Tables struct {
	mu        sync.Mutex
	rows      *ebpf.Map
	tables    *ebpf.Map
	processes *ebpf.Map
	bases     map[TableID]uint64
	extents   map[TableID]extent
	free      []extent // by first, no two adjacent
	dying     []dying
	next      TableID
	chunks    map[uint32]int // process → chunks it has
	pythons   *ebpf.Map
	isPython  map[uint32]bool
	used      uint32 // rows
}

// extent is rows[first, first+n).
type extent struct{ first, n uint32 }

type dying struct {
	extent
	since time.Time
}

func newTables(objects *kernelObjects, rows int) *Tables {
	return &Tables{
		rows: objects.Rows, tables: objects.Tables, processes: objects.Processes,
		bases: map[TableID]uint64{}, extents: map[TableID]extent{}, chunks: map[uint32]int{},
		pythons: objects.Pythons, isPython: map[uint32]bool{},
		free: []extent{{0, uint32(rows)}},
	}
}

// Add publishes the rows of a binary. They must be in ascending order of address. A
// binary without rows gets no table. ErrTablesFull says that there is no room.
func (t *Tables) Add(rows iter.Seq[ehframe.Row]) (TableID, error) {
	p := pack(rows)
	if p.n == 0 {
		return 0, nil
	}
	e, err := t.write(p)
	if err != nil {
		return 0, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	id := t.next
	if err := t.tables.Put(uint32(id), &kernelTable{First: e.first, N: e.n}); err != nil {
		t.release(e)
		return 0, fmt.Errorf("publish an unwind table: %w: %w", err, ErrTablesFull)
	}
	t.bases[id], t.extents[id] = p.base, e
	t.used += e.n
	return id, nil
}

// write finds room for rows and puts them there. No walk sees them yet, so that others may use
// the tables meanwhile. The kernel's array is not mapped into memory: it would count as the agent's.
func (t *Tables) write(p packed) (extent, error) {
	t.mu.Lock()
	e, ok := t.allocate(p.n)
	t.mu.Unlock()
	if !ok {
		return e, fmt.Errorf("%d rows: %w", p.n, ErrTablesFull)
	}
	keys := make([]uint32, min(p.n, blockRows))
	at := e.first
	for _, block := range p.blocks {
		for i := range block {
			keys[i] = at + uint32(i)
		}
		if _, err := t.rows.BatchUpdate(keys[:len(block)], block, nil); err != nil {
			t.mu.Lock()
			t.release(e)
			t.mu.Unlock()
			return e, fmt.Errorf("write %d unwind rows at %d: %w", len(block), at, err)
		}
		at += uint32(len(block))
	}
	return e, nil
}

// Remove takes a table back. Processes that still name it are walked by frame pointers.
func (t *Tables) Remove(id TableID) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.extents[id]
	if !ok {
		return nil
	}
	delete(t.extents, id)
	delete(t.bases, id)
	t.used -= e.n
	t.dying = append(t.dying, dying{e, time.Now()})
	if err := t.tables.Delete(uint32(id)); err != nil {
		return fmt.Errorf("remove unwind table %d: %w", id, err)
	}
	return nil
}

// Rows is how many rows are in use.
func (t *Tables) Rows() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int(t.used)
}

// SetProcess says what a process has mapped. Beyond 480 mappings the rest is left out:
// stacks through it end early and say so by [NoMapping].
func (t *Tables) SetProcess(pid uint32, flags ProcessFlags, mappings []Mapping) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	sorted := slices.Clone(mappings)
	slices.SortFunc(sorted, func(a, b Mapping) int { return cmp.Compare(a.Start, b.Start) })
	sorted = sorted[:min(len(sorted), maxMappings)]
	n := 0
	for rest := sorted; n == 0 || len(rest) > 0; n++ {
		chunk := kernelChunk{Flags: uint32(flags), N: uint32(min(len(rest), perChunk))}
		for i, m := range rest[:chunk.N] {
			chunk.Mappings[i] = t.mapping(m)
		}
		rest = rest[chunk.N:]
		if err := t.processes.Put(&kernelChunkKey{Pid: pid, Chunk: uint32(n)}, &chunk); err != nil {
			return fmt.Errorf("set mappings of process %d: %w", pid, err)
		}
	}
	for extra := n; extra < t.chunks[pid]; extra++ {
		if err := t.processes.Delete(&kernelChunkKey{Pid: pid, Chunk: uint32(extra)}); err != nil {
			return fmt.Errorf("shorten mappings of process %d: %w", pid, err)
		}
	}
	t.chunks[pid] = n
	return nil
}

func (t *Tables) mapping(m Mapping) kernelMapping {
	k := kernelMapping{Start: m.Start, End: m.End, Base: m.Bias + t.bases[m.Table], Table: uint32(m.Table)}
	if m.Table == 0 {
		k.Flags = uint32(kernelMappingFlagMAPPING_FP)
	}
	if m.Trampoline {
		k.Flags = uint32(kernelMappingFlagMAPPING_TRAMPOLINE)
	}
	return k
}

// RemoveProcess forgets a process.
func (t *Tables) RemoveProcess(pid uint32) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := range t.chunks[pid] {
		if err := t.processes.Delete(&kernelChunkKey{Pid: pid, Chunk: uint32(n)}); err != nil {
			return fmt.Errorf("forget process %d: %w", pid, err)
		}
	}
	delete(t.chunks, pid)
	if !t.isPython[pid] {
		return nil
	}
	delete(t.isPython, pid)
	if err := t.pythons.Delete(pid); err != nil {
		return fmt.Errorf("forget Python of process %d: %w", pid, err)
	}
	return nil
}

// Processes is how many processes are known.
func (t *Tables) Processes() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.chunks)
}

// allocate takes n rows from the first free extent that has them.
func (t *Tables) allocate(n uint32) (extent, bool) {
	for len(t.dying) > 0 && time.Since(t.dying[0].since) >= Quarantine {
		t.release(t.dying[0].extent)
		t.dying = t.dying[1:]
	}
	for i, f := range t.free {
		if f.n < n {
			continue
		}
		if f.n == n {
			t.free = slices.Delete(t.free, i, i+1)
		} else {
			t.free[i] = extent{f.first + n, f.n - n}
		}
		return extent{f.first, n}, true
	}
	return extent{}, false
}

// release puts an extent back and joins it with its neighbours.
func (t *Tables) release(e extent) {
	i, _ := slices.BinarySearchFunc(t.free, e.first, func(f extent, first uint32) int { return cmp.Compare(f.first, first) })
	t.free = slices.Insert(t.free, i, e)
	if i+1 < len(t.free) && e.first+e.n == t.free[i+1].first {
		t.free[i].n += t.free[i+1].n
		t.free = slices.Delete(t.free, i+1, i+2)
	}
	if i > 0 && t.free[i-1].first+t.free[i-1].n == e.first {
		t.free[i-1].n += t.free[i].n
		t.free = slices.Delete(t.free, i, i+1)
	}
}

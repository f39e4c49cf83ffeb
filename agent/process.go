package agent

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coldframe/coldframe/bpf"
	"github.com/coldframe/coldframe/profile"
)

// process is one process, from its fork to its exit. Its identity is (pid, start): a
// process ID comes back, the pair never does.
type process struct {
	pid      uint32
	parent   uint32
	start    uint64 // CLOCK_BOOTTIME; 0 until the first sample tells it
	comm     string
	exe      string
	cgroup   string // as /proc/PID/cgroup has it; inherited at fork, read when first needed
	read     bool   // cgroup is the process' own
	mappings []mapping
	counted  int  // mappings there were when /proc was last asked
	sampled  bool // at least once: its binaries are worth opening
	dirty    bool // its mappings are to be published
	headless bool // its first thread has ended before the others
	drop     bool
	samples  uint64
	complete uint64  // of samples, those with a whole stack
	known    *series // what its samples are added to; nil when labels are to be made again
	python   *python // CPython, when it was found
	code     *source // what a just-in-time compiler made; nil when it has none
}

// mapping is executable memory of a process. Mappings of a process are sorted, do not
// overlap and are never changed in place, so that a child can share its parent's.
type mapping struct {
	start, end uint64
	offset     uint64
	binary     *binaryFile // nil for memory without a file
	path       string
}

// processes is the table of all that run.
type processes struct {
	config   Config
	tables   *bpf.Tables
	binaries *binaries
	byPID    map[uint32]*process
	dirty    []*process
	departed departed
}

func newProcesses(config Config, tables *bpf.Tables) *processes {
	return &processes{
		config: config, tables: tables, byPID: map[uint32]*process{},
		binaries: newBinaries(config, tables), departed: newDeparted(),
	}
}

// seed reads what runs already. Events of the same time are queued and say it again.
func (ps *processes) seed() {
	for _, pid := range listProcesses() {
		ps.discover(pid)
	}
}

// discover makes a process from /proc.
func (ps *processes) discover(pid uint32) *process {
	p := &process{pid: pid}
	ps.byPID[pid] = p
	p.comm, p.parent = readStat(pid)
	ps.readMaps(p)
	return p
}

// readMaps takes the mappings from /proc; it keeps what there is when the process has gone.
func (ps *processes) readMaps(p *process) {
	maps, err := readMaps(p.pid)
	if err != nil || len(maps) == 0 {
		return
	}
	p.mappings = nil
	for _, m := range maps {
		p.mappings = append(p.mappings, mapping{start: m.start, end: m.end, offset: m.offset, path: m.path, binary: ps.binaries.ofInode(p.pid, m)})
	}
	if exe, err := os.Readlink(procPath(p.pid, "exe")); err == nil {
		p.exe = strings.TrimSuffix(exe, " (deleted)")
	}
	ps.markDirty(p)
}

func (ps *processes) markDirty(p *process) {
	if !p.dirty {
		p.dirty = true
		ps.dirty = append(ps.dirty, p)
	}
}

// apply changes the table as an event tells.
func (ps *processes) apply(e bpf.Event) {
	switch e.Kind {
	case bpf.Forked:
		if e.PID != e.Parent {
			ps.fork(e)
		}
	case bpf.Execed:
		old := ps.at(e.PID)
		p := &process{pid: e.PID, parent: old.parent, start: old.start, comm: e.Comm, cgroup: old.cgroup}
		ps.byPID[e.PID] = p
		ps.markDirty(p)
	case bpf.Renamed:
		if p := ps.byPID[e.PID]; p != nil && e.PID == e.TID {
			p.comm, p.known = e.Comm, nil
		}
	case bpf.Mapped:
		ps.mapped(e)
	case bpf.Exited:
		ps.exited(e)
	case bpf.Missed:
		for _, p := range ps.byPID {
			ps.readMaps(p)
		}
	}
}

// at is the process of a PID, made empty when nothing is known of it.
func (ps *processes) at(pid uint32) *process {
	p := ps.byPID[pid]
	if p == nil {
		p = &process{pid: pid}
		ps.byPID[pid] = p
	}
	return p
}

func (ps *processes) fork(e bpf.Event) {
	p := &process{pid: e.PID, parent: e.Parent}
	if parent := ps.byPID[e.Parent]; parent != nil {
		p.comm, p.exe, p.cgroup, p.mappings = parent.comm, parent.exe, parent.cgroup, parent.mappings
	}
	ps.byPID[e.PID] = p
	ps.markDirty(p)
}

func (ps *processes) mapped(e bpf.Event) {
	p := ps.at(e.PID)
	m := mapping{start: e.Start, end: e.End, offset: e.Offset, path: e.Path}
	if strings.HasPrefix(e.Path, "/") && !strings.HasPrefix(e.Path, "//anon") || e.Path == vdsoName {
		m.binary = ps.binaries.ofEvent(e)
	}
	if p.exe == "" && m.binary != nil {
		p.exe = e.Path
	}
	p.mappings = insert(p.mappings, m)
	if len(p.mappings) > max(fewMappings, 2*p.counted) {
		// Nobody tells of what is unmapped, and just-in-time compilers unmap much.
		ps.readMaps(p)
		p.counted = len(p.mappings)
	}
	ps.markDirty(p)
}

// fewMappings is how many executable mappings a process may gather before they are counted.
const fewMappings = 512

// insert returns mappings with m in its place and what it covers cut away.
func insert(mappings []mapping, m mapping) []mapping {
	out := make([]mapping, 0, len(mappings)+2)
	for _, o := range mappings {
		if o.end <= m.start || o.start >= m.end {
			out = append(out, o)
			continue
		}
		if o.start < m.start {
			left := o
			left.end = m.start
			out = append(out, left)
		}
		if o.end > m.end {
			right := o
			right.offset += m.end - o.start
			right.start = m.end
			out = append(out, right)
		}
	}
	i, _ := slices.BinarySearchFunc(out, m.start, func(o mapping, start uint64) int { return cmp.Compare(o.start, start) })
	return slices.Insert(out, i, m)
}

// exited frees a process whose last thread has ended. Its first thread may end long before.
func (ps *processes) exited(e bpf.Event) {
	p := ps.byPID[e.PID]
	if p == nil || e.TID != e.PID && !p.headless {
		return
	}
	p.headless = ps.threadLeft(e)
	if !p.headless {
		ps.remove(p)
	}
}

// threadLeft says whether the process of a thread that has ended still has another.
func (ps *processes) threadLeft(e bpf.Event) bool {
	threads, err := os.ReadDir(procPath(e.PID, "task"))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(threads, func(t os.DirEntry) bool {
		tid, err := strconv.ParseUint(t.Name(), 10, 32)
		return err == nil && uint32(tid) != e.TID && !threadEnded(e.PID, uint32(tid))
	})
}

func (ps *processes) remove(p *process) {
	delete(ps.byPID, p.pid)
	ps.departed.add(p, time.Now())
	p.dirty = false
	ps.config.Observer.failed(ps.tables.RemoveProcess(p.pid))
}

// sweep removes processes whose end went unnoticed, and binaries that nothing uses.
func (ps *processes) sweep() {
	for pid, p := range ps.byPID {
		if _, err := os.Stat(procPath(pid, "")); os.IsNotExist(err) {
			ps.remove(p)
		}
	}
	ps.binaries.sweep(ps.inUse())
}

func (ps *processes) inUse() map[*binaryFile]bool {
	used := map[*binaryFile]bool{}
	for _, p := range ps.byPID {
		for _, m := range p.mappings {
			if m.binary != nil {
				used[m.binary] = true
			}
		}
	}
	return used
}

// of is the process that a sample was taken of.
func (ps *processes) of(s *bpf.Sample) *process {
	p := ps.byPID[s.PID]
	if p == nil {
		if last := ps.departed.find(s.PID, s.Start); last != nil {
			return last
		}
	}
	if p == nil || p.start != 0 && p.start != s.Start {
		// Its fork was missed.
		p = ps.discover(s.PID)
		if p.comm == "" {
			p.comm = s.Comm
		}
	}
	p.start = s.Start
	if !p.sampled {
		p.sampled = true
		if len(p.mappings) == 0 && s.Stop != bpf.NoUser {
			ps.readMaps(p)
		}
		ps.markDirty(p)
	}
	return p
}

// find is the mapping that holds an address.
func (p *process) find(addr uint64) (mapping, bool) {
	i, exact := slices.BinarySearchFunc(p.mappings, addr, func(m mapping, a uint64) int { return cmp.Compare(m.start, a) })
	if !exact {
		i--
	}
	if i < 0 || addr >= p.mappings[i].end {
		return mapping{}, false
	}
	return p.mappings[i], true
}

// publish tells the kernel of processes whose mappings have changed. The binaries of a
// process that was sampled are opened; of the others only those are named that are open
// already, so that a compiler's thousandth run costs one write.
func (ps *processes) publish() {
	ps.departed.forget(time.Now())
	for _, p := range ps.dirty {
		if !p.dirty {
			continue // gone, or replaced by what it executes
		}
		p.dirty = false
		if ps.byPID[p.pid] != p || len(p.mappings) == 0 {
			continue
		}
		if p.sampled {
			for _, m := range p.mappings {
				ps.binaries.want(m.binary, p.pid, m)
			}
			ps.inspect(p)
		}
		ps.config.Observer.failed(ps.tables.SetProcess(p.pid, ps.flags(p), ps.kernelMappings(p)))
	}
	ps.dirty = ps.dirty[:0]
}

func (ps *processes) flags(p *process) bpf.ProcessFlags {
	var f bpf.ProcessFlags
	if p.drop {
		f |= bpf.Drop
	}
	if p.walked() {
		f |= bpf.Python
	}
	return f
}

func (ps *processes) kernelMappings(p *process) []bpf.Mapping {
	out := make([]bpf.Mapping, 0, len(p.mappings))
	for _, m := range p.mappings {
		k := bpf.Mapping{Start: m.start, End: m.end}
		if m.binary == nil {
			k.Trampoline = p.code != nil && p.code.code.python()
		} else if bias, ok := m.binary.bias(m.start, m.offset); ok {
			k.Bias, k.Table = bias, m.binary.table
		}
		// Neighbours that are walked alike are one: JIT compilers make hundreds.
		if n := len(out); n > 0 && m.binary == nil && out[n-1].End == k.Start && out[n-1].Table == 0 && out[n-1].Trampoline == k.Trampoline {
			out[n-1].End = k.End
			continue
		}
		out = append(out, k)
	}
	return out
}

// loaded publishes all processes that have mapped a binary which is open now.
func (ps *processes) loaded(l loading) {
	b := l.b
	ps.binaries.finish(l, ps.inUse)
	for _, p := range ps.byPID {
		if slices.ContainsFunc(p.mappings, func(m mapping) bool { return m.binary == b }) {
			ps.markDirty(p)
		}
	}
}

// inspect looks for what a just-in-time compiler tells of its code.
func (ps *processes) inspect(p *process) {
	if p.code == nil && slices.ContainsFunc(p.mappings, func(m mapping) bool { return m.binary == nil || isJITDump(m.path) }) {
		p.code = newCode(p.pid)
	}
	if p.code != nil {
		p.code.code.look(p)
	}
	ps.findPython(p)
}

// seriesOf is what a process' samples belong to, or nil when nobody wants them: then, once
// all is known of the process, the kernel is told to drop the next ones.
func (ps *processes) seriesOf(p *process) *series {
	if p.drop {
		return nil
	}
	if p.known == nil || time.Now().After(p.known.until) {
		p.known = ps.makeSeries(p)
	}
	if p.known.unwanted {
		return nil
	}
	return p.known
}

func (ps *processes) makeSeries(p *process) *series {
	p.read = false // it may have been moved to another cgroup
	known, ttl := labelsOf(p, ps.config)
	relabel := ps.config.Relabel
	if relabel == nil {
		relabel = asKnown
	}
	ls, keep, err := relabel(known)
	if err != nil {
		ps.config.Observer.failed(fmt.Errorf("labels of process %d (%s): %w", p.pid, clean(p.comm), err))
	}
	if !keep && ttl == labelTTL {
		p.drop = true
		ps.markDirty(p)
	}
	if ls == nil {
		ls, _ = profile.NewLabels(profile.Label{Name: "node", Value: ps.config.Node})
	}
	return &series{labels: ls, unwanted: !keep, until: time.Now().Add(ttl)}
}

// relabel makes the labels of all processes again, of those too that were dropped.
func (ps *processes) relabel(r Relabel) {
	ps.config.Relabel = r
	for _, p := range ps.byPID {
		p.known = nil
		if p.drop {
			p.drop = false
			ps.markDirty(p)
		}
	}
}

func (p *process) info() ProcessInfo {
	i := ProcessInfo{
		PID: p.pid, Parent: p.parent, Comm: clean(p.comm), Exe: clean(p.exe),
		Samples: p.samples, Complete: p.complete, Python: p.walked(), Mappings: len(p.mappings),
	}
	if p.known != nil {
		i.Labels, i.Dropped = p.known.labels, p.known.unwanted
	}
	return i
}

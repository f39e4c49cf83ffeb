package agent

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/coldframe/coldframe/agent/symbols"
	"github.com/coldframe/coldframe/bpf"
	"github.com/coldframe/coldframe/profile"
)

// profileKind is what a profile counts.
type profileKind uint8

const (
	onCPU profileKind = iota
	offCPU
	profileKinds
)

// series is where samples of alike processes go: a label set. Processes with the same
// labels each have their own; windows merge them by name.
type series struct {
	labels   profile.Labels
	until    time.Time // when the labels are to be made again
	unwanted bool      // by relabelling, as far as is known by now
	name     string    // labels as text, made when first needed
}

func (s *series) key() string {
	if s.name == "" {
		s.name = s.labels.String()
	}
	return s.name
}

// window is what was sampled since it began: stacks, counted.
type window struct {
	began  time.Time
	ids    map[loc]uint32
	locs   []loc
	named  []symbols.Frame // what fromPython locations point at
	byName map[symbols.Frame]uint64
	series map[string]*windowSeries
	key    []byte
}

type windowSeries struct {
	labels profile.Labels
	stacks [profileKinds]map[string]*counted
}

// counted is a stack and how often it was seen.
type counted struct {
	locs   []uint32 // positions in window.locs
	guess  int      // position of a location that counts only if the one before it is a frameless Go function; -1 without
	extra  sampleLabels
	count  int64
	amount int64 // nanoseconds
}

// sampleLabels are labels of single samples.
type sampleLabels struct {
	thread uint32
	name   string
	cpu    int32 // -1: not wanted
	pid    uint32
}

// stack is a sample's addresses with what they belong to, leaf first.
type stack struct {
	locs  []loc
	guess int
	extra sampleLabels
	named []symbols.Frame // of fromPython locations, whose address is a position here
}

func newWindow(now time.Time) *window {
	return &window{began: now, ids: map[loc]uint32{}, series: map[string]*windowSeries{}, byName: map[symbols.Frame]uint64{}}
}

// add counts a stack.
func (w *window) add(kind profileKind, s *series, st stack, count, amount int64) {
	ws := w.series[s.key()]
	if ws == nil {
		ws = &windowSeries{labels: s.labels}
		w.series[s.key()] = ws
	}
	if ws.stacks[kind] == nil {
		ws.stacks[kind] = map[string]*counted{}
	}
	w.key = w.key[:0]
	for _, l := range st.locs {
		if l.src == pythonSource {
			l.addr = w.nameID(st.named[l.addr])
		}
		w.key = binary.LittleEndian.AppendUint32(w.key, w.id(l))
	}
	n := len(w.key)
	w.key = append(w.key, byte(st.guess))
	w.key = binary.LittleEndian.AppendUint32(w.key, st.extra.thread)
	w.key = binary.LittleEndian.AppendUint32(w.key, uint32(st.extra.cpu))
	w.key = binary.LittleEndian.AppendUint32(w.key, st.extra.pid)
	w.key = append(w.key, st.extra.name...)
	c := ws.stacks[kind][string(w.key)]
	if c == nil {
		c = &counted{guess: st.guess, extra: st.extra, locs: make([]uint32, 0, n/4)}
		for b := w.key[:n]; len(b) > 0; b = b[4:] {
			c.locs = append(c.locs, binary.LittleEndian.Uint32(b))
		}
		ws.stacks[kind][string(w.key)] = c
	}
	c.count += count
	c.amount += amount
}

func (w *window) id(l loc) uint32 {
	id, ok := w.ids[l]
	if !ok {
		id = uint32(len(w.locs))
		w.ids[l] = id
		w.locs = append(w.locs, l)
	}
	return id
}

func (w *window) nameID(f symbols.Frame) uint64 {
	id, ok := w.byName[f]
	if !ok {
		id = uint64(len(w.named))
		w.byName[f] = id
		w.named = append(w.named, f)
	}
	return id
}

// stackOf says of each address of a sample what it belongs to.
func (a *Agent) stackOf(p *process, s *bpf.Sample) stack {
	st := stack{locs: make([]loc, 0, len(s.Kernel)+len(s.User)+1), guess: -1, extra: a.extra(s)}
	for i, addr := range s.Kernel {
		if i > 0 {
			addr--
		}
		st.locs = append(st.locs, loc{kernelSource, addr})
	}
	for i, addr := range s.User {
		exact := i == 0 && !s.Syscall || slices.Contains(s.Exact, i)
		if !exact { // the call lies before a return address
			addr--
		}
		l := a.locate(p, addr)
		if i == 0 && l.src == nowhere {
			a.stats.UnknownLeaf++
		}
		st.locs = append(st.locs, l)
		if i == 0 && l.src.kind == fromFile && l.src.file.isGo && s.LeafWord != 0 {
			a.guess(p, s, &st)
		}
	}
	if len(s.Python) > 0 && p.walked() {
		if p.python.merge(&st, s.Python) {
			a.stats.PythonMerged++
		} else {
			a.stats.PythonUnmerged++
		}
	}
	return st
}

// guess adds the caller that a frameless Go leaf would have, if the word at the stack
// pointer is an address of Go code and not what follows anyhow.
func (a *Agent) guess(p *process, s *bpf.Sample, st *stack) {
	if len(s.User) > 1 && s.User[1] == s.LeafWord {
		return
	}
	l := a.locate(p, s.LeafWord-1)
	if l.src.kind == fromFile && l.src.file.isGo {
		st.guess = len(st.locs)
		st.locs = append(st.locs, l)
	}
}

// locate says what an address of a process belongs to.
func (a *Agent) locate(p *process, addr uint64) loc {
	m, ok := p.find(addr)
	if !ok {
		return loc{nowhere, addr}
	}
	if m.binary == nil || m.binary.state == failed {
		if p.code == nil {
			p.code = newCode(p.pid)
		}
		return loc{p.code, addr}
	}
	if bias, ok := m.binary.bias(m.start, m.offset); ok {
		return loc{&m.binary.source, addr - bias}
	}
	// Not open yet: keep the position in the file, with a mark that no address has.
	return loc{&m.binary.source, unresolved | (addr - m.start + m.offset)}
}

func (a *Agent) extra(s *bpf.Sample) sampleLabels {
	x := sampleLabels{cpu: -1}
	if a.config.Thread {
		x.thread, x.name = s.TID, s.Comm
	}
	if a.config.CPU {
		x.cpu = int32(s.CPU)
	}
	if a.config.PID {
		x.pid = s.PID
	}
	return x
}

// waits are threads that wait, with the stack of where, until they are back.
type waits map[uint32]wait

type wait struct {
	since  uint64
	series *series
	stack  stack
}

// maxWaits bounds the threads that are followed at a time.
const maxWaits = 1 << 14

func (a *Agent) blocked(s *bpf.Sample, to *series, st stack) {
	if len(a.waits) >= maxWaits {
		a.stats.WaitsForgotten++
		return
	}
	a.waits[s.TID] = wait{since: s.Time, series: to, stack: st}
}

// woken counts a wait. A share of them is followed, so each stands for several.
func (a *Agent) woken(s *bpf.Sample) {
	w, ok := a.waits[s.TID]
	if !ok || w.since != s.Time-uint64(s.Waited) {
		a.stats.WaitsForgotten++
		return
	}
	delete(a.waits, s.TID)
	a.stats.Waits++
	share := a.config.Sampler.OffCPU
	a.window.add(offCPU, w.series, w.stack, int64(1/share+0.5), int64(float64(s.Waited)/share+0.5))
}

package perf

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/profile/draft"
)

// maker makes profiles of records.
type maker struct {
	file      *file
	options   Options
	processes map[uint32]*process
	kernel    []area
	areas     int // of processes

	kernelKnown map[uint64]uint32 // as process.known

	stacks      []stackSample
	places      []place
	placeRefs   map[place]uint32
	chain       []uint64
	first, last uint64
}

// place is an address in a mapping.
type place struct {
	area    area
	address uint64
}

// stackSample is a sample whose addresses wait for their names.
type stackSample struct {
	attr   *attr
	comm   string
	thread string
	pid    uint32
	period uint64
	stack  []uint32 // places
}

// maxPlaces bounds the places in the stacks of all samples together.
const maxPlaces = 64 << 20

func newMaker(f *file, o Options) *maker {
	return &maker{file: f, options: o, processes: map[uint32]*process{}, placeRefs: map[place]uint32{}}
}

// record takes up one record.
func (m *maker) record(r record) error {
	switch r.kind {
	case recordMmap, recordMmap2:
		return m.mmap(r)
	case recordComm:
		return m.comm(r)
	case recordFork:
		return m.fork(r)
	case recordSample:
		return m.sample(r)
	}
	return nil
}

// Marks in a stack that say whose addresses follow: they are the last 4095 numbers.
const (
	marks      = ^uint64(4095) + 1
	markKernel = ^uint64(128) + 1
	markUser   = ^uint64(512) + 1
)

// miscMode tells, in a sample's misc, where the CPU was; 1 is the kernel.
const miscMode = 7

func (m *maker) sample(r record) error {
	s, err := r.attr.parse(r.body, m.chain)
	if err != nil {
		return err
	}
	m.chain = s.chain
	if m.first == 0 && r.time > 0 {
		m.first = r.time
	}
	m.last = max(m.last, r.time)
	p := m.process(s.pid)
	out := stackSample{attr: r.attr, comm: p.comm, pid: s.pid, period: s.period}
	if out.comm == "" {
		out.comm = "pid " + itoa(s.pid)
		if s.pid == 0 {
			out.comm = "swapper"
		}
	}
	if name := p.threads[s.tid]; name != "" && name != out.comm {
		out.thread = name
	}
	inKernel := r.misc&miscMode == 1
	if len(s.chain) == 0 {
		s.chain = append(s.chain, s.ip)
	}
	for _, address := range s.chain {
		if address >= marks {
			inKernel = address == markKernel
			continue
		}
		if len(out.stack) > 0 {
			address-- // it is where the call returns to
		}
		out.stack = append(out.stack, m.placeOf(p, address, inKernel))
	}
	if len(m.stacks) > maxPlaces || len(m.places) > maxPlaces {
		return invalidf("more than %d samples", maxPlaces)
	}
	m.stacks = append(m.stacks, out)
	return nil
}

// placeOf finds an address among the mappings, and numbers it.
func (m *maker) placeOf(p *process, address uint64, inKernel bool) uint32 {
	areas, known := p.areas, &p.known
	if inKernel {
		areas, known = m.kernel, &m.kernelKnown
	}
	if ref, ok := (*known)[address]; ok {
		return ref
	}
	at := place{address: address}
	if a := find(areas, address); a != nil {
		at.area = *a
	} else if inKernel {
		at.area = area{file: kernelName, buildID: m.file.kernel, kernel: true, start: 1 << 63, end: ^uint64(0)}
	}
	ref, ok := m.placeRefs[at]
	if !ok {
		ref = uint32(len(m.places))
		m.places = append(m.places, at)
		m.placeRefs[at] = ref
	}
	if *known == nil {
		*known = map[uint64]uint32{}
	}
	(*known)[address] = ref
	return ref
}

// series tells samples apart that become profiles of their own.
type series struct {
	attr *attr
	comm string
}

// finish names the places and writes the profiles, in the order of events and programs.
func (m *maker) finish() ([]draft.Profile, error) {
	names := m.resolve()
	drafts := map[series]*draft.Draft{}
	refs := map[series]map[uint32]draft.LocationRef{}
	var order []series
	var stack []draft.LocationRef
	for _, s := range m.stacks {
		key := series{s.attr, s.comm}
		d := drafts[key]
		if d == nil {
			d = draft.New(s.attr.types()...)
			drafts[key], refs[key] = d, map[uint32]draft.LocationRef{}
			order = append(order, key)
		}
		stack = stack[:0]
		for _, at := range s.stack {
			ref, ok := refs[key][at]
			if !ok {
				ref = m.location(d, m.places[at], names[at])
				refs[key][at] = ref
			}
			stack = append(stack, ref)
		}
		labels := []draft.Label{{Key: "pid", Num: int64(s.pid)}}
		if s.thread != "" {
			labels = append(labels, draft.Label{Key: "thread_name", Str: s.thread})
		}
		if err := d.Add(stack, labels, 1, int64(s.period)); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(order, func(a, b series) int {
		return cmp.Or(cmp.Compare(slices.Index(m.file.attrs, a.attr), slices.Index(m.file.attrs, b.attr)), strings.Compare(a.comm, b.comm))
	})
	began, length := m.times()
	made := make([]draft.Profile, 0, len(order))
	for _, key := range order {
		d := drafts[key]
		d.PeriodType, d.Time, d.Duration = key.attr.types()[1], began, length
		if key.attr.flags&flagFreq == 0 {
			d.Period = int64(key.attr.period)
		} else if key.attr.isClock() && key.attr.period > 0 {
			d.Period = int64(time.Second) / max(int64(key.attr.period), 1)
		}
		d.Comments = []string{"perf event " + key.attr.name}
		labels, err := profile.NewLabels(profile.Label{Name: "comm", Value: key.comm})
		if err != nil {
			return nil, err
		}
		made = append(made, draft.Profile{Name: key.attr.profileName(), Labels: labels, Body: d.Encode(), Time: d.Time})
	}
	return made, nil
}

// times are when the samples were taken: by the recording's own clock data, else up to
// when it ended.
func (m *maker) times() (time.Time, time.Duration) {
	length := time.Duration(max(int64(m.last-m.first), 0))
	switch {
	case m.file.wall != 0 && m.first > 0:
		return time.Unix(0, m.file.wall+int64(m.first)).UTC(), length
	case !m.options.Ended.IsZero():
		return m.options.Ended.Add(-length).UTC(), length
	}
	return time.Time{}, length
}

// types are what samples of an event count: themselves, and the event.
func (a *attr) types() []profile.ValueType {
	event := profile.ValueType{Type: a.word(), Unit: "count"}
	if a.isClock() {
		event = profile.ValueType{Type: "cpu", Unit: "nanoseconds"}
	}
	return []profile.ValueType{{Type: "samples", Unit: "count"}, event}
}

// profileName is process_cpu for time on a CPU, else what the event is called.
func (a *attr) profileName() string {
	if a.isClock() {
		return "process_cpu"
	}
	return a.word()
}

// word is the event's name as one word: cycles:ppp is cycles.
func (a *attr) word() string { return eventWord(a.name) }

func eventWord(name string) string {
	if i := strings.LastIndexByte(name, ':'); i > 0 && strings.Trim(name[i+1:], "pukhGHSDeWb") == "" {
		name = name[:i]
	}
	word := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' {
			return r
		}
		return '_'
	}, name)
	if word = strings.Trim(word, "_"); word == "" {
		return "event"
	}
	return word
}

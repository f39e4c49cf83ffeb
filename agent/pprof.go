package agent

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"github.com/coldframe/coldframe/agent/symbols"
)

var profileNames = [profileKinds]string{onCPU: "process_cpu", offCPU: "off_cpu"}

// pprofMapping is a Mapping of profile.proto.
type pprofMapping struct {
	start, limit, offset             uint64
	file, buildID                    string
	functions, files, lines, inlined bool
}

// The field numbers of profile.proto, github.com/google/pprof.
const (
	profileSampleType = 1
	profileSample     = 2
	profileMapping    = 3
	profileLocation   = 4
	profileFunction   = 5
	profileString     = 6
	profileTime       = 9
	profileDuration   = 10
	profilePeriodType = 11
	profilePeriod     = 12
	profileDefault    = 14
)

// message is a protobuf message that is being written.
type message []byte

func (m *message) number(field int, v uint64) {
	if v != 0 {
		*m = binary.AppendUvarint(*m, uint64(field)<<3)
		*m = binary.AppendUvarint(*m, v)
	}
}

func (m *message) flag(field int, v bool) {
	if v {
		m.number(field, 1)
	}
}

func (m *message) bytes(field int, b []byte) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|2)
	*m = binary.AppendUvarint(*m, uint64(len(b)))
	*m = append(*m, b...)
}

// encoder writes one profile. Locations, functions, mappings and strings are written when
// they are first used; their numbers begin with 1, but for strings, whose 0 is "".
type encoder struct {
	out       message
	r         resolution
	strings   map[string]uint64
	texts     []string
	functions map[symbols.Frame]uint64 // without Line
	locations map[uint32]uint64        // window's number → profile's
	mappings  map[int32]uint64
}

// encode makes a gzip-compressed pprof of the stacks of one kind.
func (w *writer) encode(s sealed, r resolution, kind profileKind, stacks map[string]*counted) []byte {
	e := &encoder{
		r: r, strings: map[string]uint64{}, functions: map[symbols.Frame]uint64{},
		locations: map[uint32]uint64{}, mappings: map[int32]uint64{},
	}
	e.text("")
	unit := "cpu"
	if kind == offCPU {
		unit = "wallclock"
	}
	countOf := map[profileKind]string{onCPU: "samples", offCPU: "waits"}[kind]
	e.valueType(profileSampleType, countOf, "count")
	e.valueType(profileSampleType, unit, "nanoseconds")
	for _, c := range stacks {
		e.sample(c)
	}
	e.out.number(profileTime, uint64(s.began.UnixNano()))
	e.out.number(profileDuration, uint64(s.ended.Sub(s.began)))
	e.valueType(profilePeriodType, unit, "nanoseconds")
	period := uint64(w.period)
	if kind == offCPU {
		period = 1
	}
	e.out.number(profilePeriod, period)
	e.out.number(profileDefault, e.text(unit))
	for _, t := range e.texts {
		e.out.bytes(profileString, []byte(t))
	}
	var buf bytes.Buffer
	w.gzip.Reset(&buf)
	_, _ = w.gzip.Write(e.out) // a buffer takes everything
	_ = w.gzip.Close()
	return buf.Bytes()
}

func (e *encoder) text(s string) uint64 {
	n, ok := e.strings[s]
	if !ok {
		n = uint64(len(e.texts))
		e.strings[s] = n
		e.texts = append(e.texts, s)
	}
	return n
}

func (e *encoder) valueType(field int, kind, unit string) {
	var m message
	m.number(1, e.text(kind))
	m.number(2, e.text(unit))
	e.out.bytes(field, m)
}

func (e *encoder) sample(c *counted) {
	var locs, values, m message
	for i, l := range c.locs {
		if i == c.guess && !e.r.locs[c.locs[i-1]].frameless {
			continue
		}
		locs = binary.AppendUvarint(locs, e.location(l))
	}
	values = binary.AppendUvarint(values, uint64(c.count))
	values = binary.AppendUvarint(values, uint64(c.amount))
	m.bytes(1, locs)
	m.bytes(2, values)
	if c.extra.thread != 0 {
		e.label(&m, "thread_id", strconv.FormatUint(uint64(c.extra.thread), 10))
		e.label(&m, "thread_name", clean(c.extra.name))
	}
	if c.extra.cpu >= 0 {
		e.label(&m, "cpu", strconv.Itoa(int(c.extra.cpu)))
	}
	if c.extra.pid != 0 {
		e.label(&m, "pid", strconv.FormatUint(uint64(c.extra.pid), 10))
	}
	e.out.bytes(profileSample, m)
}

func (e *encoder) label(sample *message, key, value string) {
	if value == "" {
		return
	}
	var m message
	m.number(1, e.text(key))
	m.number(2, e.text(value))
	sample.bytes(3, m)
}

func (e *encoder) location(l uint32) uint64 {
	if id, ok := e.locations[l]; ok {
		return id
	}
	x := e.r.locs[l]
	var m message
	id := uint64(len(e.locations) + 1)
	e.locations[l] = id
	m.number(1, id)
	if x.mapping >= 0 {
		m.number(2, e.mapping(x.mapping))
	}
	m.number(3, x.addr)
	for _, f := range x.frames {
		var line message
		line.number(1, e.function(f))
		line.number(2, uint64(f.Line))
		m.bytes(4, line)
	}
	e.out.bytes(profileLocation, m)
	return id
}

func (e *encoder) mapping(i int32) uint64 {
	if id, ok := e.mappings[i]; ok {
		return id
	}
	x := e.r.mappings[i]
	id := uint64(len(e.mappings) + 1)
	e.mappings[i] = id
	var m message
	m.number(1, id)
	m.number(2, x.start)
	m.number(3, x.limit)
	m.number(4, x.offset)
	m.number(5, e.text(x.file))
	m.number(6, e.text(x.buildID))
	m.flag(7, x.functions)
	m.flag(8, x.files)
	m.flag(9, x.lines)
	m.flag(10, x.inlined)
	e.out.bytes(profileMapping, m)
	return id
}

func (e *encoder) function(f symbols.Frame) uint64 {
	f.Line = 0
	if id, ok := e.functions[f]; ok {
		return id
	}
	id := uint64(len(e.functions) + 1)
	e.functions[f] = id
	var m message
	m.number(1, id)
	m.number(2, e.text(f.Function))
	m.number(3, e.text(f.System))
	m.number(4, e.text(f.File))
	m.number(5, uint64(f.StartLine))
	e.out.bytes(profileFunction, m)
	return id
}

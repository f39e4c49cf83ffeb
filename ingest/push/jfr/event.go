package jfr

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/profile/draft"
)

// kind is one of the profiles that events become.
type kind struct {
	name   string
	types  []profile.ValueType
	period profile.ValueType
}

func count(name string) profile.ValueType { return profile.ValueType{Type: name, Unit: "count"} }

func nanos(name string) profile.ValueType { return profile.ValueType{Type: name, Unit: "nanoseconds"} }

func bytesOf(name string) profile.ValueType { return profile.ValueType{Type: name, Unit: "bytes"} }

// kinds are the profiles, in the order in which a chunk gives them.
var kinds = [...]kind{
	onCPU:   {"process_cpu", []profile.ValueType{count("samples"), nanos("cpu")}, nanos("cpu")},
	onClock: {"wall", []profile.ValueType{count("samples"), nanos("wall")}, nanos("wall")},
	alloc:   {"memory", []profile.ValueType{count("alloc_samples"), bytesOf("alloc_space")}, bytesOf("space")},
	live:    {"memory", []profile.ValueType{count("inuse_objects"), bytesOf("inuse_space")}, bytesOf("space")},
	malloc:  {"malloc", []profile.ValueType{count("alloc_objects"), bytesOf("alloc_space")}, bytesOf("space")},
	lock:    {"mutex", []profile.ValueType{count("contentions"), nanos("delay")}, count("contentions")},
	park:    {"block", []profile.ValueType{count("contentions"), nanos("delay")}, count("contentions")},
}

const (
	onCPU = iota
	onClock
	alloc
	live
	malloc
	lock
	park
)

// maxRefs bounds the locations in the stacks of a chunk's events together.
const maxRefs = 32 << 20

// converter makes profiles of a chunk's events.
type converter struct {
	*chunk
	options  Options
	mode     string // async-profiler's setting "event"
	period   int64
	drafts   [len(kinds)]*draft.Draft
	stacks   [len(kinds)]map[int64][]draft.LocationRef
	names    map[int64]string // of methods
	refs     int
	labels   []draft.Label
	contexts Contexts
}

// profiles makes profiles of a chunk.
func (c *chunk) profiles(o Options) ([]draft.Profile, error) {
	v := &converter{chunk: c, options: o, names: map[int64]string{}, contexts: o.Contexts}
	settings := c.byName["jdk.ActiveSetting"]
	var sampling int64 = -1
	if s := c.byName["jdk.ExecutionSample"]; s != nil {
		sampling = s.id
	}
	err := c.events(func(of *class, r *reader) error {
		if of == settings {
			v.setting(c.read(r, of, 0), sampling)
		}
		return r.err
	})
	if err == nil {
		if o.Period > 0 {
			v.period = int64(o.Period)
		}
		if v.period <= 0 {
			v.period = int64(defaultPeriod)
		}
		err = c.events(v.event)
	}
	if err != nil {
		return nil, err
	}
	return v.finish(), nil
}

// defaultPeriod is that of the JVM's default settings.
const defaultPeriod = 20 * time.Millisecond

// events calls f with each event of a chunk.
func (c *chunk) events(f func(*class, *reader) error) error {
	for at := headerSize; at < len(c.data); {
		r := &reader{data: c.data, at: at}
		size := r.long()
		if r.err == nil && (size <= 0 || size > int64(len(c.data)-at)) {
			r.fail("an event of %d bytes", size)
		}
		id := r.long()
		if r.err != nil {
			return r.err
		}
		if of := c.classes[id]; of != nil && id > 1 { // 0 is metadata, 1 a checkpoint
			within := &reader{data: c.data[:at+int(size)], at: r.at}
			if err := f(of, within); err != nil {
				return fmt.Errorf("%s: %w", of.name, err)
			}
		}
		at += int(size)
	}
	return nil
}

// setting notes what a recording says of itself. The JVM gives the period of its
// samples, async-profiler an interval and what it counts.
func (v *converter) setting(s value, sampling int64) {
	switch name := s.text("name"); {
	case name == "event":
		v.mode = s.text("value")
	case name == "interval" && v.period == 0:
		v.period = duration(s.text("value"))
	case name == "period" && s.number("id") == sampling:
		v.period = duration(s.text("value"))
	}
}

// duration reads "20 ms", "10000000" or "10ms"; 0 is anything else.
func duration(s string) int64 {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return max(n, 0)
	}
	d, err := time.ParseDuration(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		return 0
	}
	return max(int64(d), 0)
}

// event adds an event to the profiles that it belongs to.
func (v *converter) event(of *class, r *reader) error {
	add := func(e value, kind int, times, amount int64) error {
		return v.add(of, e, kind, times, amount)
	}
	switch of.name {
	case "jdk.ExecutionSample":
		e := v.read(r, of, 0)
		if r.err != nil {
			return r.err
		}
		if v.state(e) != "STATE_SLEEPING" {
			if err := add(e, onCPU, 1, v.period); err != nil {
				return err
			}
		}
		if v.mode == "wall" {
			return add(e, onClock, 1, v.period)
		}
	case "profiler.WallClockSample":
		e := v.read(r, of, 0)
		if r.err != nil {
			return r.err
		}
		n := e.number("samples")
		if v.mode == "wall" && v.state(e) == "STATE_RUNNABLE" {
			if err := add(e, onCPU, n, n*v.period); err != nil {
				return err
			}
		}
		return add(e, onClock, n, n*v.period)
	case "jdk.ObjectAllocationInNewTLAB":
		e := v.read(r, of, 0)
		return add(e, alloc, 1, e.number("tlabSize"))
	case "jdk.ObjectAllocationOutsideTLAB":
		e := v.read(r, of, 0)
		return add(e, alloc, 1, e.number("allocationSize"))
	case "jdk.ObjectAllocationSample":
		e := v.read(r, of, 0)
		return add(e, alloc, 1, e.number("weight"))
	case "profiler.LiveObject":
		e := v.read(r, of, 0)
		return add(e, live, 1, e.number("allocationSize"))
	case "profiler.Malloc":
		e := v.read(r, of, 0)
		return add(e, malloc, 1, e.number("size"))
	case "jdk.JavaMonitorEnter":
		e := v.read(r, of, 0)
		return add(e, lock, 1, v.nanos(e.number("duration")))
	case "jdk.ThreadPark":
		e := v.read(r, of, 0)
		return add(e, park, 1, v.nanos(e.number("duration")))
	}
	return r.err
}

func (v *converter) state(e value) string {
	s, _ := v.constant("jdk.types.ThreadState", e.number("state"))
	return s.text("name")
}

// add adds an event to a profile. One without a stack has an empty one.
func (v *converter) add(of *class, e value, kind int, times, amount int64) error {
	d := v.drafts[kind]
	if d == nil {
		d = draft.New(kinds[kind].types...)
		v.drafts[kind], v.stacks[kind] = d, map[int64][]draft.LocationRef{}
	}
	id := e.number("stackTrace")
	stack, known := v.stacks[kind][id]
	if !known {
		stack = v.stack(d, id)
		v.stacks[kind][id] = stack
	}
	if v.refs += len(stack) + 1; v.refs > maxRefs {
		return fmt.Errorf("the stacks of all events have more than %d locations: %w", maxRefs, profile.ErrInvalid)
	}
	v.labels = v.contexts.append(v.labels[:0], e)
	if kind == alloc {
		v.labels = append(v.labels, draft.Label{Key: "jfr_event", Str: of.name})
	}
	return d.Add(stack, v.labels, times, amount)
}

// stack gives a stack's locations in a draft, leaf first as the recording has them.
func (v *converter) stack(d *draft.Draft, id int64) []draft.LocationRef {
	trace, ok := v.constant("jdk.types.StackTrace", id)
	if !ok {
		return nil
	}
	refs := make([]draft.LocationRef, 0, len(trace.frames)+1)
	for _, f := range trace.frames {
		function := d.Function(draft.Function{Name: v.method(f.method)})
		refs = append(refs, d.Location(0, 0, draft.Line{Function: function, Line: max(f.line, 0)}))
	}
	if trace.number("truncated") != 0 {
		refs = append(refs, d.Frame("[truncated]"))
	}
	return refs
}

// method is what a method is called: java.lang.Thread.run.
func (v *converter) method(id int64) string {
	if name, ok := v.names[id]; ok {
		return name
	}
	m, _ := v.constant("jdk.types.Method", id)
	c, _ := v.constant("java.lang.Class", m.number("type"))
	name := v.symbol(m, "name")
	if in := className(v.symbol(c, "name")); in != "" {
		name = in + "." + name
	}
	if name == "" {
		name = "[unknown]"
	}
	v.names[id] = name
	return name
}

// symbol is a word that stands among the constants as a symbol, or as a string.
func (v *converter) symbol(of value, name string) string {
	if s := of.text(name); s != "" {
		return s
	}
	s, _ := v.constant("jdk.types.Symbol", of.number(name))
	return s.text("string")
}

// className writes a class as Java does, without what tells generated classes apart:
// lambdas have other numbers in every process.
func className(s string) string {
	if i := strings.Index(s, "$$Lambda"); i >= 0 {
		s = s[:i+len("$$Lambda")]
	} else if i := strings.Index(s, "/0x"); i >= 0 {
		s = s[:i]
	}
	for _, generated := range []string{"GeneratedMethodAccessor", "GeneratedConstructorAccessor", "GeneratedSerializationConstructorAccessor"} {
		if i := strings.Index(s, generated); i >= 0 {
			s = s[:i+len(generated)]
		}
	}
	return strings.ReplaceAll(s, "/", ".")
}

func (v *converter) finish() []draft.Profile {
	var made []draft.Profile
	for i, d := range v.drafts {
		if d == nil {
			continue
		}
		d.PeriodType = kinds[i].period
		if i == onCPU || i == onClock {
			d.Period = v.period
		}
		d.Time = v.start
		if i != live {
			d.Duration = v.duration
		}
		made = append(made, draft.Profile{Name: kinds[i].name, Body: d.Encode(), Time: d.Time})
	}
	return made
}

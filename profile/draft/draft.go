// Package draft puts profiles together, sample by sample, and writes them as pprof.
//
// It is for what is not pprof when it arrives: folded stacks, Arrow records, OTLP,
// perf.data. Functions, mappings, locations and strings are kept once each, and samples
// with the same stack and labels become one, so that the same input in the same order
// gives the same bytes, by which a profile that is sent again is known.
//
// What a draft may hold is bounded, because a few bytes of some formats describe stacks
// of any size. It does no I/O and knows no format but the one it writes.
package draft

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/coldframe/coldframe/profile"
)

// Bounds of a draft. What is over them is profile.ErrInvalid.
const (
	maxDepth  = 16 << 10 // locations in one stack trace, as profile.Limits has it
	maxRefs   = 16 << 20 // locations in all stack traces together
	maxTexts  = 8 << 20  // distinct strings
	maxLabels = 1 << 10  // labels of a sample, as profile.Limits has it
)

// Draft is a profile in the making. Its exported fields may be set at any time before
// Encode. It is for one goroutine.
type Draft struct {
	SampleTypes   []profile.ValueType // of New and AddType
	DefaultSample string              // the type of SampleTypes to show first; "" is not said
	PeriodType    profile.ValueType
	Period        int64
	Time          time.Time     // zero: not said
	Duration      time.Duration // 0: not said
	Comments      []string

	texts     map[string]uint64
	table     []string
	mappings  []Mapping
	functions []Function
	locations []location
	lines     []Line
	samples   []sample
	stacks    []LocationRef
	labels    []Label
	values    []int64

	mappingRefs  map[Mapping]MappingRef
	functionRefs map[Function]FunctionRef
	locationRefs map[string]LocationRef
	sampleRefs   map[string]int
	key          []byte
}

// MappingRef is what Draft.Mapping gives; 0 is none.
type MappingRef uint32

// FunctionRef is what Draft.Function gives; 0 is none.
type FunctionRef uint32

// LocationRef is what Draft.Location and Draft.Frame give.
type LocationRef uint32

// Mapping is a binary in a process' memory, as profile.proto has it.
type Mapping struct {
	Start, Limit, Offset uint64
	File, BuildID        string
	HasFunctions         bool
}

// Function is what a place's function is called. SystemName is what the linker calls it,
// or "" when that is the same.
type Function struct {
	Name, SystemName, File string
	StartLine              int64
}

// Line is a place in a function. A location has several when functions were inlined,
// the innermost first.
type Line struct {
	Function FunctionRef
	Line     int64
	Column   int64
}

// Label is a sample's label: a string when Str is not "", else a number.
type Label struct {
	Key, Str string
	Num      int64
	Unit     string
}

// Profile is a profile that a reader of another format has put together, with its series.
type Profile struct {
	Name   string // "": by what it measures
	Labels profile.Labels
	Body   []byte    // of Encode
	Time   time.Time // as in Body; zero: not said
}

type location struct {
	mapping          MappingRef
	address          uint64
	lineFrom, lineTo uint32
}

type sample struct{ stackTo, labelTo uint32 }

// New begins a draft.
func New(types ...profile.ValueType) *Draft {
	return &Draft{
		SampleTypes:  types,
		texts:        map[string]uint64{"": 0},
		table:        []string{""},
		mappingRefs:  map[Mapping]MappingRef{},
		functionRefs: map[Function]FunctionRef{},
		locationRefs: map[string]LocationRef{},
		sampleRefs:   map[string]int{},
	}
}

// NumSamples is how many samples differ in stack or labels.
func (d *Draft) NumSamples() int { return len(d.samples) }

// AddType adds a sample type, of which the samples so far have none, and gives its
// position. It costs a copy of all values.
func (d *Draft) AddType(t profile.ValueType) int {
	n := len(d.SampleTypes)
	wider := make([]int64, 0, len(d.samples)*(n+1))
	for i := range d.samples {
		wider = append(append(wider, d.values[i*n:(i+1)*n]...), 0)
	}
	d.values = wider
	d.SampleTypes = append(d.SampleTypes, t)
	return n
}

// Derive adds a sample type whose values are times those of another. It is called when
// all samples are there.
func (d *Draft) Derive(t profile.ValueType, from int, times int64) {
	to := d.AddType(t)
	n := len(d.SampleTypes)
	for i := range d.samples {
		d.values[i*n+to] = d.values[i*n+from] * times
	}
}

// Mapping adds a mapping, or finds it.
func (d *Draft) Mapping(m Mapping) MappingRef {
	ref, ok := d.mappingRefs[m]
	if !ok {
		d.mappings = append(d.mappings, m)
		ref = MappingRef(len(d.mappings))
		d.mappingRefs[m] = ref
	}
	return ref
}

// Function adds a function, or finds it.
func (d *Draft) Function(f Function) FunctionRef {
	ref, ok := d.functionRefs[f]
	if !ok {
		d.functions = append(d.functions, f)
		ref = FunctionRef(len(d.functions))
		d.functionRefs[f] = ref
	}
	return ref
}

// Location adds a location, or finds it. The lines are copied.
func (d *Draft) Location(m MappingRef, address uint64, lines ...Line) LocationRef {
	key := binary.AppendUvarint(d.key[:0], uint64(m))
	key = binary.AppendUvarint(key, address)
	for _, l := range lines {
		key = binary.AppendUvarint(key, uint64(l.Function))
		key = binary.AppendVarint(key, l.Line)
		key = binary.AppendVarint(key, l.Column)
	}
	d.key = key
	if ref, ok := d.locationRefs[string(key)]; ok {
		return ref
	}
	from := len(d.lines)
	d.lines = append(d.lines, lines...)
	d.locations = append(d.locations, location{m, address, uint32(from), uint32(len(d.lines))})
	ref := LocationRef(len(d.locations))
	d.locationRefs[string(key)] = ref
	return ref
}

// Frame is a location of which only the function's name is known.
func (d *Draft) Frame(name string) LocationRef {
	return d.Location(0, 0, Line{Function: d.Function(Function{Name: name})})
}

// Add adds a sample, leaf first, or adds its values to those of the sample with the same
// stack and labels. There is a value for each of SampleTypes. Over a bound it is
// profile.ErrInvalid.
func (d *Draft) Add(stack []LocationRef, labels []Label, values ...int64) error {
	if len(values) != len(d.SampleTypes) {
		panic(fmt.Sprintf("draft: %d values for %d sample types", len(values), len(d.SampleTypes)))
	}
	key := d.key[:0]
	for _, ref := range stack {
		key = binary.AppendUvarint(key, uint64(ref))
	}
	key = append(key, 0)
	for _, l := range labels {
		key = binary.AppendUvarint(key, d.text(l.Key))
		key = binary.AppendUvarint(key, d.text(l.Str))
		key = binary.AppendVarint(key, l.Num)
		key = binary.AppendUvarint(key, d.text(l.Unit))
	}
	d.key = key
	i, known := d.sampleRefs[string(key)]
	if known {
		for j, v := range values {
			d.values[i*len(values)+j] += v
		}
		return nil
	}
	switch {
	case len(stack) > maxDepth:
		return fmt.Errorf("stack trace of %d locations, at most %d are allowed: %w", len(stack), maxDepth, profile.ErrInvalid)
	case len(labels) > maxLabels:
		return fmt.Errorf("sample with %d labels, at most %d are allowed: %w", len(labels), maxLabels, profile.ErrInvalid)
	case len(d.stacks)+len(stack) > maxRefs:
		return fmt.Errorf("stack traces with more than %d locations together: %w", maxRefs, profile.ErrInvalid)
	case len(d.table) > maxTexts:
		return fmt.Errorf("more than %d distinct strings: %w", maxTexts, profile.ErrInvalid)
	}
	d.sampleRefs[string(key)] = len(d.samples)
	d.stacks = append(d.stacks, stack...)
	d.labels = append(d.labels, labels...)
	d.values = append(d.values, values...)
	d.samples = append(d.samples, sample{uint32(len(d.stacks)), uint32(len(d.labels))})
	return nil
}

// text gives a string's place in the string table.
func (d *Draft) text(s string) uint64 {
	i, ok := d.texts[s]
	if !ok {
		i = uint64(len(d.table))
		d.table = append(d.table, s)
		d.texts[s] = i
	}
	return i
}

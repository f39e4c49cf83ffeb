// Package otlp turns OpenTelemetry's profiles (v1development) into pprof.
//
// Each of their profiles has one sample type and refers to tables that all profiles of
// a request share. Resource, scope and profile attributes become labels of the series;
// attributes of samples become sample labels, and so do the trace and span that a sample
// is linked to. A whole host's profile, whose resource names no service, becomes one
// series for each program.
//
// Every index is checked. A profile that is malformed is refused alone. When exactly
// within a profile a sample was taken is not kept, as pprof has no place for it.
package otlp

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/profiles/v1development"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	profilesv1 "go.opentelemetry.io/proto/otlp/profiles/v1development"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/profile/draft"
)

// Bounds of a request, beside the draft's. A few bytes refer to a stack of any depth.
const (
	maxRefs   = 32 << 20 // locations in the stacks of all samples together
	maxSeries = 4096     // of one profile
)

// Decode turns a request into profiles. refused has an error, which wraps
// profile.ErrInvalid, for each profile that could not be read; the others stand.
func Decode(req *collector.ExportProfilesServiceRequest) (profiles []draft.Profile, refused []error) {
	d := decoder{dictionary: req.GetDictionary()}
	for i, rp := range req.GetResourceProfiles() {
		for j, sp := range rp.GetScopeProfiles() {
			for k, p := range sp.GetProfiles() {
				made, err := d.profile(rp, sp, p)
				if err != nil {
					refused = append(refused, fmt.Errorf("resource_profiles[%d].scope_profiles[%d].profiles[%d]: %w", i, j, k, err))
					continue
				}
				profiles = append(profiles, made...)
			}
		}
	}
	return profiles, refused
}

type decoder struct {
	dictionary *profilesv1.ProfilesDictionary
	refs       int
}

// at looks into a table of the dictionary.
func at[T any](table []T, what string, i int32) (entry T, err error) {
	if i < 0 || int(i) >= len(table) {
		return entry, fmt.Errorf("%s %d: the table has %d: %w", what, i, len(table), profile.ErrInvalid)
	}
	return table[i], nil
}

// text looks into the string table. 0 is "", even where a client leaves the table out.
func (d *decoder) text(i int32) (string, error) {
	if i == 0 && len(d.dictionary.GetStringTable()) == 0 {
		return "", nil
	}
	return at(d.dictionary.GetStringTable(), "string", i)
}

func (d *decoder) valueType(t *profilesv1.ValueType) (v profile.ValueType, err error) {
	if v.Type, err = d.text(t.GetTypeStrindex()); err == nil {
		v.Unit, err = d.text(t.GetUnitStrindex())
	}
	return v, err
}

// attributes calls f with the attributes that indices refer to.
func (d *decoder) attributes(indices []int32, f func(key string, value *commonv1.AnyValue, unit string)) error {
	for _, i := range indices {
		a, err := at(d.dictionary.GetAttributeTable(), "attribute", i)
		if err != nil {
			return err
		}
		key, err := d.text(a.GetKeyStrindex())
		if err != nil {
			return err
		}
		unit, err := d.text(a.GetUnitStrindex())
		if err != nil {
			return err
		}
		if key != "" {
			f(key, a.GetValue(), unit)
		}
	}
	return nil
}

// profile turns one profile into one for each of its series.
func (d *decoder) profile(rp *profilesv1.ResourceProfiles, sp *profilesv1.ScopeProfiles, p *profilesv1.Profile) ([]draft.Profile, error) {
	kind, err := d.kind(p)
	if err != nil {
		return nil, err
	}
	labels := newLabelSet()
	for _, a := range rp.GetResource().GetAttributes() {
		labels.set(a.GetKey(), a.GetValue())
	}
	labels.setText("otel_scope_name", sp.GetScope().GetName())
	labels.setText("otel_scope_version", sp.GetScope().GetVersion())
	for _, a := range sp.GetScope().GetAttributes() {
		labels.set(a.GetKey(), a.GetValue())
	}
	err = d.attributes(p.GetAttributeIndices(), func(key string, value *commonv1.AnyValue, _ string) { labels.set(key, value) })
	if err != nil {
		return nil, err
	}
	w := writer{decoder: d, profile: p, kind: kind, drafts: map[string]*seriesDraft{}, whole: labels.hasService()}
	for i, s := range p.GetSamples() {
		if err := w.sample(s); err != nil {
			return nil, fmt.Errorf("samples[%d]: %w", i, err)
		}
	}
	return w.finish(labels)
}

// kind is what a profile measures, in the usual words.
type kind struct {
	name   string
	types  []profile.ValueType
	times  []int64 // a value times these is the value of each type
	period profile.ValueType
	was    string // what was sent, where that is not the type stored
}

var (
	samples = profile.ValueType{Type: "samples", Unit: "count"}
	cpu     = profile.ValueType{Type: "cpu", Unit: "nanoseconds"}
)

// kind reads a profile's types. Samples of a CPU, each of which stands for a period, are
// what others call process_cpu.
func (d *decoder) kind(p *profilesv1.Profile) (k kind, err error) {
	sample, err := d.valueType(p.GetSampleType())
	if err != nil {
		return k, fmt.Errorf("sample_type: %w", err)
	}
	if sample.Type == "" {
		return k, fmt.Errorf("sample_type: it has no type: %w", profile.ErrInvalid)
	}
	if k.period, err = d.valueType(p.GetPeriodType()); err != nil {
		return k, fmt.Errorf("period_type: %w", err)
	}
	k.types, k.times = []profile.ValueType{sample}, []int64{1}
	if sample == samples && k.period == cpu && p.GetPeriod() > 0 {
		k.name, k.types, k.times = "process_cpu", []profile.ValueType{samples, cpu}, []int64{1, p.GetPeriod()}
		k.was = "cpu:nanoseconds is samples:count times the period"
	}
	return k, nil
}

// writer makes drafts of a profile's samples.
type writer struct {
	*decoder
	profile *profilesv1.Profile
	kind    kind
	whole   bool // all samples are of one series
	drafts  map[string]*seriesDraft
	order   []*seriesDraft

	earliest uint64
	labels   []draft.Label
	stack    []draft.LocationRef
	lines    []draft.Line
	values   []int64
}

// seriesDraft is the profile of one program.
type seriesDraft struct {
	*draft.Draft
	program   string
	locations map[int32]draft.LocationRef
}

// sample adds a sample. Without values each of its timestamps counts one.
func (w *writer) sample(s *profilesv1.Sample) error {
	value := int64(0)
	for _, v := range s.GetValues() {
		value += v
	}
	if len(s.GetValues()) == 0 {
		value = int64(len(s.GetTimestampsUnixNano()))
	}
	for _, t := range s.GetTimestampsUnixNano() {
		if w.earliest == 0 || t < w.earliest {
			w.earliest = t
		}
	}
	program := ""
	w.labels = w.labels[:0]
	err := w.attributes(s.GetAttributeIndices(), func(key string, value *commonv1.AnyValue, unit string) {
		if key == "process.executable.name" && !w.whole {
			program = value.GetStringValue()
		}
		w.labels = appendLabel(w.labels, key, value, unit)
	})
	if err != nil {
		return err
	}
	if err := w.link(s.GetLinkIndex()); err != nil {
		return err
	}
	sd, err := w.draftOf(program)
	if err != nil {
		return err
	}
	if err := w.readStack(sd, s.GetStackIndex()); err != nil {
		return err
	}
	w.values = w.values[:0]
	for _, times := range w.kind.times {
		w.values = append(w.values, value*times)
	}
	return sd.Add(w.stack, w.labels, w.values...)
}

// link adds the trace and span that a sample belongs to. Link 0 is none.
func (w *writer) link(i int32) error {
	if i == 0 {
		return nil
	}
	l, err := at(w.dictionary.GetLinkTable(), "link", i)
	if err != nil {
		return err
	}
	if len(l.GetTraceId()) > 0 {
		w.labels = append(w.labels, draft.Label{Key: "trace_id", Str: hex.EncodeToString(l.GetTraceId())})
	}
	if len(l.GetSpanId()) > 0 {
		w.labels = append(w.labels, draft.Label{Key: "span_id", Str: hex.EncodeToString(l.GetSpanId())})
	}
	return nil
}

func (w *writer) draftOf(program string) (*seriesDraft, error) {
	if sd := w.drafts[program]; sd != nil {
		return sd, nil
	}
	if len(w.drafts) == maxSeries {
		return nil, fmt.Errorf("more than %d programs in one profile: %w", maxSeries, profile.ErrInvalid)
	}
	sd := &seriesDraft{draft.New(w.kind.types...), program, map[int32]draft.LocationRef{}}
	w.drafts[program] = sd
	w.order = append(w.order, sd)
	return sd, nil
}

func (w *writer) readStack(sd *seriesDraft, i int32) error {
	w.stack = w.stack[:0]
	if i == 0 && len(w.dictionary.GetStackTable()) == 0 {
		return nil
	}
	stack, err := at(w.dictionary.GetStackTable(), "stack", i)
	if err != nil {
		return err
	}
	if w.refs += len(stack.GetLocationIndices()); w.refs > maxRefs {
		return fmt.Errorf("the stacks of all samples have more than %d locations: %w", maxRefs, profile.ErrInvalid)
	}
	for _, l := range stack.GetLocationIndices() {
		ref, ok := sd.locations[l]
		if !ok {
			if ref, err = w.location(sd.Draft, l); err != nil {
				return err
			}
			sd.locations[l] = ref
		}
		w.stack = append(w.stack, ref)
	}
	return nil
}

func (w *writer) location(d *draft.Draft, i int32) (draft.LocationRef, error) {
	l, err := at(w.dictionary.GetLocationTable(), "location", i)
	if err != nil {
		return 0, err
	}
	w.lines = w.lines[:0]
	for _, line := range l.GetLines() {
		f, err := w.function(d, line.GetFunctionIndex())
		if err != nil {
			return 0, err
		}
		w.lines = append(w.lines, draft.Line{Function: f, Line: line.GetLine(), Column: line.GetColumn()})
	}
	m, err := w.mapping(d, l.GetMappingIndex(), len(w.lines) > 0)
	if err != nil {
		return 0, err
	}
	return d.Location(m, l.GetAddress(), w.lines...), nil
}

func (w *writer) function(d *draft.Draft, i int32) (draft.FunctionRef, error) {
	f, err := at(w.dictionary.GetFunctionTable(), "function", i)
	if err != nil {
		return 0, err
	}
	made := draft.Function{StartLine: f.GetStartLine()}
	for _, s := range []struct {
		to *string
		i  int32
	}{{&made.Name, f.GetNameStrindex()}, {&made.SystemName, f.GetSystemNameStrindex()}, {&made.File, f.GetFilenameStrindex()}} {
		if *s.to, err = w.text(s.i); err != nil {
			return 0, err
		}
	}
	if made.Name == "" {
		made.Name = made.SystemName
	}
	return d.Function(made), nil
}

// mapping finds a location's binary. Mapping 0 is none.
func (w *writer) mapping(d *draft.Draft, i int32, named bool) (draft.MappingRef, error) {
	if i == 0 {
		return 0, nil
	}
	m, err := at(w.dictionary.GetMappingTable(), "mapping", i)
	if err != nil {
		return 0, err
	}
	made := draft.Mapping{Start: m.GetMemoryStart(), Limit: m.GetMemoryLimit(), Offset: m.GetFileOffset(), HasFunctions: named}
	if made.File, err = w.text(m.GetFilenameStrindex()); err != nil {
		return 0, err
	}
	rank := len(buildIDs)
	err = w.attributes(m.GetAttributeIndices(), func(key string, value *commonv1.AnyValue, _ string) {
		for r, name := range buildIDs {
			if key == name && r < rank {
				rank, made.BuildID = r, value.GetStringValue()
			}
		}
	})
	return d.Mapping(made), err
}

// buildIDs are the attributes that name a binary's contents, the best first.
var buildIDs = [...]string{
	"process.executable.build_id.gnu", "process.executable.build_id.go", "process.executable.build_id.htlhash",
}

// finish writes the drafts.
func (w *writer) finish(labels *labelSet) ([]draft.Profile, error) {
	nanos := w.profile.GetTimeUnixNano()
	if nanos == 0 {
		nanos = w.earliest
	}
	if len(w.order) == 0 {
		if _, err := w.draftOf(""); err != nil {
			return nil, err
		}
	}
	var made []draft.Profile
	for _, sd := range w.order {
		ls, err := labels.with("comm", sd.program)
		if err != nil {
			return nil, err
		}
		if nanos != 0 && int64(nanos) > 0 {
			sd.Time = time.Unix(0, int64(nanos)).UTC()
		}
		sd.Duration = time.Duration(max(int64(w.profile.GetDurationNano()), 0))
		sd.PeriodType, sd.Period = w.kind.period, w.profile.GetPeriod()
		if w.kind.was != "" {
			sd.Comments = []string{w.kind.was}
		}
		made = append(made, draft.Profile{Name: w.kind.name, Labels: ls, Body: sd.Encode(), Time: sd.Time})
	}
	return made, nil
}

// underscored is how an attribute's name is written as a label's: service.name is service_name.
func underscored(key string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, key)
}

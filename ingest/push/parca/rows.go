package parca

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/profile/draft"
)

// row is one sample, but for its stack.
type row struct {
	value  int64
	at     int64 // nanoseconds since 1970
	sample profile.ValueType
	labels []draft.Label
}

// heldRow is a row of v1 whose stack may still come.
type heldRow struct {
	group *group
	stack string // ID
	row   row
}

// shared are the columns that both schemas have.
type shared struct {
	value, producer, sampleType, sampleUnit, periodType, periodUnit, period, duration, timestamp arrow.Array

	labels []labelColumn
}

// labelColumn holds the values of one label.
type labelColumn struct {
	name   string
	values arrow.Array
}

func readShared(r arrow.RecordBatch) (s shared, err error) {
	err = columns(r, map[string]*arrow.Array{
		"value": &s.value, "producer": &s.producer, "sample_type": &s.sampleType, "sample_unit": &s.sampleUnit,
		"period_type": &s.periodType, "period_unit": &s.periodUnit, "period": &s.period, "duration": &s.duration, "timestamp": &s.timestamp,
	})
	return s, err
}

// sampleLabels are what belongs to a sample and not to its series: a series for each
// thread of a host would hold a profile of a sample or two.
var sampleLabels = map[string]bool{
	"thread_id": true, "thread_name": true, "thread_comm": true, "cpu": true, "trace_id": true, "span_id": true,
}

// row reads row i, and finds the profile that it belongs to.
func (s *shared) row(g *groups, i int) (*group, row, error) {
	r := row{
		value: numberAt(s.value, i), at: numberAt(s.timestamp, i),
		sample: profile.ValueType{Type: textAt(s.sampleType, i), Unit: textAt(s.sampleUnit, i)},
	}
	var pairs []profile.Label
	for _, l := range s.labels {
		switch v := textAt(l.values, i); {
		case v == "":
		case sampleLabels[l.name]:
			r.labels = append(r.labels, draft.Label{Key: l.name, Str: v})
		default:
			pairs = append(pairs, profile.Label{Name: l.name, Value: v})
		}
	}
	key := groupKey{
		name:   textAt(s.producer, i),
		period: profile.ValueType{Type: textAt(s.periodType, i), Unit: textAt(s.periodUnit, i)},
		length: numberAt(s.period, i),
	}
	duration := numberAt(s.duration, i)
	if duration <= 0 {
		key.at = r.at // a state: two of them must not be added
	}
	group, err := g.of(key, pairs, r.sample)
	if err != nil {
		return nil, r, fmt.Errorf("row %d: %w", i, err)
	}
	group.duration = max(group.duration, duration)
	return group, r, nil
}

// addSamplesV2 reads samples with their stacks.
func (s *Samples) addSamplesV2(r arrow.RecordBatch) error {
	cols, err := readShared(r)
	if err != nil {
		return err
	}
	stacks, err := column(r, "stacktrace")
	if err != nil {
		return err
	}
	labels, err := column(r, "labels")
	if err != nil {
		return err
	}
	fields := labels.(*array.Struct)
	for i, f := range fields.DataType().(*arrow.StructType).Fields() {
		cols.labels = append(cols.labels, labelColumn{f.Name, fields.Field(i)})
	}
	reader := newStackReader()
	for i := range int(r.NumRows()) {
		if err := s.charge(1); err != nil { // columns of run ends may claim any length
			return err
		}
		g, row, err := cols.row(&s.groups, i)
		if err != nil {
			return err
		}
		stack, err := reader.stack(s, stacks, i)
		if err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
		if err := g.add(stack, row); err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
	}
	return nil
}

// labelPrefix begins the names of v1's label columns.
const labelPrefix = "labels."

// addSamples reads samples of v1, which name their stacks.
func (s *Samples) addSamples(r arrow.RecordBatch) error {
	cols, err := readShared(r)
	if err != nil {
		return err
	}
	ids, err := column(r, "stacktrace_id")
	if err != nil {
		return err
	}
	for i, f := range r.Schema().Fields() {
		if name, ok := strings.CutPrefix(f.Name, labelPrefix); ok {
			cols.labels = append(cols.labels, labelColumn{name, r.Column(i)})
		}
	}
	for i := range int(r.NumRows()) {
		if err := s.charge(1); err != nil { // columns of run ends may claim any length
			return err
		}
		g, row, err := cols.row(&s.groups, i)
		if err != nil {
			return err
		}
		id := textAt(ids, i)
		if !s.asked[id] {
			s.asked[id] = true
			s.order = append(s.order, id)
		}
		s.held = append(s.held, heldRow{g, id, row})
	}
	return nil
}

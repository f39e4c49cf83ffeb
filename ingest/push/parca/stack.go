package parca

import (
	"bytes"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/profile/draft"
)

// location is an address and what the agent knows of it.
type location struct {
	address uint64
	mapping draft.Mapping
	lines   []line
}

type line struct {
	function     draft.Function
	line, column int64
}

// stackReader reads the stacks of v2, whose locations are entries of a dictionary that
// rows share. An entry is read once.
type stackReader struct {
	known map[int]location
	rows  map[[2]int][]location // stacks by where they lie: rows share these too
}

func newStackReader() *stackReader {
	return &stackReader{map[int]location{}, map[[2]int][]location{}}
}

func (sr *stackReader) stack(s *Samples, stacks arrow.Array, i int) ([]location, error) {
	values, from, to := list(stacks, i)
	if err := s.charge(to - from); err != nil {
		return nil, err
	}
	if known, ok := sr.rows[[2]int{from, to}]; ok {
		return known, nil
	}
	stack := make([]location, 0, to-from)
	for j := from; j < to; j++ {
		at := j
		if d, ok := values.(*array.Dictionary); ok && !d.IsNull(j) {
			at = d.GetValueIndex(j)
		}
		l, ok := sr.known[at]
		if !ok {
			entry, k := structure(values, j)
			if entry == nil {
				continue
			}
			var err error
			if l, err = s.locationV2(entry, k); err != nil {
				return nil, err
			}
			sr.known[at] = l
		}
		stack = append(stack, l)
	}
	sr.rows[[2]int{from, to}] = stack
	return stack, nil
}

// charge counts locations against the bound of a request.
func (s *Samples) charge(n int) error {
	if s.refs += n; s.refs > maxRefs {
		return fmt.Errorf("the rows and their stacks have more than %d entries: %w", maxRefs, profile.ErrInvalid)
	}
	return nil
}

func (s *Samples) locationV2(entry *array.Struct, i int) (location, error) {
	l := location{
		address: uint64(numberAt(field(entry, "address"), i)),
		mapping: draft.Mapping{File: textAt(field(entry, "mapping_file"), i), BuildID: textAt(field(entry, "mapping_build_id"), i)},
	}
	lines, from, to := list(field(entry, "lines"), i)
	if err := s.charge(to - from); err != nil {
		return l, err
	}
	for j := from; j < to; j++ {
		entry, k := structure(lines, j)
		if entry == nil {
			continue
		}
		at := line{line: numberAt(field(entry, "line"), k), column: numberAt(field(entry, "column"), k)}
		if f, n := structure(field(entry, "function"), k); f != nil {
			name := textAt(field(f, "system_name"), n)
			at.function = draft.Function{
				Name: name, SystemName: name, File: textAt(field(f, "filename"), n), StartLine: numberAt(field(f, "start_line"), n),
			}
		}
		l.lines = append(l.lines, at)
	}
	l.mapping.HasFunctions = len(l.lines) > 0
	return l, nil
}

// addLocations reads the second record of v1: stacks by their IDs.
func (s *Samples) addLocations(r arrow.RecordBatch) error {
	var ids, locations arrow.Array
	if err := columns(r, map[string]*arrow.Array{"stacktrace_id": &ids, "locations": &locations}); err != nil {
		return err
	}
	for i := range int(r.NumRows()) {
		entries, from, to := list(locations, i)
		if err := s.charge(to - from); err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
		stack := make([]location, 0, to-from)
		for j := from; j < to; j++ {
			if entry, k := structure(entries, j); entry != nil {
				l, err := s.locationV1(entry, k)
				if err != nil {
					return err
				}
				stack = append(stack, l)
			}
		}
		s.stacks[textAt(ids, i)] = stack
	}
	return nil
}

func (s *Samples) locationV1(at *array.Struct, i int) (location, error) {
	l := location{
		address: uint64(numberAt(field(at, "address"), i)),
		mapping: draft.Mapping{
			Start: uint64(numberAt(field(at, "mapping_start"), i)), Limit: uint64(numberAt(field(at, "mapping_limit"), i)),
			Offset: uint64(numberAt(field(at, "mapping_offset"), i)),
			File:   textAt(field(at, "mapping_file"), i), BuildID: textAt(field(at, "mapping_build_id"), i),
		},
	}
	lines, from, to := list(field(at, "lines"), i)
	if err := s.charge(to - from); err != nil {
		return l, err
	}
	for j := from; j < to; j++ {
		entry, k := structure(lines, j)
		if entry == nil {
			continue
		}
		f := draft.Function{
			Name: textAt(field(entry, "function_name"), k), SystemName: textAt(field(entry, "function_system_name"), k),
			File: textAt(field(entry, "function_filename"), k), StartLine: numberAt(field(entry, "function_start_line"), k),
		}
		if f.Name == "" {
			f.Name = f.SystemName
		}
		l.lines = append(l.lines, line{f, numberAt(field(entry, "line"), k), numberAt(field(entry, "column"), k)})
	}
	l.mapping.HasFunctions = len(l.lines) > 0
	return l, nil
}

// waiting says whether samples name stacks that have not come yet.
func (s *Samples) waiting() bool {
	for _, id := range s.order {
		if _, known := s.stacks[id]; !known {
			return true
		}
	}
	return false
}

// Missing is the IPC stream by which a server asks for the stacks of the samples so far,
// in v1, or nil when there is none to ask for.
func (s *Samples) Missing() ([]byte, error) {
	if !s.waiting() {
		return nil, nil
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "stacktrace_id", Type: arrow.BinaryTypes.Binary}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for _, id := range s.order {
		if _, known := s.stacks[id]; !known {
			b.Field(0).(*array.BinaryBuilder).AppendString(id)
		}
	}
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(schema))
	record := b.NewRecordBatch()
	defer record.Release()
	err := w.Write(record)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("writing the stack IDs: %w", err)
	}
	return out.Bytes(), nil
}

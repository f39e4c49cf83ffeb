package parca_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

// arrowColumns reads an Arrow stream of one record by the names of its columns.
func arrowColumns(t *testing.T, stream []byte) map[string]arrow.Array {
	t.Helper()
	r, err := ipc.NewReader(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	if !r.Next() {
		t.Fatalf("no record: %v", r.Err())
	}
	columns := map[string]arrow.Array{}
	record := r.RecordBatch()
	record.Retain()
	for i, f := range record.Schema().Fields() {
		columns[f.Name] = record.Column(i)
	}
	if r.Next() {
		t.Error("more than one record")
	}
	return columns
}

// number reads a column of integers of any width, as the clients do.
func number(t *testing.T, column arrow.Array, row int) int64 {
	t.Helper()
	switch c := column.(type) {
	case *array.Uint8:
		return int64(c.Value(row))
	case *array.Uint16:
		return int64(c.Value(row))
	case *array.Uint32:
		return int64(c.Value(row))
	case *array.Uint64:
		return int64(c.Value(row))
	case *array.Int8:
		return int64(c.Value(row))
	case *array.Int16:
		return int64(c.Value(row))
	case *array.Int32:
		return int64(c.Value(row))
	case *array.Int64:
		return c.Value(row)
	}
	t.Fatalf("%T is no column of integers", column)
	return 0
}

// word reads a column of texts; null is "".
func word(t *testing.T, column arrow.Array, row int) string {
	t.Helper()
	if column.IsNull(row) {
		return ""
	}
	d := column.(*array.Dictionary)
	switch words := d.Dictionary().(type) {
	case *array.Binary:
		return string(words.Value(d.GetValueIndex(row)))
	case *array.String:
		return words.Value(d.GetValueIndex(row))
	}
	t.Fatalf("%T is no column of texts", d.Dictionary())
	return ""
}

// flame is a flame graph as Parca's page reads it.
type flame struct {
	names, addresses             []string
	children                     [][]uint32
	cumulative, flat, diff       []int64
	timestamp                    []int64
	labelsOnly                   []bool
	labels                       map[string][]string
	parents, depths, valueOffset []int64
}

func readFlame(t *testing.T, stream []byte) *flame {
	t.Helper()
	columns := arrowColumns(t, stream)
	for _, name := range []string{
		"labels_only", "location_address", "mapping_file", "mapping_build_id", "location_line", "inlined", "function_startline", "function_name",
		"function_system_name", "function_file_name", "children", "parent", "cumulative", "flat", "diff", "timestamp", "duration", "depth", "value_offset",
	} {
		if columns[name] == nil {
			t.Fatalf("no column %s", name)
		}
	}
	f := &flame{labels: map[string][]string{}}
	lists := columns["children"].(*array.List)
	rows := lists.ListValues().(*array.Uint32)
	only := columns["labels_only"].(*array.Boolean)
	for i := range columns["depth"].Len() {
		f.names = append(f.names, word(t, columns["function_name"], i))
		f.addresses = append(f.addresses, fmt.Sprintf("0x%x", columns["location_address"].(*array.Uint64).Value(i)))
		from, to := lists.ValueOffsets(i)
		f.children = append(f.children, rows.Uint32Values()[from:to])
		f.cumulative = append(f.cumulative, number(t, columns["cumulative"], i))
		f.flat = append(f.flat, number(t, columns["flat"], i))
		f.diff = append(f.diff, number(t, columns["diff"], i))
		f.timestamp = append(f.timestamp, number(t, columns["timestamp"], i))
		f.parents = append(f.parents, number(t, columns["parent"], i))
		f.depths = append(f.depths, number(t, columns["depth"], i))
		f.valueOffset = append(f.valueOffset, number(t, columns["value_offset"], i))
		f.labelsOnly = append(f.labelsOnly, only.Value(i))
		for name, column := range columns {
			if strings.HasPrefix(name, "labels.") {
				f.labels[name] = append(f.labels[name], word(t, column, i))
			}
		}
	}
	f.check(t)
	return f
}

// check holds what the page relies on: rows level by level, children inside their
// parents and one after the other.
func (f *flame) check(t *testing.T) {
	t.Helper()
	if f.parents[0] != -1 || !slices.IsSorted(f.depths) {
		t.Errorf("parents %v, depths %v", f.parents, f.depths)
	}
	for i, children := range f.children {
		at, end := f.valueOffset[i], f.valueOffset[i]+f.cumulative[i]
		for _, c := range children {
			if f.parents[c] != int64(i) || f.depths[c] != f.depths[i]+1 || f.valueOffset[c] != at {
				t.Errorf("row %d: parent %d, depth %d, offset %d; want %d, %d, %d", c, f.parents[c], f.depths[c], f.valueOffset[c], i, f.depths[i]+1, at)
			}
			at += f.cumulative[c]
		}
		if at > end && f.cumulative[i] > 0 {
			t.Errorf("row %d: children reach to %d, want at most %d", i, at, end)
		}
	}
}

func (f *flame) name(row int) string {
	if f.names[row] != "" {
		return f.names[row]
	}
	return f.addresses[row]
}

// byPath is the rows by the names from the root on. Rows of labels are transparent.
func (f *flame) byPath() map[string]int {
	paths := map[string]int{}
	f.walk(func(path string, row int) { paths[path] = row })
	return paths
}

func (f *flame) walk(visit func(path string, row int)) {
	paths := make([]string, len(f.names))
	visit("", 0)
	for row := 1; row < len(f.names); row++ {
		paths[row] = strings.TrimPrefix(paths[f.parents[row]]+";"+f.name(row), ";")
		visit(paths[row], row)
	}
}

func (f *flame) totals() map[string]int64 {
	totals := map[string]int64{}
	f.walk(func(path string, row int) { totals[path] += f.cumulative[row] })
	return totals
}

// selves are the values of nodes themselves, where there are any.
func (f *flame) selves() map[string]int64 {
	selves := map[string]int64{}
	f.walk(func(path string, row int) {
		if f.flat[row] != 0 {
			selves[path] += f.flat[row]
		}
	})
	return selves
}

// line is a row of a table of functions.
type line struct {
	flat, cumulative int64
	callers, callees []string
}

func readTable(t *testing.T, stream []byte) map[string]line {
	t.Helper()
	columns := arrowColumns(t, stream)
	name := func(row int) string {
		if n := word(t, columns["function_name"], row); n != "" {
			return n
		}
		return fmt.Sprintf("0x%x", number(t, columns["location_address"], row))
	}
	names := func(column string, row int) (all []string) {
		list := columns[column].(*array.List)
		from, to := list.ValueOffsets(row)
		for i := from; i < to; i++ {
			all = append(all, name(int(number(t, list.ListValues(), int(i)))))
		}
		slices.Sort(all)
		return all
	}
	lines := map[string]line{}
	for i := range columns["flat"].Len() {
		lines[name(i)] = line{number(t, columns["flat"], i), number(t, columns["cumulative"], i), names("callers", i), names("callees", i)}
	}
	return lines
}

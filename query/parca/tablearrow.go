package parca

import (
	"cmp"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	pb "github.com/coldframe/coldframe/api/parca/query/v1alpha1"
	"github.com/coldframe/coldframe/query"
)

// ranked are the frames of functions, the largest total first. rank tells where a frame
// stands, -1 for those that are no functions.
func (d *drawing) ranked() (frames []uint32, rank []int64) {
	rank = make([]int64, len(d.Frames))
	for i := range d.Frames {
		rank[i] = -1
		if kind := d.Frames[i].Kind; kind != query.LabelFrame && kind != query.RootFrame {
			frames = append(frames, uint32(i))
		}
	}
	slices.SortStableFunc(frames, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(d.functions[b].Total, d.functions[a].Total), cmp.Compare(d.functions[b].BaseTotal, d.functions[a].BaseTotal))
	})
	frames = frames[:min(len(frames), maxNodes)]
	for r, frame := range frames {
		rank[frame] = int64(r)
	}
	return frames, rank
}

// tableArrow is the functions as an Arrow table, each with the rows of those that call it
// and that it calls.
func (d *drawing) tableArrow() (*pb.QueryResponse, error) {
	frames, rank := d.ranked()
	t := &table{}
	text := func(name string, get func(*query.Frame) string) {
		distinct := make([]string, len(d.Frames))
		for i := range d.Frames {
			distinct[i] = get(&d.Frames[i])
		}
		t.add(name, texts(arrow.BinaryTypes.String, distinct, frames))
	}
	number := func(name string, get func(*query.Function) int64) {
		b := array.NewInt64Builder(memory.DefaultAllocator)
		for _, f := range frames {
			b.Append(get(&d.functions[f]))
		}
		t.add(name, b.NewArray())
	}
	text("mapping_file", func(f *query.Frame) string { return f.Mapping })
	text("mapping_build_id", func(f *query.Frame) string { return f.BuildID })
	addresses := array.NewUint64Builder(memory.DefaultAllocator)
	for _, f := range frames {
		addresses.Append(d.Frames[f].Address)
	}
	t.add("location_address", addresses.NewArray())
	number("location_line", func(f *query.Function) int64 { return f.Line })
	number("function_startline", func(f *query.Function) int64 { return f.StartLine })
	text("function_name", functionName)
	text("function_system_name", func(f *query.Frame) string { return f.SystemName })
	text("function_file_name", func(f *query.Frame) string { return f.File })
	shown := func(value, base int64) int64 { v, _ := d.scaled(value, base); return v }
	diff := func(value, base int64) int64 { _, v := d.scaled(value, base); return v }
	number("cumulative", func(f *query.Function) int64 { return shown(f.Total, f.BaseTotal) })
	number("cumulative_diff", func(f *query.Function) int64 { return diff(f.Total, f.BaseTotal) })
	number("flat", func(f *query.Function) int64 { return shown(f.Self, f.BaseSelf) })
	number("flat_diff", func(f *query.Function) int64 { return diff(f.Self, f.BaseSelf) })
	callers, callees := d.calls(rank, len(frames))
	t.add("callers", lists(callers))
	t.add("callees", lists(callees))
	record, err := t.stream()
	if err != nil {
		return nil, err
	}
	return &pb.QueryResponse{Report: &pb.QueryResponse_TableArrow{TableArrow: &pb.TableArrow{Record: record, Unit: d.Type.Sample.Unit}}}, nil
}

// calls are, by row, the rows of a function's callers and callees.
func (d *drawing) calls(rank []int64, rows int) (callers, callees [][]int64) {
	callers, callees = make([][]int64, rows), make([][]int64, rows)
	for _, e := range d.edges {
		from, to := rank[e.Caller], rank[e.Callee]
		if from < 0 || to < 0 {
			continue
		}
		callers[to], callees[from] = append(callers[to], from), append(callees[from], to)
	}
	return callers, callees
}

func lists(rows [][]int64) arrow.Array {
	b := array.NewListBuilder(memory.DefaultAllocator, arrow.PrimitiveTypes.Int64)
	values := b.ValueBuilder().(*array.Int64Builder)
	for _, row := range rows {
		b.Append(true)
		values.AppendValues(row, nil)
	}
	return b.NewArray()
}

// emptySource is the lines of a file of which nothing is known.
func emptySource() ([]byte, error) {
	t := &table{}
	names := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}
	t.add("filename", array.NewDictionaryBuilder(memory.DefaultAllocator, names).NewArray())
	for _, name := range []string{"line_number", "cumulative", "flat"} {
		t.add(name, constants(0, nil))
	}
	return t.stream()
}

package parca

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	pb "github.com/coldframe/coldframe/api/parca/query/v1alpha1"
	"github.com/coldframe/coldframe/query"
)

// flameArrow is the flame graph as an Arrow table, a row for each node: what Parca's page
// and Grafana draw. They read the columns by their names, any width of integers, and the
// texts as dictionaries of binary.
func (d *drawing) flameArrow() (*pb.QueryResponse, error) {
	record, err := d.flameTable(nil)
	if err != nil {
		return nil, err
	}
	return &pb.QueryResponse{Report: &pb.QueryResponse_FlamegraphArrow{FlamegraphArrow: &pb.FlamegraphArrow{
		Record: record, Unit: d.Type.Sample.Unit, Height: d.height(), Trimmed: d.trimmed,
	}}}, nil
}

// span is when the samples of a frame of a flame chart were taken, in nanoseconds.
type span struct{ start, duration int64 }

// flameTable writes the table. spans, when there are some, are those of the root's
// children, by frame; all below them has the same.
func (d *drawing) flameTable(spans map[uint32]span) ([]byte, error) {
	l := d.lay()
	frames := make([]uint32, len(l.nodes)) // by row
	for row, node := range l.nodes {
		frames[row] = d.Frame[node]
	}
	t := &table{}
	d.addFrames(t, frames)
	d.addTimes(t, l, frames, spans)
	t.add("children", l.childLists())
	t.add("parent", numbers(array.NewInt32Builder(memory.DefaultAllocator), l.parent))
	t.add("cumulative", unsigned(l.value))
	flat := slices.Clone(l.self)
	flat[0] = 0
	t.add("flat", unsigned(flat))
	t.add("diff", signed(l.diff))
	depth := make([]int64, len(l.depth))
	for i, v := range l.depth {
		depth[i] = int64(v)
	}
	t.add("depth", unsigned(depth))
	t.add("value_offset", unsigned(l.offset))
	d.addLabels(t, l, frames)
	return t.stream()
}

// addFrames adds what is known of the functions and their places.
func (d *drawing) addFrames(t *table, of []uint32) {
	text := func(name string, get func(*query.Frame) string) {
		distinct := make([]string, len(d.Frames))
		for i := range d.Frames {
			distinct[i] = get(&d.Frames[i])
		}
		t.add(name, texts(arrow.BinaryTypes.Binary, distinct, of))
	}
	number := func(name string, get func(*query.Frame) int64) {
		values := make([]int64, len(of))
		for row, f := range of {
			values[row] = get(&d.Frames[f])
		}
		t.add(name, unsigned(values))
	}
	flag := func(name string, get func(*query.Frame) bool) {
		b := array.NewBooleanBuilder(memory.DefaultAllocator)
		for _, f := range of {
			b.Append(get(&d.Frames[f]))
		}
		t.add(name, b.NewArray())
	}
	flag("labels_only", func(f *query.Frame) bool { return f.Kind == query.LabelFrame })
	addresses := array.NewUint64Builder(memory.DefaultAllocator)
	for _, f := range of {
		addresses.Append(d.Frames[f].Address)
	}
	t.add("location_address", addresses.NewArray())
	text("mapping_file", func(f *query.Frame) string { return f.Mapping })
	text("mapping_build_id", func(f *query.Frame) string { return f.BuildID })
	number("location_line", func(f *query.Frame) int64 { return f.Line })
	flag("inlined", func(f *query.Frame) bool { return f.Inlined })
	number("function_startline", func(f *query.Frame) int64 { return f.StartLine })
	text("function_name", functionName)
	text("function_system_name", func(f *query.Frame) string { return f.SystemName })
	text("function_file_name", func(f *query.Frame) string { return f.File })
}

// functionName is "" where no function is known: clients then show the address.
func functionName(f *query.Frame) string {
	switch f.Kind {
	case query.UnsymbolizedFrame, query.LabelFrame, query.RootFrame:
		return ""
	}
	return f.Name
}

// addTimes adds when samples were taken and for how long; null but in flame charts.
func (d *drawing) addTimes(t *table, l *layout, frames []uint32, spans map[uint32]span) {
	if spans == nil {
		t.add("timestamp", constants(len(frames), nil))
		t.add("duration", constants(len(frames), nil))
		return
	}
	starts, durations := make([]int64, len(frames)), make([]int64, len(frames))
	for row, frame := range frames {
		s := spans[frame]
		if l.depth[row] > 1 {
			s = span{starts[l.parent[row]], durations[l.parent[row]]}
		}
		starts[row], durations[row] = s.start, s.duration
	}
	t.add("timestamp", numbers(array.NewInt64Builder(memory.DefaultAllocator), starts))
	t.add("duration", numbers(array.NewInt64Builder(memory.DefaultAllocator), durations))
}

// addLabels adds a column for each label that is grouped by. All rows below one of labels
// have its labels.
func (d *drawing) addLabels(t *table, l *layout, frames []uint32) {
	of := make([]uint32, len(frames)) // the row's frame of labels; 0: none, as the root's
	var names []string
	for row, frame := range frames {
		switch {
		case d.Frames[frame].Kind == query.LabelFrame:
			of[row] = frame
		case row > 0:
			of[row] = of[l.parent[row]]
		}
		for _, label := range d.Frames[of[row]].Labels {
			if !slices.Contains(names, label.Name) {
				names = append(names, label.Name)
			}
		}
	}
	slices.Sort(names)
	for _, name := range names {
		values := make([]string, len(d.Frames))
		for i := range d.Frames {
			values[i] = d.Frames[i].Labels.Get(name)
		}
		t.add("labels."+name, texts(arrow.BinaryTypes.Binary, values, of))
	}
}

// childLists are the rows of each row's children; null for none.
func (l *layout) childLists() arrow.Array {
	b := array.NewListBuilder(memory.DefaultAllocator, arrow.PrimitiveTypes.Uint32)
	rows := b.ValueBuilder().(*array.Uint32Builder)
	for _, c := range l.children {
		b.Append(c[1] > c[0])
		for row := c[0]; row < c[1]; row++ {
			rows.Append(uint32(row))
		}
	}
	return b.NewArray()
}

func numbers[T any](b builder[T], values []T) arrow.Array {
	b.Reserve(len(values))
	for _, v := range values {
		b.Append(v)
	}
	return b.NewArray()
}

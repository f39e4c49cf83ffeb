package query

import (
	"encoding/json"
	"io"
	"strconv"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// ArrowContentType is the media type of an Arrow IPC stream.
const ArrowContentType = "application/vnd.apache.arrow.stream"

// WriteArrow writes the tree as one Arrow IPC stream of one record batch, not compressed,
// as openapi.yaml describes: a row for each node, and the frames as the dictionary of a
// column. The columns of numbers are written from where they lie, without a copy,
// unless narrower ones hold them.
func (t *Tree) WriteArrow(w io.Writer) error {
	frames, err := t.frameDictionary()
	if err != nil {
		return err
	}
	frameType := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: frames.DataType()}
	fields := []arrow.Field{{Name: "depth", Type: arrow.PrimitiveTypes.Uint32}, {Name: "frame", Type: frameType}}
	columns := []arrow.Array{
		integers(arrow.PrimitiveTypes.Uint32, t.Depth),
		array.NewDictionaryArray(frameType, integers(arrow.PrimitiveTypes.Int32, t.Frame), frames),
	}
	for i, column := range t.columns() {
		values := narrowest(*column)
		fields = append(fields, arrow.Field{Name: valueColumns[i], Type: values.DataType()})
		columns = append(columns, values)
	}
	facts, err := t.facts()
	if err != nil {
		return err
	}
	schema := arrow.NewSchema(fields, &facts)
	out := ipc.NewWriter(w, ipc.WithSchema(schema))
	if err := out.Write(array.NewRecordBatch(schema, columns, int64(len(t.Depth)))); err != nil {
		return err
	}
	return out.Close()
}

// facts are what the JSON form says beside frames and nodes, as texts.
func (t *Tree) facts() (arrow.Metadata, error) {
	stats, err := json.Marshal(t.Stats)
	if err != nil {
		return arrow.Metadata{}, err
	}
	h := newHead(t.Type, t.Range)
	number := func(v int64) string { return strconv.FormatInt(v, 10) }
	pairs := [][2]string{
		{"type", h.Type},
		{"unit", h.Unit},
		{"from", h.From},
		{"to", h.To},
		{"total", number(t.Total[0])},
		{"filtered", number(t.Filtered)},
		{"cut", strconv.Itoa(t.Cut)},
		{"stats", string(stats)},
	}
	if c := t.Comparison(); c != nil {
		pairs = append(pairs,
			[2]string{"base_from", formatTime(c.Range.From)}, [2]string{"base_to", formatTime(c.Range.To)},
			[2]string{"base_total", number(c.Total)}, [2]string{"base_filtered", number(c.Filtered)},
			[2]string{"scale", strconv.FormatFloat(c.Scale, 'g', -1, 64)}, [2]string{"base_scale", strconv.FormatFloat(c.BaseScale, 'g', -1, 64)})
	}
	keys, values := make([]string, len(pairs)), make([]string, len(pairs))
	for i, p := range pairs {
		keys[i], values[i] = p[0], p[1]
	}
	return arrow.NewMetadata(keys, values), nil
}

// frameDictionary is the tree's frames as an array of structs.
func (t *Tree) frameDictionary() (arrow.Array, error) {
	text := func(of func(*Frame) string) arrow.Array {
		b := array.NewStringBuilder(memory.DefaultAllocator)
		b.Reserve(len(t.Frames))
		for i := range t.Frames {
			b.Append(of(&t.Frames[i]))
		}
		return b.NewArray()
	}
	numbers := func(of func(*Frame) int64) arrow.Array {
		values := make([]int64, len(t.Frames))
		for i := range t.Frames {
			values[i] = of(&t.Frames[i])
		}
		return narrowest(values)
	}
	addresses := make([]uint64, len(t.Frames))
	for i := range t.Frames {
		addresses[i] = t.Frames[i].Address
	}
	names := []string{"name", "kind", "system_name", "file", "start_line", "line", "binary", "mapping", "build_id", "address"}
	return array.NewStructArray([]arrow.Array{
		text(func(f *Frame) string { return f.Name }),
		text(func(f *Frame) string { return f.Kind.String() }),
		text(func(f *Frame) string { return f.SystemName }),
		text(func(f *Frame) string { return f.File }),
		numbers(func(f *Frame) int64 { return f.StartLine }),
		numbers(func(f *Frame) int64 { return f.Line }),
		text((*Frame).Binary),
		text(func(f *Frame) string { return f.Mapping }),
		text(func(f *Frame) string { return f.BuildID }),
		integers(arrow.PrimitiveTypes.Uint64, addresses),
	}, names)
}

// integers is an array of values as they lie in memory.
func integers[T uint32 | uint64 | int32 | int64](typ arrow.DataType, values []T) arrow.Array {
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), len(values)*int(unsafe.Sizeof(*new(T))))
	data := array.NewData(typ, len(values), []*memory.Buffer{nil, memory.NewBufferBytes(bytes)}, nil, 0, 0)
	return array.MakeFromData(data)
}

// narrowest is an array of 32 bits where these hold all values, else of 64: a browser reads
// the one as a plain array of numbers, and the other one by one.
func narrowest(values []int64) arrow.Array {
	for _, v := range values {
		if v != int64(int32(v)) {
			return integers(arrow.PrimitiveTypes.Int64, values)
		}
	}
	narrow := make([]int32, len(values))
	for i, v := range values {
		narrow[i] = int32(v)
	}
	return integers(arrow.PrimitiveTypes.Int32, narrow)
}

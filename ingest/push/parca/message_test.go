package parca_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/extensions"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/uuid"
)

var update = flag.Bool("update", false, "write the messages in testdata")

// The messages below are built as Parca's agent builds them, of types that its server
// demands; the columns and types of both schemas are those of Parca's documentation.

const at = 1_767_607_200_000_000_000

var mem = memory.DefaultAllocator

func dict(t arrow.DataType) *arrow.DictionaryType {
	return &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint32, ValueType: t}
}

func ree(t arrow.DataType) *arrow.RunEndEncodedType {
	return arrow.RunEndEncodedOf(arrow.PrimitiveTypes.Int32, t)
}

// runs makes a run-end-encoded column; an empty text is null.
func runs(t *testing.T, of arrow.DataType, values ...any) arrow.Array {
	t.Helper()
	b := array.NewRunEndEncodedBuilder(mem, arrow.PrimitiveTypes.Int32, of)
	for i, v := range values {
		if i > 0 && v == values[i-1] {
			b.ContinueRun(1)
			continue
		}
		b.Append(1)
		if v == "" {
			b.ValueBuilder().AppendNull()
			continue
		}
		var err error
		switch vb := b.ValueBuilder().(type) {
		case *array.StringBuilder:
			vb.Append(v.(string))
		case *array.BinaryDictionaryBuilder:
			err = vb.AppendString(v.(string))
		case *array.Int64Builder:
			vb.Append(int64(v.(int)))
		case *array.Uint64Builder:
			vb.Append(uint64(v.(int)))
		default:
			t.Fatalf("no column of %s", of)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.NewArray()
}

func structOf(t *testing.T, fields []arrow.Field, cols ...arrow.Array) *array.Struct {
	t.Helper()
	s, err := array.NewStructArrayWithFields(cols, fields)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func nullable(name string, t arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: t, Nullable: true}
}

// dictOf makes a dictionary column of indices into values.
func dictOf(values arrow.Array, indices ...uint32) *array.Dictionary {
	b := array.NewUint32Builder(mem)
	b.AppendValues(indices, nil)
	return array.NewDictionaryArray(dict(values.DataType()), b.NewArray(), values)
}

// texts makes a dictionary column of texts; an empty one is null.
func texts(t *testing.T, values ...string) arrow.Array {
	t.Helper()
	b := array.NewDictionaryBuilder(mem, dict(arrow.BinaryTypes.String)).(*array.BinaryDictionaryBuilder)
	for _, v := range values {
		if v == "" {
			b.AppendNull()
		} else if err := b.AppendString(v); err != nil {
			t.Fatal(err)
		}
	}
	return b.NewArray()
}

// listView makes a column of lists: offset and size of each.
func listView(of arrow.Array, ranges ...[2]int32) arrow.Array {
	offsets, sizes := array.NewInt32Builder(mem), array.NewInt32Builder(mem)
	for _, r := range ranges {
		offsets.Append(r[0])
		sizes.Append(r[1])
	}
	data := array.NewData(arrow.ListViewOf(of.DataType()), len(ranges),
		[]*memory.Buffer{nil, offsets.NewArray().Data().Buffers()[1], sizes.NewArray().Data().Buffers()[1]}, []arrow.ArrayData{of.Data()}, 0, 0)
	return array.NewListViewData(data)
}

func uints(values ...uint64) arrow.Array {
	b := array.NewUint64Builder(mem)
	b.AppendValues(values, nil)
	return b.NewArray()
}

func ints(values ...int64) arrow.Array {
	b := array.NewInt64Builder(mem)
	b.AppendValues(values, nil)
	return b.NewArray()
}

// stacksV2 are two stacks that share a location: work ← main, and [kernel] ← main.
func stacksV2(t *testing.T, ranges ...[2]int32) arrow.Array {
	t.Helper()
	names := array.NewStringViewBuilder(mem)
	names.AppendValues([]string{"work", "main.main.func1.a_name_that_is_long"}, nil)
	functions := structOf(t, []arrow.Field{
		nullable("system_name", arrow.BinaryTypes.StringView), nullable("filename", dict(arrow.BinaryTypes.String)), {Name: "start_line", Type: arrow.PrimitiveTypes.Uint64},
	}, names.NewArray(), texts(t, "shop.go", ""), uints(3, 0))
	lines := structOf(t, []arrow.Field{
		{Name: "line", Type: arrow.PrimitiveTypes.Uint64}, {Name: "column", Type: arrow.PrimitiveTypes.Uint64}, {Name: "function", Type: dict(functions.DataType())},
	}, uints(7, 9), uints(2, 0), dictOf(functions, 0, 1))
	locationLines := listView(lines, [2]int32{0, 1}, [2]int32{1, 1}, [2]int32{0, 0})
	locations := structOf(t, []arrow.Field{
		{Name: "address", Type: arrow.PrimitiveTypes.Uint64},
		nullable("frame_type", dict(arrow.BinaryTypes.String)),
		nullable("mapping_file", dict(arrow.BinaryTypes.String)), nullable("mapping_build_id", dict(arrow.BinaryTypes.String)),
		nullable("lines", locationLines.DataType()),
	}, uints(0x1234, 0x2000, 0xffffffff81000000), texts(t, "native", "go", "kernel"), texts(t, "/bin/shop", "/bin/shop", "[kernel.kallsyms]"), texts(t, "feed", "feed", ""), locationLines)
	return listView(dictOf(locations, 0, 1, 2, 1), ranges...)
}

// messageV2 is a batch of WriteArrow: CPU samples of two programs, one of them in two
// threads, and the heap of one, of which two types are told in rows of their own.
func messageV2(t *testing.T) []byte {
	t.Helper()
	const rows = 6
	ids := array.NewBuilder(mem, extensions.NewUUIDType()).(*extensions.UUIDBuilder)
	times := array.NewTimestampBuilder(mem, &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"})
	for i := range rows {
		ids.Append(uuid.UUID{byte(i)})
	}
	for _, s := range []int64{0, 1, 2, 3, 4, 4} {
		times.Append(arrow.Timestamp(at + s*1e9))
	}
	label := ree(dict(arrow.BinaryTypes.String))
	labels := structOf(t, []arrow.Field{nullable("comm", label), nullable("node", label), nullable("thread_id", label)},
		runs(t, label.Encoded(), "shop", "shop", "shop", "cart", "shop", "shop"),
		runs(t, label.Encoded(), "n1", "n1", "n1", "n1", "n1", "n1"),
		runs(t, label.Encoded(), "7", "7", "8", "9", "", ""))
	text := arrow.BinaryTypes.String
	cols := []struct {
		field arrow.Field
		array arrow.Array
	}{
		{arrow.Field{Name: "labels"}, labels},
		{nullable("stacktrace", nil), stacksV2(t, [2]int32{0, 2}, [2]int32{0, 2}, [2]int32{0, 2}, [2]int32{2, 2}, [2]int32{0, 2}, [2]int32{0, 2})},
		{arrow.Field{Name: "stacktrace_id"}, ids.NewArray()},
		{arrow.Field{Name: "value"}, ints(1, 1, 1, 1, 5, 4096)},
		{arrow.Field{Name: "producer"}, runs(t, text, "parca_agent", "parca_agent", "parca_agent", "parca_agent", "memory", "memory")},
		{arrow.Field{Name: "sample_type"}, runs(t, text, "samples", "samples", "samples", "samples", "inuse_objects", "inuse_space")},
		{arrow.Field{Name: "sample_unit"}, runs(t, text, "count", "count", "count", "count", "count", "bytes")},
		{arrow.Field{Name: "period_type"}, runs(t, text, "cpu", "cpu", "cpu", "cpu", "space", "space")},
		{arrow.Field{Name: "period_unit"}, runs(t, text, "nanoseconds", "nanoseconds", "nanoseconds", "nanoseconds", "bytes", "bytes")},
		{nullable("temporality", nil), runs(t, text, "delta", "delta", "delta", "delta", "", "")},
		{arrow.Field{Name: "period"}, runs(t, arrow.PrimitiveTypes.Int64, 52_631_578, 52_631_578, 52_631_578, 52_631_578, 524_288, 524_288)},
		{arrow.Field{Name: "duration"}, runs(t, arrow.PrimitiveTypes.Uint64, e9, e9, e9, e9, 0, 0)},
		{arrow.Field{Name: "timestamp"}, times.NewArray()},
	}
	var fields []arrow.Field
	var arrays []arrow.Array
	for _, c := range cols {
		c.field.Type = c.array.DataType()
		fields, arrays = append(fields, c.field), append(arrays, c.array)
	}
	return stream(t, "v2", fields, arrays, rows, ipc.WithLZ4())
}

const e9 = 1_000_000_000

func stream(t *testing.T, version string, fields []arrow.Field, arrays []arrow.Array, rows int64, opts ...ipc.Option) []byte {
	t.Helper()
	meta := arrow.MetadataFrom(map[string]string{"parca_write_schema_version": version})
	schema := arrow.NewSchema(fields, &meta)
	var out bytes.Buffer
	w := ipc.NewWriter(&out, append(opts, ipc.WithSchema(schema))...)
	if err := w.Write(array.NewRecordBatch(schema, arrays, rows)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// samplesV1 is the first record of Write: three samples of two stacks.
func samplesV1(t *testing.T) []byte {
	t.Helper()
	word := dict(arrow.BinaryTypes.Binary)
	same := func(v any) []any { return []any{v, v, v} }
	var fields []arrow.Field
	var arrays []arrow.Array
	for _, c := range []struct {
		name  string
		array arrow.Array
	}{
		{"labels.comm", runs(t, word, same("shop")...)},
		{"labels.node", runs(t, word, same("n1")...)},
		{"labels.thread_name", runs(t, word, "io", "io", "")},
		{"stacktrace_id", runs(t, word, "stack-0000000001", "stack-0000000002", "stack-0000000001")},
		{"value", ints(1, 1, 1)},
		{"producer", runs(t, word, same("parca_agent")...)},
		{"sample_type", runs(t, word, same("samples")...)},
		{"sample_unit", runs(t, word, same("count")...)},
		{"period_type", runs(t, word, same("cpu")...)},
		{"period_unit", runs(t, word, same("nanoseconds")...)},
		{"temporality", runs(t, word, same("delta")...)},
		{"period", runs(t, arrow.PrimitiveTypes.Int64, same(52_631_578)...)},
		{"duration", runs(t, arrow.PrimitiveTypes.Int64, same(e9)...)},
		{"timestamp", runs(t, arrow.PrimitiveTypes.Int64, at, at+e9, at+2*e9)},
	} {
		fields = append(fields, nullable(c.name, c.array.DataType()))
		arrays = append(arrays, c.array)
	}
	return stream(t, "v1", fields, arrays, 3)
}

// locationsV1 is the second record of Write: the stacks.
func locationsV1(t *testing.T) []byte {
	t.Helper()
	word := dict(arrow.BinaryTypes.Binary)
	line := arrow.StructOf(
		arrow.Field{Name: "line", Type: arrow.PrimitiveTypes.Int64}, arrow.Field{Name: "column", Type: arrow.PrimitiveTypes.Uint64},
		arrow.Field{Name: "function_name", Type: word}, arrow.Field{Name: "function_system_name", Type: word},
		arrow.Field{Name: "function_filename", Type: ree(word)}, arrow.Field{Name: "function_start_line", Type: arrow.PrimitiveTypes.Int64})
	number := ree(arrow.PrimitiveTypes.Uint64)
	location := arrow.StructOf(
		arrow.Field{Name: "address", Type: arrow.PrimitiveTypes.Uint64}, arrow.Field{Name: "frame_type", Type: ree(word)},
		arrow.Field{Name: "mapping_start", Type: number}, arrow.Field{Name: "mapping_limit", Type: number}, arrow.Field{Name: "mapping_offset", Type: number},
		arrow.Field{Name: "mapping_file", Type: ree(word)}, arrow.Field{Name: "mapping_build_id", Type: ree(word)},
		arrow.Field{Name: "lines", Type: arrow.ListOf(line)})
	schema := []arrow.Field{
		{Name: "stacktrace_id", Type: arrow.BinaryTypes.Binary}, {Name: "is_complete", Type: arrow.FixedWidthTypes.Boolean}, {Name: "locations", Type: arrow.ListOf(location)},
	}
	b := array.NewRecordBuilder(mem, arrow.NewSchema(schema, nil))
	ids, complete, lists := b.Field(0).(*array.BinaryBuilder), b.Field(1).(*array.BooleanBuilder), b.Field(2).(*array.ListBuilder)
	text := func(b array.Builder, s string) {
		if r, ok := b.(*array.RunEndEncodedBuilder); ok {
			r.Append(1)
			b = r.ValueBuilder()
		}
		if err := b.(*array.BinaryDictionaryBuilder).AppendString(s); err != nil {
			t.Fatal(err)
		}
	}
	run := func(b array.Builder, n uint64) {
		b.(*array.RunEndEncodedBuilder).Append(1)
		b.(*array.RunEndEncodedBuilder).ValueBuilder().(*array.Uint64Builder).Append(n)
	}
	for i, names := range [][]string{{"work", "main"}, {"", "main"}} {
		ids.AppendString([]string{"stack-0000000001", "stack-0000000002"}[i])
		complete.Append(true)
		lists.Append(true)
		l := lists.ValueBuilder().(*array.StructBuilder)
		for j, name := range names {
			l.Append(true)
			l.FieldBuilder(0).(*array.Uint64Builder).Append(uint64(0x1000*(i+1) + j))
			text(l.FieldBuilder(1), "native")
			run(l.FieldBuilder(2), 0x1000)
			run(l.FieldBuilder(3), 0x9000)
			run(l.FieldBuilder(4), 0x40)
			text(l.FieldBuilder(5), "/bin/shop")
			text(l.FieldBuilder(6), "feed")
			lines := l.FieldBuilder(7).(*array.ListBuilder)
			lines.Append(true)
			if name == "" {
				continue
			}
			at := lines.ValueBuilder().(*array.StructBuilder)
			at.Append(true)
			at.FieldBuilder(0).(*array.Int64Builder).Append(int64(j + 7))
			at.FieldBuilder(1).(*array.Uint64Builder).Append(1)
			text(at.FieldBuilder(2), name)
			text(at.FieldBuilder(3), "_"+name)
			text(at.FieldBuilder(4), "shop.c")
			at.FieldBuilder(5).(*array.Int64Builder).Append(3)
		}
	}
	r := b.NewRecordBatch()
	return stream(t, "v1", schema, r.Columns(), r.NumRows())
}

// padata is a file of Parca's agent.
func padata(count int, batches ...[]byte) []byte {
	file := []byte{0xa6, 0xe7, 0xcc, 0xca, 0, 1}
	file = binary.BigEndian.AppendUint16(file, uint16(count))
	for _, b := range batches {
		file = append(binary.BigEndian.AppendUint32(file, uint32(len(b))), b...)
	}
	return file
}

// The messages in testdata are those of this file, for the tests of the server too.
func TestMessagesAreCurrent(t *testing.T) {
	for name, data := range map[string][]byte{"v2.arrows": messageV2(t), "v1-samples.arrows": samplesV1(t), "v1-locations.arrows": locationsV1(t)} {
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || len(got) != len(data) {
			t.Errorf("%s: %d bytes, %v, want %d: run go test -update", file, len(got), err, len(data))
		}
	}
}

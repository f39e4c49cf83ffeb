package parca

import (
	"bytes"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// table is an Arrow table under construction.
type table struct {
	fields  []arrow.Field
	columns []arrow.Array
}

func (t *table) add(name string, column arrow.Array) {
	t.fields = append(t.fields, arrow.Field{Name: name, Type: column.DataType(), Nullable: true})
	t.columns = append(t.columns, column)
}

// stream is the table as an Arrow IPC stream of one record batch. It is not compressed:
// not every client's Arrow can read that, and the protocols compress by themselves.
func (t *table) stream() ([]byte, error) {
	schema := arrow.NewSchema(t.fields, nil)
	rows := 0
	if len(t.columns) > 0 {
		rows = t.columns[0].Len()
	}
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(schema))
	if err := w.Write(array.NewRecordBatch(schema, t.columns, int64(rows))); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// unsigned is a column of the narrowest type that holds all values; negative ones, which
// such a column cannot have, are 0.
func unsigned(values []int64) arrow.Array {
	largest := int64(0)
	for _, v := range values {
		largest = max(largest, v)
	}
	switch {
	case largest <= math.MaxUint8:
		return fill(array.NewUint8Builder(memory.DefaultAllocator), values)
	case largest <= math.MaxUint16:
		return fill(array.NewUint16Builder(memory.DefaultAllocator), values)
	case largest <= math.MaxUint32:
		return fill(array.NewUint32Builder(memory.DefaultAllocator), values)
	}
	return fill(array.NewUint64Builder(memory.DefaultAllocator), values)
}

type builder[T any] interface {
	array.Builder
	Append(T)
}

func fill[T uint8 | uint16 | uint32 | uint64](b builder[T], values []int64) arrow.Array {
	b.Reserve(len(values))
	for _, v := range values {
		b.Append(T(max(v, 0)))
	}
	return b.NewArray()
}

// signed is a column of the narrowest type that holds all values.
func signed(values []int64) arrow.Array {
	least, largest := int64(0), int64(0)
	for _, v := range values {
		least, largest = min(least, v), max(largest, v)
	}
	switch {
	case math.MinInt8 <= least && largest <= math.MaxInt8:
		return fillSigned(array.NewInt8Builder(memory.DefaultAllocator), values)
	case math.MinInt16 <= least && largest <= math.MaxInt16:
		return fillSigned(array.NewInt16Builder(memory.DefaultAllocator), values)
	case math.MinInt32 <= least && largest <= math.MaxInt32:
		return fillSigned(array.NewInt32Builder(memory.DefaultAllocator), values)
	}
	return fillSigned(array.NewInt64Builder(memory.DefaultAllocator), values)
}

func fillSigned[T int8 | int16 | int32 | int64](b builder[T], values []int64) arrow.Array {
	b.Reserve(len(values))
	for _, v := range values {
		b.Append(T(v))
	}
	return b.NewArray()
}

// texts is a dictionary column of the given type, with an entry for each distinct text:
// row i has the text of of[i]; an empty one is null.
func texts(typ arrow.BinaryDataType, distinct []string, of []uint32) arrow.Array {
	dictionary := array.NewBinaryBuilder(memory.DefaultAllocator, typ)
	number := make([]uint32, len(distinct))
	known := map[string]uint32{}
	for i, text := range distinct {
		n, ok := known[text]
		if !ok && text != "" {
			n = uint32(len(known))
			known[text] = n
			dictionary.AppendString(text)
		}
		number[i] = n
	}
	indices := array.NewUint32Builder(memory.DefaultAllocator)
	indices.Reserve(len(of))
	for _, i := range of {
		if distinct[i] == "" {
			indices.AppendNull()
		} else {
			indices.Append(number[i])
		}
	}
	return array.NewDictionaryArray(&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint32, ValueType: typ}, indices.NewArray(), dictionary.NewArray())
}

// constants is n rows of a value; nil is null.
func constants(n int, value *int64) arrow.Array {
	b := array.NewInt64Builder(memory.DefaultAllocator)
	b.Reserve(n)
	for range n {
		b.AppendValues([]int64{deref(value)}, []bool{value != nil})
	}
	return b.NewArray()
}

func deref(v *int64) int64 {
	if v == nil {
		return 0
	}
	return *v
}

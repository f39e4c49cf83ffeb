package parca

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/coldframe/coldframe/profile"
)

// column finds a column that must be there.
func column(r arrow.RecordBatch, name string) (arrow.Array, error) {
	i := r.Schema().FieldIndices(name)
	if len(i) == 0 {
		return nil, fmt.Errorf("missing column %q: %w", name, profile.ErrInvalid)
	}
	return r.Column(i[0]), nil
}

// columns finds columns by name, each of which must be there.
func columns(r arrow.RecordBatch, names map[string]*arrow.Array) error {
	for name, to := range names {
		var err error
		if *to, err = column(r, name); err != nil {
			return err
		}
	}
	return nil
}

// field is a struct's field, or nil.
func field(s *array.Struct, name string) arrow.Array {
	i, ok := s.DataType().(*arrow.StructType).FieldIdx(name)
	if !ok {
		return nil
	}
	return s.Field(i)
}

// plain gets behind run ends and dictionaries to the array that holds row i's value, and
// where. ok is false for null.
func plain(a arrow.Array, i int) (_ arrow.Array, at int, ok bool) {
	for a != nil {
		if a.IsNull(i) {
			return nil, 0, false
		}
		switch e := a.(type) {
		case *array.RunEndEncoded:
			a, i = e.Values(), e.GetPhysicalIndex(i)
		case *array.Dictionary:
			a, i = e.Dictionary(), e.GetValueIndex(i)
		default:
			return a, i, true
		}
	}
	return nil, 0, false
}

// textAt is row i of a column of strings or bytes, "" for null and for no column. It
// does not lie in the record.
func textAt(a arrow.Array, i int) string {
	a, i, ok := plain(a, i)
	if !ok {
		return ""
	}
	switch v := a.(type) {
	case *array.String:
		return strings.Clone(v.Value(i))
	case *array.LargeString:
		return strings.Clone(v.Value(i))
	case *array.StringView:
		return strings.Clone(v.Value(i))
	case *array.Binary:
		return string(v.Value(i))
	case *array.LargeBinary:
		return string(v.Value(i))
	case *array.BinaryView:
		return string(v.Value(i))
	case *array.FixedSizeBinary:
		return string(v.Value(i))
	case array.ExtensionArray:
		return textAt(v.Storage(), i)
	}
	panic(fmt.Sprintf("a column of text is of type %s", a.DataType())) // becomes ErrInvalid
}

// numberAt is row i of a column of whole numbers or times, 0 for null and for no column.
func numberAt(a arrow.Array, i int) int64 {
	a, i, ok := plain(a, i)
	if !ok {
		return 0
	}
	switch v := a.(type) {
	case *array.Int64:
		return v.Value(i)
	case *array.Uint64:
		return int64(v.Value(i))
	case *array.Timestamp:
		n := int64(v.Value(i))
		return n * v.DataType().(*arrow.TimestampType).Unit.Multiplier().Nanoseconds()
	case *array.Duration:
		n := int64(v.Value(i))
		return n * v.DataType().(*arrow.DurationType).Unit.Multiplier().Nanoseconds()
	case *array.Int32:
		return int64(v.Value(i))
	case *array.Uint32:
		return int64(v.Value(i))
	}
	panic(fmt.Sprintf("a column of numbers is of type %s", a.DataType())) // becomes ErrInvalid
}

// list is row i of a column of lists: the array that holds it, and from where to where.
func list(a arrow.Array, i int) (values arrow.Array, from, to int) {
	a, i, ok := plain(a, i)
	if !ok {
		return nil, 0, 0
	}
	l, ok := a.(array.ListLike)
	if !ok {
		panic(fmt.Sprintf("a column of lists is of type %s", a.DataType())) // becomes ErrInvalid
	}
	start, end := l.ValueOffsets(i)
	values = l.ListValues()
	if start < 0 || end < start || end > int64(values.Len()) {
		panic(fmt.Sprintf("list [%d, %d) of %d values", start, end, values.Len()))
	}
	return values, int(start), int(end)
}

// structure is row i of a column of structs. It is nil for null.
func structure(a arrow.Array, i int) (*array.Struct, int) {
	a, i, ok := plain(a, i)
	if !ok {
		return nil, 0
	}
	return a.(*array.Struct), i
}

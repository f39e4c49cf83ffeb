package parca

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/coldframe/coldframe/profile"
)

// Arrow's reader believes the lengths that a message's metadata claims, and allocates
// for them before it looks whether so much is there; no recover helps against that. So
// the lengths are checked first. The layout is that of FlatBuffers, with the tables and field
// numbers of Arrow's Message.fbs and Schema.fbs.

const (
	maxNesting = 32      // of types
	maxFields  = 1 << 14 // of a schema, nested ones included
)

// The types of a message's header.
const (
	headerSchema          = 1
	headerDictionaryBatch = 2
	headerRecordBatch     = 3
)

var errMetadata = fmt.Errorf("malformed metadata: %w", profile.ErrInvalid)

// verifyStream checks the messages of the first IPC stream in data.
func verifyStream(data []byte) error {
	for {
		if len(data) < 8 || binary.LittleEndian.Uint32(data) != 0xffffffff {
			if len(data) == 0 {
				return nil // without its end mark, which is allowed
			}
			return fmt.Errorf("a message does not begin with ffffffff and its length: %w", profile.ErrInvalid)
		}
		n := int64(binary.LittleEndian.Uint32(data[4:]))
		data = data[8:]
		if n == 0 {
			return nil
		}
		if n > int64(len(data)) {
			return fmt.Errorf("metadata of %d bytes, but %d are left: %w", n, len(data), profile.ErrInvalid)
		}
		body, err := verifyMessage(data[:n])
		if err != nil {
			return err
		}
		data = data[n:]
		if body < 0 || body > int64(len(data)) {
			return fmt.Errorf("body of %d bytes, but %d are left: %w", body, len(data), profile.ErrInvalid)
		}
		data = data[body:]
	}
}

// verifyMessage checks a message's metadata, and gives the length of its body.
func verifyMessage(b []byte) (body int64, err error) {
	defer func() {
		if recover() != nil { // an offset leads outside
			err = errMetadata
		}
	}()
	v := verifier{b: b, fields: maxFields}
	m := v.table(int(binary.LittleEndian.Uint32(b)))
	v.vector(m, 4, 4) // custom_metadata
	if at := v.field(m, 3); at > 0 {
		body = int64(binary.LittleEndian.Uint64(b[at:]))
	}
	kind := byte(0)
	if at := v.field(m, 1); at > 0 {
		kind = b[at]
	}
	header := v.sub(m, 2)
	if header == 0 {
		return 0, errMetadata
	}
	switch kind {
	case headerSchema:
		v.vector(header, 2, 4) // custom_metadata
		v.fieldsOf(header, 1, 0)
	case headerRecordBatch:
		v.batch(header)
	case headerDictionaryBatch:
		if batch := v.sub(header, 1); batch > 0 {
			v.batch(batch)
		}
	default:
		return 0, errMetadata
	}
	return body, v.err
}

// verifier walks a FlatBuffer. Where an offset leads outside, it panics.
type verifier struct {
	b      []byte
	fields int // that may still come
	err    error
}

// table checks that a table begins at a position.
func (v *verifier) table(at int) int {
	_ = v.b[at+3]
	return at
}

// field is where a table's field is, 0 if it is not given.
func (v *verifier) field(table, number int) int {
	vtable := table - int(int32(binary.LittleEndian.Uint32(v.b[table:])))
	size := int(binary.LittleEndian.Uint16(v.b[vtable:]))
	if 4+2*number+2 > size {
		return 0
	}
	offset := int(binary.LittleEndian.Uint16(v.b[vtable+4+2*number:]))
	if offset == 0 {
		return 0
	}
	_ = v.b[table+offset]
	return table + offset
}

// sub is the table that a field refers to, 0 if it is not given.
func (v *verifier) sub(table, number int) int {
	at := v.field(table, number)
	if at == 0 {
		return 0
	}
	return v.table(at + int(binary.LittleEndian.Uint32(v.b[at:])))
}

// vector checks that a vector's elements are there, and gives where they begin and how
// many they are.
func (v *verifier) vector(table, number, size int) (first, count int) {
	at := v.field(table, number)
	if at == 0 {
		return 0, 0
	}
	at += int(binary.LittleEndian.Uint32(v.b[at:]))
	n := int64(binary.LittleEndian.Uint32(v.b[at:]))
	first = at + 4
	if n*int64(size) > int64(len(v.b)-first) {
		v.fail("a vector of %d elements in %d bytes", n, len(v.b)-first)
		return 0, 0
	}
	return first, int(n)
}

func (v *verifier) fail(format string, values ...any) {
	if v.err == nil {
		v.err = errors.Join(fmt.Errorf(format, values...), errMetadata)
	}
}

// fieldsOf checks the fields in a vector of a schema's or field's table.
func (v *verifier) fieldsOf(table, number, nesting int) {
	first, n := v.vector(table, number, 4)
	if v.fields -= n; v.fields < 0 {
		v.fail("more than %d fields", maxFields)
	}
	if nesting > maxNesting {
		v.fail("types are nested deeper than %d", maxNesting)
	}
	for i := range n {
		if v.err != nil {
			return
		}
		at := first + 4*i
		f := v.table(at + int(binary.LittleEndian.Uint32(v.b[at:])))
		v.vector(f, 6, 4) // custom_metadata
		v.fieldsOf(f, 5, nesting+1)
	}
}

// batch checks a record batch.
func (v *verifier) batch(table int) {
	const structSize = 16
	v.vector(table, 1, structSize) // nodes
	_, buffers := v.vector(table, 2, structSize)
	first, n := v.vector(table, 4, 8) // variadicBufferCounts
	for i := range n {
		if count := binary.LittleEndian.Uint64(v.b[first+8*i:]); count > uint64(buffers) {
			v.fail("a column of %d buffers, of %d in all", count, buffers)
		}
	}
}

package arrowblock

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/klauspost/compress/zstd"

	"github.com/coldframe/coldframe/block"
)

// stream is one section's Arrow IPC stream, parsed but not decoded: a column costs
// nothing until it is asked for.
type stream struct {
	section string // for errors
	at      int64  // where the section begins in the block, for errors
	rows    int
	facts   []fact
	columns []columnView

	body       []byte
	compressed bool
	zstd       *zstd.Decoder
}

// columnView is a column of a stream. Its buffers are where they lie in the body.
type columnView struct {
	name        string
	kind        kind
	rows, nulls int
	buffers     []bufferAt
	children    []columnView
}

// Bounds of what a stream may claim. They hold for all that a Builder writes.
const (
	maxRows    = 1 << 24
	maxColumns = 1 << 10
	maxNesting = 8
	// A buffer larger than freeBuffer must have been at least 1/maxRatio of that when
	// compressed, so that a few bytes cannot ask for gigabytes.
	freeBuffer = 16 << 20
	maxRatio   = 256
)

func (s *stream) corrupt(format string, args ...any) error {
	return fmt.Errorf("section %s at %d: %s: %w", s.section, s.at, fmt.Sprintf(format, args...), block.ErrCorrupt)
}

// parseStream reads the messages of a section whose checksum has been verified.
func parseStream(section string, at int64, data []byte, dec *zstd.Decoder) (*stream, error) {
	s := &stream{section: section, at: at, zstd: dec}
	rest := data
	header, rest, err := s.message(rest, messageSchema)
	if err != nil {
		return nil, err
	}
	s.facts = parseFacts(header.vector(2))
	fields := header.vector(1)
	budget := maxColumns
	if s.columns, err = s.fields(fields, maxNesting, &budget); err != nil {
		return nil, err
	}
	header, rest, err = s.message(rest, messageRecordBatch)
	if err != nil {
		return nil, err
	}
	if err := s.recordBatch(header); err != nil {
		return nil, err
	}
	if len(rest) != 8 || binary.LittleEndian.Uint64(rest) != continuation {
		return nil, s.corrupt("%d bytes after its record batch, where the end of the stream should be", len(rest))
	}
	return s, nil
}

// message takes one encapsulated message off data; its body goes to s.body.
func (s *stream) message(data []byte, kind uint8) (header flat, rest []byte, err error) {
	if len(data) < 8 || binary.LittleEndian.Uint32(data) != continuation {
		return flat{}, nil, s.corrupt("no message where one should be, %d bytes before its end", len(data))
	}
	size := int64(binary.LittleEndian.Uint32(data[4:]))
	if data = data[8:]; size > int64(len(data)) || size%8 != 0 {
		return flat{}, nil, s.corrupt("message claims %d bytes of metadata, %d are left", size, len(data))
	}
	meta := flatRoot(data[:size])
	data = data[size:]
	if got := meta.u8(1); got != kind {
		return flat{}, nil, s.corrupt("message is of kind %d, not %d", got, kind)
	}
	if got := meta.i16(0); got != metadataV5 {
		return flat{}, nil, s.corrupt("metadata of version %d, not %d", got, metadataV5)
	}
	length := meta.i64(3)
	if length < 0 || length > int64(len(data)) || length%8 != 0 {
		return flat{}, nil, s.corrupt("message claims a body of %d bytes", length)
	}
	s.body, rest = data[:length], data[length:]
	return meta.table(2), rest, nil
}

func parseFacts(pairs flatVector) []fact {
	var facts []fact
	for i := range min(pairs.n, maxColumns) {
		pair := pairs.table(i)
		facts = append(facts, fact{pair.text(0), pair.text(1)})
	}
	return facts
}

func (s *stream) fact(key string) string {
	for _, f := range s.facts {
		if f.key == key {
			return f.value
		}
	}
	return ""
}

// fields reads the schema's fields. budget bounds how many there may be in all.
func (s *stream) fields(fields flatVector, nesting int, budget *int) ([]columnView, error) {
	if fields.n > *budget || nesting == 0 {
		return nil, s.corrupt("too many columns")
	}
	*budget -= fields.n
	columns := make([]columnView, fields.n)
	for i := range columns {
		f := fields.table(i)
		columns[i] = columnView{name: f.text(0), kind: fieldKind(f)}
		var err error
		if columns[i].children, err = s.fields(f.vector(5), nesting-1, budget); err != nil {
			return nil, err
		}
		if columns[i].kind == kindList && len(columns[i].children) != 1 {
			return nil, s.corrupt("list %s has %d children", columns[i].name, len(columns[i].children))
		}
	}
	return columns, nil
}

func fieldKind(f flat) kind {
	switch of := f.table(3); f.u8(2) {
	case typeUtf8:
		return kindText
	case typeList:
		return kindList
	case typeStruct:
		return kindStruct
	case typeInt:
		signed := of.u8(1) != 0
		for k := kindU8; k <= kindI64; k++ {
			if width, s := k.bitWidth(); width == of.i32(0) && s == signed {
				return k
			}
		}
	}
	return kindNone
}

// recordBatch gives each column its length and buffers.
func (s *stream) recordBatch(header flat) error {
	rows := header.i64(0)
	if rows < 0 || rows > maxRows {
		return s.corrupt("claims %d rows", rows)
	}
	s.rows = int(rows)
	if compression := header.table(3); compression.present() {
		if codec := compression.u8(0); codec != codecZSTD {
			return s.corrupt("buffers are compressed with codec %d", codec)
		}
		s.compressed = true
	}
	nodes, buffers := header.vector(1), header.vector(2)
	if err := s.place(s.columns, &nodes, &buffers); err != nil {
		return err
	}
	for i := range s.columns {
		if s.columns[i].rows != s.rows {
			return s.corrupt("column %s has %d rows of %d", s.columns[i].name, s.columns[i].rows, s.rows)
		}
	}
	return nil
}

// place deals out nodes and buffers in depth-first order.
func (s *stream) place(columns []columnView, nodes, buffers *flatVector) error {
	for i := range columns {
		c := &columns[i]
		rows, nulls, ok := nodes.nextPair()
		if !ok || rows < 0 || rows > maxRows || nulls < 0 || nulls > rows {
			return s.corrupt("column %s: no length, or one of %d with %d nulls", c.name, rows, nulls)
		}
		c.rows, c.nulls = int(rows), int(nulls)
		n := 2
		switch c.kind {
		case kindNone:
			return s.corrupt("column %s is of a type that blocks do not have", c.name)
		case kindText:
			n = 3
		case kindStruct:
			n = 1
		}
		c.buffers = make([]bufferAt, n)
		for k := range c.buffers {
			off, length, ok := buffers.nextPair()
			if !ok || off < 0 || length < 0 || off > int64(len(s.body)) || length > int64(len(s.body))-off {
				return s.corrupt("column %s: buffer %d at %d of %d bytes lies outside of the body of %d", c.name, k, off, length, len(s.body))
			}
			c.buffers[k] = bufferAt{int(off), int(length)}
		}
		if err := s.place(c.children, nodes, buffers); err != nil {
			return err
		}
		for k := range c.children {
			if c.kind == kindStruct && c.children[k].rows != c.rows {
				return s.corrupt("column %s has %d rows of %d", c.children[k].name, c.children[k].rows, c.rows)
			}
		}
	}
	return nil
}

// column finds a column by name; path goes on into lists and structs.
func (s *stream) column(path ...string) *columnView {
	columns := s.columns
	var found *columnView
	for _, name := range path {
		found = nil
		for i := range columns {
			if columns[i].name == name {
				found = &columns[i]
				break
			}
		}
		if found == nil {
			return nil
		}
		columns = found.children
	}
	return found
}

// buffer decodes one of a column's buffers, which must have size bytes when decoded.
func (s *stream) buffer(c *columnView, which, size int) ([]byte, error) {
	at := c.buffers[which]
	raw := s.body[at.off : at.off+at.length]
	if len(raw) == 0 && size == 0 {
		return nil, nil
	}
	if s.compressed {
		if len(raw) < 8 {
			return nil, s.corrupt("column %s: buffer %d of %d bytes has no length", c.name, which, len(raw))
		}
		claimed := int64(binary.LittleEndian.Uint64(raw))
		raw = raw[8:]
		if claimed != -1 {
			if claimed != int64(size) {
				return nil, s.corrupt("column %s: buffer %d claims %d bytes, its %d rows need %d", c.name, which, claimed, c.rows, size)
			}
			return s.decompress(c, which, raw, size)
		}
	}
	if len(raw) != size {
		return nil, s.corrupt("column %s: buffer %d has %d bytes, its %d rows need %d", c.name, which, len(raw), c.rows, size)
	}
	return raw, nil
}

func (s *stream) decompress(c *columnView, which int, raw []byte, size int) ([]byte, error) {
	if size > freeBuffer && size/maxRatio > len(raw) {
		return nil, s.corrupt("column %s: buffer %d claims %d bytes of %d", c.name, which, size, len(raw))
	}
	words := make([]uint64, (size+7)/8) // so that the buffer is aligned for any number
	out, err := s.zstd.DecodeAll(raw, bytesOf(words)[:0:size])
	if err != nil {
		return nil, s.corrupt("column %s: buffer %d: %v", c.name, which, err)
	}
	if len(out) != size {
		return nil, s.corrupt("column %s: buffer %d decodes to %d bytes, not %d", c.name, which, len(out), size)
	}
	return out, nil
}

// decodeNumbers reads a column of fixed width without nulls.
func decodeNumbers[T number](s *stream, path ...string) ([]T, error) {
	c := s.column(path...)
	if c == nil || c.kind != kindOf[T]() || c.nulls > 0 {
		return nil, s.corrupt("no column %v of the right type", path)
	}
	width, _ := c.kind.bitWidth()
	b, err := s.buffer(c, 1, c.rows*int(width)/8)
	return valuesOf[T](b), err
}

// decodeNarrow reads a column that narrow made, whatever type it has. Values that do
// not fit T are refused.
func decodeNarrow[T uint32 | int64](s *stream, path ...string) ([]T, error) {
	c := s.column(path...)
	if c == nil {
		return nil, s.corrupt("no column %v", path)
	}
	switch c.kind {
	case kindOf[T]():
		return decodeNumbers[T](s, path...)
	case kindU8:
		return widened[T, uint8](s, path)
	case kindU16:
		return widened[T, uint16](s, path)
	case kindU32:
		return widened[T, uint32](s, path)
	}
	return nil, s.corrupt("column %v is not of numbers, or of too large ones", path)
}

func widened[To, From number](s *stream, path []string) ([]To, error) {
	values, err := decodeNumbers[From](s, path...)
	return converted[To](values), err
}

// offsets decodes the offsets of a text or list column, which never descend and end
// at most at limit.
func (s *stream) offsets(c *columnView, limit int) ([]int32, error) {
	size := (c.rows + 1) * 4
	if c.rows == 0 && c.buffers[1].length == 0 {
		return []int32{0}, nil // older writers leave the only offset out
	}
	b, err := s.buffer(c, 1, size)
	if err != nil {
		return nil, err
	}
	offsets := valuesOf[int32](b)
	last := int32(0)
	for i, o := range offsets {
		if o < last {
			return nil, s.corrupt("column %s: row %d ends at %d, before %d", c.name, i, o, last)
		}
		last = o
	}
	if offsets[0] != 0 || limit >= 0 && int(last) != limit {
		return nil, s.corrupt("column %s: rows are [%d, %d), not [0, %d)", c.name, offsets[0], last, limit)
	}
	return offsets, nil
}

// decodeList reads the offsets of a column of lists.
func (s *stream) decodeList(path ...string) ([]int32, error) {
	c := s.column(path...)
	if c == nil || c.kind != kindList || c.nulls > 0 {
		return nil, s.corrupt("no list %v", path)
	}
	return s.offsets(c, c.children[0].rows)
}

// textView is a decoded column of text, whose strings are views of it.
type textView struct {
	offsets []int32
	text    string
	valid   []byte // nil: nothing is null
}

func (t *textView) len() int { return len(t.offsets) - 1 }

func (t *textView) at(i int) string { return t.text[t.offsets[i]:t.offsets[i+1]] }

func (t *textView) null(i int) bool { return t.valid != nil && t.valid[i/8]>>(i%8)&1 == 0 }

// decodeStrings reads a column of text.
func (s *stream) decodeStrings(path ...string) (*textView, error) {
	c := s.column(path...)
	if c == nil || c.kind != kindText {
		return nil, s.corrupt("no text column %v", path)
	}
	t := &textView{}
	var err error
	if c.nulls > 0 {
		if t.valid, err = s.buffer(c, 0, (c.rows+7)/8); err != nil {
			return nil, err
		}
		zeros := c.rows
		for _, b := range t.valid {
			zeros -= bits.OnesCount8(b)
		}
		if zeros != c.nulls {
			return nil, s.corrupt("column %s: %d nulls, not %d", c.name, zeros, c.nulls)
		}
	}
	if t.offsets, err = s.offsets(c, -1); err != nil {
		return nil, err
	}
	data, err := s.buffer(c, 2, int(t.offsets[c.rows]))
	if err != nil {
		return nil, err
	}
	t.text = textOf(data)
	return t, nil
}

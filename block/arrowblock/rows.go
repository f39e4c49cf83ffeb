package arrowblock

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

// Columns says which columns of rows are wanted. Stack is always there.
type Columns struct {
	Values []int // which of the group's sample types; nil: none
	Labels bool
}

// Rows is a run of consecutive rows of a group. It is valid until the next one.
type Rows struct {
	Span   int      // which of the asked spans it belongs to
	First  uint64   // the number of the first row
	Stack  []uint32 // node numbers, below Info.Nodes
	Labels []uint32 // numbers of label sets; nil when no row has labels or none were asked for

	values []valueColumn // by sample type
}

// valueColumn is the values of one sample type as they are stored: the same multiple
// of a column of the smallest type that holds them, or numbers in a table of values.
type valueColumn struct {
	kind   kind // kindNone: was not asked for
	data   []byte
	factor int64
	table  []int64 // nil: data are the values
}

func (v valueColumn) slice(from, to int) valueColumn {
	bits, _ := v.kind.bitWidth()
	width := int(bits) / 8
	v.data = v.data[from*width : to*width]
	return v
}

// Len is how many rows there are.
func (r *Rows) Len() int { return len(r.Stack) }

// AddTo adds the values of a sample type to self, in which node number first is at
// 0: the values of a service's rows to the nodes of its stacks. A stack outside is
// block.ErrCorrupt. The sample type must be one of the Columns asked for.
func (r *Rows) AddTo(self []int64, first uint64, sampleType int) error {
	v := &r.values[sampleType]
	n := 0
	switch v.kind {
	case kindU8:
		n = addTo[uint8](self, r.Stack, uint32(first), v)
	case kindU16:
		n = addTo[uint16](self, r.Stack, uint32(first), v)
	case kindU32:
		n = addTo[uint32](self, r.Stack, uint32(first), v)
	case kindI64:
		n = addTo[int64](self, r.Stack, uint32(first), v)
	default:
		panic(fmt.Sprintf("rows: sample type %d was not asked for", sampleType))
	}
	if n < r.Len() {
		return fmt.Errorf("row %d has stack %d, outside of nodes [%d, %d): %w", r.First+uint64(n), r.Stack[n], first, first+uint64(len(self)), block.ErrCorrupt)
	}
	return nil
}

// addTo returns how many rows it could add before one that lies outside of self.
func addTo[T number](self []int64, stack []uint32, first uint32, v *valueColumn) int {
	values := valuesOf[T](v.data)[:len(stack)]
	if v.table != nil {
		for i, number := range values {
			n := stack[i] - first
			if n >= uint32(len(self)) {
				return i
			}
			self[n] += v.table[number]
		}
		return len(stack)
	}
	for i, value := range values {
		n := stack[i] - first
		if n >= uint32(len(self)) {
			return i
		}
		self[n] += int64(value) * v.factor
	}
	return len(stack)
}

// Values appends the values of a sample type to dst.
func (r *Rows) Values(dst []int64, sampleType int) []int64 {
	v := &r.values[sampleType]
	if v.kind == kindNone {
		panic(fmt.Sprintf("rows: sample type %d was not asked for", sampleType))
	}
	return v.appendTo(dst)
}

func (v *valueColumn) appendTo(dst []int64) []int64 {
	switch v.kind {
	case kindU8:
		return appendValues[uint8](dst, v)
	case kindU16:
		return appendValues[uint16](dst, v)
	case kindU32:
		return appendValues[uint32](dst, v)
	}
	return appendValues[int64](dst, v)
}

func appendValues[T number](dst []int64, v *valueColumn) []int64 {
	values := valuesOf[T](v.data)
	dst = slices.Grow(dst, len(values))
	if v.table != nil {
		for _, number := range values {
			dst = append(dst, v.table[number])
		}
		return dst
	}
	for _, value := range values {
		dst = append(dst, int64(value)*v.factor)
	}
	return dst
}

// readAhead is how many compressed bytes of rows are fetched before they are decoded.
const readAhead = 16 << 20

// Rows reads rows of a group. The spans, as found in Totals.FirstRow, must be ascending and
// disjoint; a span may come in several pieces, an empty one does not come. Only the chunks that hold
// them are read, several at a time, and of these only the columns asked for are decoded. An error ends the walk.
func (b *Block) Rows(ctx context.Context, group int, spans []Span, cols Columns) iter.Seq2[*Rows, error] {
	if err := b.checkGroup(group); err != nil {
		return func(yield func(*Rows, error) bool) { yield(nil, err) }
	}
	return b.rowsOf(ctx, group, &b.raw[group], spans, cols)
}

// rowsOf is Rows of a group's own rows or of those of a rollup.
func (b *Block) rowsOf(ctx context.Context, group int, table *rowTable, spans []Span, cols Columns) iter.Seq2[*Rows, error] {
	return func(yield func(*Rows, error) bool) {
		if err := b.checkRows(group, table, spans, cols); err != nil {
			yield(nil, err)
			return
		}
		chunks := chunksWith(table.chunks, spans)
		for next := 0; len(chunks) > 0; {
			n, size := 1, chunks[0].bytes()
			for n < len(chunks) && size+chunks[n].bytes() <= readAhead {
				size += chunks[n].bytes()
				n++
			}
			streams, err := b.fetchRows(ctx, chunks[:n])
			if err != nil {
				yield(nil, err)
				return
			}
			for i, s := range streams {
				rows, err := b.decodeRows(s, group, chunks[i].rows.first, cols)
				if err != nil {
					yield(nil, err)
					return
				}
				for next < len(spans) && spans[next].To <= rows.First {
					next++
				}
				if !rows.pieces(spans, next, yield) {
					return
				}
			}
			chunks = chunks[n:]
		}
	}
}

// checkRows refuses what was asked for wrongly.
func (b *Block) checkRows(group int, table *rowTable, spans []Span, cols Columns) error {
	end := uint64(0)
	for i, s := range spans {
		if s.From < end || s.To < s.From || s.To > table.rows {
			return fmt.Errorf("rows [%d, %d), span %d, of a group of %d: spans must be ascending and within: %w", s.From, s.To, i, table.rows, profile.ErrInvalid)
		}
		end = s.To
	}
	for _, k := range cols.Values {
		if k < 0 || k >= len(b.groups[group].SampleTypes) {
			return fmt.Errorf("sample type %d of %d: %w", k, len(b.groups[group].SampleTypes), profile.ErrInvalid)
		}
	}
	return nil
}

// chunksWith picks the chunks that hold rows of the spans.
func chunksWith(chunks []rowChunk, spans []Span) []rowChunk {
	var picked []rowChunk
	next := 0
	for _, c := range chunks {
		first := c.rows.first
		for next < len(spans) && (spans[next].To <= first || spans[next].Len() == 0) {
			next++
		}
		if next < len(spans) && spans[next].From < first+uint64(c.rows.rows) {
			picked = append(picked, c)
		}
	}
	return picked
}

// pieces yields the parts of a chunk that belong to the spans from number next on.
func (r *Rows) pieces(spans []Span, next int, yield func(*Rows, error) bool) bool {
	end := r.First + uint64(r.Len())
	piece := Rows{values: make([]valueColumn, len(r.values))}
	for ; next < len(spans) && spans[next].From < end; next++ {
		first, last := max(spans[next].From, r.First), min(spans[next].To, end)
		if first >= last {
			continue
		}
		from, to := int(first-r.First), int(last-r.First)
		piece.Span, piece.First, piece.Stack = next, first, r.Stack[from:to]
		if r.Labels != nil {
			piece.Labels = r.Labels[from:to]
		}
		for k, v := range r.values {
			piece.values[k] = v.slice(from, to)
		}
		if !yield(&piece, nil) {
			return false
		}
	}
	return true
}

// rowStreams are the streams of a rowChunk.
type rowStreams struct{ rows, tuples *stream }

// fetchRows reads chunks of rows.
func (b *Block) fetchRows(ctx context.Context, chunks []rowChunk) ([]rowStreams, error) {
	sections := make([]*section, 0, 2*len(chunks))
	for _, c := range chunks {
		sections = append(sections, c.rows)
		if c.tuples != nil {
			sections = append(sections, c.tuples)
		}
	}
	streams, err := b.fetch(ctx, sections...)
	if err != nil {
		return nil, err
	}
	of := make([]rowStreams, len(chunks))
	for i, c := range chunks {
		of[i].rows, streams = streams[0], streams[1:]
		if c.tuples != nil {
			of[i].tuples, streams = streams[0], streams[1:]
		}
	}
	return of, nil
}

// decodeRows decodes the columns that were asked for.
func (b *Block) decodeRows(s rowStreams, group int, first uint64, cols Columns) (*Rows, error) {
	r := &Rows{First: first, values: make([]valueColumn, len(b.groups[group].SampleTypes))}
	var err error
	if r.Stack, err = s.rows.decodeStacks(b.info.Nodes); err != nil {
		return nil, err
	}
	if s.tuples != nil {
		return r, b.decodeTuples(s, r, cols)
	}
	if cols.Labels {
		if r.Labels, err = b.decodeLabels(s.rows); err != nil {
			return nil, err
		}
	}
	for _, k := range cols.Values {
		if r.values[k], err = s.rows.decodeValues(k); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// decodeStacks decodes the stacks of rows, which must be below nodes.
func (s *stream) decodeStacks(nodes int64) (stacks []uint32, err error) {
	if s.column("stack") != nil {
		err = decodeInto(s, &stacks, "stack")
	} else {
		stacks, err = s.addUpStacks()
	}
	if err == nil && len(stacks) > 0 && int64(slices.Max(stacks)) >= nodes {
		err = s.corrupt("stack %d of %d", slices.Max(stacks), nodes)
	}
	return stacks, err
}

// addUpStacks decodes stacks from their differences.
func (s *stream) addUpStacks() ([]uint32, error) {
	stacks := make([]uint32, s.rows)
	for k := range 4 {
		if k > 0 && s.column(stackByteName(k)) == nil {
			continue
		}
		plane, err := decodeNumbers[uint8](s, stackByteName(k))
		if err != nil {
			return nil, err
		}
		for i, b := range plane {
			stacks[i] |= uint32(b) << (8 * k)
		}
	}
	sum := uint32(0)
	for i, d := range stacks {
		sum += d
		stacks[i] = sum
	}
	return stacks, nil
}

// decodeLabels decodes the label sets of rows or tuples; nil when all are empty.
func (b *Block) decodeLabels(s *stream) (labels []uint32, err error) {
	if s.column("labels") == nil {
		return nil, nil
	}
	sets, err := b.named(sampleLabelsName)
	if err := firstError(err, narrowInto(s, &labels, "labels")); err != nil {
		return nil, err
	}
	if len(labels) > 0 && int(slices.Max(labels)) >= sets.rows {
		return nil, s.corrupt("label set %d of %d", slices.Max(labels), sets.rows)
	}
	return labels, nil
}

// decodeTuples decodes the labels and values of rows that have a table of them.
func (b *Block) decodeTuples(s rowStreams, r *Rows, cols Columns) error {
	number, err := s.tupleNumbers()
	if err != nil {
		return err
	}
	if cols.Labels {
		labels, err := b.decodeLabels(s.tuples)
		if err != nil {
			return err
		}
		if labels != nil {
			number.table = converted[int64](labels)
			r.Labels = converted[uint32](number.appendTo(nil))
		}
	}
	for _, k := range cols.Values {
		values, err := s.tuples.decodeValues(k)
		if err != nil {
			return err
		}
		r.values[k] = number
		r.values[k].table = values.appendTo(make([]int64, 0, s.tuples.rows))
	}
	return nil
}

// tupleNumbers decodes which tuple each row has.
func (s rowStreams) tupleNumbers() (valueColumn, error) {
	kind, data, err := s.rows.decodeColumn("tuple")
	if err != nil {
		return valueColumn{}, err
	}
	most := int64(-1)
	switch {
	case s.rows.rows == 0:
	case kind == kindU8:
		most = int64(slices.Max(valuesOf[uint8](data)))
	case kind == kindU16:
		most = int64(slices.Max(valuesOf[uint16](data)))
	case kind == kindU32:
		most = int64(slices.Max(valuesOf[uint32](data)))
	default:
		most = maxRows
	}
	if most >= int64(s.tuples.rows) {
		return valueColumn{}, s.rows.corrupt("tuple %d of %d", most, s.tuples.rows)
	}
	return valueColumn{kind: kind, data: data, factor: 1}, nil
}

// decodeValues decodes the values of a sample type: a column, or a multiple of one.
func (s *stream) decodeValues(sampleType int) (valueColumn, error) {
	name, factor := valueName(sampleType), int64(1)
	if multiple := s.fact(name); multiple != "" {
		of, by, _ := strings.Cut(multiple, "*")
		var err error
		if factor, err = strconv.ParseInt(by, 10, 64); err != nil {
			return valueColumn{}, s.corrupt("values %s are %q, not a multiple of a column", name, multiple)
		}
		name = of
	}
	kind, data, err := s.decodeColumn(name)
	return valueColumn{kind: kind, data: data, factor: factor}, err
}

// decodeColumn decodes a column of numbers of any width.
func (s *stream) decodeColumn(name string) (kind, []byte, error) {
	c := s.column(name)
	if c == nil || c.nulls > 0 {
		return kindNone, nil, s.corrupt("no column %s", name)
	}
	switch c.kind {
	case kindU8, kindU16, kindU32, kindI64:
	default:
		return kindNone, nil, s.corrupt("column %s is of the wrong type", name)
	}
	width, _ := c.kind.bitWidth()
	data, err := s.buffer(c, 1, c.rows*int(width)/8)
	return c.kind, data, err
}

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
// of a column of the smallest type that holds them.
type valueColumn struct {
	kind   kind // kindNone: was not asked for
	data   []byte
	factor int64
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
	v := r.values[sampleType]
	n := 0
	switch v.kind {
	case kindU8:
		n = addTo(self, r.Stack, uint32(first), valuesOf[uint8](v.data), v.factor)
	case kindU16:
		n = addTo(self, r.Stack, uint32(first), valuesOf[uint16](v.data), v.factor)
	case kindU32:
		n = addTo(self, r.Stack, uint32(first), valuesOf[uint32](v.data), v.factor)
	case kindI64:
		n = addTo(self, r.Stack, uint32(first), valuesOf[int64](v.data), v.factor)
	default:
		panic(fmt.Sprintf("rows: sample type %d was not asked for", sampleType))
	}
	if n < r.Len() {
		return fmt.Errorf("row %d has stack %d, outside of nodes [%d, %d): %w", r.First+uint64(n), r.Stack[n], first, first+uint64(len(self)), block.ErrCorrupt)
	}
	return nil
}

// addTo returns how many rows it could add before one that lies outside of self.
func addTo[T number](self []int64, stack []uint32, first uint32, values []T, factor int64) int {
	for i, v := range values[:len(stack)] {
		n := stack[i] - first
		if n >= uint32(len(self)) {
			return i
		}
		self[n] += int64(v) * factor
	}
	return len(stack)
}

// Values appends the values of a sample type to dst.
func (r *Rows) Values(dst []int64, sampleType int) []int64 {
	v := r.values[sampleType]
	switch v.kind {
	case kindU8:
		return appendValues(dst, valuesOf[uint8](v.data), v.factor)
	case kindU16:
		return appendValues(dst, valuesOf[uint16](v.data), v.factor)
	case kindU32:
		return appendValues(dst, valuesOf[uint32](v.data), v.factor)
	case kindI64:
		return appendValues(dst, valuesOf[int64](v.data), v.factor)
	}
	panic(fmt.Sprintf("rows: sample type %d was not asked for", sampleType))
}

func appendValues[T number](dst []int64, values []T, factor int64) []int64 {
	dst = slices.Grow(dst, len(values))
	for _, v := range values {
		dst = append(dst, int64(v)*factor)
	}
	return dst
}

// readAhead is how many compressed bytes of rows are fetched before they are decoded.
const readAhead = 16 << 20

// Rows reads rows of a group. The spans, as found in Totals.FirstRow, must be ascending and
// disjoint; a span may come in several pieces, an empty one does not come. Only the chunks that hold
// them are read, several at a time, and of these only the columns asked for are decoded. An error ends the walk.
func (b *Block) Rows(ctx context.Context, group int, spans []Span, cols Columns) iter.Seq2[*Rows, error] {
	return func(yield func(*Rows, error) bool) {
		if err := b.checkRows(group, spans, cols); err != nil {
			yield(nil, err)
			return
		}
		chunks := chunksWith(b.raw[group], spans)
		for next := 0; len(chunks) > 0; {
			n, size := 1, chunks[0].length
			for n < len(chunks) && size+chunks[n].length <= readAhead {
				size += chunks[n].length
				n++
			}
			streams, err := b.fetch(ctx, chunks[:n]...)
			if err != nil {
				yield(nil, err)
				return
			}
			for i, s := range streams {
				rows, err := b.decodeRows(s, group, chunks[i].first, cols)
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
func (b *Block) checkRows(group int, spans []Span, cols Columns) error {
	if err := b.checkGroup(group); err != nil {
		return err
	}
	end := uint64(0)
	for i, s := range spans {
		if s.From < end || s.To < s.From || s.To > b.rowsOf[group] {
			return fmt.Errorf("rows [%d, %d), span %d, of a group of %d: spans must be ascending and within: %w", s.From, s.To, i, b.rowsOf[group], profile.ErrInvalid)
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
func chunksWith(chunks []*section, spans []Span) []*section {
	var picked []*section
	next := 0
	for _, c := range chunks {
		for next < len(spans) && (spans[next].To <= c.first || spans[next].Len() == 0) {
			next++
		}
		if next < len(spans) && spans[next].From < c.first+uint64(c.rows) {
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

// decodeRows decodes the columns that were asked for.
func (b *Block) decodeRows(s *stream, group int, first uint64, cols Columns) (*Rows, error) {
	r := &Rows{First: first, values: make([]valueColumn, len(b.groups[group].SampleTypes))}
	if err := decodeInto(s, &r.Stack, "stack"); err != nil {
		return nil, err
	}
	if len(r.Stack) > 0 && int64(slices.Max(r.Stack)) >= b.info.Nodes {
		return nil, s.corrupt("stack %d of %d", slices.Max(r.Stack), b.info.Nodes)
	}
	if cols.Labels && s.column("labels") != nil {
		sets, err := b.named(sampleLabelsName)
		if err := firstError(err, narrowInto(s, &r.Labels, "labels")); err != nil {
			return nil, err
		}
		if len(r.Labels) > 0 && int(slices.Max(r.Labels)) >= sets.rows {
			return nil, s.corrupt("label set %d of %d", slices.Max(r.Labels), sets.rows)
		}
	}
	for _, k := range cols.Values {
		var err error
		if r.values[k], err = s.decodeValues(k); err != nil {
			return nil, err
		}
	}
	return r, nil
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
	c := s.column(name)
	if c == nil || c.nulls > 0 {
		return valueColumn{}, s.corrupt("no column %s", name)
	}
	switch c.kind {
	case kindU8, kindU16, kindU32, kindI64:
	default:
		return valueColumn{}, s.corrupt("column %s is of the wrong type", name)
	}
	width, _ := c.kind.bitWidth()
	data, err := s.buffer(c, 1, c.rows*int(width)/8)
	return valueColumn{c.kind, data, factor}, err
}

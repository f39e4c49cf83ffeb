package arrowblock

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/coldframe/coldframe/block"
)

// readAheadMerging is how many compressed bytes of rows, and of totals, a merge fetches
// of each input at a time, unless a chunk has more.
const readAheadMerging = 1 << 20

// writeGroups merges and writes the rows and totals of each group.
func (m *merging) writeGroups(ctx context.Context) error {
	for n, old := range m.groups.old {
		w := &rowMerger{rowWriter: newRowWriter(m.finisher, n, m.b.groups.all[old]), m: m}
		if err := w.mergeAll(ctx); err != nil {
			return err
		}
		m.info.Rows += int64(w.written)
	}
	if m.info.Profiles == 0 {
		m.info.MinTime, m.info.MaxTime = m.b.from, m.b.from
	}
	return nil
}

// rowMerger merges the profiles of a group and their rows.
type rowMerger struct {
	*rowWriter
	m       *merging
	cursors []*cursor // in the order of inputs
	taken   bool      // a profile; the last one is
	last    identity
}

func (w *rowMerger) mergeAll(ctx context.Context) error {
	for _, in := range w.m.inputs {
		own := in.groupIn[w.group]
		if own < 0 {
			continue
		}
		c := newCursor(in, own)
		switch more, err := c.next(ctx); {
		case err != nil:
			return in.failed(err)
		case more:
			w.cursors = append(w.cursors, c)
		}
	}
	for len(w.cursors) > 0 {
		if err := w.takeRun(ctx); err != nil {
			return err
		}
	}
	if err := w.flushRows(len(w.stack)); err != nil {
		return err
	}
	return w.flushTotals()
}

// takeRun takes the first profiles that are left, until one of another input is before
// the next: seldom soon, since a series' profiles of one input come together.
func (w *rowMerger) takeRun(ctx context.Context) error {
	first, second := 0, -1
	for i := 1; i < len(w.cursors); i++ {
		switch c := w.cursors[i]; {
		case c.precedes(w.cursors[first]):
			first, second = i, first
		case second < 0 || c.precedes(w.cursors[second]):
			second = i
		}
	}
	c := w.cursors[first]
	for {
		if err := w.take(ctx, c); err != nil {
			return err
		}
		more, err := c.next(ctx)
		switch {
		case err != nil:
			return c.failed(err)
		case !more:
			w.cursors = slices.Delete(w.cursors, first, first+1)
			return nil
		case second >= 0 && !c.precedes(w.cursors[second]):
			return nil
		}
	}
}

// take writes the cursor's profile, unless it is the last one again.
func (w *rowMerger) take(ctx context.Context, c *cursor) error {
	if w.taken && c.key == w.last {
		w.m.repeated++
		return nil
	}
	w.taken, w.last = true, c.key
	if err := w.takeRows(ctx, c); err != nil {
		return c.failed(err)
	}
	for len(w.stack) >= maxRowsAChunk {
		if err := w.flushRows(maxRowsAChunk); err != nil {
			return err
		}
	}
	w.takeTotals(c)
	if len(w.totals.series) == maxTotalsAChunk {
		return w.flushTotals()
	}
	return nil
}

// takeRows copies the profile's rows. They are in order: merging keeps that of nodes and
// that of label sets.
func (w *rowMerger) takeRows(ctx context.Context, c *cursor) error {
	w.m.enter(c.mergeInput, c.service)
	nodes := c.Block.services[c.service].Nodes
	n := 0
	for from, to := c.totals.FirstRow[c.at], c.totals.FirstRow[c.at+1]; from < to; {
		rows, err := c.rowsFrom(ctx, from, to)
		if err != nil {
			return err
		}
		for i, stack := range rows.Stack {
			if uint64(stack) < nodes.From || uint64(stack) >= nodes.To {
				return c.corrupt("row %d of group %d has stack %d, outside of its service's [%d, %d)", from+uint64(i), c.group, stack, nodes.From, nodes.To)
			}
			w.stack = append(w.stack, c.nodeOf[uint64(stack)-nodes.From])
		}
		if rows.Labels == nil {
			w.labels = appendRepeated(w.labels, 0, rows.Len())
		}
		for _, set := range rows.Labels {
			w.labels = append(w.labels, c.labels[set])
		}
		for k := range w.values {
			w.values[k] = rows.Values(w.values[k], k)
		}
		n += rows.Len()
		from += uint64(rows.Len())
	}
	w.series = appendRepeated(w.series, c.key.series, n)
	w.t = appendRepeated(w.t, uint32(c.key.ms), n)
	return nil
}

func (w *rowMerger) takeTotals(c *cursor) {
	of, i, to, info := c.totals, c.at, &w.totals, &w.m.info
	to.series = append(to.series, c.key.series)
	to.t = append(to.t, of.T[i])
	to.nanos = append(to.nanos, of.Nanos[i])
	to.duration = append(to.duration, of.DurationNanos[i])
	to.period = append(to.period, of.Period[i])
	to.hash = append(to.hash, of.Hash[i])
	to.header = append(to.header, c.headers[of.Header[i]])
	to.rows = append(to.rows, uint32(of.FirstRow[i+1]-of.FirstRow[i]))
	to.samples = append(to.samples, of.Samples[i])
	for k := range to.values {
		to.values[k] = append(to.values[k], of.Values[k][i])
	}
	info.Profiles++
	info.Samples += int64(of.Samples[i])
	ms := w.m.b.from + int64(of.T[i])
	info.MinTime, info.MaxTime = min(info.MinTime, ms), max(info.MaxTime, ms)
}

// enter makes nodeOf that of one of the input's services. Rows come service by service.
func (m *merging) enter(in *mergeInput, service int) {
	if in.entered == service {
		return
	}
	in.entered = service
	number := in.services[service]
	in.nodeOf = in.nodes[number].appendNumbers(in.nodeOf[:0], uint32(m.spans[number].From))
}

// cursor walks the profiles of a group of an input, and their rows.
type cursor struct {
	*mergeInput
	group int // as is all here but key, in the input's own numbers
	cols  Columns

	totalChunks chunkReader
	totals      *Totals
	at          int // in totals
	started     bool
	service     int
	key         identity // of the profile at hand, in the result's numbers and milliseconds from the range's beginning
	end         uint64   // of the rows of all profiles so far

	rowChunks chunkReader
	rows      *Rows
	piece     Rows // of rows, used again
}

func newCursor(in *mergeInput, group int) *cursor {
	c := &cursor{
		mergeInput: in, group: group, cols: Columns{Labels: true},
		totalChunks: chunkReader{b: in.Block, sections: in.totals[group]}, totals: &Totals{}, at: -1,
		rowChunks: chunkReader{b: in.Block, sections: in.raw[group]}, rows: &Rows{},
	}
	for k := range in.Block.groups[group].SampleTypes {
		c.cols.Values = append(c.cols.Values, k)
	}
	in.entered = -1
	return c
}

// precedes says whether c's profile is to be written before other's. Of one that was sent
// twice the copy with the earlier nanosecond is kept.
func (c *cursor) precedes(other *cursor) bool {
	return cmp.Or(c.key.compare(other.key), cmp.Compare(c.totals.Nanos[c.at], other.totals.Nanos[other.at])) < 0
}

func (id identity) compare(other identity) int {
	return cmp.Or(cmp.Compare(id.series, other.series), cmp.Compare(id.ms, other.ms), cmp.Compare(id.hash, other.hash))
}

// next goes to the next profile and says whether there is one.
func (c *cursor) next(ctx context.Context) (more bool, err error) {
	for c.at++; c.at >= c.totals.Len(); c.at = 0 {
		s, stream, err := c.totalChunks.next(ctx)
		switch {
		case err != nil:
			return false, err
		case s == nil && c.end != c.rowsOf[c.group]:
			return false, c.corrupt("profiles of group %d have %d rows, there are %d", c.group, c.end, c.rowsOf[c.group])
		case s == nil:
			return false, nil
		case s.first != c.end:
			return false, stream.corrupt("first row is %d, not %d", s.first, c.end)
		}
		if c.totals, err = c.decodeTotals(stream, c.group, s.first); err != nil {
			return false, err
		}
	}
	t, i, before := c.totals, c.at, c.key
	c.end = t.FirstRow[i+1]
	c.service = c.Block.series[t.Series[i]].Service
	c.key = identity{c.series[t.Series[i]], int64(t.T[i]), t.Hash[i]}
	if c.started && c.key.compare(before) <= 0 {
		return false, c.corrupt("profile %d of group %d does not come after the one before", i, c.group)
	}
	c.started = true
	return true, nil
}

// rowsFrom returns rows [from, to), or the first of them: those that lie in one chunk.
func (c *cursor) rowsFrom(ctx context.Context, from, to uint64) (*Rows, error) {
	for from >= c.rows.First+uint64(c.rows.Len()) {
		s, stream, err := c.rowChunks.next(ctx)
		if err != nil {
			return nil, err
		}
		if s == nil {
			return nil, c.corrupt("row %d of group %d is missing", from, c.group)
		}
		if c.rows, err = c.decodeRows(stream, c.group, s.first, c.cols); err != nil {
			return nil, err
		}
	}
	end := min(to, c.rows.First+uint64(c.rows.Len()))
	c.rows.cut(&c.piece, int(from-c.rows.First), int(end-c.rows.First))
	return &c.piece, nil
}

// cut makes piece the rows [from, to) of r, which count from its first.
func (r *Rows) cut(piece *Rows, from, to int) {
	piece.First, piece.Stack, piece.Labels = r.First+uint64(from), r.Stack[from:to], nil
	if r.Labels != nil {
		piece.Labels = r.Labels[from:to]
	}
	piece.values = piece.values[:0]
	for _, v := range r.values {
		piece.values = append(piece.values, v.slice(from, to))
	}
}

func (c *cursor) corrupt(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), block.ErrCorrupt)
}

// chunkReader reads sections one after the other, several with one request.
type chunkReader struct {
	b        *Block
	sections []*section
	streams  []*stream // of the first sections, fetched
}

// next returns nil after the last section.
func (r *chunkReader) next(ctx context.Context) (*section, *stream, error) {
	if len(r.sections) == 0 {
		return nil, nil, nil
	}
	if len(r.streams) == 0 {
		n, size := 1, r.sections[0].length
		for n < len(r.sections) && size+r.sections[n].length <= readAheadMerging {
			size += r.sections[n].length
			n++
		}
		var err error
		if r.streams, err = r.b.fetch(ctx, r.sections[:n]...); err != nil {
			return nil, nil, err
		}
	}
	section, stream := r.sections[0], r.streams[0]
	r.sections, r.streams = r.sections[1:], r.streams[1:]
	return section, stream, nil
}

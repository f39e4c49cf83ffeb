package arrowblock

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/internal/guard"
)

// readAheadMerging is how many compressed bytes of rows, and of totals, a merge fetches
// of each input at a time, unless a chunk has more.
const readAheadMerging = 1 << 20

// writeGroups merges and writes the rows and totals of each group, and then the rollups' ends.
func (m *merging) writeGroups(ctx context.Context) error {
	var rollups []*rollupWriter
	for n, old := range m.groups.old {
		w := &rowMerger{rowWriter: newRowWriter(m.finisher, n, m.b.groups.all[old]), m: m}
		if err := w.mergeAll(ctx); err != nil {
			return err
		}
		m.info.Rows += int64(w.written)
		rollups = append(rollups, w.rollups)
	}
	if m.info.Profiles == 0 {
		m.info.MinTime, m.info.MaxTime = m.b.from, m.b.from
	}
	return closeRollups(rollups)
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
	return w.closeAll()
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
	if w.taken && c.key == w.last && !guard.Removed(guard.MergedTwice) {
		w.m.repeated++
		return nil
	}
	w.taken, w.last = true, c.key
	if err := w.takeRows(ctx, c); err != nil {
		return c.failed(err)
	}
	i := c.at
	facts := profileFacts{
		series: c.key.series, service: c.services[c.service], t: c.totals.T[i], samples: c.totals.Samples[i],
		duration: c.totals.DurationNanos[i], period: c.totals.Period[i],
	}
	if _, err := w.endProfile(&facts); err != nil {
		return err
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
	for from, to := c.totals.FirstRow[c.at], c.totals.FirstRow[c.at+1]; from < to; {
		if err := c.rowsFrom(ctx, from); err != nil {
			return err
		}
		rows := &c.rows
		rows.forget(w.chunks)
		i, n := int(from-rows.first), int(min(to-rows.first, uint64(len(rows.stack))))
		from += uint64(n - i)
		for ; i < n; i++ {
			stack := uint64(rows.stack[i])
			if stack < nodes.From || stack >= nodes.To {
				return c.corrupt("row %d of group %d has stack %d, outside of its service's [%d, %d)", rows.first+uint64(i), c.group, stack, nodes.From, nodes.To)
			}
			w.stack = append(w.stack, c.nodeOf[stack-nodes.From])
			own := rows.tuple[i]
			if rows.known[own] == noNumber {
				rows.known[own] = w.tuples.intern(rows.tuples.at(own))
			}
			w.tuple = append(w.tuple, rows.known[own])
		}
	}
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

	totalChunks chunkReader
	totals      *Totals
	at          int // in totals
	started     bool
	service     int
	key         identity // of the profile at hand, in the result's numbers and milliseconds from the range's beginning
	end         uint64   // of the rows of all profiles so far

	rowChunks []rowChunk // not yet read
	fetched   []rowStreams
	rows      inputRows
}

// inputRows is a chunk of an input's rows.
type inputRows struct {
	first  uint64
	stack  []uint32
	tuple  []uint32 // in tuples
	tuples tuples   // with the result's numbers of label sets
	known  []uint32 // by tuple, its number in the result's chunk; noNumber
	chunk  int      // for which known holds
}

// forget begins known anew when the result is at another chunk.
func (r *inputRows) forget(chunk int) {
	if r.chunk == chunk {
		return
	}
	r.chunk = chunk
	for i := range r.known {
		r.known[i] = noNumber
	}
}

func newCursor(in *mergeInput, group int) *cursor {
	c := &cursor{
		mergeInput: in, group: group,
		totalChunks: chunkReader{b: in.Block, sections: in.totals[group]}, totals: &Totals{}, at: -1,
		rowChunks: in.raw[group].chunks,
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
		case s == nil && c.end != c.raw[c.group].rows:
			return false, c.corrupt("profiles of group %d have %d rows, there are %d", c.group, c.end, c.raw[c.group].rows)
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

// rowsFrom makes rows the chunk that holds row number from, the one at hand or a later one.
func (c *cursor) rowsFrom(ctx context.Context, from uint64) error {
	for from >= c.rows.first+uint64(len(c.rows.stack)) {
		if len(c.rowChunks) == 0 {
			return c.corrupt("row %d of group %d is missing", from, c.group)
		}
		if len(c.fetched) == 0 {
			n, size := 1, c.rowChunks[0].bytes()
			for n < len(c.rowChunks) && size+c.rowChunks[n].bytes() <= readAheadMerging {
				size += c.rowChunks[n].bytes()
				n++
			}
			var err error
			if c.fetched, err = c.fetchRows(ctx, c.rowChunks[:n]); err != nil {
				return err
			}
		}
		err := c.decode(c.fetched[0], c.rowChunks[0].rows.first)
		if err != nil {
			return err
		}
		c.fetched, c.rowChunks = c.fetched[1:], c.rowChunks[1:]
	}
	return nil
}

// decode makes rows those of a chunk.
func (c *cursor) decode(s rowStreams, first uint64) (err error) {
	r := &c.rows
	r.first, r.chunk = first, -1
	if r.stack, err = s.rows.decodeStacks(c.info.Nodes); err != nil {
		return err
	}
	of := s.rows // where labels and values are
	if s.tuples == nil {
		r.tuple = r.tuple[:0]
		for i := range s.rows.rows {
			r.tuple = append(r.tuple, uint32(i))
		}
	} else {
		of = s.tuples
		number, err := s.tupleNumbers()
		if err != nil {
			return err
		}
		r.tuple = converted[uint32](number.appendTo(nil))
	}
	r.known = zeroed(r.known, of.rows)
	labels, err := c.decodeLabels(of)
	if err != nil {
		return err
	}
	r.tuples.width = 1 + len(c.Block.groups[c.group].SampleTypes)
	r.tuples.words = zeroed(r.tuples.words, of.rows*r.tuples.width)
	for i, set := range labels {
		r.tuples.words[i*r.tuples.width] = int64(c.labels[set])
	}
	var values []int64
	for k := 1; k < r.tuples.width; k++ {
		column, err := of.decodeValues(k - 1)
		if err != nil {
			return err
		}
		values = column.appendTo(values[:0])
		for i, v := range values {
			r.tuples.words[i*r.tuples.width+k] = v
		}
	}
	return nil
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

package arrowblock

import (
	"fmt"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// maxRowsARollupChunk is less than of raw rows: a query of a rollup reads few rows of
// few series, and whole chunks.
const maxRowsARollupChunk = 64 << 10

// maxWindowBytes is how much of a service's windows is held in full. Beyond it they
// are packed, to a tenth.
const maxWindowBytes = 32 << 20

// rollupWriter makes a group's rollups of its profiles, which come in the order of series and time.
//
// The rows of a series are summed in its shortest window; longer ones are summed up
// from shorter ones as these end. Of a service all windows are open until the last of its series is
// done, since each series goes through the whole day.
type rollupWriter struct {
	f         *finisher
	width     int    // sample types
	at        cell   // of the series at hand, in the shortest window
	window    uint32 // that it is
	bySeries  *rollupLevel
	byService *rollupLevel

	service   uint32
	windows   []*openWindow // of the service, by number of the window; nil where it has no profiles
	held      int64         // bytes of them that are not packed
	mostBytes int64
	dec       *zstd.Decoder
}

// openWindow is a service in one of the shortest windows of its axis.
type openWindow struct {
	cell
	packed [][]byte
}

// rollupLevel writes one rollup.
type rollupLevel struct {
	Rollup
	window uint32 // in milliseconds
	rows   *rowChunks
	row    []int64
	at     cell
	cells  cellColumns
	longer *rollupLevel // of the same axis; nil for the longest
}

// newRollupWriter returns nil when the block is to have no rollups.
func newRollupWriter(f *finisher, g *Group, group int) *rollupWriter {
	if len(f.rollups) == 0 {
		return nil
	}
	width := len(g.SampleTypes)
	w := &rollupWriter{f: f, width: width, at: cell{sums: newSums(width)}, mostBytes: f.maxWindowBytes}
	for _, r := range slices.Backward(f.rollups) {
		l := &rollupLevel{
			Rollup: r, window: uint32(r.Window.Milliseconds()),
			rows: newRowChunks(f, g, r.Axis.key(), func(chunk int) string { return rollupName(r, group, chunk) }, maxRowsARollupChunk),
			row:  make([]int64, 1+width), at: cell{sums: newSums(width)},
		}
		l.cells = cellColumns{f: f, rollup: r, group: group, facts: l.rows.facts, values: make([][]int64, width)}
		if r.Axis == BySeries {
			l.longer, w.bySeries = w.bySeries, l
		} else {
			l.longer, w.byService = w.byService, l
		}
		if w.window == 0 || l.window < w.window {
			w.window = l.window
		}
	}
	return w
}

// add adds a profile and its rows: their stacks, and which of the tuples each has.
func (w *rollupWriter) add(p *profileFacts, stacks, tuple []uint32, tuples *tuples) error {
	if w == nil {
		return nil
	}
	if t := p.t - p.t%w.window; w.at.profiles == 0 || w.at.key != p.series || w.at.t != t {
		if err := w.endSeries(p.service); err != nil {
			return err
		}
		w.at.begin(p.series, t)
		w.service = p.service
	}
	c := &w.at
	c.profiles++
	c.samples += int64(p.samples)
	c.firstT, c.lastT = min(c.firstT, p.t), max(c.lastT, p.t)
	c.duration += p.duration
	c.period = max(c.period, p.period)
	for i, stack := range stacks {
		c.add(stack, tuples.at(tuple[i])[1:])
	}
	return nil
}

// profileFacts is what rollups need to know of a profile beside its rows.
type profileFacts struct {
	series, service, t, samples uint32
	duration, period            int64
}

// endSeries takes in the window at hand. next is the service that the next one belongs to.
func (w *rollupWriter) endSeries(next uint32) error {
	if w.at.profiles == 0 {
		return nil
	}
	if w.bySeries != nil {
		if err := w.bySeries.take(&w.at); err != nil {
			return err
		}
	}
	if w.byService == nil {
		return nil
	}
	if err := w.join(&w.at); err != nil {
		return err
	}
	if next != w.service {
		return w.endService()
	}
	return nil
}

// join adds a series' window to that of its service.
func (w *rollupWriter) join(c *cell) error {
	n := int(c.t / w.byService.window)
	if n >= len(w.windows) {
		w.windows = append(w.windows, make([]*openWindow, n+1-len(w.windows))...)
	}
	to := w.windows[n]
	if to == nil {
		to = &openWindow{cell: cell{sums: newSums(w.width)}}
		to.begin(w.service, uint32(n)*w.byService.window)
		w.windows[n] = to
	}
	before := to.sizeBytes()
	to.join(c)
	if w.held += to.sizeBytes() - before; w.held > w.mostBytes {
		return w.pack()
	}
	return nil
}

// pack makes all windows of the service small.
func (w *rollupWriter) pack() error {
	var data []byte
	for _, o := range w.windows {
		if o == nil || len(o.stacks) == 0 {
			continue
		}
		data = o.appendTo(data[:0])
		if w.f.enc.zstd != nil {
			o.packed = append(o.packed, w.f.enc.zstd.EncodeAll(data, nil))
		} else {
			o.packed = append(o.packed, slices.Clone(data))
		}
		o.sums = newSums(w.width)
	}
	w.held = 0
	return nil
}

// unpack adds up what was packed of a window.
func (w *rollupWriter) unpack(o *openWindow) error {
	for _, packed := range o.packed {
		data := packed
		if w.f.enc.zstd != nil {
			var err error
			if w.dec == nil {
				if w.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1)); err != nil {
					return err
				}
			}
			if data, err = w.dec.DecodeAll(packed, nil); err != nil {
				return fmt.Errorf("unpack a window: %w", err)
			}
		}
		o.addFrom(data)
	}
	o.packed = nil
	return nil
}

// endService writes the windows of a service.
func (w *rollupWriter) endService() error {
	for n, o := range w.windows {
		if o == nil {
			continue
		}
		if err := w.unpack(o); err != nil {
			return err
		}
		if err := w.byService.take(&o.cell); err != nil {
			return err
		}
		w.windows[n] = nil
	}
	w.held = 0
	return nil
}

// closeRollups writes what is left of the rollups of all groups: those of services last, for these answer most
// queries of long ranges, which so find them near the tail that they read anyway.
func closeRollups(all []*rollupWriter) error {
	for _, w := range all {
		if w == nil {
			return nil // no group has any
		}
		if err := w.endSeries(w.service + 1); err != nil {
			return err
		}
	}
	for _, axis := range []Axis{BySeries, ByService} {
		for _, w := range all {
			for l := w.shortest(axis); l != nil; l = l.longer {
				if err := l.close(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// shortest is the rollup of an axis that has the shortest windows; nil when there is none.
func (w *rollupWriter) shortest(axis Axis) *rollupLevel {
	if axis == ByService {
		return w.byService
	}
	return w.bySeries
}

// take adds a cell of a shorter window, or of the same.
func (l *rollupLevel) take(c *cell) error {
	t := c.t - c.t%l.window
	if l.at.profiles > 0 && (l.at.key != c.key || l.at.t != t) {
		if err := l.end(); err != nil {
			return err
		}
	}
	if l.at.profiles == 0 {
		l.at.begin(c.key, t)
	}
	l.at.join(c)
	return nil
}

// end writes the cell at hand and hands it on to the next longer window.
func (l *rollupLevel) end() error {
	l.at.each(func(stack uint32, values []int64) {
		copy(l.row[1:], values)
		l.rows.add(stack, l.row)
	})
	rows, err := l.rows.end(l.at.key, l.at.t)
	if err != nil {
		return err
	}
	if err := l.cells.add(&l.at, rows); err != nil {
		return err
	}
	if l.longer != nil {
		if err := l.longer.take(&l.at); err != nil {
			return err
		}
	}
	l.at.profiles = 0
	return nil
}

func (l *rollupLevel) close() error {
	if l.at.profiles > 0 {
		if err := l.end(); err != nil {
			return err
		}
	}
	if err := l.rows.close(); err != nil {
		return err
	}
	return l.cells.flush()
}

// cellColumns are the cells of a rollup that are not yet written.
type cellColumns struct {
	f      *finisher
	rollup Rollup
	group  int
	facts  []fact
	chunks int

	first, next                           uint64 // row of the first cell here, and after the last
	key, t, profiles, firstT, lastT, rows []uint32
	samples, duration, period             []int64
	values                                [][]int64
}

func (c *cellColumns) add(of *cell, rows int) error {
	c.key, c.t, c.profiles = append(c.key, of.key), append(c.t, of.t), append(c.profiles, of.profiles)
	c.firstT, c.lastT, c.rows = append(c.firstT, of.firstT), append(c.lastT, of.lastT), append(c.rows, uint32(rows))
	c.samples, c.duration, c.period = append(c.samples, of.samples), append(c.duration, of.duration), append(c.period, of.period)
	for k := range c.values {
		sum := int64(0)
		for at := k; at < len(of.values); at += of.width {
			sum += of.values[at]
		}
		c.values[k] = append(c.values[k], sum)
	}
	c.next += uint64(rows)
	if len(c.key) == maxTotalsAChunk {
		return c.flush()
	}
	return nil
}

// flush writes the cells gathered so far, if there are any.
func (c *cellColumns) flush() error {
	n := len(c.key)
	if n == 0 {
		return nil
	}
	s := section{
		name: cellsName(c.rollup, c.group, c.chunks), first: c.first,
		minSeries: c.key[0], maxSeries: c.key[n-1], minT: slices.Min(c.t), maxT: slices.Max(c.t),
	}
	columns := []column{
		numbers(c.rollup.Axis.key(), c.key), numbers("t", c.t), numbers("profiles", c.profiles), numbers("samples", c.samples),
		numbers("first_t", c.firstT), numbers("last_t", c.lastT),
		numbers("duration_nanos", c.duration), numbers("period", c.period), numbers("rows", c.rows),
	}
	for k, values := range c.values {
		columns = append(columns, numbers(valueName(k), values))
	}
	if err := c.f.section(s, c.facts, columns...); err != nil {
		return err
	}
	*c = cellColumns{
		f: c.f, rollup: c.rollup, group: c.group, facts: c.facts, chunks: c.chunks + 1,
		first: c.next, next: c.next, values: make([][]int64, len(c.values)),
	}
	return nil
}

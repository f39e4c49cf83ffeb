package arrowblock

import (
	"cmp"
	"slices"
)

// rowWriter writes a group's rows and totals, profile by profile in the order of
// series, time and hash. Of the rows it holds one chunk at a time.
type rowWriter struct {
	*rowChunks
	rollups *rollupWriter

	f     *finisher
	group int // its new number
	g     *builderGroup

	order []uint64 // of the rows of one profile: node number and position

	totals totalsColumns
}

// totalsColumns are the totals of profiles whose rows are known, one chunk of them.
type totalsColumns struct {
	firstRow uint64
	chunks   int

	series, t, nanos, header, rows, samples []uint32
	duration, period                        []int64
	hash                                    []uint64
	values                                  [][]int64
}

func newRowWriter(f *finisher, group int, g *builderGroup) *rowWriter {
	w := &rowWriter{
		rowChunks: newRowChunks(f, &g.Group, BySeries.key(), func(chunk int) string { return rawName(group, chunk) }, maxRowsAChunk),
		rollups:   newRollupWriter(f, &g.Group, group),
		f:         f, group: group, g: g,
	}
	w.write = f.rawSection
	w.totals.values = make([][]int64, len(g.SampleTypes))
	return w
}

func (w *rowWriter) writeAll() error {
	g := w.g
	sorted := orderBy(len(g.profiles), func(x, y uint32) int {
		a, b := &g.profiles[x], &g.profiles[y]
		return cmp.Or(
			cmp.Compare(w.f.series.new[a.series], w.f.series.new[b.series]),
			cmp.Compare(floorMillis(a.nanos), floorMillis(b.nanos)),
			cmp.Compare(a.hash, b.hash),
		)
	})
	for _, n := range sorted.old {
		p := &g.profiles[n]
		rows, err := w.rowsOf(p)
		if err != nil {
			return err
		}
		w.total(p, rows)
		if len(w.totals.series) == maxTotalsAChunk {
			if err := w.flushTotals(); err != nil {
				return err
			}
		}
	}
	return w.closeAll()
}

// closeAll writes what is left, but of the rollups.
func (w *rowWriter) closeAll() error {
	if err := w.close(); err != nil {
		return err
	}
	return w.flushTotals()
}

// endProfile ends the run of a profile's rows and returns how many these are.
func (w *rowWriter) endProfile(p *profileFacts) (rows int, err error) {
	run := len(w.key)
	if err := w.rollups.add(p, w.stack[run:], w.tuple[run:], w.tuples); err != nil {
		return 0, err
	}
	return w.end(p.series, p.t)
}

// rowsOf adds the rows of a profile in the order of stack and labels, those of equal
// stack and labels as one, and returns how many rows there are.
func (w *rowWriter) rowsOf(p *builderProfile) (rows int, err error) {
	w.sortRows(p)
	n := len(p.stacks)
	row := w.row
	for i := 0; i < len(w.order); {
		key := w.order[i]
		row[0] = int64(w.labelOf(p, key))
		for k := range row[1:] {
			row[1+k] = p.values[k*n+int(uint32(key))]
		}
		for i++; i < len(w.order) && w.order[i]>>32 == key>>32 && int64(w.labelOf(p, w.order[i])) == row[0]; i++ {
			for k := range row[1:] {
				row[1+k] += p.values[k*n+int(uint32(w.order[i]))]
			}
		}
		if !allZero(row[1:]) {
			w.add(uint32(key>>32), row)
		}
	}
	return w.endProfile(&profileFacts{
		series: w.f.series.new[p.series], service: w.f.services.new[w.f.b.series.all[p.series].service],
		t: uint32(floorMillis(p.nanos) - w.f.b.from), samples: p.samples, duration: p.duration, period: p.period,
	})
}

// labelOf is the new number of the label set of the row that an element of order stands for.
func (w *rowWriter) labelOf(p *builderProfile, key uint64) uint32 {
	if p.labels == nil {
		return 0
	}
	return w.f.labels.new[p.labels[uint32(key)]]
}

// sortRows fills order with the profile's rows by stack and labels.
func (w *rowWriter) sortRows(p *builderProfile) {
	w.order = w.order[:0]
	for i, stack := range p.stacks {
		w.order = append(w.order, uint64(w.f.nodeOf[stack])<<32|uint64(i))
	}
	slices.Sort(w.order)
	if p.labels == nil {
		return
	}
	for i := 0; i < len(w.order); {
		j := i + 1
		for j < len(w.order) && w.order[j]>>32 == w.order[i]>>32 {
			j++
		}
		if j > i+1 {
			slices.SortFunc(w.order[i:j], func(a, b uint64) int { return cmp.Compare(w.labelOf(p, a), w.labelOf(p, b)) })
		}
		i = j
	}
}

// total adds the totals of a profile of so many rows.
func (w *rowWriter) total(p *builderProfile, rows int) {
	t := &w.totals
	ms := floorMillis(p.nanos)
	t.series = append(t.series, w.f.series.new[p.series])
	t.t = append(t.t, uint32(ms-w.f.b.from))
	t.nanos = append(t.nanos, uint32(p.nanos-ms*1e6))
	t.header = append(t.header, w.f.headers.new[p.header])
	t.rows = append(t.rows, uint32(rows))
	t.samples = append(t.samples, p.samples)
	t.duration = append(t.duration, p.duration)
	t.period = append(t.period, p.period)
	t.hash = append(t.hash, p.hash)
	for k := range t.values {
		sum := int64(0)
		for _, v := range p.column(k) {
			sum += v
		}
		t.values[k] = append(t.values[k], sum)
	}
}

// flushTotals writes the totals gathered so far, if there are any.
func (w *rowWriter) flushTotals() error {
	t := &w.totals
	n := len(t.series)
	if n == 0 {
		return nil
	}
	columns := []column{
		numbers("series", t.series), numbers("t", t.t), numbers("nanos", t.nanos),
		numbers("duration_nanos", t.duration), numbers("period", t.period), numbers("hash", t.hash),
		numbers("header", t.header), numbers("rows", t.rows), numbers("samples", t.samples),
	}
	for k, values := range t.values {
		columns = append(columns, numbers(valueName(k), values))
	}
	s := section{
		name: totalsName(w.group, t.chunks), first: t.firstRow,
		minSeries: t.series[0], maxSeries: t.series[n-1], minT: slices.Min(t.t), maxT: slices.Max(t.t),
	}
	if err := w.f.rawSection(s, w.facts, columns...); err != nil {
		return err
	}
	rows := t.firstRow
	for _, r := range t.rows {
		rows += uint64(r)
	}
	*t = totalsColumns{firstRow: rows, chunks: t.chunks + 1, values: make([][]int64, len(t.values))}
	return nil
}

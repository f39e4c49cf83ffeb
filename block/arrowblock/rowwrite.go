package arrowblock

import (
	"cmp"
	"fmt"
	"slices"
)

// rowWriter writes a group's rows and totals, profile by profile in the order of
// series, time and hash. Of the rows it holds one chunk at a time.
type rowWriter struct {
	f     *finisher
	group int // its new number
	g     *builderGroup
	facts []fact // of every chunk: which value column counts what

	order   []uint64 // of the rows of one profile: node number and position
	written uint64   // rows in earlier chunks
	chunks  int

	// The chunk at hand.
	series, t, stack, labels []uint32
	values                   [][]int64

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
	w := &rowWriter{f: f, group: group, g: g, values: make([][]int64, len(g.SampleTypes))}
	room := 0
	for i := range g.profiles {
		room += len(g.profiles[i].stacks)
	}
	room = min(room, maxRowsAChunk+maxRowsAChunk/8)
	for _, column := range []*[]uint32{&w.series, &w.t, &w.stack, &w.labels} {
		*column = make([]uint32, 0, room)
	}
	for k := range w.values {
		w.values[k] = make([]int64, 0, room)
	}
	w.totals.values = make([][]int64, len(g.SampleTypes))
	for k, v := range g.SampleTypes {
		w.facts = append(w.facts, fact{typeFact(k), v.String()})
	}
	return w
}

// valueName names the column of sample type k; typeFact the fact that says what it counts.
func valueName(k int) string { return fmt.Sprintf("v%d", k) }
func typeFact(k int) string  { return fmt.Sprintf("type.%d", k) }

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
	if err := w.flushRows(len(w.stack)); err != nil {
		return err
	}
	return w.flushTotals()
}

// rowsOf adds the rows of a profile in the order of stack and labels, writes the
// chunks that are full, and returns how many rows there are.
func (w *rowWriter) rowsOf(p *builderProfile) (rows uint64, err error) {
	w.sortRows(p)
	before := len(w.stack)
	for _, key := range w.order {
		w.stack = append(w.stack, uint32(key>>32))
	}
	for _, key := range w.order {
		w.labels = append(w.labels, w.labelOf(p, key))
	}
	for k, column := range w.values {
		of := p.column(k)
		for _, key := range w.order {
			column = append(column, of[uint32(key)])
		}
		w.values[k] = column
	}
	w.sumEqual(before)
	n := len(w.stack) - before
	w.series = appendRepeated(w.series, w.f.series.new[p.series], n)
	w.t = appendRepeated(w.t, uint32(floorMillis(p.nanos)-w.f.b.from), n)
	for len(w.stack) >= maxRowsAChunk {
		if err := w.flushRows(maxRowsAChunk); err != nil {
			return 0, err
		}
	}
	return uint64(n), nil
}

func appendRepeated(s []uint32, v uint32, n int) []uint32 {
	for range n {
		s = append(s, v)
	}
	return s
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

// sumEqual makes one of the rows from before on that have the same stack and labels, and
// leaves out those of which only zeros remain.
func (w *rowWriter) sumEqual(before int) {
	n := before
	for i := before; i < len(w.stack); n++ {
		w.stack[n], w.labels[n] = w.stack[i], w.labels[i]
		for k := range w.values {
			w.values[k][n] = w.values[k][i]
		}
		first := i
		for i++; i < len(w.stack) && w.stack[i] == w.stack[n] && w.labels[i] == w.labels[n]; i++ {
			for k := range w.values {
				w.values[k][n] += w.values[k][i]
			}
		}
		if i > first+1 && w.isZero(n) {
			n--
		}
	}
	w.stack, w.labels = w.stack[:n], w.labels[:n]
	for k := range w.values {
		w.values[k] = w.values[k][:n]
	}
}

func (w *rowWriter) isZero(row int) bool {
	for _, values := range w.values {
		if values[row] != 0 {
			return false
		}
	}
	return true
}

// flushRows writes the first n of the rows gathered so far as a chunk.
func (w *rowWriter) flushRows(n int) error {
	if n == 0 {
		return nil
	}
	columns := []column{numbers("series", w.series[:n]), numbers("t", w.t[:n]), numbers("stack", w.stack[:n])}
	if slices.Max(w.labels[:n]) > 0 {
		columns = append(columns, narrow("labels", w.labels[:n]))
	}
	facts := slices.Clone(w.facts)
	for k, values := range w.values {
		if of, factor, ok := w.multiple(k, n); ok {
			facts = append(facts, fact{valueName(k), fmt.Sprintf("%s*%d", valueName(of), factor)})
			continue
		}
		columns = append(columns, narrow(valueName(k), values[:n]))
	}
	s := section{
		name: rawName(w.group, w.chunks), first: w.written,
		minSeries: w.series[0], maxSeries: w.series[n-1], minT: slices.Min(w.t[:n]), maxT: slices.Max(w.t[:n]),
	}
	if err := w.f.section(s, facts, columns...); err != nil {
		return err
	}
	w.written += uint64(n)
	w.chunks++
	for _, column := range []*[]uint32{&w.series, &w.t, &w.stack, &w.labels} {
		*column = slices.Delete(*column, 0, n)
	}
	for k := range w.values {
		w.values[k] = slices.Delete(w.values[k], 0, n)
	}
	return nil
}

// multiple finds an earlier column of which column k is the same multiple in each of
// the first n rows, as CPU time is of the number of samples.
func (w *rowWriter) multiple(k, n int) (of int, factor int64, ok bool) {
	for of := range k {
		if factor, ok := multipleOf(w.values[of][:n], w.values[k][:n]); ok {
			return of, factor, true
		}
	}
	return 0, 0, false
}

func multipleOf(base, values []int64) (factor int64, ok bool) {
	if i := slices.IndexFunc(base, func(v int64) bool { return v != 0 }); i >= 0 {
		factor = values[i] / base[i]
	}
	for i, v := range values {
		if base[i]*factor != v {
			return 0, false
		}
	}
	return factor, true
}

// total adds the totals of a profile of so many rows.
func (w *rowWriter) total(p *builderProfile, rows uint64) {
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
	if err := w.f.section(s, w.facts, columns...); err != nil {
		return err
	}
	rows := t.firstRow
	for _, r := range t.rows {
		rows += uint64(r)
	}
	*t = totalsColumns{firstRow: rows, chunks: t.chunks + 1, values: make([][]int64, len(t.values))}
	return nil
}

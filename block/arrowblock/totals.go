package arrowblock

import (
	"context"
	"sort"
)

// Totals are the profiles of a group, one row each, sorted by series, time and hash.
// Columns have the same length, FirstRow is longer by one.
type Totals struct {
	Series        []uint32
	T             []uint32 // milliseconds from Info.Range.From
	Nanos         []uint32 // of the profile's time, below the millisecond: [0, 1e6)
	DurationNanos []int64
	Period        []int64
	Hash          []uint64  // xxhash64 of the uncompressed pprof
	Header        []uint32  // in Headers
	Samples       []uint32  // of the pprof, those with only zeros included
	Values        [][]int64 // the sum of each sample type
	FirstRow      []uint64  // the rows of profile i are [FirstRow[i], FirstRow[i+1]) of the group
}

// Len is how many profiles there are.
func (t *Totals) Len() int { return len(t.Series) }

// Totals reads the profiles of a group whose series lie in the span: nothing else of
// the block is needed for a time series.
func (b *Block) Totals(ctx context.Context, group int, series Span) (*Totals, error) {
	if err := b.checkGroup(group); err != nil {
		return nil, err
	}
	all := &Totals{Values: make([][]int64, len(b.groups[group].SampleTypes)), FirstRow: []uint64{0}}
	var sections []*section
	for _, s := range b.totals[group] {
		if uint64(s.minSeries) < series.To && uint64(s.maxSeries) >= series.From {
			sections = append(sections, s)
		}
	}
	streams, err := b.fetch(ctx, sections...)
	if err != nil {
		return nil, err
	}
	for i, s := range streams {
		t, err := b.decodeTotals(s, group, sections[i].first)
		if err != nil {
			return nil, err
		}
		all.join(t.within(series))
	}
	return all, nil
}

func (b *Block) decodeTotals(s *stream, group int, firstRow uint64) (*Totals, error) {
	t := &Totals{Values: make([][]int64, len(b.groups[group].SampleTypes))}
	var rows []uint32
	if err := firstError(
		decodeInto(s, &t.Series, "series"), decodeInto(s, &t.T, "t"), decodeInto(s, &t.Nanos, "nanos"),
		decodeInto(s, &t.DurationNanos, "duration_nanos"), decodeInto(s, &t.Period, "period"),
		decodeInto(s, &t.Hash, "hash"), decodeInto(s, &t.Header, "header"),
		decodeInto(s, &t.Samples, "samples"), decodeInto(s, &rows, "rows"),
	); err != nil {
		return nil, err
	}
	for k := range t.Values {
		if err := decodeInto(s, &t.Values[k], valueName(k)); err != nil {
			return nil, err
		}
	}
	t.FirstRow = addUp(firstRow, rows)
	if end := t.FirstRow[len(rows)]; end > b.raw[group].rows {
		return nil, s.corrupt("rows end at %d of %d", end, b.raw[group].rows)
	}
	headers, err := b.named(headersName)
	if err != nil {
		return nil, err
	}
	for i, series := range t.Series {
		if i > 0 && series < t.Series[i-1] || int(series) >= len(b.series) || b.series[series].Group != group || int(t.Header[i]) >= headers.rows {
			return nil, s.corrupt("profile %d: series %d of %d, header %d of %d", i, series, len(b.series), t.Header[i], headers.rows)
		}
	}
	return t, nil
}

// within keeps the profiles whose series lie in the span.
func (t *Totals) within(series Span) *Totals {
	from := sort.Search(t.Len(), func(i int) bool { return uint64(t.Series[i]) >= series.From })
	to := max(from, sort.Search(t.Len(), func(i int) bool { return uint64(t.Series[i]) >= series.To }))
	if from == 0 && to == t.Len() {
		return t
	}
	part := &Totals{
		t.Series[from:to], t.T[from:to], t.Nanos[from:to], t.DurationNanos[from:to], t.Period[from:to], t.Hash[from:to],
		t.Header[from:to], t.Samples[from:to], nil, t.FirstRow[from : to+1],
	}
	for _, v := range t.Values {
		part.Values = append(part.Values, v[from:to])
	}
	return part
}

// join appends the next chunk's profiles. The first is taken as it is.
func (t *Totals) join(next *Totals) {
	if t.Len() == 0 {
		*t = *next
		return
	}
	t.Series, t.T, t.Nanos = append(t.Series, next.Series...), append(t.T, next.T...), append(t.Nanos, next.Nanos...)
	t.DurationNanos, t.Period = append(t.DurationNanos, next.DurationNanos...), append(t.Period, next.Period...)
	t.Hash, t.Header, t.Samples = append(t.Hash, next.Hash...), append(t.Header, next.Header...), append(t.Samples, next.Samples...)
	for k := range t.Values {
		t.Values[k] = append(t.Values[k], next.Values[k]...)
	}
	t.FirstRow = append(t.FirstRow[:len(t.FirstRow)-1], next.FirstRow...)
}

package arrowblock

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/coldframe/coldframe/block"
)

// Verify reads the whole block and checks every byte of it, and that what its
// sections say of one another is true. Damage is block.ErrCorrupt.
func (b *Block) Verify(ctx context.Context) error {
	for _, check := range []func(context.Context) error{
		b.verifyBytes, b.verifyStacks, b.verifyGroups, b.verifyTables,
	} {
		if err := check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// verifyBytes packs the sections again and compares: the same sections give the same
// bytes, so that even what no reader looks at, the ZIP's own directory, must be right.
func (b *Block) verifyBytes(ctx context.Context) error {
	sections := slices.Clone(b.sections)
	slices.SortFunc(sections, func(x, y section) int { return cmp.Compare(x.off, y.off) })
	sections = append(sections, b.index)
	want := &comparer{}
	pack := newPacker(want)
	pos := int64(0)
	for _, s := range sections {
		if s.off < pos {
			return fmt.Errorf("section %s at %d: begins before %d, where the one before ends: %w", s.name, s.off, pos, block.ErrCorrupt)
		}
		data, err := readRange(ctx, b.src, pos, s.end()-pos)
		if err != nil {
			return err
		}
		want.add(data)
		if err := s.check(data[s.off-pos:]); err != nil {
			return err
		}
		if err := pack.add(section{name: s.name}, data[s.off-pos:]); err != nil {
			return err
		}
		if err := pack.zip.Flush(); err != nil {
			return err
		}
		pos = s.end()
	}
	data, err := readRange(ctx, b.src, pos, b.src.Size()-pos)
	if err != nil {
		return err
	}
	want.add(data)
	if err := pack.finish(); err != nil {
		return err
	}
	if len(want.left) > 0 {
		return fmt.Errorf("%d bytes too many at %d: %w", len(want.left), want.off, block.ErrCorrupt)
	}
	return nil
}

// comparer is a writer that wants to be written certain bytes.
type comparer struct {
	left []byte // not yet written
	off  int64  // where they begin
}

func (c *comparer) add(data []byte) { c.left = append(c.left[:len(c.left):len(c.left)], data...) }

func (c *comparer) Write(b []byte) (int, error) {
	n := min(len(b), len(c.left))
	if len(b) > n || !bytes.Equal(b, c.left[:n]) {
		at := 0
		for at < n && b[at] == c.left[at] {
			at++
		}
		return 0, fmt.Errorf("byte %d is not what a ZIP of these sections has there: %w", c.off+int64(at), block.ErrCorrupt)
	}
	c.left = c.left[n:]
	c.off += int64(n)
	return n, nil
}

// verifyStacks checks that children stand in canonical order, each once.
func (b *Block) verifyStacks(ctx context.Context) error {
	sym := NewSymbols()
	for n, service := range b.services {
		stacks, err := b.Stacks(ctx, sym, n)
		if err != nil {
			return err
		}
		s := stacks[0]
		before := []FrameID{0} // by depth, the last sibling; 0 where there is none
		for i, d := range s.Depth {
			frame := s.Frame[i]
			if int(d) < len(before) && before[d] != 0 && sym.Compare(before[d], frame) >= 0 {
				return fmt.Errorf("node %d of %s: children are not in canonical order: %w", service.Nodes.From+uint64(i), service.Name, block.ErrCorrupt)
			}
			before = append(before[:d], frame, 0)
		}
	}
	return nil
}

// verifyGroups checks that rows and totals agree.
func (b *Block) verifyGroups(ctx context.Context) error {
	first, last := int64(0), int64(0)
	profiles := 0
	samples := int64(0)
	for n := range b.groups {
		totals, err := b.Totals(ctx, n, Span{0, uint64(len(b.series))})
		if err != nil {
			return err
		}
		tally := newTallying(b, nil)
		if err := b.verifyRows(ctx, n, totals, tally); err != nil {
			return err
		}
		if err := b.verifyRollups(ctx, n, tally); err != nil {
			return err
		}
		for i, t := range totals.T {
			ms := b.info.Range.From.UnixMilli() + int64(t)
			if profiles == 0 {
				first, last = ms, ms
			}
			first, last = min(first, ms), max(last, ms)
			profiles++
			samples += int64(totals.Samples[i])
		}
	}
	if !b.info.Raw {
		return b.verifyAlone(ctx)
	}
	if profiles > 0 && (first != b.info.MinTime || last != b.info.MaxTime) || samples != b.info.Samples {
		return fmt.Errorf("profiles of [%d, %d] ms with %d samples, the block says [%d, %d] and %d: %w",
			first, last, samples, b.info.MinTime, b.info.MaxTime, b.info.Samples, block.ErrCorrupt)
	}
	return nil
}

// verifyAlone checks what a block of rollups alone says of the profiles that it has not.
func (b *Block) verifyAlone(ctx context.Context) error {
	for _, r := range b.Rollups() {
		first, last := int64(math.MaxInt64), int64(math.MinInt64)
		profiles, samples := int64(0), int64(0)
		for n := range b.groups {
			cells, err := b.Cells(ctx, r, n, Span{0, math.MaxUint32})
			if err != nil {
				return err
			}
			from := b.info.Range.From.UnixMilli()
			for i := range cells.Len() {
				first, last = min(first, from+int64(cells.FirstT[i])), max(last, from+int64(cells.LastT[i]))
				profiles += int64(cells.Profiles[i])
				samples += cells.Samples[i]
			}
		}
		if profiles > 0 && (first != b.info.MinTime || last != b.info.MaxTime) || samples != b.info.Samples || profiles != b.info.Profiles {
			return fmt.Errorf("rollup %s is of %d profiles of [%d, %d] ms with %d samples, the block says %d, [%d, %d] and %d: %w",
				r, profiles, first, last, samples, b.info.Profiles, b.info.MinTime, b.info.MaxTime, b.info.Samples, block.ErrCorrupt)
		}
	}
	return nil
}

func (b *Block) verifyRows(ctx context.Context, group int, totals *Totals, tally *tallying) error {
	cols := Columns{Labels: true}
	for k := range b.groups[group].SampleTypes {
		cols.Values = append(cols.Values, k)
	}
	spans := make([]Span, totals.Len())
	for i := range spans {
		spans[i] = Span{totals.FirstRow[i], totals.FirstRow[i+1]}
		if i > 0 && b.compareProfiles(totals, i-1, i) >= 0 {
			return fmt.Errorf("profile %d of group %d does not come after the one before: %w", i, group, block.ErrCorrupt)
		}
	}
	if end := totals.FirstRow[totals.Len()]; end != b.raw[group].rows {
		return fmt.Errorf("profiles of group %d have %d rows, there are %d: %w", group, end, b.raw[group].rows, block.ErrCorrupt)
	}
	sums := make([][]int64, len(b.groups[group].SampleTypes))
	for k := range sums {
		sums[k] = make([]int64, totals.Len())
	}
	entered := 0
	enter := func(upTo int) {
		for ; entered < upTo; entered++ {
			tally.enter(BySeries, totals.Series[entered], totals.T[entered], 1, int64(totals.Samples[entered]), totals.DurationNanos[entered])
		}
	}
	last := uint64(0)
	for rows, err := range b.Rows(ctx, group, spans, cols) {
		if err != nil {
			return err
		}
		i := rows.Span
		enter(i + 1)
		nodes := b.services[b.series[totals.Series[i]].Service].Nodes
		for r, stack := range rows.Stack {
			key := uint64(stack) << 32
			if rows.Labels != nil {
				key |= uint64(rows.Labels[r])
			}
			if uint64(stack) < nodes.From || uint64(stack) >= nodes.To || rows.First+uint64(r) > spans[i].From && key <= last {
				return fmt.Errorf("row %d of group %d: stack %d is not of its service, or not in order: %w", rows.First+uint64(r), group, stack, block.ErrCorrupt)
			}
			last = key
		}
		columns := tally.read(rows)
		for k := range sums {
			sums[k][i] += addedUp(columns[k])
		}
		tally.add(rows.Stack, columns)
	}
	enter(totals.Len())
	for k := range sums {
		if !slices.Equal(sums[k], totals.Values[k]) {
			return fmt.Errorf("totals of %s of group %d are not the sums of its rows: %w", b.groups[group].SampleTypes[k], group, block.ErrCorrupt)
		}
	}
	return b.verifyRowKeys(ctx, group, totals)
}

func addedUp(values []int64) (sum int64) {
	for _, v := range values {
		sum += v
	}
	return sum
}

func (b *Block) compareProfiles(t *Totals, i, j int) int {
	return cmp.Or(cmp.Compare(t.Series[i], t.Series[j]), cmp.Compare(t.T[i], t.T[j]), cmp.Compare(t.Hash[i], t.Hash[j]))
}

// verifyRowKeys checks the columns of rows that this package does not read, since totals
// say the same: series and time.
func (b *Block) verifyRowKeys(ctx context.Context, group int, totals *Totals) error {
	i := 0
	for _, chunk := range b.raw[group].chunks {
		section := chunk.rows
		streams, err := b.fetch(ctx, section)
		if err != nil {
			return err
		}
		var series, t []uint32
		if err := firstError(decodeInto(streams[0], &series, "series"), decodeInto(streams[0], &t, "t")); err != nil {
			return err
		}
		for r := range series {
			for section.first+uint64(r) >= totals.FirstRow[i+1] {
				i++
			}
			if series[r] != totals.Series[i] || t[r] != totals.T[i] {
				return streams[0].corrupt("row %d is of series %d at %d, its profile of %d at %d", r, series[r], t[r], totals.Series[i], totals.T[i])
			}
		}
	}
	return nil
}

// verifyTables reads the tables that nothing above has read.
func (b *Block) verifyTables(ctx context.Context) error {
	if _, err := b.Headers(ctx); err != nil {
		return err
	}
	if _, err := b.SampleLabels(ctx); err != nil {
		return err
	}
	_, err := b.Sources(ctx)
	return err
}

package arrowblock

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/bits"

	"github.com/coldframe/coldframe/block"
)

// tally is what the rows and cells of a rollup add up to when each is multiplied with a hash of
// what it belongs to. Two rollups with the same tally are the same, but for one case in 2^64,
// and the tally of the rows that a rollup was made of is known without making it.
type tally struct{ rows, cells uint64 }

// tallying adds up the tallies of rollups that may be made of rows.
type tallying struct {
	b       *Block
	of      []int // in b.rollups
	tallies []tally
	cell    []uint64 // hashes of the cells that rows belong to, by position in of
	values  [][]int64
}

// newTallying is for the rows of a rollup, or for those of the profiles themselves: nil.
func newTallying(b *Block, from *rollupTable) *tallying {
	t := &tallying{b: b}
	for i := range b.rollups {
		if r := &b.rollups[i]; from == nil || r.Axis >= from.Axis && r.Window%from.Window == 0 {
			t.of = append(t.of, i)
		}
	}
	t.tallies = make([]tally, len(t.of))
	t.cell = make([]uint64, len(t.of))
	return t
}

// enter goes to the rows of a profile, or of a cell of an axis, and takes in what is said of them.
func (t *tallying) enter(axis Axis, key, ms, profiles uint32, samples, duration int64) {
	for i, n := range t.of {
		r := &t.b.rollups[n]
		own := key
		if r.Axis != axis {
			own = uint32(t.b.series[key].Service)
		}
		t.cell[i] = scatter(uint64(own)<<32 | uint64(ms-ms%uint32(r.Window.Milliseconds())))
		h := scatter(t.cell[i])
		t.tallies[i].cells += h*uint64(profiles) + bits.RotateLeft64(h, 21)*uint64(samples) + bits.RotateLeft64(h, 42)*uint64(duration)
	}
}

// add takes in rows, each sample type's values in a column.
func (t *tallying) add(stacks []uint32, values [][]int64) {
	for i, cell := range t.cell {
		sum := uint64(0)
		for n, stack := range stacks {
			h := scatter(cell + uint64(stack))
			for k := range values {
				sum += h * uint64(values[k][n])
				h = bits.RotateLeft64(h, 19) * 0x9E3779B97F4A7C15
			}
		}
		t.tallies[i].rows += sum
	}
}

// scatter is the last step of Steele's SplitMix64: every bit of the result depends on all of h.
func scatter(h uint64) uint64 {
	h += 0x9E3779B97F4A7C15
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>27) * 0x94D049BB133111EB
	return h ^ h>>31
}

// read gives the columns of all sample types of rows.
func (t *tallying) read(rows *Rows) [][]int64 {
	if t.values == nil {
		t.values = make([][]int64, len(rows.values))
	}
	for k := range t.values {
		t.values[k] = rows.Values(t.values[k][:0], k)
	}
	return t.values
}

// verifyRollups checks that every rollup of a group is in order, and that it is what the
// rows of the profiles add up to, and those of shorter windows.
func (b *Block) verifyRollups(ctx context.Context, group int, raw *tallying) error {
	own := make([]tally, len(b.rollups))
	from := []*tallying{}
	names := []string{}
	if b.info.Raw {
		from, names = append(from, raw), append(names, "the profiles")
	}
	for i := range b.rollups {
		r := &b.rollups[i]
		t := newTallying(b, r)
		if err := b.verifyRollup(ctx, group, r, t); err != nil {
			return err
		}
		from, names = append(from, t), append(names, r.String())
		own[i] = t.tallies[0] // a rollup may be made of itself, and not of those before it
	}
	for i, t := range from {
		for k, n := range t.of {
			if t.tallies[k] != own[n] {
				return fmt.Errorf("rollup %s of group %d is not what %s add up to: %w", b.rollups[n].Rollup, group, names[i], block.ErrCorrupt)
			}
		}
	}
	return nil
}

// verifyRollup checks the rows and cells of a rollup, and takes them in.
func (b *Block) verifyRollup(ctx context.Context, group int, r *rollupTable, t *tallying) error {
	cells, err := b.Cells(ctx, r.Rollup, group, Span{0, math.MaxUint32})
	if err != nil {
		return err
	}
	corrupt := func(format string, args ...any) error {
		return fmt.Errorf("rollup %s of group %d: %s: %w", r, group, fmt.Sprintf(format, args...), block.ErrCorrupt)
	}
	if end := cells.FirstRow[cells.Len()]; end != r.rows[group].rows {
		return corrupt("cells have %d rows, there are %d", end, r.rows[group].rows)
	}
	spans := make([]Span, cells.Len())
	for i := range spans {
		spans[i] = Span{cells.FirstRow[i], cells.FirstRow[i+1]}
		if i > 0 && cmp.Or(cmp.Compare(cells.Key[i-1], cells.Key[i]), cmp.Compare(cells.T[i-1], cells.T[i])) >= 0 {
			return corrupt("cell %d does not come after the one before", i)
		}
	}
	sums := make([][]int64, len(cells.Values))
	values := make([]int, len(sums))
	for k := range sums {
		sums[k], values[k] = make([]int64, cells.Len()), k
	}
	entered, last := 0, uint32(0)
	enter := func(upTo int) {
		for ; entered < upTo; entered++ {
			t.enter(r.Axis, cells.Key[entered], cells.T[entered], cells.Profiles[entered], cells.Samples[entered], cells.DurationNanos[entered])
		}
	}
	for rows, err := range b.RollupRows(ctx, r.Rollup, group, spans, values) {
		if err != nil {
			return err
		}
		i := rows.Span
		enter(i + 1)
		nodes := b.services[b.serviceOf(r.Axis, cells.Key[i])].Nodes
		columns := t.read(rows)
		for n, stack := range rows.Stack {
			if uint64(stack) < nodes.From || uint64(stack) >= nodes.To || rows.First+uint64(n) > spans[i].From && stack <= last {
				return corrupt("row %d: stack %d is not of its service, or not in order", rows.First+uint64(n), stack)
			}
			last = stack
			zero := true
			for k := range columns {
				sums[k][i] += columns[k][n]
				zero = zero && columns[k][n] == 0
			}
			if zero {
				return corrupt("row %d is zero", rows.First+uint64(n))
			}
		}
		t.add(rows.Stack, columns)
	}
	enter(cells.Len())
	for k := range sums {
		for i, sum := range sums[k] {
			if sum != cells.Values[k][i] {
				return corrupt("cell %d: rows add up to %d, it says %d", i, sum, cells.Values[k][i])
			}
		}
	}
	return nil
}

// serviceOf is the service of a row's key.
func (b *Block) serviceOf(axis Axis, key uint32) int {
	if axis == ByService {
		return int(key)
	}
	return b.series[key].Service
}

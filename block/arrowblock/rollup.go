package arrowblock

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/coldframe/coldframe/profile"
)

// Rollup says what rows are sums of: of all rows that series, or services, have in a window of time.
// A block may hold several rollups beside its rows, or without them. Their rows have
// no sample labels; they are exact in everything else, and what a query reads of a
// rollup is what the rows themselves would have given it.
type Rollup struct {
	Axis Axis
	// Window is how long each window is. Windows follow one another from the beginning of the
	// block's range: from midnight, UTC, in a bucket. Whole seconds.
	Window time.Duration
}

// Axis is what rows are summed over beside time.
type Axis uint8

// The axes.
const (
	BySeries  Axis = iota // series by series
	ByService             // all series of a group and service together
)

func (a Axis) folder() string {
	if a == ByService {
		return "rv"
	}
	return "rs"
}

// key names the column that says which series or service a row is of.
func (a Axis) key() string {
	if a == ByService {
		return "service"
	}
	return "series"
}

// String is the rollup's folder in a block: rs/900s.
func (r Rollup) String() string { return fmt.Sprintf("%s/%ds", r.Axis.folder(), r.Window/time.Second) }

// Compare orders rollups by axis, then window.
func (r Rollup) Compare(other Rollup) int {
	return cmp.Or(cmp.Compare(r.Axis, other.Axis), cmp.Compare(r.Window, other.Window))
}

// parseRollup reads what String writes, and nothing else.
func parseRollup(s string) (r Rollup, ok bool) {
	axis, rest, _ := strings.Cut(s, "/")
	if axis == ByService.folder() {
		r.Axis = ByService
	}
	seconds, err := strconv.ParseUint(strings.TrimSuffix(rest, "s"), 10, 32)
	r.Window = time.Duration(seconds) * time.Second
	return r, err == nil && r.String() == s && seconds > 0
}

// rollupsFact is the fact of the index that names a block's rollups.
const rollupsFact = "rollups"

func joinRollups(rollups []Rollup) string {
	var names []string
	for _, r := range rollups {
		names = append(names, r.String())
	}
	return strings.Join(names, " ")
}

// maxRollups is how many rollups a block may have.
const maxRollups = 16

// checkRollups sorts rollups and refuses those that no block can have. The windows of an
// axis must divide one another, so that each is made of the one before it.
func checkRollups(rollups []Rollup) ([]Rollup, error) {
	rollups = slices.Clone(rollups)
	slices.SortFunc(rollups, Rollup.Compare)
	if len(rollups) > maxRollups {
		return nil, fmt.Errorf("%d rollups, at most %d are allowed: %w", len(rollups), maxRollups, profile.ErrInvalid)
	}
	for i, r := range rollups {
		if r.Axis > ByService || r.Window < time.Second || r.Window%time.Second != 0 || r.Window.Milliseconds() > 1<<31 {
			return nil, fmt.Errorf("rollup %s of windows of %s: want whole seconds, at most 24 days: %w", r, r.Window, profile.ErrInvalid)
		}
		if i > 0 && rollups[i-1].Axis == r.Axis && (r.Window == rollups[i-1].Window || r.Window%rollups[i-1].Window != 0) {
			return nil, fmt.Errorf("rollup %s does not consist of whole windows of %s: %w", r, rollups[i-1], profile.ErrInvalid)
		}
	}
	return rollups, nil
}

// rollupTable is a rollup in an open block.
type rollupTable struct {
	Rollup
	rows  []rowTable   // by group
	cells [][]*section // by group
}

// Rollups returns the rollups that the block has, sorted.
func (b *Block) Rollups() []Rollup {
	rollups := make([]Rollup, len(b.rollups))
	for i := range rollups {
		rollups[i] = b.rollups[i].Rollup
	}
	return rollups
}

// Cells are the windows of a rollup in which a series or service of a group has profiles, one row
// each, sorted by key and T. Columns have the same length, FirstRow is longer by one.
type Cells struct {
	Key      []uint32 // the series or service
	T        []uint32 // when the window begins, in milliseconds from Info.Range.From
	Profiles []uint32 // how many profiles were summed
	Samples  []int64  // of their pprofs
	// FirstT and LastT are the times of the first and of the last profile, both included,
	// counted like T. A range that holds both holds all that the cell sums up.
	FirstT, LastT []uint32
	DurationNanos []int64   // the sum of the profiles' durations
	Period        []int64   // the largest of their periods
	Values        [][]int64 // the sum of each sample type
	FirstRow      []uint64  // the rows of cell i are [FirstRow[i], FirstRow[i+1]) of the rollup's in the group
}

// Len is how many cells there are.
func (c *Cells) Len() int { return len(c.Key) }

// rollup finds one of the block's rollups.
func (b *Block) rollup(r Rollup, group int) (*rollupTable, error) {
	if err := b.checkGroup(group); err != nil {
		return nil, err
	}
	for i := range b.rollups {
		if b.rollups[i].Rollup == r {
			return &b.rollups[i], nil
		}
	}
	return nil, fmt.Errorf("rollup %s: the block has %q: %w", r, joinRollups(b.Rollups()), profile.ErrInvalid)
}

// Cells reads the cells of a group in a rollup that the block has, of the series or services in the span.
func (b *Block) Cells(ctx context.Context, r Rollup, group int, keys Span) (*Cells, error) {
	table, err := b.rollup(r, group)
	if err != nil {
		return nil, err
	}
	var sections []*section
	for _, s := range table.cells[group] {
		if uint64(s.minSeries) < keys.To && uint64(s.maxSeries) >= keys.From {
			sections = append(sections, s)
		}
	}
	streams, err := b.fetch(ctx, sections...)
	if err != nil {
		return nil, err
	}
	all := &Cells{Values: make([][]int64, len(b.groups[group].SampleTypes)), FirstRow: []uint64{0}}
	for i, s := range streams {
		c, err := b.decodeCells(s, table, group, sections[i].first)
		if err != nil {
			return nil, err
		}
		all.join(c.within(keys))
	}
	return all, nil
}

func (b *Block) decodeCells(s *stream, table *rollupTable, group int, firstRow uint64) (*Cells, error) {
	c := &Cells{Values: make([][]int64, len(b.groups[group].SampleTypes))}
	var rows []uint32
	if err := firstError(
		decodeInto(s, &c.Key, table.Axis.key()), decodeInto(s, &c.T, "t"), decodeInto(s, &c.Profiles, "profiles"),
		decodeInto(s, &c.Samples, "samples"), decodeInto(s, &c.FirstT, "first_t"), decodeInto(s, &c.LastT, "last_t"),
		decodeInto(s, &c.DurationNanos, "duration_nanos"), decodeInto(s, &c.Period, "period"), decodeInto(s, &rows, "rows"),
	); err != nil {
		return nil, err
	}
	for k := range c.Values {
		if err := decodeInto(s, &c.Values[k], valueName(k)); err != nil {
			return nil, err
		}
	}
	c.FirstRow = addUp(firstRow, rows)
	if end := c.FirstRow[len(rows)]; end > table.rows[group].rows {
		return nil, s.corrupt("rows end at %d of %d", end, table.rows[group].rows)
	}
	window := uint64(table.Window.Milliseconds())
	for i, key := range c.Key {
		switch {
		case !b.hasKey(table.Axis, group, key):
			return nil, s.corrupt("cell %d: %s %d is not of group %d", i, table.Axis.key(), key, group)
		case i > 0 && cmp.Or(cmp.Compare(c.Key[i-1], key), cmp.Compare(c.T[i-1], c.T[i])) >= 0:
			return nil, s.corrupt("cell %d does not come after the one before", i)
		case uint64(c.T[i])%window != 0 || c.FirstT[i] < c.T[i] || c.LastT[i] < c.FirstT[i] || uint64(c.LastT[i])-uint64(c.T[i]) >= window:
			return nil, s.corrupt("cell %d: profiles of [%d, %d] in the window at %d", i, c.FirstT[i], c.LastT[i], c.T[i])
		}
	}
	return c, nil
}

// hasKey says whether a group may have rows of a series or service.
func (b *Block) hasKey(axis Axis, group int, key uint32) bool {
	if axis == ByService {
		return int(key) < len(b.services)
	}
	return int(key) < len(b.series) && b.series[key].Group == group
}

// addUp makes of lengths where each begins, counting from first, and where the last ends.
func addUp(first uint64, lengths []uint32) []uint64 {
	sums := make([]uint64, len(lengths)+1)
	sums[0] = first
	for i, n := range lengths {
		sums[i+1] = sums[i] + uint64(n)
	}
	return sums
}

// within keeps the cells whose keys lie in the span.
func (c *Cells) within(keys Span) *Cells {
	from := sort.Search(c.Len(), func(i int) bool { return uint64(c.Key[i]) >= keys.From })
	to := max(from, sort.Search(c.Len(), func(i int) bool { return uint64(c.Key[i]) >= keys.To }))
	part := &Cells{
		c.Key[from:to], c.T[from:to], c.Profiles[from:to], c.Samples[from:to], c.FirstT[from:to], c.LastT[from:to],
		c.DurationNanos[from:to], c.Period[from:to], nil, c.FirstRow[from : to+1],
	}
	for _, v := range c.Values {
		part.Values = append(part.Values, v[from:to])
	}
	return part
}

// join appends the next section's cells. The first are taken as they are.
func (c *Cells) join(next *Cells) {
	if c.Len() == 0 {
		*c = *next
		return
	}
	c.Key, c.T, c.Profiles, c.Samples = append(c.Key, next.Key...), append(c.T, next.T...), append(c.Profiles, next.Profiles...), append(c.Samples, next.Samples...)
	c.FirstT, c.LastT = append(c.FirstT, next.FirstT...), append(c.LastT, next.LastT...)
	c.DurationNanos, c.Period = append(c.DurationNanos, next.DurationNanos...), append(c.Period, next.Period...)
	for k := range c.Values {
		c.Values[k] = append(c.Values[k], next.Values[k]...)
	}
	c.FirstRow = append(c.FirstRow[:len(c.FirstRow)-1], next.FirstRow...)
}

// RollupRows reads rows of a group in a rollup that the block has. It is [Block.Rows] of a rollup: spans are those
// of Cells.FirstRow, and rows have no labels.
func (b *Block) RollupRows(ctx context.Context, r Rollup, group int, spans []Span, values []int) iter.Seq2[*Rows, error] {
	table, err := b.rollup(r, group)
	if err != nil {
		return func(yield func(*Rows, error) bool) { yield(nil, err) }
	}
	return b.rowsOf(ctx, group, &table.rows[group], spans, Columns{Values: values})
}

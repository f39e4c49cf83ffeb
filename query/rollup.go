package query

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/coldframe/coldframe/block/arrowblock"
)

// A query that shows neither single profiles nor samples' labels reads sums where blocks have
// them: whole windows of a rollup, the longest first, shorter ones and at last profiles
// at the edges of its range. A window counts when the range holds its first and its last profile
// and no other block can have one of its profiles too.

// windows is what was chosen of a rollup.
type windows struct {
	rollup arrowblock.Rollup
	cells  *arrowblock.Cells
	chosen []uint32 // positions in cells, ascending
	sifted []int64  // what each counts with; nil: the cells' values
}

// profiles is how many the windows sum up.
func (w *windows) profiles() int {
	n := 0
	for _, i := range w.chosen {
		n += int(w.cells.Profiles[i])
	}
	return n
}

// unit is what rows of a rollup are summed over: a series, or all series of a service.
type unit struct {
	axis arrowblock.Axis
	key  uint32
}

// unitsOf says for series of a group which unit each is read in: that of its service when all of
// its series are asked for, and together, else its own.
func (r *run) unitsOf(p *part, group int, series []uint32) map[uint32]unit {
	all := p.blk.Series()
	there, asked := map[int]int{}, map[int]int{}
	for i := range all {
		if all[i].Group == group {
			there[all[i].Service]++
		}
	}
	for _, s := range series {
		asked[all[s].Service]++
	}
	units := make(map[uint32]unit, len(series))
	for _, s := range series {
		service := all[s].Service
		if r.apart || r.sums == nil || asked[service] < there[service] {
			units[s] = unit{arrowblock.BySeries, s}
		} else {
			units[s] = unit{arrowblock.ByService, uint32(service)}
		}
	}
	return units
}

// cover is what is chosen of a group by windows, and what is left to its profiles.
type cover struct {
	windows []windows
	units   map[uint32]unit     // by series
	covered map[unit][]interval // which times the windows cover, counted like Cells.T
	open    map[unit]bool       // those that have profiles outside of windows
}

// rest are the series that have profiles outside of the windows.
func (c *cover) rest(series []uint32) []uint32 {
	return slices.DeleteFunc(slices.Clone(series), func(s uint32) bool { return !c.open[c.units[s]] })
}

// covers says whether the windows hold a series' profile of a time.
func (c *cover) covers(series, t uint32) bool {
	return c.units != nil && covers(c.covered[c.units[series]], int64(t))
}

// coverOf chooses windows of some series of a group.
func (r *run) coverOf(ctx context.Context, p *part, group int, series []uint32) (*cover, error) {
	c := &cover{units: r.unitsOf(p, group, series), covered: map[unit][]interval{}, open: map[unit]bool{}}
	for _, u := range c.units {
		c.open[u] = true
	}
	for _, axis := range []arrowblock.Axis{arrowblock.ByService, arrowblock.BySeries} {
		if err := r.coverAxis(ctx, p, group, axis, c); err != nil {
			return nil, err
		}
	}
	for u := range c.covered {
		slices.SortFunc(c.covered[u], func(a, b interval) int { return int(a.first - b.first) })
	}
	return c, nil
}

func (r *run) coverAxis(ctx context.Context, p *part, group int, axis arrowblock.Axis, c *cover) error {
	rollups := p.blk.Rollups()
	slices.Reverse(rollups) // the longest windows first
	for _, rollup := range rollups {
		if rollup.Axis != axis || r.sums != nil && !r.sums(rollup.Window) {
			continue
		}
		keys := arrowblock.Span{From: math.MaxUint64}
		for u, open := range c.open {
			if open && u.axis == axis {
				keys.From, keys.To = min(keys.From, uint64(u.key)), max(keys.To, uint64(u.key)+1)
			}
		}
		if keys.To == 0 {
			return nil
		}
		cells, err := p.blk.Cells(ctx, rollup, group, keys)
		if err != nil {
			return err
		}
		if err := r.reserve(totalsBytes*int64(cells.Len()), "the list of windows"); err != nil {
			return err
		}
		if w := r.chooseWindows(p, rollup, cells, c); len(w.chosen) > 0 {
			c.windows = append(c.windows, w)
		}
	}
	return nil
}

// chooseWindows chooses those of the open units that count whole, and closes the units of
// which nothing else is in the range.
func (r *run) chooseWindows(p *part, rollup arrowblock.Rollup, cells *arrowblock.Cells, c *cover) windows {
	w := windows{rollup: rollup, cells: cells}
	start := p.start()
	from, to := ceilMillis(r.within.From)-start, ceilMillis(r.within.To)-start
	rest := map[unit]bool{}
	length := rollup.Window.Milliseconds()
	for i, key := range cells.Key {
		u := unit{rollup.Axis, key}
		t, first, last := int64(cells.T[i]), int64(cells.FirstT[i]), int64(cells.LastT[i])
		if !c.open[u] || last < from || first >= to || within(c.covered[u], t) {
			continue
		}
		alike := r.alike && first == last && cells.Profiles[i] > 1
		if first < from || last >= to || alike || r.contested(p, u, start+first, start+last) {
			rest[u] = true
			continue
		}
		w.chosen = append(w.chosen, uint32(i))
		c.covered[u] = append(c.covered[u], interval{t, t + length - 1})
	}
	for u := range c.open {
		if u.axis == rollup.Axis {
			c.open[u] = c.open[u] && rest[u]
		}
	}
	return w
}

// within says whether a time is in one of a few intervals, in whatever order.
func within(intervals []interval, t int64) bool {
	return slices.ContainsFunc(intervals, func(i interval) bool { return i.first <= t && t <= i.last })
}

// contests are times of a part's series which another part covers too, so that both may
// have a profile.
type contests map[unit][]interval

// contested says whether another part may have a profile of a unit's from a time to another,
// in milliseconds since 1970.
func (r *run) contested(p *part, u unit, first, last int64) bool {
	return slices.ContainsFunc(p.contests[u], func(i interval) bool { return i.first <= last && first <= i.last })
}

// findContests looks for series that several parts have whose times overlap.
func findContests(parts []*part) {
	type holder struct {
		part   *part
		series uint32
	}
	shared := overlaps(parts)
	if len(shared) == 0 {
		return
	}
	holders := map[string][]holder{}
	for _, p := range parts {
		info := p.blk.Info()
		if !slices.ContainsFunc(shared, func(i interval) bool { return i.first <= info.MaxTime && info.MinTime <= i.last }) {
			continue
		}
		for _, s := range p.series {
			series := &p.blk.Series()[s]
			key := p.blk.Groups()[series.Group].Name + series.Labels.String()
			holders[key] = append(holders[key], holder{p, s})
		}
	}
	for _, all := range holders {
		for i, a := range all {
			for _, b := range all[i+1:] {
				from := max(a.part.blk.Info().MinTime, b.part.blk.Info().MinTime)
				to := min(a.part.blk.Info().MaxTime, b.part.blk.Info().MaxTime)
				if from > to || a.part == b.part {
					continue
				}
				a.part.contest(a.series, interval{from, to})
				b.part.contest(b.series, interval{from, to})
			}
		}
	}
}

func (p *part) contest(series uint32, i interval) {
	if p.contests == nil {
		p.contests = contests{}
	}
	for _, u := range []unit{{arrowblock.BySeries, series}, {arrowblock.ByService, uint32(p.blk.Series()[series].Service)}} {
		if !slices.Contains(p.contests[u], i) {
			p.contests[u] = append(p.contests[u], i)
		}
	}
}

// serviceOf is the service of a cell.
func (p *part) serviceOf(axis arrowblock.Axis, key uint32) int {
	if axis == arrowblock.ByService {
		return int(key)
	}
	return p.blk.Series()[key].Service
}

// readWindows adds the rows of chosen windows to the shares of their services.
func (r *run) readWindows(ctx context.Context, p *part, k pick, w windows, columns, services []int, shares []*share) error {
	var spans []arrowblock.Span
	var owners []owner
	for _, i := range w.chosen {
		key := w.cells.Key[i]
		share, _ := slices.BinarySearch(services, p.serviceOf(w.rollup.Axis, key))
		of := owner{share: share, class: -1}
		if r.step > 0 { // a window lies in one
			of.step = beginOf(p.start()+int64(w.cells.FirstT[i]), r.step)
		}
		if w.rollup.Axis == arrowblock.BySeries {
			of.class = p.classOf[key]
		}
		spans, owners = appendSpan(spans, owners, arrowblock.Span{From: w.cells.FirstRow[i], To: w.cells.FirstRow[i+1]}, of)
	}
	var wanted []int
	for _, column := range columns {
		if column >= 0 {
			wanted = append(wanted, column)
		}
	}
	for rows, err := range p.blk.RollupRows(ctx, w.rollup, k.group, spans, wanted) {
		if err != nil {
			return err
		}
		sh, group := shares[owners[rows.Span].share], 0
		if class := owners[rows.Span].class; class >= 0 {
			group = p.classes[class].group
		}
		if r.step > 0 {
			if err := r.addStep(sh, group, owners[rows.Span].step, rows, columns); err != nil {
				return err
			}
			continue
		}
		if err := r.turnTo(sh, group); err != nil {
			return err
		}
		if err := sh.addTo(rows, columns); err != nil {
			return err
		}
	}
	return nil
}

// appendSpan adds a span of rows, to the last one where it adjoins and is of the same owner.
func appendSpan(spans []arrowblock.Span, owners []owner, span arrowblock.Span, of owner) ([]arrowblock.Span, []owner) {
	if span.From == span.To {
		return spans, owners
	}
	if n := len(spans); n > 0 && spans[n-1].To == span.From && owners[n-1] == of {
		spans[n-1].To = span.To
		return spans, owners
	}
	return append(spans, span), append(owners, of)
}

// addTo adds rows' values to the tree of a share.
func (sh *share) addTo(rows *arrowblock.Rows, columns []int) error {
	for i, column := range columns {
		if column < 0 {
			continue
		}
		if err := rows.AddTo(sh.tree.Self[i], sh.nodes.From, column); err != nil {
			return err
		}
	}
	return nil
}

// anyWindow takes rollups of any window, as a sum over the whole range does.
func anyWindow(time.Duration) bool { return true }

// noProfiles notes that of a block whose profiles have expired the edges of the range are missing.
func (r *run) noProfiles(p *part) {
	r.note(p.key, errors.New("the profiles have expired, and of the sums that are left the range cuts some"))
}

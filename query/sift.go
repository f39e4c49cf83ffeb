package query

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
)

// What a profile is worth in a series is its total, unless only some of its samples count:
// those whose stacks pass filters, or that have labels of their own. Then its rows are read
// and added up again.

// ofSeries stands for the group of a profile whose series alone decides about it.
const ofSeries = -1

// worth is what a profile counts with in a group of labels.
type worth struct {
	row   uint32 // in pick.totals
	group int    // of run.groups, or ofSeries
	value int64
}

// worths are what the chosen profiles of a pick count with, by a column of its totals.
func (k *pick) worths(column int) iter.Seq[worth] {
	if k.sifted != nil {
		return slices.Values(k.sifted)
	}
	return func(yield func(worth) bool) {
		for _, row := range k.chosen {
			if !yield(worth{row, ofSeries, k.totals.Values[column][row]}) {
				return
			}
		}
	}
}

// value is what the i-th of the chosen windows counts with.
func (w *windows) value(i, column int) int64 {
	if w.sifted != nil {
		return w.sifted[i]
	}
	return w.cells.Values[column][w.chosen[i]]
}

// mustSift says whether totals do not tell what a part's profiles are worth.
func (r *run) mustSift(p *part) bool { return len(r.stackFilters()) > 0 || len(p.samples) > 0 }

// stackFilters are those that leave samples out. Frame filters leave all values where they are.
func (r *run) stackFilters() []Filter {
	return slices.DeleteFunc(slices.Clone(r.req.Filters), func(f Filter) bool { return f.Frames })
}

// sift finds what the profiles of a part are worth. c is of one sample type.
func (r *run) sift(ctx context.Context, p *part, c *choice) error {
	if !r.mustSift(p) {
		return nil
	}
	if err := r.classify(p); err != nil {
		return err
	}
	if p.key != "" {
		defer progressOf(ctx).finish(1)
	}
	pass, err := r.passes(ctx, p)
	if err != nil {
		return err
	}
	for i := range p.picks {
		k := &p.picks[i]
		column := c.columns(p.blk.Groups()[k.group])[0]
		if err := r.siftProfiles(ctx, p, k, column, pass); err != nil {
			return err
		}
		for j := range k.windows {
			if err := r.siftWindows(ctx, p, k.group, &k.windows[j], column, pass); err != nil {
				return err
			}
		}
	}
	return nil
}

// passed says of the stacks of one service which of them pass the filters.
type passed struct {
	first, end uint64 // nodes of the block
	nodes      []bool // nil: all do
}

// has says whether a row counts by its stack.
func (s passed) has(stack uint32) (bool, error) {
	node := uint64(stack)
	if node < s.first || node >= s.end {
		return false, fmt.Errorf("a row has stack %d, its service has [%d, %d): %w", stack, s.first, s.end, block.ErrCorrupt)
	}
	return s.nodes == nil || s.nodes[node-s.first], nil
}

// passes filters the stacks of a part's services, by their numbers.
func (r *run) passes(ctx context.Context, p *part) (map[int]passed, error) {
	services := p.services()
	of := make(map[int]passed, len(services))
	for _, service := range services {
		nodes := p.blk.Services()[service].Nodes
		of[service] = passed{first: nodes.From, end: nodes.To}
	}
	filters := r.stackFilters()
	if len(filters) == 0 {
		return of, nil
	}
	for _, s := range of {
		if err := r.reserve(nodeBytes*int64(s.end-s.first), "the stacks"); err != nil {
			return nil, err
		}
	}
	sym := arrowblock.NewSymbols()
	stacks, err := p.blk.Stacks(ctx, sym, services...)
	if err != nil {
		return nil, err
	}
	sieve := newSieve(filters, sym)
	for i, service := range services {
		s := of[service]
		s.nodes = sieve.passing(stacks[i])
		of[service] = s
	}
	return of, nil
}

// siftProfiles adds up the rows of each chosen profile that count, by group.
func (r *run) siftProfiles(ctx context.Context, p *part, k *pick, column int, pass map[int]passed) error {
	spans := make([]arrowblock.Span, len(k.chosen))
	labels := false
	for i, row := range k.chosen {
		spans[i] = arrowblock.Span{From: k.totals.FirstRow[row], To: k.totals.FirstRow[row+1]}
		labels = labels || !p.classes[p.classOf[k.totals.Series[row]]].plain()
	}
	sums := make([]map[int]int64, len(k.chosen))
	for rows, err := range p.blk.Rows(ctx, k.group, spans, arrowblock.Columns{Values: []int{column}, Labels: labels}) {
		if err != nil {
			return err
		}
		series := k.totals.Series[k.chosen[rows.Span]]
		if sums[rows.Span] == nil {
			sums[rows.Span] = map[int]int64{}
		}
		if err := r.addCounting(ctx, sums[rows.Span], p, rows, column, &p.classes[p.classOf[series]], pass[p.blk.Series()[series].Service]); err != nil {
			return err
		}
	}
	k.sifted = make([]worth, 0, len(k.chosen))
	for i, row := range k.chosen {
		if p.classes[p.classOf[k.totals.Series[row]]].plain() { // it is there, if it is worth nothing
			k.sifted = append(k.sifted, worth{row, ofSeries, sums[i][ofSeries]})
			continue
		}
		for _, group := range slices.Sorted(maps.Keys(sums[i])) {
			k.sifted = append(k.sifted, worth{row, group, sums[i][group]})
		}
	}
	return r.reserve(int64(len(k.sifted))*totalsBytes, "the list of profiles")
}

// addCounting adds the values of the rows that count to the sums of their groups.
func (r *run) addCounting(ctx context.Context, sums map[int]int64, p *part, rows *arrowblock.Rows, column int, class *rowClass, pass passed) error {
	if rows.Labels != nil && !class.plain() && p.sets == nil {
		var err error
		if p.sets, err = p.blk.SampleLabels(ctx); err != nil {
			return err
		}
	}
	for i, value := range rows.Values(nil, column) {
		counts, err := pass.has(rows.Stack[i])
		if err != nil {
			return err
		}
		if !counts {
			continue
		}
		group := ofSeries
		if !class.plain() {
			set := uint32(0)
			if rows.Labels != nil {
				set = rows.Labels[i]
			}
			if group, err = r.groupOf(p, class, set); err != nil {
				return err
			}
			if group == rejected {
				continue
			}
			if len(class.openBy) == 0 {
				group = ofSeries
			}
		}
		sums[group] += value
	}
	return nil
}

// siftWindows adds up the rows of each chosen window that count.
func (r *run) siftWindows(ctx context.Context, p *part, group int, w *windows, column int, pass map[int]passed) error {
	spans := make([]arrowblock.Span, len(w.chosen))
	for i, cell := range w.chosen {
		spans[i] = arrowblock.Span{From: w.cells.FirstRow[cell], To: w.cells.FirstRow[cell+1]}
	}
	w.sifted = make([]int64, len(w.chosen))
	for rows, err := range p.blk.RollupRows(ctx, w.rollup, group, spans, []int{column}) {
		if err != nil {
			return err
		}
		of := pass[p.serviceOf(w.rollup.Axis, w.cells.Key[w.chosen[rows.Span]])]
		for i, value := range rows.Values(nil, column) {
			counts, err := of.has(rows.Stack[i])
			if err != nil {
				return err
			}
			if counts {
				w.sifted[rows.Span] += value
			}
		}
	}
	return nil
}

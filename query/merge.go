package query

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/profile"
)

// merged is the samples of all chosen profiles, equal ones added up.
type merged struct {
	sym  *arrowblock.Symbols
	tree *arrowblock.Tree // samples without labels, one column for each chosen sample type

	// When the run groups by labels: what tree would be, for each group.
	groups []labelGroup

	// Samples with labels, when they were asked for. A node of a labelled sample is in
	// tree, but Prune was not called.
	labelled map[labelledKey][]int64
	sets     labelSets
}

// labelledKey is what makes labelled samples equal.
type labelledKey struct {
	set  int    // in merged.sets
	node uint32 // in merged.tree
}

// labelGroup is the samples of which the labels grouped by are these.
type labelGroup struct {
	labels profile.Labels
	tree   *arrowblock.Tree
}

// labelSets numbers sets of sample labels across blocks.
type labelSets struct {
	numbers map[string]int
	keys    []string // what the sets are known by
	sets    [][]arrowblock.SampleLabel
}

// merge reads the rows and stacks of the selected profiles and adds them up. A part
// that fails leaves the selection and is missing from the result, whole. full reads
// what only a pprof shows: the samples' labels and the profiles' headers.
func (r *run) merge(ctx context.Context, s *selection, c *choice, full bool) (*merged, error) {
	m := &merged{sym: arrowblock.NewSymbols(), sets: labelSets{numbers: map[string]int{}}}
	var mu sync.Mutex
	var trees []*arrowblock.Tree
	var labelled []*share
	grouped := map[int][]*arrowblock.Tree{}
	var into *sumList
	if r.remembers(full) {
		into = &sumList{}
	}
	sound, err := r.eachShared(ctx, s.parts, c, into, full, func(ctx context.Context, p *part) error {
		shares, err := r.readPart(ctx, p, c, m.sym, full)
		if err != nil {
			return err
		}
		if r.grouped() {
			return r.addGroups(&mu, grouped, shares)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, sh := range shares {
			trees = append(trees, sh.tree)
			if len(sh.labelled) > 0 {
				labelled = append(labelled, sh)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.parts = sound
	r.counted(s.profiles())
	trees = m.takeSums(into, trees)
	if len(trees) == 0 {
		trees = append(trees, arrowblock.NewTree(&arrowblock.Stacks{Depth: []uint16{0}, Frame: []arrowblock.FrameID{0}}, len(c.samples)))
	}
	for n, trees := range grouped {
		m.groups = append(m.groups, labelGroup{r.groups.labels[n], arrowblock.Merge(m.sym, trees...)})
	}
	slices.SortFunc(m.groups, func(a, b labelGroup) int { return a.labels.Compare(b.labels) })
	m.tree = arrowblock.Merge(m.sym, trees...)
	if len(labelled) > 0 {
		m.addLabelled(labelled)
	}
	return m, nil
}

// addGroups adds the trees of some shares to those of their groups.
func (r *run) addGroups(mu *sync.Mutex, grouped map[int][]*arrowblock.Tree, shares []*share) error {
	for _, sh := range shares {
		trees, err := r.trees(sh)
		if err != nil {
			return err
		}
		mu.Lock()
		for group, tree := range trees {
			grouped[group] = append(grouped[group], tree)
		}
		mu.Unlock()
	}
	return nil
}

// share is what one service in one block adds to an answer.
type share struct {
	nodes    arrowblock.Span // of the block
	tree     *arrowblock.Tree
	group    int             // whose values are in tree
	sums     map[int]*sparse // of the other groups
	labelled []labelledRow
	sets     [][]arrowblock.SampleLabel // of the block
}

// labelledRow is a row with sample labels.
type labelledRow struct {
	node   uint32 // in share.tree
	set    uint32 // in share.sets
	values []int64
}

// nodeBytes is what a node takes in a tree: its depth and its frame, and the same where it is merged.
const nodeBytes = 2 * 6

// readPart reads the rows of a part's picks, the stacks of their services, and if full
// the block's headers, all at once.
func (r *run) readPart(ctx context.Context, p *part, c *choice, sym *arrowblock.Symbols, full bool) ([]*share, error) {
	if err := r.classify(p); err != nil {
		return nil, err
	}
	if p.key != "" {
		defer progressOf(ctx).finish(1)
	}
	services := p.services()
	shares := make([]*share, len(services))
	for i, service := range services {
		nodes := p.blk.Services()[service].Nodes
		if err := r.reserve((nodeBytes+2*8*int64(len(c.samples)))*int64(nodes.Len()), "the stacks"); err != nil {
			return nil, err
		}
		self := make([][]int64, len(c.samples))
		for k := range self {
			self[k] = make([]int64, nodes.Len())
		}
		shares[i] = &share{nodes: nodes, tree: &arrowblock.Tree{Self: self}}
	}
	var packed *arrowblock.PackedStacks
	g, ctx := errgroup.WithContext(ctx)
	if full && p.blk.Info().Raw {
		g.Go(func() (err error) {
			p.headers, err = p.blk.Headers(ctx)
			return err
		})
	}
	g.Go(func() (err error) {
		packed, err = p.blk.PackedStacks(ctx, services...)
		return err
	})
	g.Go(func() error {
		for _, k := range p.picks {
			columns := c.columns(p.blk.Groups()[k.group])
			for _, w := range k.windows {
				if err := r.readWindows(ctx, p, k, w, columns, services, shares); err != nil {
					return err
				}
			}
			if err := r.readRows(ctx, p, k, columns, services, shares, full); err != nil {
				return err
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := unpack(packed, sym, shares); err != nil {
		return nil, err
	}
	return shares, r.reserve(sym.Grown(), "the functions")
}

// unpack gives the shares' trees their stacks: those that have values, but for shares that keep values
// by the number of the stack.
func unpack(packed *arrowblock.PackedStacks, sym *arrowblock.Symbols, shares []*share) error {
	self := make([][][]int64, len(shares))
	for i, sh := range shares {
		if len(sh.sums) == 0 && len(sh.labelled) == 0 {
			self[i] = sh.tree.Self
		}
	}
	trees, err := packed.Trees(sym, self)
	for i, tree := range trees {
		shares[i].tree.Stacks = tree.Stacks
		if self[i] != nil {
			shares[i].tree.Self = tree.Self
		}
	}
	return err
}

// services are those of the picked profiles, ascending.
func (p *part) services() []int {
	var services []int
	for _, k := range p.picks {
		for _, w := range k.windows {
			for _, i := range w.chosen {
				services = append(services, p.serviceOf(w.rollup.Axis, w.cells.Key[i]))
			}
		}
		last := uint32(0)
		for i, row := range k.chosen {
			if s := k.totals.Series[row]; i == 0 || s != last {
				services = append(services, p.blk.Series()[s].Service)
				last = s
			}
		}
	}
	slices.Sort(services)
	return slices.Compact(services)
}

// readRows adds the rows of a pick's profiles to the shares of their services.
func (r *run) readRows(ctx context.Context, p *part, k pick, columns, services []int, shares []*share, withLabels bool) error {
	spans, owners := p.rowSpans(k, services, r.step)
	wanted := arrowblock.Columns{Labels: withLabels || slices.ContainsFunc(p.classes, func(c rowClass) bool { return !c.plain() })}
	for _, column := range columns {
		if column >= 0 {
			wanted.Values = append(wanted.Values, column)
		}
	}
	for rows, err := range p.blk.Rows(ctx, k.group, spans, wanted) {
		if err != nil {
			return err
		}
		owner := owners[rows.Span]
		sh, class := shares[owner.share], &p.classes[owner.class]
		group, err := class.group, error(nil)
		if rows.Labels == nil && !class.plain() {
			if group, err = r.groupOf(p, class, 0); err != nil {
				return err
			}
		}
		if group == rejected {
			continue
		}
		if rows.Labels == nil && r.step > 0 {
			if err := r.addStep(sh, group, owner.step, rows, columns); err != nil {
				return err
			}
			continue
		}
		if group >= 0 && r.step == 0 {
			if err := r.turnTo(sh, group); err != nil {
				return err
			}
		}
		if rows.Labels == nil {
			if err := sh.addTo(rows, columns); err != nil {
				return err
			}
			continue
		}
		if p.sets == nil {
			if p.sets, err = p.blk.SampleLabels(ctx); err != nil {
				return err
			}
		}
		sh.sets = p.sets
		if err := r.addRows(p, sh, class, owner.step, rows, columns, withLabels); err != nil {
			return err
		}
	}
	return nil
}

// owner is whose a span of rows is: the position of a share, the number of a class, and, when the
// query groups by time, the beginning of a step.
type owner struct {
	share, class int
	step         int64
}

// rowSpans are the rows of a pick's profiles, joined where they adjoin and are of one
// owner. A share's position is that of its service among services.
func (p *part) rowSpans(k pick, services []int, stepMS int64) (spans []arrowblock.Span, owners []owner) {
	series := p.blk.Series()
	for _, row := range k.chosen {
		span := arrowblock.Span{From: k.totals.FirstRow[row], To: k.totals.FirstRow[row+1]}
		number := k.totals.Series[row]
		share, _ := slices.BinarySearch(services, series[number].Service)
		of := owner{share: share, class: p.classOf[number]}
		if stepMS > 0 {
			of.step = beginOf(p.start()+int64(k.totals.T[row]), stepMS)
		}
		spans, owners = appendSpan(spans, owners, span, of)
	}
	return spans, owners
}

// addRows adds rows of which some have labels. keep tells these apart in the answer.
func (r *run) addRows(p *part, sh *share, class *rowClass, begin int64, rows *arrowblock.Rows, columns []int, keep bool) error {
	if keep || !class.plain() {
		if err := r.reserve(int64(rows.Len())*int64(32+8*len(columns)), "the samples with labels"); err != nil {
			return err
		}
	}
	values := make([][]int64, len(columns))
	for i, column := range columns {
		if column >= 0 {
			values[i] = rows.Values(nil, column)
		} else {
			values[i] = make([]int64, rows.Len())
		}
	}
	for j, stack := range rows.Stack {
		node := uint64(stack) - sh.nodes.From
		if node >= sh.nodes.Len() {
			return fmt.Errorf("a row has stack %d, its service has [%d, %d): %w", stack, sh.nodes.From, sh.nodes.To, block.ErrCorrupt)
		}
		if int(rows.Labels[j]) >= len(sh.sets) {
			return fmt.Errorf("a row has label set %d of %d: %w", rows.Labels[j], len(sh.sets), block.ErrCorrupt)
		}
		group := class.group
		if !class.plain() {
			var err error
			if group, err = r.groupOf(p, class, rows.Labels[j]); err != nil {
				return err
			}
		}
		if group >= 0 && r.step > 0 {
			var err error
			if group, err = r.groups.at(group, begin); err != nil {
				return err
			}
		}
		switch {
		case group == rejected:
			continue
		case group != sh.group:
			for i := range values {
				sh.sumOf(group).add(uint32(node), i, values[i][j])
			}
			continue
		case rows.Labels[j] == 0 || !keep:
			for i := range values {
				sh.tree.Self[i][node] += values[i][j]
			}
			continue
		}
		row := labelledRow{node: uint32(node), set: rows.Labels[j], values: make([]int64, len(columns))}
		for i := range values {
			row.values[i] = values[i][j]
		}
		sh.labelled = append(sh.labelled, row)
	}
	return nil
}

// addLabelled adds up the shares' labelled rows by stack and labels. The stacks of a
// share are all in the merged tree, so that merging them again numbers them there.
func (m *merged) addLabelled(shares []*share) {
	m.labelled = map[labelledKey][]int64{}
	var again arrowblock.Stacks
	var ofTree, ofShare []uint32
	for _, sh := range shares {
		ofTree, ofShare = arrowblock.MergeStacks(m.sym, &again, &m.tree.Stacks, &sh.tree.Stacks, ofTree, ofShare)
		for _, row := range sh.labelled {
			key := labelledKey{m.sets.number(sh.sets[row.set]), ofShare[row.node]}
			sum := m.labelled[key]
			if sum == nil {
				m.labelled[key] = row.values
				continue
			}
			for i, v := range row.values {
				sum[i] += v
			}
		}
	}
}

// number gives equal sets of labels one number.
func (l *labelSets) number(set []arrowblock.SampleLabel) int {
	var key []byte
	for _, label := range set {
		for _, s := range []string{label.Key, label.Str, label.Unit} {
			key = binary.AppendUvarint(key, uint64(len(s)))
			key = append(key, s...)
		}
		key = binary.AppendVarint(key, label.Num)
		isNum := byte(0)
		if label.IsNum {
			isNum = 1
		}
		key = append(key, isNum)
	}
	n, known := l.numbers[string(key)]
	if !known {
		n = len(l.sets)
		l.numbers[string(key)] = n
		l.keys = append(l.keys, string(key))
		l.sets = append(l.sets, set)
	}
	return n
}

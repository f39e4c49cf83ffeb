package query

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/profile"
)

// A sample's labels are those of its series, and its own where the series has none of the name.
// Selectors and groups do not tell them apart, but for the labels that name a
// service: these are looked for on series alone, so that blocks can be left out by them.

// isServiceLabel says whether a label is looked for on series alone.
func isServiceLabel(name string) bool { return slices.Contains(profile.ServiceLabels[:], name) }

// sampleNames are the names among those that a query looks at which samples of the block have.
func (r *run) sampleNames(ctx context.Context, blk *arrowblock.Block) (names map[string]bool, sets [][]arrowblock.SampleLabel, err error) {
	var wanted []string
	for _, m := range r.req.Selector.Matchers {
		wanted = append(wanted, m.Name)
	}
	wanted = slices.DeleteFunc(append(wanted, r.by...), isServiceLabel)
	if len(wanted) == 0 || blk.NumSampleLabels() <= 1 {
		return nil, nil, nil
	}
	if sets, err = blk.SampleLabels(ctx); err != nil {
		return nil, nil, err
	}
	for _, set := range sets {
		for _, l := range set {
			if slices.Contains(wanted, l.Key) {
				if names == nil {
					names = map[string]bool{}
				}
				names[l.Key] = true
			}
		}
	}
	return names, sets, nil
}

// sampleLabel is the value of a sample's own label; "" when it has none. Of several values
// it is the first, a number is written in decimal.
func sampleLabel(set []arrowblock.SampleLabel, name string) string {
	for _, l := range set {
		switch {
		case l.Key != name:
		case l.IsNum:
			return strconv.FormatInt(l.Num, 10)
		default:
			return l.Str
		}
	}
	return ""
}

// grouping numbers the sets of labels that a query groups by, across blocks.
type grouping struct {
	mu      sync.Mutex
	numbers map[string]int
	labels  []profile.Labels
	steps   map[[2]int64]int // by group and the beginning of a step
}

// maxGroups is how many groups an answer may have.
const maxGroups = 10_000

func (g *grouping) number(ls profile.Labels) (int, error) {
	key := ls.String()
	g.mu.Lock()
	defer g.mu.Unlock()
	n, known := g.numbers[key]
	if !known {
		if n = len(g.labels); n >= maxGroups {
			return 0, fmt.Errorf("more than %d groups; group by a label that has fewer values: %w", maxGroups, ErrTooLarge)
		}
		if g.numbers == nil {
			g.numbers = map[string]int{}
		}
		g.numbers[key] = n
		g.labels = append(g.labels, ls)
	}
	return n, nil
}

// at is the group of what of a group lies in the step that begins at a time, in milliseconds
// since 1970.
func (g *grouping) at(group int, begin int64) (int, error) {
	key := [2]int64{int64(group), begin}
	g.mu.Lock()
	n, known := g.steps[key]
	ls := g.labels[group]
	g.mu.Unlock()
	if known {
		return n, nil
	}
	ls = append(slices.Clone(ls), profile.Label{Name: StepLabel, Value: time.UnixMilli(begin).UTC().Format("2006-01-02T15:04:05.000Z")})
	slices.SortFunc(ls, func(a, b profile.Label) int { return profile.Labels{a}.Compare(profile.Labels{b}) })
	n, err := g.number(ls)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.steps == nil {
		g.steps = map[[2]int64]int{}
	}
	g.steps[key] = n
	return n, err
}

// grouped says whether the answer's samples are told apart by labels or time.
func (r *run) grouped() bool { return len(r.by) > 0 || r.step > 0 }

// addStep adds rows of a group in one step.
func (r *run) addStep(sh *share, group int, begin int64, rows *arrowblock.Rows, columns []int) error {
	group, err := r.groups.at(group, begin)
	if err != nil {
		return err
	}
	return r.addSparse(sh, group, rows, columns)
}

// addSparse adds rows of a group that is not the one whose values the tree holds, one by one: for
// groups that are many, and each of few rows.
func (r *run) addSparse(sh *share, group int, rows *arrowblock.Rows, columns []int) error {
	if err := r.reserve(int64(rows.Len())*int64(4+8*len(columns)), "the groups"); err != nil {
		return err
	}
	sum := sh.sumOf(group)
	for i, column := range columns {
		values := make([]int64, rows.Len())
		if column >= 0 {
			values = rows.Values(values[:0], column)
		}
		for j, stack := range rows.Stack {
			node := uint64(stack) - sh.nodes.From
			if node >= sh.nodes.Len() {
				return fmt.Errorf("a row has stack %d, its service has [%d, %d): %w", stack, sh.nodes.From, sh.nodes.To, block.ErrCorrupt)
			}
			sum.add(uint32(node), i, values[j])
		}
	}
	return nil
}

// rowClass is what the rows of a series have in common: their group, or what of it and of
// the selector their own labels decide.
type rowClass struct {
	labels profile.Labels     // grouped by, that the series has
	group  int                // of these; -1 when rows have a say
	open   []*profile.Matcher // that rows must satisfy
	openBy []string           // names grouped by that rows may have
	ofSet  map[uint32]int     // group by number of a row's own set; rejected
}

const rejected = -2

func (c *rowClass) plain() bool { return len(c.open) == 0 && len(c.openBy) == 0 }

// classify gives the class of each of the part's series, by their numbers.
func (r *run) classify(p *part) error {
	p.classes, p.classOf = nil, make(map[uint32]int, len(p.series))
	known := map[string]int{}
	for _, s := range p.series {
		ls := p.blk.Series()[s].Labels
		c := rowClass{ofSet: map[uint32]int{}}
		for _, m := range r.req.Selector.Matchers {
			if p.samples[m.Name] && ls.Get(m.Name) == "" {
				c.open = append(c.open, m)
			}
		}
		for _, l := range ls {
			if slices.Contains(r.by, l.Name) {
				c.labels = append(c.labels, l)
			}
		}
		for _, name := range r.by {
			if p.samples[name] && ls.Get(name) == "" {
				c.openBy = append(c.openBy, name)
			}
		}
		key := fmt.Sprint(c.labels.String(), c.open, c.openBy)
		n, ok := known[key]
		if !ok {
			n = len(p.classes)
			known[key] = n
			c.group = -1
			if len(c.openBy) == 0 {
				var err error
				if c.group, err = r.groups.number(c.labels); err != nil {
					return err
				}
			}
			p.classes = append(p.classes, c)
		}
		p.classOf[s] = n
	}
	return nil
}

// groupOf is the group of a row by the number of its own set of labels, or rejected.
func (r *run) groupOf(p *part, c *rowClass, set uint32) (int, error) {
	if g, known := c.ofSet[set]; known {
		return g, nil
	}
	if int(set) >= len(p.sets) {
		return 0, fmt.Errorf("a row has label set %d of %d: %w", set, len(p.sets), block.ErrCorrupt)
	}
	g, err := c.group, error(nil)
	own := p.sets[set]
	for _, m := range c.open {
		if !m.Matches(sampleLabel(own, m.Name)) {
			g = rejected
		}
	}
	if g != rejected && len(c.openBy) > 0 {
		ls := slices.Clone(c.labels)
		for _, name := range c.openBy {
			if v := sampleLabel(own, name); v != "" {
				ls = append(ls, profile.Label{Name: name, Value: v})
			}
		}
		slices.SortFunc(ls, func(a, b profile.Label) int { return profile.Labels{a}.Compare(profile.Labels{b}) })
		g, err = r.groups.number(ls)
	}
	c.ofSet[set] = g
	return g, err
}

// sparse is the values of some nodes of a share; a node may come more than once.
type sparse struct {
	nodes  []uint32
	values [][]int64 // one slice for each sample type
}

func (s *sparse) add(node uint32, column int, value int64) {
	if column == 0 {
		s.nodes = append(s.nodes, node)
	}
	s.values[column] = append(s.values[column], value)
}

// sumOf is what a share has of a group that is not the current one.
func (sh *share) sumOf(group int) *sparse {
	if sh.sums == nil {
		sh.sums = map[int]*sparse{}
	}
	s := sh.sums[group]
	if s == nil {
		s = &sparse{values: make([][]int64, len(sh.tree.Self))}
		sh.sums[group] = s
	}
	return s
}

// turnTo makes a group the one whose values tree.Self holds. Rows lie in the order of
// series, so that this happens once for each series at most.
func (r *run) turnTo(sh *share, group int) error {
	if sh.group == group {
		return nil
	}
	before := len(sh.sumOf(sh.group).nodes)
	sum := sh.sumOf(sh.group)
	for node := range sh.tree.Self[0] {
		alive := false
		for _, self := range sh.tree.Self {
			alive = alive || self[node] != 0
		}
		if !alive {
			continue
		}
		for k, self := range sh.tree.Self {
			sum.add(uint32(node), k, self[node])
			self[node] = 0
		}
	}
	sh.group = group
	return r.reserve(int64(len(sum.nodes)-before)*int64(4+8*len(sum.values)), "the groups")
}

// trees are a share's trees by group, without nodes that have no value. The share is spent.
func (r *run) trees(sh *share) (map[int]*arrowblock.Tree, error) {
	if err := r.turnTo(sh, -1); err != nil {
		return nil, err
	}
	trees := map[int]*arrowblock.Tree{}
	for group, sum := range sh.sums {
		if len(sum.nodes) == 0 {
			continue
		}
		for k, self := range sh.tree.Self {
			clear(self)
			for i, node := range sum.nodes {
				self[node] += sum.values[k][i]
			}
		}
		t := &arrowblock.Tree{Stacks: sh.tree.Stacks, Self: slices.Clone(sh.tree.Self)}
		t.Prune()
		for k := range t.Self {
			t.Self[k] = slices.Clone(t.Self[k])
		}
		if err := r.reserve(int64(t.Len())*int64(6+8*len(t.Self)), "the groups"); err != nil {
			return nil, err
		}
		trees[group] = t
	}
	return trees, nil
}

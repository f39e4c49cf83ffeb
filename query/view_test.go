package query

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/profile"
)

// spot is a frame as the reference sees it: a line of a location of google/pprof, or a
// location without lines.
type spot struct {
	function      *pprof.Function // nil: not known
	line          int64
	mapping       pprof.Mapping
	address       uint64
	binary, group string
}

// spots are a sample's frames, the outermost caller first.
func spots(s *pprof.Sample) []spot {
	var all []spot
	for _, l := range slices.Backward(s.Location) {
		at := spot{address: l.Address}
		if l.Mapping != nil {
			at.mapping, at.address = *l.Mapping, l.Address-l.Mapping.Start
			at.binary = l.Mapping.File[strings.LastIndexByte(l.Mapping.File, '/')+1:]
		}
		for _, line := range slices.Backward(l.Line) {
			at.function, at.line = line.Function, line.Line
			all = append(all, at)
		}
		if len(l.Line) == 0 {
			all = append(all, at)
		}
	}
	return all
}

// meets is what a condition says in the plainest words.
func (c Condition) plainlyMeets(s spot) bool {
	text := func(v string) bool {
		v, want := strings.ToLower(v), strings.ToLower(c.Text)
		switch c.Op {
		case Equal, NotEqual:
			return v != "" && v == want
		case Contains, NotContains:
			return v != "" && strings.Contains(v, want)
		}
		return v != "" && strings.HasPrefix(v, want)
	}
	f := s.function
	if f == nil {
		f = &pprof.Function{}
	}
	found := map[Field]bool{
		FunctionName: text(f.Name), SystemName: text(f.SystemName), Filename: text(f.Filename), Binary: text(s.binary),
		Address: s.address == c.Number, LineNumber: s.function != nil && s.line == int64(c.Number),
	}[c.Field]
	return found == (c.Op == Equal || c.Op == Contains || c.Op == StartsWith)
}

func keepsStack(f Filter, stack []spot) bool {
	positive := false
	for _, c := range f.Where {
		switch c.Op {
		case NotEqual, NotContains, NotStartsWith:
			if slices.ContainsFunc(stack, func(s spot) bool { return !c.plainlyMeets(s) }) {
				return false
			}
		default:
			positive = true
		}
	}
	return !positive || slices.ContainsFunc(stack, func(s spot) bool {
		return !slices.ContainsFunc(f.Where, func(c Condition) bool {
			return (c.Op == Equal || c.Op == Contains || c.Op == StartsWith) && !c.plainlyMeets(s)
		})
	})
}

// title is a frame's name and what tells it apart from others.
func title(s spot, key FrameKey) string {
	if s.group != "" {
		return s.group
	}
	if key == 0 {
		key = FrameByFunction
	}
	unsymbolized := fmt.Sprintf("%s+0x%x", s.binary, s.address)
	if s.binary == "" {
		unsymbolized = "[unknown]" + unsymbolized
	}
	file := ""
	if s.function != nil {
		file = s.function.Filename
	}
	var parts []string
	switch {
	case key&FrameByFunction != 0 && s.function != nil:
		parts = append(parts, s.function.Name)
	case key&(FrameByFunction|FrameByAddress) != 0:
		parts = append(parts, unsymbolized)
	case key&FrameByLine != 0 && file != "":
		parts = append(parts, fmt.Sprintf("%s:%d", file, s.line))
	case key&(FrameByLine|FrameByFile) != 0 && file != "":
		parts = append(parts, file)
	case key&(FrameByLine|FrameByFile) == 0 && s.binary != "":
		parts = append(parts, s.binary)
	default:
		parts = append(parts, "[unknown]")
	}
	if key&(FrameByFile|FrameByLine) != 0 {
		parts = append(parts, file)
	}
	if key&FrameByLine != 0 {
		parts = append(parts, strconv.FormatInt(s.line, 10))
	}
	if key&(FrameByBinary|FrameByAddress) != 0 {
		parts = append(parts, s.mapping.File, s.mapping.BuildID)
	}
	if key&FrameByAddress != 0 {
		parts = append(parts, fmt.Sprint(s.address))
	}
	return strings.Join(parts, "|")
}

// titleOf is the title of a tree's frame.
func titleOf(f *Frame, key FrameKey) string {
	if key == 0 {
		key = FrameByFunction
	}
	parts := []string{f.Name}
	if f.Kind == LabelFrame {
		return f.Name
	}
	if key&(FrameByFile|FrameByLine) != 0 {
		parts = append(parts, f.File)
	}
	if key&FrameByLine != 0 {
		parts = append(parts, strconv.FormatInt(f.Line, 10))
	}
	if key&(FrameByBinary|FrameByAddress) != 0 {
		parts = append(parts, f.Mapping, f.BuildID)
	}
	if key&FrameByAddress != 0 {
		parts = append(parts, fmt.Sprint(f.Address))
	}
	return strings.Join(parts, "|")
}

// plainTree is a view of the samples that are asked for, in the plainest way: the self value
// of each path.
type plainTree struct {
	self     map[string]int64
	filtered int64
}

func plainly(t testing.TB, all []sent, req Request, v View) plainTree {
	tree := plainTree{self: map[string]int64{}}
	seen := map[string]bool{}
	for _, s := range all {
		if ms := s.time.Truncate(time.Millisecond); ms.Before(req.Range.From) || !ms.Before(req.Range.To) || seen[fmt.Sprint(s.name, s.labels, s.time.UnixMilli(), string(s.body))] {
			continue
		}
		seen[fmt.Sprint(s.name, s.labels, s.time.UnixMilli(), string(s.body))] = true
		p := s.parse(t)
		columns := columnsOf(p, s.name, req.Selector.Type)
		if len(columns) == 0 {
			continue
		}
		column := columns[len(columns)-1]
		for i, typ := range p.SampleType {
			if typ.Type == p.DefaultSampleType && slices.Contains(columns, i) {
				column = i
			}
		}
		for _, sample := range p.Sample {
			labels := allLabels(s, sample)
			if step := v.Step.Milliseconds(); step > 0 {
				labels[StepLabel] = time.UnixMilli(s.time.UnixMilli() / step * step).UTC().Format("2006-01-02T15:04:05.000Z")
			}
			tree.add(sample, sample.Value[column], labels, req, v)
		}
	}
	maps.DeleteFunc(tree.self, func(_ string, v int64) bool { return v == 0 })
	return tree
}

// allLabels are those of the series and those of the sample that the series lacks.
func allLabels(s sent, sample *pprof.Sample) map[string]string {
	labels := map[string]string{}
	for k, v := range sample.NumLabel {
		labels[k] = fmt.Sprint(v[0])
	}
	for k, v := range sample.Label {
		labels[k] = v[0]
	}
	maps.Copy(labels, s.labels.Map())
	return labels
}

func (tree *plainTree) add(sample *pprof.Sample, value int64, labels map[string]string, req Request, v View) {
	for _, m := range req.Selector.Matchers {
		if !m.Matches(labels[m.Name]) {
			return
		}
	}
	stack := spots(sample)
	for _, f := range req.Filters {
		if !f.Frames && !keepsStack(f, stack) {
			tree.filtered += value
			return
		}
	}
	for _, f := range req.Filters {
		if f.Frames {
			stack = slices.DeleteFunc(stack, func(s spot) bool {
				return slices.ContainsFunc(f.Where, func(c Condition) bool { return !c.plainlyMeets(s) })
			})
		}
	}
	var names []string
	for _, s := range stack {
		if n := title(s, v.Frames); v.Frames == 0 || v.Frames&FrameByFunction != 0 || len(names) == 0 || names[len(names)-1] != n {
			names = append(names, n)
		}
	}
	if v.Sandwich != "" {
		at := -1
		for i, n := range names {
			if name, _, _ := strings.Cut(n, "|"); name == v.Sandwich {
				at = i
			}
		}
		switch {
		case at < 0:
			tree.filtered += value
			return
		case v.Invert:
			names = names[:at+1]
		default:
			names = names[at:]
		}
	}
	if v.Invert {
		slices.Reverse(names)
	}
	if v.grouped() {
		grouped := map[string]string{}
		for _, name := range append([]string{StepLabel}, v.Labels...) {
			if labels[name] != "" {
				grouped[name] = labels[name]
			}
		}
		ls, _ := profile.LabelsFromMap(grouped)
		names = append([]string{ls.String()}, names...)
	}
	tree.self[strings.Join(names, "\n")] += value
}

// selves are a tree's self values by path.
func selves(tree *Tree, key FrameKey, self []int64) map[string]int64 {
	values := map[string]int64{}
	var path []string
	for i, depth := range tree.Depth {
		path = append(path[:depth], titleOf(&tree.Frames[tree.Frame[i]], key))
		if self[i] != 0 {
			values[strings.Join(path[1:], "\n")] += self[i]
		}
	}
	return values
}

func randomFilter(rng *rand.Rand) Filter {
	f := Filter{Frames: rng.IntN(2) == 0}
	for range 1 + rng.IntN(2) {
		c := Condition{Field: Field(rng.IntN(6)), Op: Op(rng.IntN(6))}
		switch c.Field {
		case Address, LineNumber:
			c.Op &= 1
			c.Number = []uint64{0, 16, 100, 101, 288, 0xdead0000 + 28}[rng.IntN(6)]
		case Binary:
			c.Text = []string{"api", "LIB", "libc.so", "id"}[rng.IntN(4)]
		case Filename:
			c.Text = []string{"/src/", "/src/1.go", "GO"}[rng.IntN(3)]
		default:
			c.Text = []string{"f1", "F3", "sys.f", "sys.f2", "1"}[rng.IntN(5)]
		}
		f.Where = append(f.Where, c)
	}
	return f
}

func randomView(rng *rand.Rand) View {
	keys := []FrameKey{0, FrameByFunction, FrameByFunction | FrameByFile, FrameByFile, FrameByBinary, FrameByAddress, FrameByLine, FrameByFunction | FrameByBinary | FrameByLine}
	v := View{Frames: keys[rng.IntN(len(keys))], Invert: rng.IntN(3) == 0}
	if rng.IntN(3) == 0 {
		v.Sandwich = []string{"f1", "f5", "nothing", "libc.so+0x120", "/src/1.go"}[rng.IntN(5)]
	}
	switch rng.IntN(5) {
	case 0:
		v.Labels = []string{"pod"}
	case 1:
		v.Labels = []string{"zone", "service_name"}
	case 2:
		v.Labels = []string{"span", "pod"} // of samples, and of series
	case 3:
		v.Labels = []string{"bytes", "nobody"}
	}
	if rng.IntN(4) == 0 {
		v.Step = []time.Duration{10 * time.Second, time.Minute, 7 * time.Minute, time.Hour}[rng.IntN(4)]
	}
	return v
}

// Trees of any view, with any filters, compared with any other time or selector, are what
// comes of google/pprof's samples one by one.
func TestViewsAgainstGooglePprof(t *testing.T) {
	for name, layOut := range layouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(17, 18))
			all := fleet{rng, start, 8 * time.Hour}.profiles(t, 50)
			h := newHouse()
			layOut(t, h, all)
			answered := 0
			for range 80 {
				req := TreeRequest{Request: randomSampleRequest(t, rng, all), View: randomView(rng)}
				for range rng.IntN(3) {
					req.Filters = append(req.Filters, randomFilter(rng))
				}
				if req.Step == 0 && rng.IntN(3) == 0 {
					base := randomSampleRequest(t, rng, all)
					base.Selector.Type, base.Filters = req.Selector.Type, req.Filters
					req.Base = &base
				}
				what := fmt.Sprintf("%s %v %+v [%s, %s)", req.Selector, req.Filters, req.View, formatTime(req.Range.From), formatTime(req.Range.To))
				tree, err := h.q.Tree(t.Context(), req)
				if errors.Is(err, ErrNoType) {
					continue
				}
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if tree.Total[0] != 0 {
					answered++
				}
				want := plainly(t, all, req.Request, req.View)
				compareMaps(t, what, selves(tree, req.Frames, tree.Self), want.self)
				if tree.Filtered != want.filtered {
					t.Errorf("%s: filtered %d, want %d", what, tree.Filtered, want.filtered)
				}
				if req.Base != nil {
					base := plainly(t, all, *req.Base, req.View)
					compareMaps(t, what+" base", selves(tree, req.Frames, tree.BaseSelf), base.self)
					if tree.BaseFiltered != base.filtered {
						t.Errorf("%s: base filtered %d, want %d", what, tree.BaseFiltered, base.filtered)
					}
				}
				checkTotals(t, what, tree)
				if !req.grouped() && req.Sandwich == "" && !req.Invert {
					checkFilteredPprof(t, h, what, req.Request, tree)
				}
			}
			if answered < 25 {
				t.Errorf("only %d answers have samples", answered)
			}
		})
	}
}

// randomSampleRequest asks in wide ranges, by labels of series and of samples.
func randomSampleRequest(t testing.TB, rng *rand.Rand, all []sent) Request {
	req := randomRequest(t, rng, all)
	selectors := []string{`{span="s1"}`, `{span!="s1", pod="a"}`, `{span=~"s.+", service_name="api"}`, `{bytes="16"}`, `{bytes=""}`, `{span="", zone="x"}`}
	if rng.IntN(2) == 0 {
		req = request(t, selectors[rng.IntN(len(selectors))], req.Selector.Type.String(), start, start.Add(8*time.Hour))
	}
	return req
}

// checkTotals holds each total against the selves below it, and the order of children.
func checkTotals(t *testing.T, what string, tree *Tree) {
	t.Helper()
	for i := range tree.Depth {
		sum, base := tree.Self[i], int64(0)
		if tree.Compared() {
			base = tree.BaseSelf[i]
		}
		for j := i + 1; j < len(tree.Depth) && tree.Depth[j] > tree.Depth[i]; j++ {
			sum += tree.Self[j]
			if tree.Compared() {
				base += tree.BaseSelf[j]
			}
		}
		if sum != tree.Total[i] || tree.Compared() && base != tree.BaseTotal[i] {
			t.Errorf("%s: node %d has total %d, want %d", what, i, tree.Total[i], sum)
		}
	}
}

// A filtered pprof holds the samples of the filtered tree.
func checkFilteredPprof(t *testing.T, h *house, what string, req Request, tree *Tree) {
	t.Helper()
	if tree.Type == (profile.Type{}) {
		return
	}
	var err error
	if req.Selector.Type, err = profile.ParseTypePattern(tree.Type.String()); err != nil {
		t.Fatal(err)
	}
	answer, err := h.q.Pprof(t.Context(), req)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	sum := int64(0)
	for _, s := range answer.Profile.Sample {
		sum += s.Value[0]
	}
	if sum != tree.Total[0] {
		t.Errorf("%s: the pprof's samples sum up to %d, the tree's to %d", what, sum, tree.Total[0])
	}
	if err := answer.Profile.CheckValid(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

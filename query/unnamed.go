package query

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path"
	"slices"

	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/profile"
)

// UnnamedList tells which binaries samples have frames of that no function is known for: what
// debug information is missing, and how much of the profiles it would explain.
type UnnamedList struct {
	Type     profile.Type
	Range    profile.TimeRange
	Total    int64 // of all selected samples
	Unnamed  int64 // of those with a frame that has no function
	Count    int   // of binaries, whatever the list's limit
	Binaries []UnnamedBinary
	Stats    Stats
}

// UnnamedBinary is a mapped file and what of it has no function.
type UnnamedBinary struct {
	File, BuildID string // as the mappings say; "" where they do not, or there is none
	Kernel        bool
	Addresses     int   // distinct ones without a function
	Self, Total   int64 // of the samples that end in such a frame, and that have one anywhere
}

// Unnamed lists at most limit binaries, those first that most is spent in or below. Of a type
// pattern that leaves several sample types it takes the default one. It costs what the call
// tree costs.
func (q *Querier) Unnamed(ctx context.Context, req Request, limit int) (*UnnamedList, error) {
	list := &UnnamedList{Range: req.Range}
	if err := noFilters(req.Filters); err != nil {
		return nil, err
	}
	stats, err := q.answer(ctx, "unnamed", req, func(ctx context.Context, r *run) error {
		*list = UnnamedList{Range: req.Range}
		s := &side{run: r}
		s.sums = anyWindow
		if err := s.read(ctx, Sum); err != nil || s.merged == nil {
			return err
		}
		list.Type = s.typ
		list.add(s.merged.sym, s.merged.tree)
		list.Count = len(list.Binaries)
		list.Binaries = list.Binaries[:min(limit, list.Count)]
		return nil
	})
	list.Stats = stats
	return list, err
}

// binaryID is what makes mapped files one, wherever they are mapped.
type binaryID struct{ file, buildID string }

// add sums up a tree of locations, from its leaves up.
func (l *UnnamedList) add(sym *arrowblock.Symbols, tree *arrowblock.Tree) {
	self := tree.Self[0]
	total := tree.Totals(0)
	u := binaryTable{sym: sym, numbers: map[binaryID]int{}, ofFrame: make([]int, sym.Len())}
	// A sample counts once for each binary, where its first such frame stands.
	var onPath []int // by depth, as number gives them
	for i, depth := range tree.Depth {
		of := 0
		if depth > 0 {
			of = u.number(tree.Frame[i])
		}
		if of > 0 {
			b := &u.binaries[of-1]
			b.Self += self[i]
			if !slices.Contains(onPath[:depth], of) {
				b.Total += total[i]
			}
			if !slices.ContainsFunc(onPath[:depth], func(n int) bool { return n > 0 }) {
				l.Unnamed += total[i]
			}
		}
		onPath = append(onPath[:depth], of)
	}
	l.Total = total[0]
	l.Binaries = u.binaries
	slices.SortFunc(l.Binaries, func(a, b UnnamedBinary) int {
		return cmp.Or(cmp.Compare(magnitude(b.Total), magnitude(a.Total)), cmp.Compare(a.File, b.File), cmp.Compare(a.BuildID, b.BuildID))
	})
}

// binaryTable numbers the binaries of locations without a function.
type binaryTable struct {
	sym      *arrowblock.Symbols
	numbers  map[binaryID]int
	binaries []UnnamedBinary
	ofFrame  []int // by location: 1 more than the binary's number; -1: it has a function; 0: not looked at yet
}

// number is 1 more than the number of a location's binary, 0 when the location has a function.
func (u *binaryTable) number(id arrowblock.FrameID) int {
	if u.ofFrame[id] == 0 {
		u.ofFrame[id] = u.look(id)
	}
	return max(0, u.ofFrame[id])
}

func (u *binaryTable) look(id arrowblock.FrameID) int {
	location := u.sym.Frame(id)
	for _, line := range location.Lines {
		if f := u.sym.Function(line.Function); f.Name != "" || f.SystemName != "" {
			return -1
		}
	}
	var key binaryID
	if location.Mapping >= 0 {
		m := &u.sym.Mappings()[location.Mapping]
		key = binaryID{m.File, m.BuildID}
	}
	n, known := u.numbers[key]
	if !known {
		n = len(u.binaries)
		u.numbers[key] = n
		u.binaries = append(u.binaries, UnnamedBinary{File: key.file, BuildID: key.buildID, Kernel: isKernel(key.file)})
	}
	u.binaries[n].Addresses++
	return n + 1
}

// WriteJSON writes the list as MissingDebugInfo of openapi.yaml.
func (l *UnnamedList) WriteJSON(w io.Writer) error {
	type binary struct {
		Binary    string `json:"binary"`
		File      string `json:"file"`
		BuildID   string `json:"build_id"`
		Kernel    bool   `json:"kernel"`
		Addresses int    `json:"addresses"`
		Self      int64  `json:"self"`
		Total     int64  `json:"total"`
	}
	missing := make([]binary, len(l.Binaries))
	for i, b := range l.Binaries {
		name := ""
		if b.File != "" {
			name = path.Base(b.File)
		}
		missing[i] = binary{name, b.File, b.BuildID, b.Kernel, b.Addresses, b.Self, b.Total}
	}
	return json.NewEncoder(w).Encode(struct {
		head
		Total   int64    `json:"total"`
		Unnamed int64    `json:"unnamed"`
		Count   int      `json:"count"`
		Missing []binary `json:"missing"`
		Stats   Stats    `json:"stats"`
	}{newHead(l.Type, l.Range), l.Total, l.Unnamed, l.Count, missing, l.Stats})
}

// maxUnnamed is how many binaries one answer may list.
const maxUnnamed = 10_000

func (q *Querier) serveUnnamed(r *http.Request) (*answer, error) {
	req, p, err := q.begin(r)
	if err != nil {
		return nil, err
	}
	limit := p.integer("limit", 100, 1, maxUnnamed)
	if p.err != nil {
		return nil, p.err
	}
	list, err := q.Unnamed(r.Context(), req, limit)
	if err != nil {
		return nil, err
	}
	return textAnswer("application/json", list.Stats, list.WriteJSON)
}

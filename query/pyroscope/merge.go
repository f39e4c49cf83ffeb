package pyroscope

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	pprof "github.com/google/pprof/profile"
	googlev1 "github.com/grafana/pyroscope/api/gen/proto/go/google/v1"
	querierv1 "github.com/grafana/pyroscope/api/gen/proto/go/querier/v1"
	typesv1 "github.com/grafana/pyroscope/api/gen/proto/go/types/v1"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/serve"
)

func (a *API) selectMergeStacktraces(ctx context.Context, m *querierv1.SelectMergeStacktracesRequest) (*querierv1.SelectMergeStacktracesResponse, error) {
	t, err := a.tree(ctx, m)
	if err != nil {
		return nil, err
	}
	if m.GetFormat() == querierv1.ProfileFormat_PROFILE_FORMAT_DOT {
		return &querierv1.SelectMergeStacktracesResponse{Dot: dot(t, nodesOf(m.GetMaxNodes()))}, nil
	}
	return &querierv1.SelectMergeStacktracesResponse{Flamegraph: flameGraph(bear(t, nodesOf(m.GetMaxNodes())))}, nil
}

func flameGraph(b *flamebearer) *querierv1.FlameGraph {
	g := &querierv1.FlameGraph{Names: b.names, Total: b.total, MaxSelf: b.maxSelf}
	for _, level := range b.levels {
		g.Levels = append(g.Levels, &querierv1.Level{Values: level})
	}
	return g
}

// tree asks for the whole tree.
func (a *API) tree(ctx context.Context, m *querierv1.SelectMergeStacktracesRequest) (*query.Tree, error) {
	if err := offered(m.GetFormat(), m.GetProfileIdSelector()); err != nil {
		return nil, err
	}
	req, err := a.request(ctx, m.GetProfileTypeID(), m.GetLabelSelector(), m.GetStart(), m.GetEnd())
	if err != nil {
		return nil, err
	}
	t, err := a.q.Tree(ctx, query.TreeRequest{Request: req})
	if err != nil {
		return nil, err
	}
	query.Tell(ctx, t.Stats)
	return below(t, callSite(m.GetStackTraceSelector())), nil
}

// offered refuses what we have not: Pyroscope's own serialisation of trees, and single
// profiles by an ID.
func offered(format querierv1.ProfileFormat, ids []string) error {
	switch format {
	case querierv1.ProfileFormat_PROFILE_FORMAT_UNSPECIFIED, querierv1.ProfileFormat_PROFILE_FORMAT_FLAMEGRAPH, querierv1.ProfileFormat_PROFILE_FORMAT_DOT:
	default:
		return serve.Field("format", fmt.Errorf("%s: want a flame graph or dot: %w", format, profile.ErrInvalid))
	}
	if len(ids) > 0 {
		return serve.Field("profile_id_selector", fmt.Errorf("profiles have no IDs here: %w", profile.ErrInvalid))
	}
	return nil
}

// callSite are the names that a stack must begin with, from the root on.
func callSite(s *typesv1.StackTraceSelector) []string {
	if s.GetGoPgo() != nil {
		return nil
	}
	var names []string
	for _, l := range s.GetCallSite() {
		names = append(names, l.GetName())
	}
	return names
}

// atSite keeps the stacks that begin with a call site.
func atSite(s *typesv1.StackTraceSelector) []query.Filter {
	if site := callSite(s); len(site) > 0 {
		return []query.Filter{{Path: site}}
	}
	return nil
}

// below is the part of a tree that a call site selects: the nodes on its path and all
// below its last one.
func below(t *query.Tree, site []string) *query.Tree {
	if len(site) == 0 {
		return t
	}
	part := &query.Tree{Type: t.Type, Range: t.Range, Frames: t.Frames, Stats: t.Stats, Depth: []uint32{0}, Frame: []uint32{0}, Self: []int64{0}, Total: []int64{0}}
	matched, inside := 0, false // how much of the site is on the path; whether all of it is above
	for i := 1; i < len(t.Depth); i++ {
		depth := int(t.Depth[i])
		if inside = inside && depth > len(site); !inside {
			matched = min(matched, depth-1)
			if matched != depth-1 || depth > len(site) || t.Frames[t.Frame[i]].Name != site[depth-1] {
				continue
			}
			matched = depth
			inside = matched == len(site)
			if !inside {
				continue
			}
			for d := range len(site) - 1 {
				part.Depth, part.Frame = append(part.Depth, uint32(d+1)), append(part.Frame, frameOf(t, site[d]))
				part.Self, part.Total = append(part.Self, 0), append(part.Total, t.Total[i])
			}
			part.Total[0] += t.Total[i]
		}
		part.Depth, part.Frame = append(part.Depth, t.Depth[i]), append(part.Frame, t.Frame[i])
		part.Self, part.Total = append(part.Self, t.Self[i]), append(part.Total, t.Total[i])
	}
	return part
}

func frameOf(t *query.Tree, name string) uint32 {
	for i := range t.Frames {
		if t.Frames[i].Name == name {
			return uint32(i)
		}
	}
	return 0
}

// spanID is how spans are named: 8 bytes in hexadecimal.
var spanID = regexp.MustCompile(`^[0-9a-fA-F]{16}$`)

// spanLabel is the label of samples that tells in which span they were taken.
const spanLabel = "span_id"

func (a *API) selectMergeSpanProfile(ctx context.Context, m *querierv1.SelectMergeSpanProfileRequest) (*querierv1.SelectMergeSpanProfileResponse, error) {
	if len(m.GetSpanSelector()) == 0 {
		return nil, serve.Field("span_selector", fmt.Errorf("it must name a span: %w", profile.ErrInvalid))
	}
	for _, span := range m.GetSpanSelector() {
		if !spanID.MatchString(span) {
			return nil, serve.Field("span_selector", fmt.Errorf("%q: want 16 hexadecimal digits: %w", span, profile.ErrInvalid))
		}
	}
	if err := offered(m.GetFormat(), nil); err != nil {
		return nil, err
	}
	req, err := a.request(ctx, m.GetProfileTypeID(), m.GetLabelSelector(), m.GetStart(), m.GetEnd())
	if err != nil {
		return nil, err
	}
	spans, err := profile.ParseSelector(fmt.Sprintf("{%s=~%q}", spanLabel, "(?i:"+strings.Join(m.GetSpanSelector(), "|")+")"))
	if err != nil {
		return nil, serve.Field("span_selector", err)
	}
	req.Selector.Matchers = append(req.Selector.Matchers, spans.Matchers...)
	t, err := a.q.Tree(ctx, query.TreeRequest{Request: req})
	if err != nil {
		return nil, err
	}
	query.Tell(ctx, t.Stats)
	return &querierv1.SelectMergeSpanProfileResponse{Flamegraph: flameGraph(bear(t, nodesOf(m.GetMaxNodes())))}, nil
}

// diff compares left, which is the base, with right.
func (a *API) diff(ctx context.Context, m *querierv1.DiffRequest) (*querierv1.DiffResponse, error) {
	t, err := a.compared(ctx, m.GetLeft(), m.GetRight())
	if err != nil {
		return nil, err
	}
	b := bear(t, nodesOf(max(m.GetLeft().GetMaxNodes(), m.GetRight().GetMaxNodes())))
	g := &querierv1.FlameGraphDiff{Names: b.names, Total: b.total, MaxSelf: b.maxSelf, LeftTicks: b.left, RightTicks: b.right}
	for _, level := range b.levels {
		g.Levels = append(g.Levels, &querierv1.Level{Values: level})
	}
	return &querierv1.DiffResponse{Flamegraph: g}, nil
}

func (a *API) compared(ctx context.Context, left, right *querierv1.SelectMergeStacktracesRequest) (*query.Tree, error) {
	sides := make([]query.Request, 2)
	for i, m := range []*querierv1.SelectMergeStacktracesRequest{left, right} {
		name := []string{"left", "right"}[i]
		err := offered(m.GetFormat(), m.GetProfileIdSelector())
		if err == nil {
			sides[i], err = a.request(ctx, m.GetProfileTypeID(), m.GetLabelSelector(), m.GetStart(), m.GetEnd())
			sides[i].Filters = atSite(m.GetStackTraceSelector())
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	t, err := a.q.Tree(ctx, query.TreeRequest{Request: sides[1], Base: &sides[0]})
	if err != nil {
		return nil, err
	}
	query.Tell(ctx, t.Stats)
	return t, nil
}

// selectMergeProfile gives a pprof, whole or as Go's compiler wants it.
func (a *API) selectMergeProfile(ctx context.Context, m *querierv1.SelectMergeProfileRequest) (*googlev1.Profile, error) {
	if err := offered(0, m.GetProfileIdSelector()); err != nil {
		return nil, err
	}
	req, err := a.request(ctx, m.GetProfileTypeID(), m.GetLabelSelector(), m.GetStart(), m.GetEnd())
	if err != nil {
		return nil, err
	}
	merged, err := a.q.Pprof(ctx, req)
	if err != nil {
		return nil, err
	}
	query.Tell(ctx, merged.Stats)
	p := merged.Profile
	if site := callSite(m.GetStackTraceSelector()); len(site) > 0 {
		keepCallSite(p, site)
	}
	if pgo := m.GetStackTraceSelector().GetGoPgo(); pgo != nil {
		if p, err = forPGO(p, int(pgo.GetKeepLocations()), pgo.GetAggregateCallees()); err != nil {
			return nil, err
		}
	}
	return message(p)
}

// keepCallSite drops the samples whose stacks do not begin with these names.
func keepCallSite(p *pprof.Profile, site []string) {
	kept := p.Sample[:0]
	for _, s := range p.Sample {
		at := 0
		for i := len(s.Location) - 1; i >= 0 && at < len(site); i-- {
			lines := s.Location[i].Line
			for j := len(lines) - 1; j >= 0 && at < len(site) && at >= 0; j-- {
				if lines[j].Function == nil || lines[j].Function.Name != site[at] {
					at = -1 - len(site) // never again
					break
				}
				at++
			}
		}
		if at == len(site) {
			kept = append(kept, s)
		}
	}
	p.Sample = kept
}

// forPGO shortens stacks to the calls that Go's compiler looks at. Without callees the
// place in the leaf does not matter, and stacks that differ in it become one.
func forPGO(p *pprof.Profile, keep int, aggregate bool) (*pprof.Profile, error) {
	for _, s := range p.Sample {
		if keep > 0 && len(s.Location) > keep {
			s.Location = s.Location[:keep]
		}
		s.Label, s.NumLabel, s.NumUnit = nil, nil, nil
	}
	if aggregate {
		withoutLeafLines(p)
	}
	return pprof.Merge([]*pprof.Profile{p.Compact()})
}

// withoutLeafLines gives leaves of one function one location, which tells no line.
func withoutLeafLines(p *pprof.Profile) {
	of := map[*pprof.Function]*pprof.Location{}
	for _, s := range p.Sample {
		if len(s.Location) == 0 || len(s.Location[0].Line) == 0 || s.Location[0].Line[0].Function == nil {
			continue
		}
		leaf := s.Location[0]
		f := leaf.Line[0].Function
		if len(leaf.Line) > 1 { // inlined: its callers are told by their lines
			continue
		}
		if of[f] == nil {
			of[f] = &pprof.Location{ID: uint64(len(p.Location) + 1), Mapping: leaf.Mapping, Line: []pprof.Line{{Function: f}}}
			p.Location = append(p.Location, of[f])
		}
		s.Location = append([]*pprof.Location{of[f]}, s.Location[1:]...)
	}
}

// message is a pprof as a message of Pyroscope's, which has the same fields.
func message(p *pprof.Profile) (*googlev1.Profile, error) {
	var raw strings.Builder
	if err := p.WriteUncompressed(&raw); err != nil {
		return nil, err
	}
	m := &googlev1.Profile{}
	if err := m.UnmarshalVT([]byte(raw.String())); err != nil {
		return nil, fmt.Errorf("a pprof as a message: %w", err)
	}
	return m, nil
}

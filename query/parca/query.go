package parca

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"

	pprof "github.com/google/pprof/profile"

	pb "github.com/coldframe/coldframe/api/parca/query/v1alpha1"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/serve"
)

// maxNodes of a report: what a browser can still lay out, and far below 64 MiB.
const maxNodes = 1 << 18

// Query gives one report.
func (a *API) Query(ctx context.Context, m *pb.QueryRequest) (*pb.QueryResponse, error) {
	req, err := a.tree(ctx, m)
	if err != nil {
		return nil, err
	}
	res, stats, err := a.report(ctx, m, req)
	if err != nil {
		return nil, query.WithStatus(err)
	}
	query.Tell(ctx, stats)
	return res, nil
}

// tree reads a request and whose it is.
func (a *API) tree(ctx context.Context, m *pb.QueryRequest) (query.TreeRequest, error) {
	tenant, err := query.TenantOf(ctx)
	if err != nil {
		return query.TreeRequest{}, err
	}
	req, err := treeOf(m)
	req.Tenant = tenant
	return req, err
}

// report makes the report that is asked for.
func (a *API) report(ctx context.Context, m *pb.QueryRequest, req query.TreeRequest) (*pb.QueryResponse, query.Stats, error) {
	switch m.GetReportType() {
	case pb.QueryRequest_REPORT_TYPE_PPROF:
		p, stats, err := a.pprof(ctx, req, m.GetDiff().GetAbsolute())
		return &pb.QueryResponse{Report: &pb.QueryResponse_Pprof{Pprof: p}}, stats, err
	case pb.QueryRequest_REPORT_TYPE_SOURCE:
		res, err := source(m)
		return res, query.Stats{}, err
	case pb.QueryRequest_REPORT_TYPE_PROFILE_METADATA:
		return a.metadata(ctx, req)
	case pb.QueryRequest_REPORT_TYPE_FLAMECHART:
		return a.flameChart(ctx, m, req)
	}
	draw := drawings[m.GetReportType()]
	if draw == nil {
		return nil, query.Stats{}, serve.Field("report_type", fmt.Errorf("there is no report %s: %w", m.GetReportType(), profile.ErrInvalid))
	}
	t, err := a.q.Tree(ctx, req)
	if err != nil {
		return nil, query.Stats{}, err
	}
	if t.Stats.Profiles == 0 {
		return nil, t.Stats, noData()
	}
	d := newDrawing(t, m)
	res, err := draw(d)
	if err != nil {
		return nil, t.Stats, err
	}
	res.Total, res.Filtered = d.total(), t.Filtered
	return res, t.Stats, nil
}

// drawings make a report of a tree.
var drawings = map[pb.QueryRequest_ReportType]func(*drawing) (*pb.QueryResponse, error){
	pb.QueryRequest_REPORT_TYPE_FLAMEGRAPH_UNSPECIFIED: (*drawing).nested,
	pb.QueryRequest_REPORT_TYPE_FLAMEGRAPH_TABLE:       (*drawing).indexed,
	pb.QueryRequest_REPORT_TYPE_FLAMEGRAPH_ARROW:       (*drawing).flameArrow,
	pb.QueryRequest_REPORT_TYPE_TABLE_ARROW:            (*drawing).tableArrow,
	pb.QueryRequest_REPORT_TYPE_TOP:                    (*drawing).top,
	pb.QueryRequest_REPORT_TYPE_CALLGRAPH:              (*drawing).callgraph,
}

func noData() error {
	return &serve.Error{Status: http.StatusNotFound, Code: "not_found", Err: errors.New("no profiles match the query in its time range; widen either")}
}

// drawing is a tree and how it is to be shown.
type drawing struct {
	*query.Tree
	functions       []query.Function // of the whole tree, by frame
	edges           []query.Edge
	threshold       float64 // a child of no more than this share of its parent is left out
	scale, forBases float64 // what values are multiplied with
	trimmed         int64   // value of what was left out
}

// newDrawing counts what wants the whole tree, and then makes it small enough to send.
func newDrawing(t *query.Tree, m *pb.QueryRequest) *drawing {
	d := &drawing{Tree: t, scale: 1, forBases: 1, threshold: float64(m.GetNodeTrimThreshold()) / 100}
	if c := t.Comparison(); c != nil && !m.GetDiff().GetAbsolute() {
		d.scale, d.forBases = c.Scale, c.BaseScale
	}
	switch m.GetReportType() {
	case pb.QueryRequest_REPORT_TYPE_TOP, pb.QueryRequest_REPORT_TYPE_TABLE_ARROW, pb.QueryRequest_REPORT_TYPE_CALLGRAPH:
		d.functions = t.Functions()
		d.edges = t.Edges()
	default:
		t.Prune(maxNodes, 0)
	}
	return d
}

// scaled are a value as it is shown, and how much more it is than in the base.
func (d *drawing) scaled(value, base int64) (shown, diff int64) {
	shown = times(value, d.scale)
	if d.Compared() {
		diff = shown - times(base, d.forBases)
	}
	return shown, diff
}

func times(v int64, factor float64) int64 {
	if factor == 1 {
		return v
	}
	return int64(math.Round(float64(v) * factor))
}

// baseTotal is the base's value of a node, 0 when nothing is compared.
func (d *drawing) baseTotal(i int) int64 {
	if !d.Compared() {
		return 0
	}
	return d.BaseTotal[i]
}

func (d *drawing) baseSelf(i int) int64 {
	if !d.Compared() {
		return 0
	}
	return d.BaseSelf[i]
}

func (d *drawing) total() int64 {
	shown, _ := d.scaled(d.Total[0], d.baseTotal(0))
	return shown
}

// height is how many levels there are, the root's among them.
func (d *drawing) height() int32 {
	return int32(slices.Max(d.Depth)) + 1
}

// source is the lines of a file with their values. No sources are kept, so nothing is
// known of any.
func source(m *pb.QueryRequest) (*pb.QueryResponse, error) {
	if m.GetSourceReference() == nil {
		return nil, serve.Field("source_reference", fmt.Errorf("a report of the source needs it: %w", profile.ErrInvalid))
	}
	record, err := emptySource()
	return &pb.QueryResponse{Report: &pb.QueryResponse_Source{Source: &pb.Source{Record: record}}}, err
}

// metadata is what can be grouped and filtered by.
func (a *API) metadata(ctx context.Context, req query.TreeRequest) (*pb.QueryResponse, query.Stats, error) {
	req.View = query.View{Frames: query.FrameByBinary}
	t, err := a.q.Tree(ctx, req)
	if err != nil {
		return nil, query.Stats{}, err
	}
	names, err := a.q.LabelNames(ctx, req.Request)
	if err != nil {
		return nil, query.Stats{}, err
	}
	meta := &pb.ProfileMetadata{Labels: names.Words}
	for i := range t.Frames {
		if file := t.Frames[i].Mapping; file != "" {
			meta.MappingFiles = append(meta.MappingFiles, file)
		}
	}
	slices.Sort(meta.MappingFiles)
	meta.MappingFiles = slices.Compact(meta.MappingFiles)
	return &pb.QueryResponse{Report: &pb.QueryResponse_ProfileMetadata{ProfileMetadata: meta}, Total: t.Total[0], Filtered: t.Filtered}, t.Stats, nil
}

// pprof is the profiles as one pprof, in gzip. A comparison has the samples of both, the
// base's negative and with the label pprof::base, as go tool pprof -diff_base writes it.
func (a *API) pprof(ctx context.Context, req query.TreeRequest, absolute bool) ([]byte, query.Stats, error) {
	answer, err := a.q.Pprof(ctx, req.Request)
	if err != nil {
		return nil, query.Stats{}, err
	}
	p, stats := answer.Profile, answer.Stats
	if req.Base != nil {
		req.Base.Tenant = req.Tenant
		base, err := a.q.Pprof(ctx, *req.Base)
		if err != nil {
			return nil, stats, err
		}
		if p, err = compared(p, base.Profile, absolute); err != nil {
			return nil, stats, err
		}
	} else if stats.Profiles == 0 {
		return nil, stats, noData()
	}
	var out bytes.Buffer
	err = p.Write(&out)
	return out.Bytes(), stats, err
}

func compared(p, base *pprof.Profile, absolute bool) (*pprof.Profile, error) {
	if !absolute {
		of, ofBase := sum(p), sum(base)
		switch {
		case of == 0 || ofBase == 0:
		case of < ofBase:
			p.Scale(ofBase / of)
		default:
			base.Scale(of / ofBase)
		}
	}
	base.Scale(-1)
	base.SetLabel("pprof::base", []string{"true"})
	both, err := pprof.Merge([]*pprof.Profile{p, base})
	if err != nil {
		return nil, fmt.Errorf("the two cannot be compared: %w: %w", err, profile.ErrInvalid)
	}
	return both, nil
}

// sum is that of the last sample type, which people look at.
func sum(p *pprof.Profile) float64 {
	total := 0.0
	for _, s := range p.Sample {
		total += float64(s.Value[len(s.Value)-1])
	}
	return total
}

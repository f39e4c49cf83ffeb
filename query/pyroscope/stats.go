package pyroscope

import (
	"context"
	"time"

	querierv1 "github.com/grafana/pyroscope/api/gen/proto/go/querier/v1"
	typesv1 "github.com/grafana/pyroscope/api/gen/proto/go/types/v1"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/serve"
)

// profileStats says since when and until when there are profiles, of what the bucket lists
// without a block being read. A token with a selector is told of the time between, once there is
// something that it may see.
func (a *API) profileStats(ctx context.Context, _ *typesv1.GetProfileStatsRequest) (*typesv1.GetProfileStatsResponse, error) {
	tenant, err := query.TenantOf(ctx)
	if err != nil {
		return nil, err
	}
	res := &typesv1.GetProfileStatsResponse{}
	return res, list(0, 0, func(r profile.TimeRange) error {
		plan, err := a.q.Explain(ctx, query.Request{Tenant: tenant, Range: r})
		if err != nil {
			return err
		}
		query.Tell(ctx, plan.Stats)
		if access := serve.AccessOf(ctx); access != nil && len(access.Matchers) > 0 {
			if types, err := a.q.Types(ctx, query.Request{Tenant: tenant, Range: r}); err != nil || len(types.Types) == 0 {
				return err
			}
		}
		for _, b := range plan.Blocks {
			first, last := b.From.UnixMilli(), max(b.From.UnixMilli(), b.To.UnixMilli())
			if !res.GetDataIngested() {
				res.DataIngested, res.OldestProfileTime, res.NewestProfileTime = true, first, last
			}
			res.OldestProfileTime, res.NewestProfileTime = min(res.OldestProfileTime, first), max(res.NewestProfileTime, last)
		}
		return nil
	})
}

// analyzeQuery says what a query would read.
func (a *API) analyzeQuery(ctx context.Context, m *querierv1.AnalyzeQueryRequest) (*querierv1.AnalyzeQueryResponse, error) {
	tenant, err := query.TenantOf(ctx)
	if err != nil {
		return nil, err
	}
	sel, asked, err := selectorOf(m.GetQuery())
	if err != nil {
		return nil, err
	}
	sel.Matchers = append(sel.Matchers, asked.services...)
	start, end := m.GetStart(), m.GetEnd()
	if start == 0 && end == 0 {
		end = time.Now().UnixMilli()
		start = end - time.Hour.Milliseconds()
	}
	r, err := rangeOf(start, end)
	if err != nil {
		return nil, err
	}
	req := query.Request{Tenant: tenant, Selector: sel, Range: r}
	plan, err := a.q.Explain(ctx, req)
	if err != nil {
		return nil, err
	}
	sets, err := a.q.LabelSets(ctx, req, nil)
	if err != nil {
		return nil, err
	}
	query.Tell(ctx, sets.Stats)
	scope := &querierv1.QueryScope{
		ComponentType: "bucket", ComponentCount: 1, BlockCount: uint64(len(plan.Blocks)), SeriesCount: uint64(len(sets.Sets)), ProfileBytes: uint64(plan.Bytes),
	}
	for _, b := range plan.Blocks {
		scope.ProfileCount += uint64(b.Profiles)
	}
	return &querierv1.AnalyzeQueryResponse{
		QueryScopes: []*querierv1.QueryScope{scope},
		QueryImpact: &querierv1.QueryImpact{TotalBytesInTimeRange: uint64(plan.Bytes), TotalQueriedSeries: uint64(len(sets.Sets))},
	}, nil
}

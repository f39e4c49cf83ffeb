package parca

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/coldframe/coldframe/api/parca/query/v1alpha1"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/serve"
)

// QueryRange gives totals over time. What belongs to a profile's duration is added up by
// the labels of sum_by. Of levels, as memory in use, each step has the latest of every
// label set, or their sums when sum_by is given.
func (a *API) QueryRange(ctx context.Context, m *pb.QueryRangeRequest) (*pb.QueryRangeResponse, error) {
	tenant, err := query.TenantOf(ctx)
	if err != nil {
		return nil, err
	}
	merge, err := mergeOf(&pb.MergeProfile{Query: m.GetQuery(), Start: m.GetStart(), End: m.GetEnd()})
	if err != nil {
		return nil, err
	}
	merge.Tenant = tenant
	req := query.SeriesRequest{Request: merge, By: m.GetSumBy()}
	if step := m.GetStep(); step != nil {
		if err := step.CheckValid(); err != nil {
			return nil, serve.Field("step", fmt.Errorf("%w: %w", err, profile.ErrInvalid))
		}
		if req.Step = step.AsDuration().Round(time.Millisecond); req.Step < 0 {
			return nil, serve.Field("step", fmt.Errorf("step %s: want more than 0: %w", req.Step, profile.ErrInvalid))
		}
	}
	list, err := a.series(ctx, req)
	if err != nil {
		return nil, query.WithStatus(err)
	}
	query.Tell(ctx, list.Stats)
	if len(list.Series) == 0 {
		return nil, noData()
	}
	series := list.Series
	if limit := int(m.GetLimit()); limit > 0 && limit < len(series) {
		series = largest(series, limit)
	}
	res := &pb.QueryRangeResponse{}
	for _, s := range series {
		res.Series = append(res.Series, metrics(list.Type, s))
	}
	return res, nil
}

// series adds up or, once it is known that the type is one of levels, takes the latest.
func (a *API) series(ctx context.Context, req query.SeriesRequest) (*query.SeriesList, error) {
	list, err := a.q.Series(ctx, req)
	if err != nil || len(list.Series) == 0 || list.Type.Delta {
		return list, err
	}
	req.Aggregate, req.ByAll = query.Last, len(req.By) == 0
	return a.q.Series(ctx, req)
}

// largest are the series with the largest sums, in their old order.
func largest(series []query.Series, limit int) []query.Series {
	sums := make([]int64, len(series))
	order := make([]int, len(series))
	for i, s := range series {
		order[i] = i
		for _, p := range s.Points {
			sums[i] += p.Value
		}
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(sums[j], sums[i]) })
	kept := order[:limit]
	slices.Sort(kept)
	var all []query.Series
	for _, i := range kept {
		all = append(all, series[i])
	}
	return all
}

func metrics(t profile.Type, s query.Series) *pb.MetricsSeries {
	m := &pb.MetricsSeries{
		Labelset:   labelSet(s.Labels),
		PeriodType: &pb.ValueType{Type: t.Period.Type, Unit: t.Period.Unit},
		SampleType: &pb.ValueType{Type: t.Sample.Type, Unit: t.Sample.Unit},
		Samples:    make([]*pb.MetricsSample, len(s.Points)),
	}
	for i, p := range s.Points {
		m.Samples[i] = &pb.MetricsSample{
			Timestamp: timestamppb.New(time.UnixMilli(p.Time)), Value: p.Value, ValuePerSecond: perSecond(t, p), Duration: int64(p.Duration), Count: int32(p.Profiles),
		}
	}
	return m
}

// perSecond is how many CPUs were busy, for nanoseconds, else how much there was in a
// second. Levels are what they are.
func perSecond(t profile.Type, p query.Point) float64 {
	switch {
	case !t.Delta || p.Duration <= 0:
		return float64(p.Value)
	case t.Sample.Unit == "nanoseconds":
		return float64(p.Value) / float64(p.Duration)
	}
	return float64(p.Value) / p.Duration.Seconds()
}

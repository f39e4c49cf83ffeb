package pyroscope

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	querierv1 "github.com/grafana/pyroscope/api/gen/proto/go/querier/v1"
	typesv1 "github.com/grafana/pyroscope/api/gen/proto/go/types/v1"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/serve"
)

// selectSeries gives totals over time. Of levels, as memory in use, a step's sum is that
// of the latest profile of each series, for the same bytes are in all of them.
func (a *API) selectSeries(ctx context.Context, m *querierv1.SelectSeriesRequest) (*querierv1.SelectSeriesResponse, error) {
	if m.GetStackTraceSelector().GetGoPgo() != nil {
		return nil, serve.Field("stack_trace_selector", fmt.Errorf("go_pgo is for profiles: %w", profile.ErrInvalid))
	}
	step, err := stepOf(m.GetStep())
	if err != nil {
		return nil, err
	}
	req, err := a.request(ctx, m.GetProfileTypeID(), m.GetLabelSelector(), m.GetStart(), m.GetEnd())
	if err != nil {
		return nil, err
	}
	req.Filters = atSite(m.GetStackTraceSelector())
	average := m.GetAggregation() == typesv1.TimeSeriesAggregationType_TIME_SERIES_AGGREGATION_TYPE_AVERAGE
	list, err := a.steps(ctx, query.SeriesRequest{Request: req, Step: step, By: m.GetGroupBy()}, average)
	if err != nil {
		return nil, err
	}
	query.Tell(ctx, list.Stats)
	all := points(list, average)
	if limit := m.GetLimit(); limit > 0 && limit < int64(len(all)) {
		all = largest(all, int(limit))
	}
	return &querierv1.SelectSeriesResponse{Series: all}, nil
}

// stepOf reads seconds; 0 chooses.
func stepOf(seconds float64) (time.Duration, error) {
	if math.IsNaN(seconds) || seconds < 0 || seconds > math.MaxInt32 {
		return 0, serve.Field("step", fmt.Errorf("%g: want seconds, more than 0: %w", seconds, profile.ErrInvalid))
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond), nil
}

// steps adds up or, when the type turns out to be one of levels, takes the latest.
func (a *API) steps(ctx context.Context, req query.SeriesRequest, average bool) (*query.SeriesList, error) {
	list, err := a.q.Series(ctx, req)
	if err != nil || average || list.Type.Delta || len(list.Series) == 0 {
		return list, err
	}
	req.Aggregate = query.Last
	return a.q.Series(ctx, req)
}

func points(list *query.SeriesList, average bool) []*typesv1.Series {
	var all []*typesv1.Series
	for _, s := range list.Series {
		series := &typesv1.Series{Labels: pairs(s.Labels)}
		for _, p := range s.Points {
			value := float64(p.Value)
			if average {
				value /= float64(p.Profiles)
			}
			series.Points = append(series.Points, &typesv1.Point{Value: value, Timestamp: p.Time})
		}
		all = append(all, series)
	}
	return all
}

// largest are the series with the largest sums, largest first.
func largest(all []*typesv1.Series, limit int) []*typesv1.Series {
	sum := func(s *typesv1.Series) (total float64) {
		for _, p := range s.GetPoints() {
			total += p.GetValue()
		}
		return total
	}
	slices.SortStableFunc(all, func(a, b *typesv1.Series) int { return cmp.Compare(sum(b), sum(a)) })
	return all[:limit]
}

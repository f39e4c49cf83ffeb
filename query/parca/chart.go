package parca

import (
	"context"
	"fmt"
	"math"
	"time"

	"golang.org/x/sync/errgroup"

	pb "github.com/coldframe/coldframe/api/parca/query/v1alpha1"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/serve"
)

// A flame chart has the stacks of one stretch of time beside those of the next. Each
// stretch is a query of its own, so there are not many, and few at once.
const (
	maxStretches     = 120
	stretchesAtATime = 4
)

// flameChart is a flame graph whose levels begin, left to right, with what ran when.
func (a *API) flameChart(ctx context.Context, m *pb.QueryRequest, req query.TreeRequest) (*pb.QueryResponse, query.Stats, error) {
	if req.Base != nil {
		return nil, query.Stats{}, serve.Field("mode", fmt.Errorf("a flame chart cannot compare: %w", profile.ErrInvalid))
	}
	steps, err := a.q.Series(ctx, query.SeriesRequest{Request: req.Request})
	if err != nil {
		return nil, query.Stats{}, err
	}
	if len(steps.Series) == 0 {
		return nil, steps.Stats, noData()
	}
	points := steps.Series[0].Points
	if len(points) > maxStretches+1 { // one more for a first step that is cut
		return nil, steps.Stats, fmt.Errorf("%d stretches of %s: a shorter range has fewer: %w", len(points), steps.Step, query.ErrTooLarge)
	}
	trees := make([]*query.Tree, len(points))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(stretchesAtATime)
	for i, p := range points {
		g.Go(func() (err error) {
			part := req
			part.Range = within(req.Range, time.UnixMilli(p.Time), steps.Step)
			trees[i], err = a.q.Tree(gctx, part)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, steps.Stats, err
	}
	whole, spans := beside(trees, points, steps.Step)
	d := newDrawing(whole, m)
	record, err := d.flameTable(spans)
	if err != nil {
		return nil, whole.Stats, err
	}
	return &pb.QueryResponse{
		Total: whole.Total[0], Filtered: whole.Filtered,
		Report: &pb.QueryResponse_FlamegraphArrow{FlamegraphArrow: &pb.FlamegraphArrow{Record: record, Unit: whole.Type.Sample.Unit, Height: d.height(), Trimmed: d.trimmed}},
	}, whole.Stats, nil
}

// within is the step that begins at from, as far as it lies in r.
func within(r profile.TimeRange, from time.Time, step time.Duration) profile.TimeRange {
	to := from.Add(step)
	if from.Before(r.From) {
		from = r.From
	}
	if to.After(r.To) {
		to = r.To
	}
	return profile.TimeRange{From: from, To: to}
}

// beside puts trees side by side under one root. Frames of the root's children are made
// anew for each tree, so that their times can be told by them.
func beside(trees []*query.Tree, points []query.Point, step time.Duration) (*query.Tree, map[uint32]span) {
	whole := &query.Tree{
		Type: trees[0].Type, Frames: []query.Frame{{Kind: query.RootFrame}}, Depth: []uint32{0}, Frame: []uint32{0}, Self: []int64{0}, Total: []int64{0},
	}
	spans := map[uint32]span{}
	for i, t := range trees {
		t.Prune(max(1, maxNodes/len(trees)), 0)
		base := uint32(len(whole.Frames)) - 1
		whole.Frames = append(whole.Frames, t.Frames[1:]...)
		at := span{points[i].Time * int64(time.Millisecond), int64(min(step, math.MaxInt64))}
		for node := 1; node < len(t.Depth); node++ {
			frame := base + t.Frame[node]
			if t.Depth[node] == 1 {
				spans[frame] = at
			}
			whole.Depth, whole.Frame = append(whole.Depth, t.Depth[node]), append(whole.Frame, frame)
			whole.Self, whole.Total = append(whole.Self, t.Self[node]), append(whole.Total, t.Total[node])
		}
		whole.Self[0] += t.Self[0]
		whole.Total[0] += t.Total[0]
		whole.Filtered += t.Filtered
		whole.Stats = sumStats(whole.Stats, t.Stats)
	}
	return whole, spans
}

// sumStats is the price of several answers.
func sumStats(a, b query.Stats) query.Stats {
	a.Blocks += b.Blocks
	a.OK += b.OK
	a.Missing = append(a.Missing, b.Missing...)
	a.Profiles += b.Profiles
	a.Requests += b.Requests
	a.Bytes += b.Bytes
	a.CacheHits += b.CacheHits
	a.CPU += b.CPU
	a.Elapsed = max(a.Elapsed, b.Elapsed)
	return a
}

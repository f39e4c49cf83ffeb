package query

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

// Plan is what a query would read.
type Plan struct {
	Range  profile.TimeRange // asked for, less what retention hides
	Live   int               // objects that are live
	Pruned int               // of these, those that the range, the type or the key's bloom filter rule out
	Blocks []PlannedBlock    // the others, by their range

	// What a tree or a pprof would take, about. Lists of types and labels take less.
	Requests int
	Bytes    int64
	Dollars  float64 // of requests and bytes

	Stats Stats // of planning
}

// PlannedBlock is an object that a query would read.
type PlannedBlock struct {
	Key      string
	Level    block.Level
	From, To time.Time // of its first and last profile; an uploaded one's To is not known and zero
	Size     int64
	Profiles int64 // 0: not known without reading it
	Cached   bool  // its index is in memory
	Requests int   // about
	Bytes    int64
}

// Explain plans a query and does not run it: it asks the bucket what is live and reads no block.
// Who may see some series only is told what a query takes, and not what the blocks hold.
func (q *Querier) Explain(ctx context.Context, req Request) (*Plan, error) {
	out := &Plan{}
	stats, err := q.answer(ctx, "explain", req, func(ctx context.Context, r *run) error {
		p, err := r.plan(ctx)
		if err != nil {
			return err
		}
		*out = Plan{Range: r.within, Live: p.live, Pruned: p.live - len(p.blocks) - len(p.l0s)}
		for _, b := range p.blocks {
			object := objectOf(req.Tenant, b)
			out.add(r.explainBlock(object.key, object.meta))
		}
		for _, l0 := range p.l0s {
			out.add(PlannedBlock{Key: l0.String(), From: l0.MinTime, Size: l0.Size, Requests: 1, Bytes: l0.Size})
		}
		slices.SortFunc(out.Blocks, func(a, b PlannedBlock) int { return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Key, b.Key)) })
		if r.restricted() {
			out.hideOthers()
		}
		out.Dollars = q.cfg.Prices.of(int64(out.Requests), 0, out.Bytes, 0)
		return nil
	})
	out.Stats = stats
	return out, err
}

// hideOthers takes out what tells how much there is of series that who asks may not see.
func (p *Plan) hideOthers() {
	p.Live, p.Pruned = len(p.Blocks), 0
	for i := range p.Blocks {
		p.Blocks[i].Size, p.Blocks[i].Profiles = 0, 0
	}
}

func (p *Plan) add(b PlannedBlock) {
	p.Blocks = append(p.Blocks, b)
	p.Requests += b.Requests
	p.Bytes += b.Bytes
}

// explainBlock guesses what an Arrow block takes: its end, unless the index is in memory, and
// of the rest the range's share, in a request each for rows and stacks.
func (r *run) explainBlock(key string, m block.Meta) PlannedBlock {
	cached := r.indexes.has(key)
	b := PlannedBlock{Key: key, Level: m.Level, From: time.UnixMilli(m.MinTime), To: time.UnixMilli(m.MaxTime), Size: m.Size, Profiles: m.Profiles, Cached: cached}
	if m.Size <= wholeBelow {
		b.Requests, b.Bytes = 1, m.Size
		return b
	}
	if !cached {
		b.Requests, b.Bytes = 1, min(m.Tail+beforeTail, m.Size)
	}
	from, to := max(ceilMillis(r.within.From), m.MinTime), min(ceilMillis(r.within.To), m.MaxTime+1)
	share := float64(max(0, to-from)) / float64(m.MaxTime+1-m.MinTime)
	b.Requests += 2
	b.Bytes += int64(share * float64(m.Size-m.Tail))
	return b
}

// WriteJSON writes the plan as Plan of openapi.yaml.
func (p *Plan) WriteJSON(w io.Writer) error {
	type planned struct {
		Key      string `json:"key"`
		Level    int    `json:"level"`
		From     string `json:"from"`
		To       string `json:"to,omitempty"`
		Size     int64  `json:"size"`
		Profiles int64  `json:"profiles,omitempty"`
		Cached   bool   `json:"cached"`
		Requests int    `json:"requests"`
		Bytes    int64  `json:"bytes"`
	}
	blocks := make([]planned, len(p.Blocks))
	for i, b := range p.Blocks {
		blocks[i] = planned{b.Key, int(b.Level), formatTime(b.From), "", b.Size, b.Profiles, b.Cached, b.Requests, b.Bytes}
		if !b.To.IsZero() {
			blocks[i].To = formatTime(b.To)
		}
	}
	return json.NewEncoder(w).Encode(struct {
		From     string    `json:"from"`
		To       string    `json:"to"`
		Live     int       `json:"live"`
		Pruned   int       `json:"pruned"`
		Requests int       `json:"requests"`
		Bytes    int64     `json:"bytes"`
		Dollars  float64   `json:"dollars"`
		Blocks   []planned `json:"blocks"`
		Stats    Stats     `json:"stats"`
	}{formatTime(p.Range.From), formatTime(p.Range.To), p.Live, p.Pruned, p.Requests, p.Bytes, p.Dollars, blocks, p.Stats})
}

// explainable answers a request that has explain=1 with its plan, others as h does.
func (q *Querier) explainable(h handler) handler {
	return func(r *http.Request) (*answer, error) {
		if !r.URL.Query().Has("explain") {
			return h(r)
		}
		req, p, err := q.begin(r)
		if err != nil {
			return nil, err
		}
		explain := p.flag("explain")
		switch {
		case p.err != nil:
			return nil, p.err
		case !explain:
			return h(r)
		}
		plan, err := q.Explain(r.Context(), req)
		if err != nil {
			return nil, err
		}
		return textAnswer("application/json", plan.Stats, plan.WriteJSON)
	}
}

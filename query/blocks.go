package query

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/serve"
)

// Inventory is what a tenant has in its bucket, as its catalog tells: the live Arrow
// blocks by day and level, what waits to be compacted, and how far compaction is.
type Inventory struct {
	Now    time.Time // by the bucket's clock
	Shards []ShardState
	Days   []DayLevel // newest day first, then by level
	Bad    []Missing  // live blocks that were found damaged, at most maxBad of them
	Stats  Stats
}

// maxBad bounds the list of damaged blocks. Each day counts all of its own.
const maxBad = 100

// ShardState is how far one shard is compacted.
type ShardState struct {
	Shard   block.Shard
	Commits uint64    // since the beginning
	Sealed  time.Time // pprof blocks of earlier uploads are merged; zero: nothing was compacted yet
	Swept   time.Time // up to here stragglers were gathered; zero: never

	Waiting      int           // pprof blocks that are not merged yet
	WaitingBytes int64         // of them
	Lag          time.Duration // since the oldest of them was uploaded; 0 when none waits
}

// DayLevel sums up the live blocks of one level and day.
type DayLevel struct {
	Day         block.Day
	Level       block.Level
	Blocks      int
	Bytes       int64
	RollupBytes int64 // of the rollups that outlive them
	Profiles    int64
	Bad         int // damaged
}

// Inventory tells what is live of the tenant's days that overlap the request's range. It reads
// the catalog, not a block; selector and type of the request are not asked. Who may see
// some series only is refused.
func (q *Querier) Inventory(ctx context.Context, req Request) (*Inventory, error) {
	out := &Inventory{}
	stats, err := q.answer(ctx, "blocks", req, func(ctx context.Context, r *run) error {
		if r.restricted() {
			return &serve.Error{Status: http.StatusForbidden, Code: "forbidden", Err: errors.New("what a tenant has as a whole is not shown to a token that sees some of its series only")}
		}
		snap, err := r.live(ctx)
		if snap == nil {
			return err
		}
		catalog := "v1/man/" + string(req.Tenant)
		if err != nil {
			r.note(catalog, err) // a shard's HEAD
		}
		blocks, err := snap.Blocks(ctx, req.Range)
		if err != nil {
			r.note(catalog, err) // an arch part
		}
		out.Now = snap.Time
		out.Shards = out.Shards[:0]
		for _, state := range snap.Shards {
			out.Shards = append(out.Shards, shardState(state, snap.Time))
		}
		out.sumUp(req, blocks)
		return nil
	})
	out.Stats = stats
	return out, err
}

func shardState(state catalog.State, now time.Time) ShardState {
	s := ShardState{Shard: state.Shard, Commits: state.Head.Seq, Waiting: len(state.L0)}
	if state.Head.Sealed > 0 {
		s.Sealed = (state.Head.Sealed + 1).Time()
	}
	if state.Head.Swept > 0 {
		s.Swept = (state.Head.Swept + 1).Time()
	}
	for _, l0 := range state.L0 {
		s.WaitingBytes += l0.Size
		s.Lag = max(s.Lag, now.Sub(l0.Minute))
	}
	return s
}

func (v *Inventory) sumUp(req Request, blocks []catalog.Block) {
	type key struct {
		day   block.Day
		level block.Level
	}
	sums := map[key]*DayLevel{}
	v.Bad = nil
	for _, b := range blocks {
		d := sums[key{b.Day, b.Level}]
		if d == nil {
			d = &DayLevel{Day: b.Day, Level: b.Level}
			sums[key{b.Day, b.Level}] = d
		}
		d.Blocks++
		d.Bytes += b.Size
		d.Profiles += b.Profiles
		if b.R4 != nil {
			d.RollupBytes += b.R4.Size
		}
		if b.Bad != "" {
			d.Bad++
			if len(v.Bad) < maxBad {
				v.Bad = append(v.Bad, Missing{b.Key(req.Tenant, b.Shard), b.Bad})
			}
		}
	}
	v.Days = v.Days[:0]
	for _, d := range sums {
		v.Days = append(v.Days, *d)
	}
	slices.SortFunc(v.Days, func(a, b DayLevel) int { return cmp.Or(cmp.Compare(b.Day, a.Day), cmp.Compare(a.Level, b.Level)) })
}

// WriteJSON writes the inventory as Inventory of openapi.yaml.
func (v *Inventory) WriteJSON(w io.Writer) error {
	type shard struct {
		Shard        string  `json:"shard"`
		Commits      uint64  `json:"commits"`
		Sealed       string  `json:"sealed,omitempty"`
		Swept        string  `json:"swept,omitempty"`
		Waiting      int     `json:"waiting"`
		WaitingBytes int64   `json:"waiting_bytes"`
		Lag          float64 `json:"lag_ms"`
	}
	type day struct {
		Day         string `json:"day"`
		Level       int    `json:"level"`
		Blocks      int    `json:"blocks"`
		Bytes       int64  `json:"bytes"`
		RollupBytes int64  `json:"rollup_bytes"`
		Profiles    int64  `json:"profiles"`
		Bad         int    `json:"bad"`
	}
	shards, days := make([]shard, len(v.Shards)), make([]day, len(v.Days))
	for i, s := range v.Shards {
		shards[i] = shard{s.Shard.String(), s.Commits, optionalTime(s.Sealed), optionalTime(s.Swept), s.Waiting, s.WaitingBytes, millis(s.Lag)}
	}
	for i, d := range v.Days {
		days[i] = day{d.Day.Start().Format(time.DateOnly), int(d.Level), d.Blocks, d.Bytes, d.RollupBytes, d.Profiles, d.Bad}
	}
	bad := v.Bad
	if bad == nil {
		bad = []Missing{}
	}
	return json.NewEncoder(w).Encode(struct {
		Now    string    `json:"now"`
		Shards []shard   `json:"shards"`
		Days   []day     `json:"days"`
		Bad    []Missing `json:"bad"`
		Stats  Stats     `json:"stats"`
	}{formatTime(v.Now), shards, days, bad, v.Stats})
}

func optionalTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return formatTime(t)
}

func (q *Querier) serveBlocks(r *http.Request) (*answer, error) {
	req, _, err := q.begin(r)
	if err != nil {
		return nil, err
	}
	inventory, err := q.Inventory(r.Context(), req)
	if err != nil {
		return nil, err
	}
	return textAnswer("application/json", inventory.Stats, inventory.WriteJSON)
}

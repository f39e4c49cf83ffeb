package query

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// Answers from rollups are those from the profiles themselves, whatever is asked for, and also
// where blocks overlap and repeat one another.
func TestRollupsAgainstProfiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(41, 1))
	all := fleet{rng, start, 30 * time.Hour}.profiles(t, 150)
	slices.SortFunc(all, func(a, b sent) int { return a.time.Compare(b.time) })
	sums, plain := newHouse(), newHouse()
	plain.rollups = nil
	for _, h := range []*house{sums, plain} {
		for part := range slices.Chunk(all, 30) {
			h.putArrow(t, part...)
		}
		h.putArrow(t, all[40:50]...) // once more
	}
	windows := 0
	for range 120 {
		req := randomRequest(t, rng, all)
		req.Range = profile.TimeRange{From: start.Add(time.Duration(rng.IntN(30*60)) * time.Minute)}
		req.Range.To = req.Range.From.Add(time.Duration(1+rng.IntN(24*60)) * time.Minute)
		treq := TreeRequest{Request: req}
		if rng.IntN(3) == 0 {
			treq.Labels = []string{"pod"}
		}
		if rng.IntN(3) == 0 {
			treq.Step = []time.Duration{time.Minute, 15 * time.Minute, time.Hour, 3 * time.Hour}[rng.IntN(4)]
		}
		what := fmt.Sprintf("%s %v [%s, %s)", req.Selector, treq.Labels, formatTime(req.Range.From), formatTime(req.Range.To))
		got, err := sums.q.Tree(t.Context(), treq)
		want, wantErr := plain.q.Tree(t.Context(), treq)
		if errors.Is(err, ErrNoType) && errors.Is(wantErr, ErrNoType) {
			continue
		}
		if err != nil || wantErr != nil {
			t.Fatal(what, err, wantErr)
		}
		if got.Stats.Profiles != want.Stats.Profiles {
			t.Errorf("%s: %d profiles, want %d", what, got.Stats.Profiles, want.Stats.Profiles)
		}
		got.Stats, want.Stats = Stats{}, Stats{}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the trees differ: total %d, want %d", what, got.Total[0], want.Total[0])
		}
		compareSeries(t, what, sums, plain, SeriesRequest{
			Request: req, Step: []time.Duration{time.Minute, 15 * time.Minute, time.Hour, 3 * time.Hour, 24 * time.Hour}[rng.IntN(5)],
			By: [][]string{nil, {"pod"}, {"service_name"}}[rng.IntN(3)], Aggregate: Aggregate(rng.IntN(2)),
		})
		windows += chosenWindows(t, sums, treq)
	}
	if windows < 200 {
		t.Errorf("only %d windows were chosen", windows)
	}
}

func compareSeries(t *testing.T, what string, sums, plain *house, req SeriesRequest) {
	t.Helper()
	got, err := sums.q.Series(t.Context(), req)
	want, wantErr := plain.q.Series(t.Context(), req)
	if err != nil || wantErr != nil {
		t.Fatal(what, err, wantErr)
	}
	if !reflect.DeepEqual(got.Series, want.Series) || got.Stats.Profiles != want.Stats.Profiles {
		t.Errorf("%s: series by %s are\n%v of %d profiles, want\n%v of %d", what, req.Step, got.Series, got.Stats.Profiles, want.Series, want.Stats.Profiles)
	}
}

// chosenWindows is how many windows a tree is made of.
func chosenWindows(t *testing.T, h *house, req TreeRequest) int {
	t.Helper()
	r := h.q.newRun(t.Context(), req.Request)
	r.by, r.sums, r.apart = req.Labels, anyWindow, len(req.Labels) > 0
	s, err := r.selectProfiles(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range s.parts {
		for _, k := range p.picks {
			for _, w := range k.windows {
				n += len(w.chosen)
			}
		}
	}
	return n
}

// expire puts a b4 block of which only the rollups are left.
func (h *house) expire(t *testing.T, profiles ...sent) {
	t.Helper()
	day := block.DayOf(profiles[0].time)
	b := newBuilder(t, day, profiles)
	var whole, alone bytes.Buffer
	meta, err := b.FinishTo(arrowblock.Output{Block: &whole, Rollups: testRollups, RollupsAlone: &alone})
	if err != nil {
		t.Fatal(err)
	}
	meta.ID, meta.Level, meta.Expired = block.NewID(h.now), block.L4, true
	meta.R4.ID = block.NewID(h.now.Add(time.Millisecond))
	h.put(t, meta.RollupKey(profile.DefaultTenant, 0), alone.Bytes())
	h.commit(t, []block.Meta{meta})
}

// between is a time that cuts a window of each axis: one of two profiles of a series lies before it.
func between(all []sent) time.Time {
	first := map[string]time.Time{}
	for _, s := range slices.SortedFunc(slices.Values(all), func(a, b sent) int { return a.time.Compare(b.time) }) {
		window := s.name + s.labels.String() + s.time.Truncate(testRollups[0].Window).String()
		if s.name == "process_cpu" && !first[window].IsZero() {
			return s.time.Truncate(time.Millisecond)
		}
		first[window] = s.time
	}
	return time.Time{}
}

// When profiles have expired, their sums are answered as far as the range holds whole windows;
// what it cuts is missing and named.
func TestExpiredProfiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(41, 2))
	day := start.Truncate(24 * time.Hour)
	all := fleet{rng, day, 24 * time.Hour}.profiles(t, 240)
	h, plain := newHouse(), newHouse()
	h.expire(t, all...)
	plain.putArrow(t, all...)
	for _, c := range []struct {
		from, to time.Duration
		whole    bool
	}{
		{0, 24 * time.Hour, true},
		{3 * time.Hour, 9*time.Hour + 15*time.Minute, true},
		{between(all).Sub(day), 20*time.Hour + 11*time.Minute, false},
	} {
		for _, selector := range []string{"{}", `{pod="a"}`, `{service_name="api"}`} {
			req := request(t, selector, "process_cpu/cpu", day.Add(c.from), day.Add(c.to))
			got, err := h.q.Tree(t.Context(), TreeRequest{Request: req})
			if err != nil {
				t.Fatal(err)
			}
			want, err := plain.q.Tree(t.Context(), TreeRequest{Request: req})
			if err != nil {
				t.Fatal(err)
			}
			if !c.whole && selector != "{}" {
				continue // none of its windows may be cut
			}
			if got.Stats.Partial() == c.whole {
				t.Errorf("%s in [%s, %s): missing %v", selector, c.from, c.to, got.Stats.Missing)
			}
			if !c.whole {
				if got.Stats.Profiles == 0 || got.Stats.Profiles >= want.Stats.Profiles {
					t.Errorf("%s in [%s, %s): %d profiles of %d", selector, c.from, c.to, got.Stats.Profiles, want.Stats.Profiles)
				}
				continue
			}
			compareMaps(t, selector, selves(got, 0, got.Self), selves(want, 0, want.Self))
			answer, err := h.q.Pprof(t.Context(), req)
			if err != nil || answer.Stats.Partial() {
				t.Fatal(err, answer.Stats)
			}
			sum := int64(0)
			for _, s := range answer.Profile.Sample {
				sum += s.Value[0]
			}
			if sum != want.Total[0] {
				t.Errorf("%s: the pprof's samples sum up to %d, want %d", selector, sum, want.Total[0])
			}
			checkLists(t, h, selector, req, refer(t, all, req))
		}
	}
}

// Between the two retentions only sums are answered.
func TestRollupRetention(t *testing.T) {
	day := start.Truncate(24 * time.Hour)
	all := fleet{rand.New(rand.NewPCG(41, 3)), day, 24 * time.Hour}.profiles(t, 60)
	h := newHouse()
	h.putArrow(t, all...)
	keep := catalog.Retentions{Raw: catalog.Retention(time.Minute), Rollups: catalog.Retention(1000 * time.Hour)}
	h.q = h.querier(h.bkt, Config{Retention: func(context.Context, profile.Tenant) (catalog.Retentions, error) { return keep, nil }})
	req := request(t, "{}", "process_cpu/cpu", day, day.Add(24*time.Hour))
	tree, err := h.q.Tree(t.Context(), TreeRequest{Request: req})
	if err != nil || tree.Stats.Profiles != len(refer(t, all, req).profiles) {
		t.Errorf("%d profiles, want all of them: %v", tree.Stats.Profiles, err)
	}
	req.Range.To = day.Add(10 * time.Minute) // less than any window
	if tree, err = h.q.Tree(t.Context(), TreeRequest{Request: req}); err != nil || tree.Stats.Profiles != 0 {
		t.Errorf("%d profiles that have expired are shown: %v", tree.Stats.Profiles, err)
	}
	keep = catalog.Retentions{Raw: catalog.Retention(time.Minute)}
	req.Range.To = day.Add(24 * time.Hour)
	if tree, err = h.q.Tree(t.Context(), TreeRequest{Request: req}); err != nil || tree.Stats.Blocks != 0 {
		t.Errorf("all is past retention: %+v, %v", tree.Stats, err)
	}
}

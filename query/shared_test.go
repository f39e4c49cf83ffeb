package query

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// Whatever is asked, an answer that several processes give is that of one: grouped, filtered,
// turned, cut and compared.
func TestSharedAgainstOneProcess(t *testing.T) {
	rng := rand.New(rand.NewPCG(73, 83))
	all := fleet{rng, start, 8 * time.Hour}.profiles(t, 50)
	h := newHouse()
	layouts["both"](t, h, all)
	h.putArrow(t, all[20:30]...)
	alone := h.q
	w := shareAll(h, 3)
	asked := map[string]int{}
	for range 150 {
		req := TreeRequest{Request: randomSampleRequest(t, rng, all), View: randomView(rng), Absolute: rng.IntN(2) == 0}
		for range rng.IntN(3) {
			req.Filters = append(req.Filters, randomFilter(rng))
		}
		if req.Step == 0 && rng.IntN(3) == 0 {
			base := randomSampleRequest(t, rng, all)
			base.Selector.Type, base.Filters = req.Selector.Type, req.Filters
			req.Base = &base
		}
		before := w.asked
		got, err := h.q.Tree(t.Context(), req)
		want, wantErr := alone.Tree(t.Context(), req)
		what := fmt.Sprintf("%s %v %+v", req.Selector, req.Filters, req.View)
		if err != nil || wantErr != nil {
			if !errors.Is(err, ErrNoType) || !errors.Is(wantErr, ErrNoType) {
				t.Fatalf("%s: %v, alone %v", what, err, wantErr)
			}
			continue
		}
		if got.Stats.Profiles != want.Stats.Profiles || got.Stats.Partial() {
			t.Errorf("%s: %+v, want %d profiles", what, got.Stats, want.Stats.Profiles)
		}
		got.Stats, want.Stats = Stats{}, Stats{}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: total %d, filtered %d, %d nodes; alone %d, %d, %d", what, got.Total[0], got.Filtered, len(got.Depth), want.Total[0], want.Filtered, len(want.Depth))
		}
		for kind, is := range map[string]bool{
			"grouped": len(req.Labels) > 0, "filtered": len(req.Filters) > 0, "sandwich": req.Sandwich != "", "inverted": req.Invert, "compared": req.Base != nil,
		} {
			if is && w.asked > before {
				asked[kind]++
			}
		}
	}
	for _, kind := range []string{"grouped", "filtered", "sandwich", "inverted", "compared"} {
		if asked[kind] < 5 {
			t.Errorf("workers had a part in %d answers that are %s", asked[kind], kind)
		}
	}
}

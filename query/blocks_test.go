package query

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"
)

// The inventory counts each live block once, tells what waits and for how long, and is
// what openapi.yaml describes.
func TestInventory(t *testing.T) {
	h, all, _ := furnished(t)
	w := h.get(t, "/api/v1/blocks?"+during[1:])
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	loadSpec(t).answer(t, "/api/v1/blocks", "200", w.Body.Bytes())

	var got struct {
		Now    time.Time
		Shards []struct {
			Waiting      int
			WaitingBytes int64   `json:"waiting_bytes"`
			Lag          float64 `json:"lag_ms"`
		}
		Days []struct {
			Day                     string
			Level, Blocks, Profiles int
			Bytes                   int64
		}
		Stats struct{ Requests int }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	waiting, lagging := 0, 0
	for _, s := range got.Shards {
		waiting += s.Waiting
		if s.Waiting > 0 && s.WaitingBytes > 0 && s.Lag >= 0 {
			lagging++
		}
	}
	if waiting != 2 || lagging == 0 {
		t.Errorf("%d pprof blocks wait in %d shards, want 2 in one: %s", waiting, lagging, w.Body)
	}
	blocks, profiles := 0, 0
	for _, d := range got.Days {
		blocks += d.Blocks
		profiles += d.Profiles
		if d.Day != start.Format(time.DateOnly) || d.Bytes == 0 {
			t.Errorf("%+v, want the day %s and some bytes", d, start.Format(time.DateOnly))
		}
	}
	if blocks != 2 || profiles != len(all)/2 {
		t.Errorf("%d Arrow blocks with %d profiles, want 2 with %d", blocks, profiles, len(all)/2)
	}
	if got.Stats.Requests == 0 || got.Now.IsZero() {
		t.Errorf("the inventory cost %d requests at %s", got.Stats.Requests, got.Now)
	}
	if w := h.get(t, "/api/v1/blocks?from=yesterday"); w.Code != http.StatusBadRequest {
		t.Errorf("a time that is none: %d, want 400", w.Code)
	}
}

package bucket

import (
	"net/http"
	"testing"
	"time"
)

// A server whose clock is 90.4 s ahead and which tells whole seconds is followed to
// within a second by its first answer, and ever closer by more of them. The lead never
// jumps back and forth.
func TestClockNarrows(t *testing.T) {
	const lead = 90*time.Second + 400*time.Millisecond
	local := time.Date(2026, 8, 21, 12, 0, 0, 0, time.UTC)
	var clock serverClock
	if _, known := clock.now(); known {
		t.Error("a clock that has seen no answer knows the time")
	}
	worst := time.Second
	for i := range 40 {
		sent := local.Add(time.Duration(i) * 1370 * time.Millisecond)
		answered := sent.Add(20 * time.Millisecond)
		clock.learn(date(sent.Add(lead+10*time.Millisecond)), sent, answered)
		wrong := (*clock.ahead.Load() - lead).Abs()
		if wrong > worst {
			t.Fatalf("answer %d: wrong by %v, after %v", i, wrong, worst)
		}
		worst = max(wrong, 30*time.Millisecond)
	}
	if worst > 100*time.Millisecond {
		t.Errorf("still wrong by %v", worst)
	}
}

// When the server's clock or ours is set, the next answer tells.
func TestClockFollowsJumps(t *testing.T) {
	local := time.Date(2026, 8, 21, 12, 0, 0, 0, time.UTC)
	var clock serverClock
	for _, lead := range []time.Duration{time.Hour, 0, -time.Hour} {
		clock.learn(date(local.Add(lead)), local, local)
		if wrong := (*clock.ahead.Load() - lead).Abs(); wrong > time.Second {
			t.Errorf("wrong by %v after a jump to %v", wrong, lead)
		}
	}
}

func TestClockIgnores(t *testing.T) {
	now := time.Now()
	for name, h := range map[string]http.Header{
		"no date":      {},
		"broken date":  {"Date": {"yesterday"}},
		"cached":       {"Date": date(now)["Date"], "Age": {"17"}},
		"not HTTP's":   {"Date": {now.Format(time.RFC3339)}},
		"empty header": {"Date": {""}},
	} {
		var clock serverClock
		clock.learn(h, now, now)
		if _, known := clock.now(); known {
			t.Errorf("%s: learned from %v", name, h)
		}
	}
}

func date(t time.Time) http.Header {
	return http.Header{"Date": {t.UTC().Format(http.TimeFormat)}}
}

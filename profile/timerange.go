package profile

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// TimeRange is half-open: From belongs to it, To does not. Times are those of
// profiles, to the millisecond.
type TimeRange struct {
	From, To time.Time
}

// Contains says whether t lies in [From, To).
func (r TimeRange) Contains(t time.Time) bool { return !t.Before(r.From) && t.Before(r.To) }

// Overlaps says whether the range shares an instant with [from, to].
// Both ends of the argument belong to it, as the first and last profile of a block do.
func (r TimeRange) Overlaps(first, last time.Time) bool {
	return !last.Before(r.From) && first.Before(r.To)
}

// Validate refuses an empty or reversed range.
func (r TimeRange) Validate() error {
	if !r.From.Before(r.To) {
		return fmt.Errorf("range from %s to %s: from must lie before to: %w", r.From.UTC().Format(time.RFC3339), r.To.UTC().Format(time.RFC3339), ErrInvalid)
	}
	return nil
}

// ParseTime reads a time as people write it: RFC 3339, seconds since 1970 (with
// an optional fraction), "now", or "now-1h" and "now+5m" with Go's durations and
// also d (24 h) and w (7 d). now says what "now" is.
func ParseTime(s string, now time.Time) (time.Time, error) {
	if rest, ok := strings.CutPrefix(s, "now"); ok {
		if rest == "" {
			return now, nil
		}
		d, err := parseDuration(strings.TrimPrefix(rest, "+"))
		if err != nil || rest[0] != '-' && rest[0] != '+' {
			return time.Time{}, fmt.Errorf("time %q: after \"now\" comes a duration such as -1h, -30m or -7d: %w", s, ErrInvalid)
		}
		return now.Add(d), nil
	}
	if seconds, err := strconv.ParseFloat(s, 64); err == nil {
		if math.Abs(seconds) > 1<<33 || math.IsNaN(seconds) {
			return time.Time{}, fmt.Errorf("time %q: unix seconds out of range; milliseconds were perhaps meant as seconds: %w", s, ErrInvalid)
		}
		whole, frac := math.Modf(seconds)
		return time.Unix(int64(whole), int64(math.Round(frac*1e3))*1e6).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("time %q: want RFC 3339, unix seconds, or now-1h: %w", s, ErrInvalid)
	}
	return t, nil
}

func parseDuration(s string) (time.Duration, error) {
	for _, unit := range []struct {
		suffix string
		hours  float64
	}{{"d", 24}, {"w", 7 * 24}} {
		if n, ok := strings.CutSuffix(s, unit.suffix); ok {
			f, err := strconv.ParseFloat(n, 64)
			return time.Duration(f * unit.hours * float64(time.Hour)), err
		}
	}
	return time.ParseDuration(s)
}

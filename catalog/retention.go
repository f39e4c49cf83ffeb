package catalog

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/internal/guard"
	"github.com/coldframe/coldframe/profile"
)

// Retention is how long something is kept. 0 is without limit. As text it is a number
// with one of the units h, d, w and y, of 365 days: "12h", "30d", "1y"; "" is 0.
type Retention time.Duration

const (
	day = 24 * time.Hour

	// A shorter retention would hide what is not even compacted.
	minRetention = Retention(time.Hour)
	maxRetention = Retention(250 * 365 * day) // nearly what a duration holds
)

var retentionUnits = map[string]time.Duration{"h": time.Hour, "d": day, "w": 7 * day, "y": 365 * day}

// ParseRetention reads what [Retention.String] writes: from 1h to 250y, or "" or "0" for
// no limit. Anything else is [profile.ErrInvalid].
func ParseRetention(s string) (Retention, error) {
	if s == "" || s == "0" {
		return 0, nil
	}
	number, unit := s[:len(s)-1], retentionUnits[s[len(s)-1:]]
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || unit == 0 {
		return 0, fmt.Errorf("retention %.30q: want a number with h, d, w or y, as 30d: %w", s, profile.ErrInvalid)
	}
	if n > uint64(time.Duration(maxRetention)/unit) || Retention(n)*Retention(unit) < minRetention {
		return 0, fmt.Errorf("retention %.30q: not in [1h, 250y]: %w", s, profile.ErrInvalid)
	}
	return Retention(n) * Retention(unit), nil
}

// String gives days if they are whole, else hours.
func (r Retention) String() string {
	switch {
	case r == 0:
		return ""
	case r%Retention(day) == 0:
		return fmt.Sprintf("%dd", r/Retention(day))
	}
	return fmt.Sprintf("%dh", (r+Retention(time.Hour)-1)/Retention(time.Hour))
}

// MarshalText implements [encoding.TextMarshaler].
func (r Retention) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *Retention) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRetention(strings.TrimSpace(string(text)))
	return err
}

// shorter is the stricter of two retentions.
func shorter(a, b Retention) Retention {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// Retentions say how long profiles are kept, and how long the rollups of a day are.
type Retentions struct {
	Raw     Retention // of every profile
	Rollups Retention // of rollups that outlive their profiles; 0: as long as these
}

// RollupsFor is how long rollups are kept, whether or not that was said.
func (r Retentions) RollupsFor() Retention {
	if r.Raw == 0 || r.Rollups == 0 {
		return r.Raw
	}
	return r.Rollups
}

func (r Retentions) validate() error {
	if r.Rollups > 0 && (r.Raw == 0 || r.Rollups < r.Raw) {
		return fmt.Errorf("rollups are kept for %s and profiles for %q: rollups must be kept as long at least: %w", r.Rollups, r.Raw, profile.ErrInvalid)
	}
	return nil
}

// within is the stricter of both.
func (r Retentions) within(most Retentions) Retentions {
	return Retentions{
		Raw:     shorter(r.Raw, most.Raw),
		Rollups: shorter(r.RollupsFor(), most.RollupsFor()),
	}
}

// firstKept is the oldest day of which something is kept at now: days go as a whole, when
// their last instant is as old as that. Of an unlimited retention it is day 0.
func (r Retention) firstKept(now time.Time) block.Day {
	if r == 0 {
		return 0
	}
	if guard.Removed(guard.WholeDay) {
		now = now.Add(day)
	}
	return max(0, block.DayOf(now.Add(-time.Duration(r))))
}

// FirstDays are the oldest days at now of which the profiles, and of which the rollups
// are kept. Days go as a whole, when their last instant is too old.
func (r Retentions) FirstDays(now time.Time) (raw, rollups block.Day) {
	return r.Raw.firstKept(now), r.RollupsFor().firstKept(now)
}

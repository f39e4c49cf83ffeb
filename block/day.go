package block

import (
	"fmt"
	"time"

	"github.com/coldframe/coldframe/profile"
)

// Day is a UTC day, counted from 1970-01-01. No Arrow block holds profiles of two.
// In keys and in JSON a day is written YYYYMMDD.
type Day int32

const (
	secondsADay = 24 * 60 * 60
	lastDay     = Day(2932896) // 9999-12-31: later days have no YYYYMMDD
)

// DayOf is the UTC day to which t belongs.
func DayOf(t time.Time) Day {
	return Day(floorDiv(t.Unix(), secondsADay))
}

// DayOfMillis is [DayOf] of milliseconds since 1970.
func DayOfMillis(ms int64) Day {
	return Day(floorDiv(ms, secondsADay*1000))
}

func floorDiv(n, d int64) int64 {
	q := n / d
	if n%d < 0 {
		q--
	}
	return q
}

// Start is the day's first instant.
func (d Day) Start() time.Time { return time.Unix(int64(d)*secondsADay, 0).UTC() }

// End is the next day's first instant.
func (d Day) End() time.Time { return (d + 1).Start() }

// Range is [Start, End).
func (d Day) Range() profile.TimeRange { return profile.TimeRange{From: d.Start(), To: d.End()} }

// String gives YYYYMMDD.
func (d Day) String() string { return d.Start().Format("20060102") }

// ParseDay reads what [Day.String] writes, from 19700101 to 99991231. Anything else
// is ErrCorrupt: days are read from keys and from what is stored under them.
func ParseDay(s string) (Day, error) {
	t, err := time.Parse("20060102", s)
	if err != nil || t.Year() < 1970 {
		return 0, fmt.Errorf("day %.20q: want YYYYMMDD from 1970 on: %w", s, ErrCorrupt)
	}
	return DayOf(t), nil
}

// MarshalText gives YYYYMMDD.
func (d Day) MarshalText() ([]byte, error) {
	if d < 0 || d > lastDay {
		return nil, fmt.Errorf("day %d since 1970 has no YYYYMMDD", int32(d))
	}
	return []byte(d.String()), nil
}

// UnmarshalText reads YYYYMMDD, as [ParseDay] does.
func (d *Day) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDay(string(text))
	return err
}

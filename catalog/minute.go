package catalog

import "time"

// Minute is a minute of the bucket's clock, counted from 1970. A pprof block lies in
// the folder of the minute in which it was uploaded.
type Minute int64

// MinuteOf is the minute to which t belongs. Times before 1970 are minute 0.
func MinuteOf(t time.Time) Minute { return Minute(max(t.Unix(), 0) / 60) }

// Time is the minute's first instant.
func (m Minute) Time() time.Time { return time.Unix(int64(m)*60, 0).UTC() }

// String gives 2006-01-02T15:04Z.
func (m Minute) String() string { return m.Time().Format("2006-01-02T15:04Z") }

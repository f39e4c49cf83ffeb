package compactor

import (
	"iter"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/catalog"
)

// This file decides and does nothing: which minutes and pprof blocks make the next
// job, whether it is worth a commit, and of which level its output is.

// lastEnded is the last minute that ended at least lag ago.
func lastEnded(now time.Time, lag time.Duration) catalog.Minute {
	return max(0, catalog.MinuteOf(now.Add(-lag))-1)
}

// batch is the input of a job: pprof blocks uploaded in the minutes up to To.
type batch struct {
	to    catalog.Minute
	l0s   []catalog.L0
	bytes int64
	whole bool // no more pprof blocks were listed than these
}

// nextBatch takes pprof blocks, which come by minute, until the next minute would make
// them more than maxBytes. The first minute is taken whatever it weighs: a minute is
// sealed as a whole. Without pprof blocks, or when all are taken, it goes up to upTo.
func nextBatch(l0s iter.Seq2[catalog.L0, error], upTo catalog.Minute, maxBytes int64) (batch, error) {
	b := batch{to: upTo, whole: true}
	minuteBegins, bytesBefore := 0, int64(0) // of the minute at hand, in b
	for l0, err := range l0s {
		if err != nil {
			return batch{}, err
		}
		minute := catalog.MinuteOf(l0.Minute)
		if n := len(b.l0s); n == 0 || catalog.MinuteOf(b.l0s[n-1].Minute) != minute {
			minuteBegins, bytesBefore = n, b.bytes
		}
		if minuteBegins > 0 && b.bytes+l0.Size > maxBytes {
			return batch{
				to:    catalog.MinuteOf(b.l0s[minuteBegins-1].Minute),
				l0s:   b.l0s[:minuteBegins],
				bytes: bytesBefore,
			}, nil
		}
		b.l0s = append(b.l0s, l0)
		b.bytes += l0.Size
	}
	return b, nil
}

// worthSealing says whether a batch is worth a commit. An empty one is not until it
// has a quarter of the window's minutes: a shard to which nobody uploads then costs
// four commits an hour instead of sixty, and queries list one hour more.
func (b batch) worthSealing(h catalog.Head, window catalog.Minute) bool {
	return len(b.l0s) > 0 || b.to-h.Sealed >= max(1, window/4)
}

// worthSweeping is the same for the stragglers that a sweep has found: with none it
// commits only to let seals go on.
func (b batch) worthSweeping(h catalog.Head, window catalog.Minute) bool {
	return len(b.l0s) > 0 || h.Sealed-h.Swept >= max(1, window/4)
}

// sweepDue says whether more minutes than every are sealed and not swept.
func sweepDue(h catalog.Head, every time.Duration) bool {
	return (h.Sealed - h.Swept).Time().Sub(time.Unix(0, 0)) >= every
}

// levelOf is the level of a block that is made of pprof blocks with profiles of a day.
func levelOf(block.Day) block.Level { return block.L1 }

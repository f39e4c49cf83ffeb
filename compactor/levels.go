package compactor

import (
	"cmp"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/catalog"
)

// This file decides which blocks are merged into larger ones, and does nothing.

// windowOf is the time that a block of each level stands for. Windows begin at midnight,
// UTC, and a block belongs to the one in which its first profile lies.
var windowOf = [...]time.Duration{block.L2: 15 * time.Minute, block.L3: 3 * time.Hour, block.L4: 24 * time.Hour}

// rollupsOf are the sums that a block of each level holds beside its rows, for queries of a long
// time. The longer the time a block stands for, the longer the windows that are asked for; of single
// instances nobody asks for quarters of an hour that are long ago.
var rollupsOf = [...][]arrowblock.Rollup{
	block.L2: {
		{Axis: arrowblock.BySeries, Window: 15 * time.Minute},
		{Axis: arrowblock.ByService, Window: 15 * time.Minute},
	},
	block.L3: {
		{Axis: arrowblock.BySeries, Window: time.Hour},
		{Axis: arrowblock.ByService, Window: 15 * time.Minute},
		{Axis: arrowblock.ByService, Window: time.Hour},
		{Axis: arrowblock.ByService, Window: 3 * time.Hour},
	},
	block.L4: {
		{Axis: arrowblock.BySeries, Window: time.Hour},
		{Axis: arrowblock.BySeries, Window: 24 * time.Hour},
		{Axis: arrowblock.ByService, Window: 15 * time.Minute},
		{Axis: arrowblock.ByService, Window: time.Hour},
		{Axis: arrowblock.ByService, Window: 24 * time.Hour},
	},
}

const (
	// dayCloses is how long after its end a day is closed: what is then still uploaded of
	// it goes into blocks of level 4 at once. Until then agents catch up and sweeps gather.
	dayCloses = time.Hour

	// mostOfADay is how many blocks of level 4 a day may have before they are merged again.
	// A query of the day opens each; merging them writes the whole day once more.
	mostOfADay = 8

	// halfLife is half of what lifecycle rules let a block of levels 1 to 3 live. One that
	// found no other to be merged with goes to level 4 alone, before it expires.
	halfLife = catalog.LifeOfBlocks / 2

	// What a merge reads: each input costs memory, and an object larger than 5 GiB
	// cannot be written by one PUT.
	mostInputs = 32
	mostBytes  = 4 << 30
)

// merge is some blocks of a day that are to become one of a level.
type merge struct {
	level block.Level
	in    []block.Meta
}

// closed says whether a day is over for good.
func closed(day block.Day, now time.Time) bool {
	return !now.Before(day.Range().To.Add(dayCloses))
}

// planMerges says which of the live blocks, which are sorted as in HEAD, are to be merged.
// All pprof blocks of the minutes up to upTo are in them. The lowest level is first, since every
// query pays for many small blocks; within a level the oldest window. A window waits for the merges below it.
func planMerges(live []block.Meta, now time.Time, upTo catalog.Minute) []merge {
	var plan []merge
	taken := map[block.ID]bool{}
	for level := block.L2; level <= block.L4; level++ {
		for _, in := range windowsOf(live, level) {
			if !due(in[0], level, now, upTo) || slices.ContainsFunc(in, func(m block.Meta) bool { return taken[m.ID] }) {
				continue
			}
			for _, run := range cutRuns(in) {
				if len(run) > 1 || level == block.L4 && old(run[0], now) {
					plan = append(plan, merge{level, run})
				}
			}
			for _, m := range in {
				taken[m.ID] = len(in) > 1
			}
		}
	}
	return append(plan, planDays(live, taken)...)
}

// windowsOf deals the sound blocks below a level out to the level's windows, in order.
func windowsOf(live []block.Meta, level block.Level) [][]block.Meta {
	var windows [][]block.Meta
	for _, m := range live {
		if m.Bad != "" || m.Expired || m.Level >= level {
			continue
		}
		if n := len(windows); n > 0 && windowBegins(windows[n-1][0], level).Equal(windowBegins(m, level)) {
			windows[n-1] = append(windows[n-1], m)
		} else {
			windows = append(windows, []block.Meta{m})
		}
	}
	return windows
}

// windowBegins is when the window of a level begins that a block belongs to.
func windowBegins(m block.Meta, level block.Level) time.Time {
	return time.UnixMilli(m.MinTime).UTC().Truncate(windowOf[level])
}

// due says whether the window of a level that m is in has ended, and the shard is sealed
// past its end. What still comes makes further blocks, which the next level takes along.
func due(m block.Meta, level block.Level, now time.Time, upTo catalog.Minute) bool {
	end := windowBegins(m, level).Add(windowOf[level])
	if level == block.L4 {
		end = end.Add(dayCloses)
	}
	return catalog.MinuteOf(end) <= upTo && !now.Before(end)
}

func old(m block.Meta, now time.Time) bool {
	return now.Sub(ulid.Time(m.ID.Time())) >= halfLife
}

// cutRuns cuts the blocks of a window so that one merge reads no more than it may.
func cutRuns(in []block.Meta) [][]block.Meta {
	var runs [][]block.Meta
	begin, size := 0, int64(0)
	for i, m := range in {
		if i-begin == mostInputs || i > begin && size+m.Size > mostBytes {
			runs = append(runs, in[begin:i])
			begin, size = i, 0
		}
		size += m.Size
	}
	return append(runs, in[begin:])
}

// planDays merges blocks of level 4 of days that have too many, the smallest first, so
// that what is large is not written again for a few stragglers where it does not fit.
func planDays(live []block.Meta, taken map[block.ID]bool) []merge {
	var plan []merge
	for len(live) > 0 {
		day := live[0].Day
		var in []block.Meta
		waits := false
		for len(live) > 0 && live[0].Day == day {
			m := live[0]
			live = live[1:]
			waits = waits || taken[m.ID]
			if m.Level == block.L4 && m.Bad == "" && !m.Expired {
				in = append(in, m)
			}
		}
		if waits || len(in) <= mostOfADay {
			continue
		}
		slices.SortStableFunc(in, func(a, b block.Meta) int { return cmp.Compare(a.Size, b.Size) })
		if run := cutRuns(in)[0]; len(run) > 1 {
			plan = append(plan, merge{block.L4, run})
		}
	}
	return plan
}

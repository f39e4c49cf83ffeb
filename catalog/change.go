package catalog

import (
	"fmt"
	"slices"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/internal/guard"
)

// Change is what a commit does to a HEAD: [Seal], [Sweep], [Merge], [Quarantine], [Expire],
// [Forget] or [Clear]. Each says what it was planned upon, and is ErrConflict when that
// holds no longer.
type Change interface {
	apply(h *Head, window Minute, now time.Time) error
}

// Seal publishes the merged pprof blocks of the minutes (From, To].
type Seal struct {
	From Minute       // the HEAD's Sealed when it was planned, and still
	To   Minute       // at most the HEAD's SealLimit
	Out  []block.Meta // their sources are all pprof blocks that lay in these minutes; none if there were none
}

// Sweep publishes merged stragglers: pprof blocks that landed in a minute after it
// was sealed.
type Sweep struct {
	Sweep  uint64       // the HEAD's Sweep when it was planned, and still
	To     Minute       // the HEAD's Sealed when it was planned: the minutes (SweepFrom, To] were looked at
	Partly bool         // there are more stragglers than one commit should take; Swept stays
	Out    []block.Meta // their sources are in those of no Gathering in the HEAD
}

// Merge replaces blocks by others with the same profiles.
type Merge struct {
	In  []block.ID // all live, and still. An entry that has moved to an arch part counts as gone, as does one that has expired
	Out []block.Meta
}

// next is the HEAD after a change, or ErrConflict. It does not modify h.
func next(h Head, c Change, txn block.ID, now time.Time, window Minute) (Head, error) {
	h = h.clone()
	if err := c.apply(&h, window, now); err != nil {
		return Head{}, err
	}
	h.V = format
	h.Seq++
	h.Txn = txn
	h.Txns = append(h.Txns, txn)
	h.Txns = h.Txns[max(0, len(h.Txns)-maxTxns):]
	h.forget(window)
	h.forgetRetired(now)
	return h, h.validate()
}

// forget drops the gatherings that no sweep will meet again: those whose sources lie
// before SweepFrom. It must not be done by age alone. After an outage, and in the
// hour before a sweep, sweeps look at minutes whose commits are older than the window.
func (h *Head) forget(window Minute) {
	before := h.SweepFrom(window)
	if guard.Removed(guard.Remember) {
		before = h.Sealed - window
	}
	h.Commits = slices.DeleteFunc(h.Commits, func(g Gathering) bool { return g.To <= before })
}

func (s Seal) apply(h *Head, window Minute, now time.Time) error {
	switch {
	case h.Sealed != s.From && !guard.Removed(guard.Sealed):
		return fmt.Errorf("seal (%d, %d]: minutes up to %d are sealed already: %w", s.From, s.To, h.Sealed, ErrConflict)
	case s.To > h.SealLimit(window):
		return fmt.Errorf("seal (%d, %d]: last swept at %d, sweep first: %w", s.From, s.To, h.Swept, ErrConflict)
	case s.To <= s.From:
		return fmt.Errorf("seal (%d, %d]: no minutes", s.From, s.To)
	}
	h.Sealed = s.To
	return h.gather(s.From, s.To, s.Out, now)
}

func (s Sweep) apply(h *Head, window Minute, now time.Time) error {
	if h.Sweep != s.Sweep && !guard.Removed(guard.SweepCount) {
		return fmt.Errorf("sweep %d: the next one is %d: %w", s.Sweep, h.Sweep, ErrConflict)
	}
	if s.To < h.Swept || s.To > h.Sealed {
		return fmt.Errorf("sweep %d up to %d: not in [%d, %d], from swept to sealed", s.Sweep, s.To, h.Swept, h.Sealed)
	}
	from := h.SweepFrom(window)
	h.Sweep++
	if !s.Partly {
		h.Swept = s.To
		if upTo := h.SweepFrom(window); upTo > from {
			h.Retired = append(h.Retired, Retired{Time: now.Unix(), L0: upTo})
		}
	}
	return h.gather(from, s.To, s.Out, now)
}

func (m Merge) apply(h *Head, _ Minute, now time.Time) error {
	for _, id := range m.In {
		switch i := h.find(id); {
		case i >= 0 && !h.Live[i].Expired:
			h.retire(now, objectsOf(h.Live[i])...)
			h.Live = slices.Delete(h.Live, i, i+1)
		case !guard.Removed(guard.MergeInputs):
			return fmt.Errorf("merge of %d blocks: %s is not live: %w", len(m.In), id, ErrConflict)
		}
	}
	return h.add(m.Out)
}

// gather makes blocks of pprof blocks live and records where their sources are told.
func (h *Head) gather(from, to Minute, out []block.Meta, now time.Time) error {
	if len(out) == 0 {
		return nil
	}
	g := Gathering{From: from, To: to, Time: now.Unix()}
	for _, m := range out {
		g.Out = append(g.Out, outputOf(m))
	}
	h.Commits = append(h.Commits, g)
	return h.add(out)
}

func (h *Head) add(out []block.Meta) error {
	h.Live = append(h.Live, out...)
	slices.SortFunc(h.Live, order)
	return validateEntries(h.Live)
}

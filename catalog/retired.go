package catalog

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/internal/guard"
	"github.com/coldframe/coldframe/profile"
)

// Retired is what one commit has put out of use. Readers that hold an older HEAD still use
// it for a while; then it may be deleted, if anybody deletes.
type Retired struct {
	Time   int64          `json:"time"`             // of the commit, by the bucket's clock, in seconds since 1970
	L0     Minute         `json:"l0,omitempty"`     // the pprof blocks of the minutes up to this one
	Blocks []RetiredBlock `json:"blocks,omitempty"` // which were live
}

// RetiredBlock is an Arrow block that was live. Its text is "b1/20260821/<id>".
type RetiredBlock struct {
	Class block.Class
	Day   block.Day
	ID    block.ID
}

// Key is where the block lies.
func (r RetiredBlock) Key(tenant profile.Tenant, shard block.Shard) string {
	return block.ArrowKey{Class: r.Class, Tenant: tenant, Shard: shard, Day: r.Day, ID: r.ID}.String()
}

// MarshalText implements [encoding.TextMarshaler].
func (r RetiredBlock) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%s/%s/%s", r.Class, r.Day, r.ID), nil
}

// UnmarshalText reads what MarshalText writes. Anything else is [block.ErrCorrupt].
func (r *RetiredBlock) UnmarshalText(text []byte) (err error) {
	parts := strings.Split(string(text), "/")
	if len(parts) != 3 {
		return fmt.Errorf("retired block %.80q: want class/day/id: %w", text, block.ErrCorrupt)
	}
	r.Class = block.Class(parts[0])
	switch r.Class {
	case block.ClassB1, block.ClassB2, block.ClassB3, block.ClassB4, block.ClassR4:
	default:
		return fmt.Errorf("retired block %.80q: no class of Arrow blocks: %w", text, block.ErrCorrupt)
	}
	if r.Day, err = block.ParseDay(parts[1]); err == nil {
		r.ID, err = block.ParseID(parts[2])
	}
	return err
}

const (
	// retiredFor is how long HEAD remembers what it has retired, unless told that it is
	// deleted. Who deletes looks more often; what nobody has deleted by then is left to the
	// bucket's lifecycle. An hour of a shard is about 65 blocks, of 40 bytes each.
	retiredFor = 3 * time.Hour

	// Of more than maxRetired blocks those that are older than retiredAtLeast are forgotten.
	maxRetired     = 1024
	retiredAtLeast = time.Hour
)

// retire notes that blocks are out of use, all of m, or only its rollups or the rest.
func (h *Head) retire(now time.Time, blocks ...RetiredBlock) {
	if len(blocks) == 0 {
		return
	}
	if n := len(h.Retired); n > 0 && h.Retired[n-1].Time == now.Unix() && h.Retired[n-1].L0 == 0 {
		h.Retired[n-1].Blocks = append(slices.Clip(h.Retired[n-1].Blocks), blocks...)
		return
	}
	h.Retired = append(h.Retired, Retired{Time: now.Unix(), Blocks: blocks})
}

// objectsOf are the objects of a live block that are there.
func objectsOf(m block.Meta) []RetiredBlock {
	var all []RetiredBlock
	if !m.Expired {
		all = append(all, RetiredBlock{m.Level.Class(), m.Day, m.ID})
	}
	if m.R4 != nil {
		all = append(all, RetiredBlock{block.ClassR4, m.Day, m.R4.ID})
	}
	return all
}

// forgetRetired drops what was retired long ago.
func (h *Head) forgetRetired(now time.Time) {
	blocks := 0
	for _, r := range h.Retired {
		blocks += len(r.Blocks)
	}
	before := now.Add(-retiredFor).Unix()
	if blocks > maxRetired {
		before = now.Add(-retiredAtLeast).Unix()
	}
	h.Retired = slices.DeleteFunc(h.Retired, func(r Retired) bool { return r.Time < before })
}

// Deletable is what was retired a grace ago or earlier: Arrow blocks, except those that a
// sweep may still ask for their sources; and the last minute of which all pprof blocks
// are in others, or 0.
func (h Head) Deletable(now time.Time, grace time.Duration) (blocks []RetiredBlock, l0 Minute) {
	before := now.Add(-grace).Unix()
	for _, r := range h.Retired {
		if r.Time > before {
			continue
		}
		l0 = max(l0, r.L0)
		for _, b := range r.Blocks {
			if !h.Asks(b.ID) || guard.Removed(guard.GatheredStay) {
				blocks = append(blocks, b)
			}
		}
	}
	return blocks, l0
}

// Asks says whether a sweep will read the sources of a block.
func (h Head) Asks(id block.ID) bool {
	return slices.ContainsFunc(h.Commits, func(g Gathering) bool {
		return slices.ContainsFunc(g.Out, func(o Output) bool { return o.ID == id })
	})
}

// Forget says that retired objects are deleted. It always holds.
type Forget struct {
	Blocks []RetiredBlock
	L0     Minute // and pprof blocks of the minutes up to this one
}

func (f Forget) apply(h *Head, _ Minute, _ time.Time) error {
	gone := make(map[RetiredBlock]bool, len(f.Blocks))
	for _, b := range f.Blocks {
		gone[b] = true
	}
	var left []Retired
	for _, r := range h.Retired {
		if r.L0 <= f.L0 {
			r.L0 = 0
		}
		r.Blocks = slices.DeleteFunc(slices.Clone(r.Blocks), func(b RetiredBlock) bool { return gone[b] })
		if r.L0 > 0 || len(r.Blocks) > 0 {
			left = append(left, r)
		}
	}
	h.Retired = left
	return nil
}

// Expire drops days that are kept no longer.
type Expire struct {
	Raw     block.Day // the oldest of which profiles are kept
	Rollups block.Day // the oldest of which rollups are kept; a block without rollups goes with its profiles
	Parts   []OpenedPart
}

// OpenedPart is an arch part that has entries of such days. What is kept of it moves
// back into HEAD.
type OpenedPart struct {
	ID      block.ID // named by the HEAD, and still
	Entries []block.Meta
}

// Touches says whether the change would do something to an entry.
func (e Expire) Touches(m block.Meta) bool {
	return m.Day < e.Raw && (!m.Expired || !e.keepsRollups(m))
}

func (e Expire) keepsRollups(m block.Meta) bool {
	return m.R4 != nil && m.Day >= e.Rollups && !guard.Removed(guard.Outlive)
}

func (e Expire) apply(h *Head, _ Minute, now time.Time) error {
	for _, p := range e.Parts {
		i := slices.IndexFunc(h.Arch, func(a Part) bool { return a.ID == p.ID })
		if i < 0 {
			return fmt.Errorf("expire days before %s: arch part %s is not there: %w", e.Raw, p.ID, ErrConflict)
		}
		h.Arch = slices.Delete(h.Arch, i, i+1)
		h.Live = append(h.Live, p.Entries...)
	}
	var kept []block.Meta
	for _, m := range h.Live {
		switch {
		case !e.Touches(m):
			kept = append(kept, m)
		case e.keepsRollups(m):
			h.retire(now, RetiredBlock{m.Level.Class(), m.Day, m.ID})
			m.Expired = true
			kept = append(kept, m)
		default:
			h.retire(now, objectsOf(m)...)
		}
	}
	h.Live = nil
	return h.add(kept)
}

// Clear drops everything that a shard has, for a tenant that is deleted. Whatever is
// being merged meanwhile finds no ground to be committed upon. It always holds.
type Clear struct {
	To Minute // pprof blocks up to this minute are not read any more
}

func (c Clear) apply(h *Head, _ Minute, _ time.Time) error {
	h.Sealed = max(h.Sealed, c.To)
	h.Swept = h.Sealed
	h.Sweep++
	h.Live, h.Commits, h.Arch, h.Retired = nil, nil, nil, nil
	return nil
}

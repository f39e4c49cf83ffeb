package catalog

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/internal/guard"
	"github.com/coldframe/coldframe/profile"
)

// ErrNewer marks a HEAD or an arch part that a newer coldframe has written: with a
// version or a field that this one does not know, and would lose by writing it again.
var ErrNewer = errors.New("written by a newer version of coldframe")

// format is the version of HEADs and arch parts.
const format = 1

// Head is everything that a shard's register says. It is a whole snapshot, not a
// change to an earlier one. MANIFEST.md tells each field at length.
//
// The zero Head is that of a shard which nobody has compacted.
type Head struct {
	V   int      `json:"v"`   // of the format: 1
	Seq uint64   `json:"seq"` // counts the commits
	Txn block.ID `json:"txn"` // of the commit that wrote this; with Seq it makes every version's bytes unique

	// Sealed is the last minute of upload whose pprof blocks were merged. Those of later
	// minutes are live themselves.
	Sealed Minute `json:"sealed"`
	Sweep  uint64 `json:"sweep"` // counts the sweeps
	// Swept is the minute that Sealed was at when stragglers were last gathered.
	Swept Minute `json:"swept"`

	Live    []block.Meta `json:"live"`              // by day, time of the first profile, ID
	Commits []Gathering  `json:"commits"`           // which gathered pprof blocks that a sweep will meet again, oldest first
	Txns    []block.ID   `json:"txns"`              // of the latest 64 commits, oldest first
	Arch    []Part       `json:"arch"`              // where older live entries lie, oldest first
	Retired []Retired    `json:"retired,omitempty"` // what commits of the last hours have put out of use, oldest first
}

// maxTxns bounds Head.Txns. A commit whose answer was lost finds itself there as long
// as fewer commits than that came between.
const maxTxns = 64

// Gathering is a commit of merged pprof blocks. The blocks it made name their
// sources, which a sweep must not gather again.
type Gathering struct {
	From Minute   `json:"from"` // the sources were uploaded in the minutes (From, To]
	To   Minute   `json:"to"`
	Time int64    `json:"time"` // when it was committed, by the bucket's clock, in seconds since 1970
	Out  []Output `json:"out"`
}

// Output is where a block of a [Gathering] lies, as far as it takes to read its
// sources. It stands here even when the block was merged and is live no more.
type Output struct {
	ID    block.ID    `json:"id"`
	Level block.Level `json:"l"`
	Day   block.Day   `json:"day"`
	Size  int64       `json:"size"`
	Tail  int64       `json:"tail"`
	CRC   uint32      `json:"crc"`
}

// Key is where the block lies.
func (o Output) Key(tenant profile.Tenant, shard block.Shard) string {
	return block.ArrowKey{Class: o.Level.Class(), Tenant: tenant, Shard: shard, Day: o.Day, ID: o.ID}.String()
}

func outputOf(m block.Meta) Output {
	return Output{m.ID, m.Level, m.Day, m.Size, m.Tail, m.CRC}
}

// Part is an arch part: an immutable object with entries that HEAD had no room for.
type Part struct {
	ID      block.ID `json:"id"`
	Entries int      `json:"n"`
	MinTime int64    `json:"min"` // of the first and the last profile in its blocks, both included,
	MaxTime int64    `json:"max"` // in milliseconds since 1970: from these the days follow
	Size    int64    `json:"size"`
	CRC     uint32   `json:"crc"` // CRC32C of the object
}

// maxMinute is in the year 9999, the last that keys can tell.
const maxMinute = Minute(253402300799 / 60)

// ParseHead reads a HEAD. Bytes that no coldframe writes are [block.ErrCorrupt], those
// that a newer one may have written are [ErrNewer].
func ParseHead(data []byte) (Head, error) {
	var h Head
	if err := decodeStrictly(data, &h, &h.V); err != nil {
		return Head{}, err
	}
	if err := h.validate(); err != nil {
		return Head{}, fmt.Errorf("%w: %w", err, block.ErrCorrupt)
	}
	return h, nil
}

// decodeStrictly reads the JSON of an object whose version goes to v. It refuses
// fields that it does not know: to write the object again would drop them.
func decodeStrictly(data []byte, into any, v *int) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return whyNot(data, into, err)
	}
	if *v > format {
		return tooNew(*v)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("more after the end: %w", block.ErrCorrupt)
	}
	return nil
}

// whyNot tells what is newer from what is broken, when it could not be decoded.
func whyNot(data []byte, into any, err error) error {
	var versioned struct {
		V int `json:"v"`
	}
	if json.Unmarshal(data, &versioned) == nil && versioned.V > format {
		return tooNew(versioned.V)
	}
	if json.Unmarshal(data, into) == nil {
		return fmt.Errorf("%w: %w", err, ErrNewer) // nothing is wrong but that fields are unknown
	}
	return fmt.Errorf("%w: %w", err, block.ErrCorrupt)
}

func tooNew(v int) error {
	return fmt.Errorf("version %d, at most %d is known: %w", v, format, ErrNewer)
}

// encode gives the same bytes for the same Head.
func (h Head) encode() ([]byte, error) {
	// A nil slice would be null.
	h.Live = append([]block.Meta{}, h.Live...)
	h.Commits = append([]Gathering{}, h.Commits...)
	h.Txns = append([]block.ID{}, h.Txns...)
	h.Arch = append([]Part{}, h.Arch...)
	return json.Marshal(h)
}

// order is that of entries in HEAD and in arch parts: by day and time, so that the
// oldest come first.
func order(a, b block.Meta) int {
	return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.MinTime, b.MinTime), a.ID.Compare(b.ID))
}

func (h Head) validate() error {
	switch {
	case h.V != format:
		return fmt.Errorf("version %d", h.V)
	case h.Seq == 0 || len(h.Txns) == 0 || h.Txns[len(h.Txns)-1] != h.Txn:
		return fmt.Errorf("transaction %s of seq %d is not the last of %d", h.Txn, h.Seq, len(h.Txns))
	case h.Swept < 0 || h.Swept > h.Sealed || h.Sealed > maxMinute:
		return fmt.Errorf("swept %d and sealed %d: want 0 <= swept <= sealed <= %d", h.Swept, h.Sealed, maxMinute)
	}
	if err := validateEntries(h.Live); err != nil {
		return err
	}
	for _, g := range h.Commits {
		if err := g.validate(h.Sealed); err != nil {
			return err
		}
	}
	for _, r := range h.Retired {
		if r.L0 < 0 || r.L0 > h.Sealed || r.L0 == 0 && len(r.Blocks) == 0 {
			return fmt.Errorf("retired at %d: pprof blocks up to minute %d, sealed up to %d, and %d blocks", r.Time, r.L0, h.Sealed, len(r.Blocks))
		}
	}
	for _, p := range h.Arch {
		if p.Entries <= 0 || p.MinTime > p.MaxTime || p.Size <= 0 {
			return fmt.Errorf("arch part %s: %d entries in [%d, %d], %d bytes", p.ID, p.Entries, p.MinTime, p.MaxTime, p.Size)
		}
	}
	return nil
}

func validateEntries(live []block.Meta) error {
	seen := make(map[block.ID]bool, len(live))
	for i, m := range live {
		if err := m.Validate(); err != nil {
			return err
		}
		if seen[m.ID] {
			return fmt.Errorf("block %s is listed twice", m.ID)
		}
		seen[m.ID] = true
		if i > 0 && order(live[i-1], m) >= 0 {
			return fmt.Errorf("block %s is out of order after %s", m.ID, live[i-1].ID)
		}
	}
	return nil
}

func (g Gathering) validate(sealed Minute) error {
	if g.From < 0 || g.From >= g.To || g.To > sealed || len(g.Out) == 0 {
		return fmt.Errorf("commit of minutes (%d, %d] to %d blocks: want 0 <= from < to <= %d", g.From, g.To, len(g.Out), sealed)
	}
	for _, o := range g.Out {
		if o.Level < block.L1 || o.Level > block.L4 || o.Tail <= 0 || o.Tail > o.Size {
			return fmt.Errorf("commit of minutes (%d, %d] to block %s of level %d with a tail of %d in %d bytes", g.From, g.To, o.ID, o.Level, o.Tail, o.Size)
		}
		if o.Day < 0 || o.Day > block.DayOf(maxMinute.Time()) {
			return fmt.Errorf("commit of minutes (%d, %d] to block %s of day %d", g.From, g.To, o.ID, int32(o.Day))
		}
	}
	return nil
}

// clone copies what a change may touch.
func (h Head) clone() Head {
	h.Live = slices.Clone(h.Live)
	h.Commits = slices.Clone(h.Commits)
	h.Txns = slices.Clone(h.Txns)
	h.Arch = slices.Clone(h.Arch)
	h.Retired = slices.Clone(h.Retired)
	return h
}

// find is the position of a live entry, or -1.
func (h Head) find(id block.ID) int {
	return slices.IndexFunc(h.Live, func(m block.Meta) bool { return m.ID == id })
}

// SealLimit is the last minute to which the next [Seal] may go. Commits keep what a
// sweep must know until it has come by, so they may not run ahead of it: to
// Swept + window/2, unless nothing was sealed since the last sweep. A seal that
// starts where the sweep ended may go as far as it likes, which is what a shard that
// was idle or not compacted for days needs.
func (h Head) SealLimit(window Minute) Minute {
	if h.Swept == h.Sealed || guard.Removed(guard.SealLimit) {
		return maxMinute
	}
	return h.Swept + window/2
}

// SweepFrom is where a sweep begins: it looks at the minutes (SweepFrom, Sealed].
func (h Head) SweepFrom(window Minute) Minute {
	if guard.Removed(guard.SweepBack) {
		return max(0, h.Sealed-window)
	}
	return max(0, h.Swept-window)
}

package block

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/coldframe/coldframe/profile"
)

// Meta is what HEAD says of a live Arrow block: enough to decide whether a query
// needs it, and to open it with one request. Its tenant and shard are those of the
// HEAD it stands in.
type Meta struct {
	ID    ID    `json:"id"`
	Level Level `json:"l"`   // 1 to 4
	Day   Day   `json:"day"` // to which every profile inside belongs

	// MinTime and MaxTime are the times of the first and of the last profile
	// inside, both included, in milliseconds since 1970.
	MinTime int64 `json:"min"`
	MaxTime int64 `json:"max"`

	Size int64 `json:"size"` // of the object, in bytes
	Tail int64 `json:"tail"` // bytes to fetch from its end to open it
	// CRC is the CRC32C of those last Tail bytes. The rest of the object is covered by
	// checksums in the tail, so that a block that opens is the one that was committed.
	CRC uint32 `json:"crc"`

	Rows     int64 `json:"rows"`     // distinct (series, time, stack, labels)
	Profiles int64 `json:"profiles"` // as counted by identity
	Types    Types `json:"types"`    // which profile types are inside, sorted

	// Bad says what damage was found in the block, and is empty for a sound one.
	// A bad block is left out of merges and of answers, which say so.
	Bad string `json:"bad,omitempty"`

	// R4 is the block of rollups that outlives this one. Level 4 alone has it.
	R4 *Rollup `json:"r4,omitempty"`

	// Expired says that the profiles are kept no longer and the block may be gone: R4, which is
	// there then, is all there is.
	Expired bool `json:"expired,omitempty"`
}

// Rollup is what HEAD says of the r4 block that belongs to a b4 block. It covers
// the same day, times and types.
type Rollup struct {
	ID   ID     `json:"id"`
	Size int64  `json:"size"`
	Tail int64  `json:"tail"`
	CRC  uint32 `json:"crc"` // of the last Tail bytes
}

// Key is where the block lies.
func (m Meta) Key(tenant profile.Tenant, shard Shard) string {
	return ArrowKey{m.Level.Class(), tenant, shard, m.Day, m.ID}.String()
}

// RollupKey is where the block's r4 lies, or "" when it has none.
func (m Meta) RollupKey(tenant profile.Tenant, shard Shard) string {
	if m.R4 == nil {
		return ""
	}
	return ArrowKey{ClassR4, tenant, shard, m.Day, m.R4.ID}.String()
}

// Overlaps says whether a profile inside may lie in r.
func (m Meta) Overlaps(r profile.TimeRange) bool {
	return r.Overlaps(time.UnixMilli(m.MinTime), time.UnixMilli(m.MaxTime))
}

// HasType says whether a type inside is one of those that p names.
func (m Meta) HasType(p profile.TypePattern) bool {
	for _, t := range m.Types {
		if p.Matches(t) {
			return true
		}
	}
	return false
}

// Validate refuses what cannot be true of any block, with ErrCorrupt.
func (m Meta) Validate() error {
	switch {
	case m.Level < L1 || m.Level > L4:
		return fmt.Errorf("block %s: level %d not in [1, 4]: %w", m.ID, m.Level, ErrCorrupt)
	case m.MinTime > m.MaxTime || DayOfMillis(m.MinTime) != m.Day || DayOfMillis(m.MaxTime) != m.Day:
		return fmt.Errorf("block %s: times [%d, %d] ms are not in the day %s: %w", m.ID, m.MinTime, m.MaxTime, m.Day, ErrCorrupt)
	case m.Tail <= 0 || m.Tail > m.Size:
		return fmt.Errorf("block %s: tail of %d bytes in an object of %d: %w", m.ID, m.Tail, m.Size, ErrCorrupt)
	case m.Rows < 0 || m.Profiles < 0:
		return fmt.Errorf("block %s: %d rows of %d profiles: %w", m.ID, m.Rows, m.Profiles, ErrCorrupt)
	case m.Expired && m.R4 == nil:
		return fmt.Errorf("block %s: expired, and has no r4: %w", m.ID, ErrCorrupt)
	case m.R4 != nil && m.Level != L4:
		return fmt.Errorf("block %s: has an r4 at level %d: %w", m.ID, m.Level, ErrCorrupt)
	case m.R4 != nil && (m.R4.Tail <= 0 || m.R4.Tail > m.R4.Size):
		return fmt.Errorf("block %s: r4 has a tail of %d bytes in an object of %d: %w", m.ID, m.R4.Tail, m.R4.Size, ErrCorrupt)
	}
	return nil
}

// Types is a list of profile types. In JSON each is a string in Parca's form.
type Types []profile.Type

// MarshalJSON gives a list of strings. A type that could not be read again, since
// one of its words has a colon or its name is empty, is an error.
func (ts Types) MarshalJSON() ([]byte, error) {
	names := make([]string, len(ts))
	for i, t := range ts {
		names[i] = t.String()
		if _, err := profile.ParseType(names[i]); err != nil {
			return nil, err
		}
	}
	return json.Marshal(names)
}

// UnmarshalJSON reads a list of strings. One that is no profile type is ErrCorrupt.
func (ts *Types) UnmarshalJSON(data []byte) error {
	var names []string
	if err := json.Unmarshal(data, &names); err != nil {
		return err
	}
	*ts = make(Types, len(names))
	for i, name := range names {
		t, err := profile.ParseType(name)
		if err != nil {
			return fmt.Errorf("%w: %w", err, ErrCorrupt)
		}
		(*ts)[i] = t
	}
	return nil
}

package block

import (
	"crypto/rand"
	"fmt"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/oklog/ulid/v2"
)

// NewID makes an ID that nobody else makes: the millisecond of t and 80 bits from
// the system's randomness. IDs of one millisecond are in no order. Safe for
// concurrent use. A t before 1970 counts as 1970.
func NewID(t time.Time) ID {
	var id ID
	if ms := t.UnixMilli(); ms > 0 {
		// The only error is a year past 10889, to which no clock goes; the ID is unique without its time.
		_ = id.SetTime(uint64(ms))
	}
	_, _ = rand.Read(id[6:]) // never fails: see crypto/rand
	return id
}

// ParseID reads an ID as keys hold it: 26 characters of Crockford's base 32, upper
// case. Anything else is ErrCorrupt.
func ParseID(s string) (ID, error) {
	id, err := ulid.ParseStrict(s)
	if err != nil || id.String() != s {
		return ID{}, fmt.Errorf("block ID %.40q: not an upper-case ULID: %w", s, ErrCorrupt)
	}
	return id, nil
}

// MaxShards is how many shards a tenant can have: two hex digits.
const MaxShards = 256

// ShardOf is the shard of an agent, or of any other uploader, when its tenant has
// that many: xxhash64 of its ID modulo shards. Fewer than 1 counts as 1 and more
// than [MaxShards] as MaxShards.
func ShardOf(agentID string, shards int) Shard {
	shards = min(max(shards, 1), MaxShards)
	return Shard(xxhash.Sum64String(agentID) % uint64(shards))
}

// ParseShard reads two hex digits, lower case. Anything else is ErrCorrupt.
func ParseShard(s string) (Shard, error) {
	n, err := strconv.ParseUint(s, 16, 8)
	if err != nil || Shard(n).String() != s {
		return 0, fmt.Errorf("shard %.10q: want two lower-case hex digits: %w", s, ErrCorrupt)
	}
	return Shard(n), nil
}

// Package block says what a block is: an immutable object that holds profiles of
// one tenant, one shard and one UTC day.
//
// It knows identifiers, levels, keys and the errors of broken blocks. How the bytes
// are laid out is told by its sub-packages: pprofblock for level 0, as clients sent
// it, and arrowblock for all others, as queries want it. None of the three does any
// I/O; they read from a [Source]. FORMAT.md describes both formats byte by byte.
package block

import (
	"context"
	"errors"
	"fmt"

	"github.com/oklog/ulid/v2"
)

// ErrCorrupt marks bytes that are not what was written. The error that wraps it
// says which object, where, and what was expected.
var ErrCorrupt = errors.New("corrupt")

// ID names a block. It is unique without coordination, and roughly ordered by the
// time it was made.
type ID = ulid.ULID

// Level counts the compactions between the pprof a client sent and this block.
// Level 0 blocks are pprof blocks; all others are Arrow blocks.
type Level uint8

// The levels.
const (
	L0 Level = iota // as sent
	L1              // about a minute
	L2              // 15 minutes
	L3              // 3 hours
	L4              // one UTC day
)

// Shard is one of a tenant's independent lines of blocks, each with a HEAD of its own.
type Shard uint8

// String gives two hex digits, as in keys.
func (s Shard) String() string { return fmt.Sprintf("%02x", uint8(s)) }

// Source is a block's bytes, wherever they lie.
type Source interface {
	// Size is the object's length in bytes.
	Size() int64
	// ReadRange returns exactly n bytes from off. The slice is the caller's to read, not to change.
	ReadRange(ctx context.Context, off, n int64) ([]byte, error)
}

// Bytes is a Source in memory.
type Bytes []byte

// Size implements [Source].
func (b Bytes) Size() int64 { return int64(len(b)) }

// ReadRange implements [Source].
func (b Bytes) ReadRange(_ context.Context, off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off > int64(len(b)) || n > int64(len(b))-off {
		return nil, fmt.Errorf("range [%d, %d) of %d bytes: %w", off, off+n, len(b), ErrCorrupt)
	}
	return b[off : off+n : off+n], nil
}

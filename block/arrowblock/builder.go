package arrowblock

import (
	"io"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

// Config says what a [Builder] is for.
type Config struct {
	// Range is where the times of profiles must lie; for a block that goes to a bucket
	// it is its UTC day. At most 49 days long. Required.
	Range profile.TimeRange
	// Uncompressed leaves out zstd: for a block that is read at once from memory.
	// Its bytes are about five times as many.
	Uncompressed bool
}

// Key says what a profile is beside its content.
type Key struct {
	Name   string // "process_cpu", "memory": Parca's first part of a profile type
	Labels profile.Labels
	// Time is when the profile was taken. It decides, but where it agrees with the
	// profile's own time to the millisecond, the latter's nanoseconds are kept. The zero
	// Time stands for the profile's own.
	Time time.Time
}

// Builder gathers profiles and writes them as one block. What is written depends on
// what was added, not on the order. A Builder is not safe for concurrent use.
type Builder struct{ _ struct{} }

// NewBuilder returns an empty Builder.
func NewBuilder(cfg Config) (*Builder, error) { panic("soon") }

// AddPprof adds a profile from the bytes of a pprof, gzip or not. It reports whether the
// profile was added: false and no error says that the same profile (series, name,
// millisecond and content) is inside already. A malformed pprof or a time outside of
// the range is profile.ErrInvalid. After an error the Builder is as it was.
func (b *Builder) AddPprof(k Key, body []byte) (added bool, err error) { panic("soon") }

// Add is [Builder.AddPprof] of a decoded profile. hash is the xxhash64 of its
// uncompressed pprof. p is not kept.
func (b *Builder) Add(k Key, p *profile.Profile, hash uint64) (added bool, err error) {
	panic("soon")
}

// AddSource records where profiles came from. A repeated one counts once.
func (b *Builder) AddSource(s Source) { panic("soon") }

// SizeBytes estimates the memory that the Builder holds. Finish needs about a quarter more.
func (b *Builder) SizeBytes() int64 { panic("soon") }

// Profiles is how many profiles were added.
func (b *Builder) Profiles() int { panic("soon") }

// Repeated is how many profiles were not added because they were inside.
func (b *Builder) Repeated() int { panic("soon") }

// Finish writes the block to w and returns what there is to say of it in HEAD: Meta without ID
// and Level. The Builder is spent: only Repeated may be called after it.
func (b *Builder) Finish(w io.Writer) (block.Meta, error) { panic("soon") }

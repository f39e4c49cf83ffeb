package jfr

import (
	"encoding/binary"
	"fmt"
	"time"
	"unicode/utf16"

	"github.com/coldframe/coldframe/profile"
)

// headerSize is how long a chunk's header is. Its numbers are big-endian: magic, version
// (16 bits each), size of the chunk, offsets of its last checkpoint and of its metadata,
// start and duration in nanoseconds, start in ticks, ticks a second (64 bits each), flags.
const headerSize = 68

// chunk is one chunk of a recording.
type chunk struct {
	data        []byte // of this chunk alone
	cut         bool   // more of it is claimed than is there
	start       time.Time
	duration    time.Duration
	ticksSecond float64

	classes map[int64]*class
	byName  map[string]*class
	pools   map[int64]map[int64]value // by type and ID

	constants int // in pools

	checkpoint, metadata int
}

func openChunk(data []byte) (*chunk, error) {
	c := &chunk{classes: map[int64]*class{}, byName: map[string]*class{}, pools: map[int64]map[int64]value{}}
	if len(data) < headerSize {
		c.cut = true
		return c, fmt.Errorf("%d bytes are left, a header has %d: %w", len(data), headerSize, profile.ErrInvalid)
	}
	number := func(at int) uint64 { return binary.BigEndian.Uint64(data[at:]) }
	version := binary.BigEndian.Uint16(data[4:])
	size, checkpoint, metadata := number(8), number(16), number(24)
	switch {
	case !IsRecording(data):
		return c, fmt.Errorf("it does not begin with %q: %w", Magic, profile.ErrInvalid)
	case version < 1 || version > 2:
		return c, fmt.Errorf("version %d, want 1 or 2: %w", version, profile.ErrInvalid)
	case size > uint64(len(data)):
		c.cut = true
		return c, fmt.Errorf("a chunk of %d bytes, but %d are left: %w", size, len(data), profile.ErrInvalid)
	case size < headerSize || checkpoint < headerSize || checkpoint >= size || metadata < headerSize || metadata >= size:
		return c, fmt.Errorf("a chunk of %d bytes with its checkpoint at %d and metadata at %d: %w", size, checkpoint, metadata, profile.ErrInvalid)
	case data[headerSize-1]&1 == 0:
		return c, fmt.Errorf("its integers are not compressed, which no JVM writes: %w", profile.ErrInvalid)
	}
	c.data, c.checkpoint, c.metadata = data[:size], int(checkpoint), int(metadata)
	c.start = time.Unix(0, int64(number(32))).UTC()
	c.duration = time.Duration(max(int64(number(40)), 0))
	c.ticksSecond = float64(number(56))
	if c.ticksSecond == 0 {
		c.ticksSecond = 1e9
	}
	if err := c.readMetadata(); err != nil {
		return c, fmt.Errorf("metadata: %w", err)
	}
	if err := c.readPools(); err != nil {
		return c, fmt.Errorf("constants: %w", err)
	}
	return c, nil
}

// nanos turns ticks into nanoseconds.
func (c *chunk) nanos(ticks int64) int64 { return int64(float64(ticks) / c.ticksSecond * 1e9) }

// reader reads a chunk's compressed numbers. Its first error stays; after it, it gives
// zeros and has nothing left.
type reader struct {
	data []byte
	at   int
	err  error
}

func (r *reader) fail(format string, values ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("byte %d: "+format+": %w", append(append([]any{r.at}, values...), profile.ErrInvalid)...)
	}
	r.at = len(r.data)
}

// long reads a number of seven bits a byte, the lowest first; a ninth byte has eight.
func (r *reader) long() int64 {
	var v uint64
	for i := range 9 {
		if r.at >= len(r.data) {
			r.fail("ends within a number")
			return 0
		}
		b := r.data[r.at]
		r.at++
		if i == 8 {
			return int64(v | uint64(b)<<56)
		}
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			break
		}
	}
	return int64(v)
}

// count reads how many elements follow, each of which takes at least one byte.
func (r *reader) count() int {
	n := r.long()
	if n < 0 || n > int64(len(r.data)-r.at) {
		r.fail("%d elements in %d bytes", n, len(r.data)-r.at)
		return 0
	}
	return int(n)
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.data)-r.at {
		r.fail("%d bytes, but %d are left", n, len(r.data)-r.at)
		return nil
	}
	r.at += n
	return r.data[r.at-n : r.at]
}

// text reads a string. A string that stands among the constants gives its ID.
func (r *reader) text() (s string, constant int64) {
	kind := r.bytes(1)
	if kind == nil {
		return "", 0
	}
	switch kind[0] {
	case 0, 1: // null, empty
	case 2:
		return "", r.long()
	case 3: // UTF-8
		s = string(r.bytes(r.count()))
	case 4: // UTF-16
		n := r.count()
		units := make([]uint16, 0, n)
		for range n {
			units = append(units, uint16(r.long()))
		}
		s = string(utf16.Decode(units))
	case 5: // Latin-1
		b := r.bytes(r.count())
		runes := make([]rune, len(b))
		for i, c := range b {
			runes[i] = rune(c)
		}
		s = string(runes)
	default:
		r.fail("a string of kind %d", kind[0])
	}
	return s, 0
}

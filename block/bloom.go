package block

import (
	"encoding/base64"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/coldframe/coldframe/profile"
)

// Bloom says which of a few labels a pprof block may hold, in its key, so that a
// listing alone tells which blocks a selector need not read.
//
// It is a bloom filter of 256 bits over the pairs label=value of the labels in
// [profile.ServiceLabels]. A pair has three bits: bit i is (h1 + i·h2) mod 256, i = 0,
// 1, 2, where h1 and h2 are the low and the high 32 bits of the xxhash64 of
// "label=value". Bit b lies in byte b/8 at 1<<(b mod 8). With 30 pairs inside, one
// absent pair in 38 looks present.
type Bloom [32]byte

const bloomHashes = 3

// bloomEncoding is 43 characters long. Strict: the last one's two spare bits are 0.
var bloomEncoding = base64.RawURLEncoding.Strict()

// Add enters the labels' pairs.
func (b *Bloom) Add(ls profile.Labels) {
	for _, name := range profile.ServiceLabels {
		if value := ls.Get(name); value != "" {
			for i, h := uint32(0), hashPair(name, value); i < bloomHashes; i++ {
				bit := h.bit(i)
				b[bit/8] |= 1 << (bit % 8)
			}
		}
	}
}

// MayMatch says whether a series inside may satisfy all matchers of sel. False is
// certain, true is not. It looks at the labels alone, not at the profile type.
//
// What rules a block out is a matcher on one of [profile.ServiceLabels] that does
// not accept an absent label: = or a regular expression of literals (a|b|c) when
// none of its values is inside, any other when the block has none of those labels.
func (b Bloom) MayMatch(sel profile.Selector) bool {
	for _, m := range sel.Matchers {
		if slices.Contains(profile.ServiceLabels[:], m.Name) && !m.Matches("") && !b.mayHold(m) {
			return false
		}
	}
	return true
}

// mayHold is for a matcher that the empty value does not satisfy.
func (b Bloom) mayHold(m *profile.Matcher) bool {
	if b == (Bloom{}) {
		return false
	}
	var values []string
	switch m.Type {
	case labels.MatchEqual:
		return b.has(m.Name, m.Value)
	case labels.MatchRegexp:
		values = m.SetMatches()
	}
	return len(values) == 0 || slices.ContainsFunc(values, func(v string) bool { return b.has(m.Name, v) })
}

func (b Bloom) has(name, value string) bool {
	for i, h := uint32(0), hashPair(name, value); i < bloomHashes; i++ {
		if bit := h.bit(i); b[bit/8]&(1<<(bit%8)) == 0 {
			return false
		}
	}
	return true
}

type pairHash uint64

func hashPair(name, value string) pairHash {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(name) // a Digest's writes do not fail
	_, _ = d.WriteString("=")
	_, _ = d.WriteString(value)
	return pairHash(d.Sum64())
}

func (h pairHash) bit(i uint32) uint8 { return uint8(uint32(h) + i*uint32(h>>32)) }

// String gives 43 characters of base64url.
func (b Bloom) String() string { return bloomEncoding.EncodeToString(b[:]) }

// ParseBloom reads what [Bloom.String] writes. Anything else is ErrCorrupt.
func ParseBloom(s string) (Bloom, error) {
	var b Bloom
	if len(s) != bloomEncoding.EncodedLen(len(b)) {
		return Bloom{}, fmt.Errorf("bloom filter %.50q: %d characters, want %d: %w", s, len(s), bloomEncoding.EncodedLen(len(b)), ErrCorrupt)
	}
	// Decode ignores line ends; those leave it short.
	if n, err := bloomEncoding.Decode(b[:], []byte(s)); err != nil || n != len(b) {
		return Bloom{}, fmt.Errorf("bloom filter %q: not base64url: %w", s, ErrCorrupt)
	}
	return b, nil
}

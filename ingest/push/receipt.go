package push

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

const (
	// receiptsFor is how long a failed push is remembered: longer than clients retry.
	receiptsFor = 10 * time.Minute
	maxReceipts = 64 << 10
)

// receipts gives profiles without a time of their own the time of receipt, and to one
// that is sent again because its push failed the time that it was given first. So the
// two have the same identity, and count once even if the first has landed after all.
//
// Only failed pushes are remembered: two profiles that are equal by chance and were both
// acknowledged are two. What is remembered is gone with the process.
type receipts struct {
	mu     sync.Mutex
	failed map[uint64]time.Time
	oldest time.Time // of failed, or earlier
}

// receipt is the time that a profile or a request was given.
type receipt struct {
	key uint64
	at  time.Time
}

// date gives every profile a time that stands if the profile itself does not say one.
func (r *receipts) date(tenant profile.Tenant, profiles []upload.Profile) []receipt {
	now := time.Now()
	var given []receipt
	for i := range profiles {
		if p := &profiles[i]; p.Time.IsZero() {
			p.Time = now
			given = append(given, receipt{contentKey(tenant, p), now})
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.failed) == 0 {
		return given
	}
	n := 0
	for i := range profiles {
		p := &profiles[i]
		if p.Time != now {
			continue
		}
		if at, ok := r.failed[given[n].key]; ok && now.Sub(at) < receiptsFor {
			p.Time, given[n].at = at, at
			delete(r.failed, given[n].key)
		}
		n++
	}
	return given
}

// request gives a request whose profiles have times that hang on its receipt the time of it, and
// the same request that is sent again because it failed the time of before.
func (r *receipts) request(tenant profile.Tenant, query string, body []byte) receipt {
	given := receipt{hashOf([]string{"request", string(tenant), query}, body), time.Now()}
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, ok := r.failed[given.key]; ok && given.at.Sub(at) < receiptsFor {
		given.at = at
		delete(r.failed, given.key)
	}
	return given
}

// remember notes profiles whose push failed.
func (r *receipts) remember(given []receipt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = map[uint64]time.Time{}
	}
	if now := time.Now(); len(r.failed) > 0 && now.Sub(r.oldest) > receiptsFor {
		for key, at := range r.failed {
			if now.Sub(at) > receiptsFor {
				delete(r.failed, key)
			}
		}
		r.oldest = now.Add(-receiptsFor / 2) // look again after half the time
	}
	for _, g := range given {
		if len(r.failed) >= maxReceipts {
			return
		}
		if len(r.failed) == 0 {
			r.oldest = g.at
		}
		r.failed[g.key] = g.at
	}
}

func contentKey(tenant profile.Tenant, p *upload.Profile) uint64 {
	return hashOf([]string{string(tenant), p.Name, p.Labels.String()}, p.Body)
}

// hashOf tells words and a body from others, and words from other words that are written alike.
func hashOf(words []string, body []byte) uint64 {
	var h xxhash.Digest
	h.Reset()
	var length [8]byte
	for _, s := range words {
		binary.LittleEndian.PutUint64(length[:], uint64(len(s)))
		_, _ = h.Write(length[:])
		_, _ = h.WriteString(s)
	}
	_, _ = h.Write(body)
	return h.Sum64()
}

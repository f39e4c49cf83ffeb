package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/cespare/xxhash/v2"
)

// Recent is a [Sink] that keeps the latest profiles in memory, for who looks at the agent's own
// page: of each label set the last of each name, and of all of them no more than some bytes.
// Its methods may be called by several goroutines.
type Recent struct {
	limit int

	mu    sync.Mutex
	bytes int
	kept  []recent // oldest first
}

// recent is a profile with its ID.
type recent struct {
	id string
	Profile
}

// NewRecent keeps profiles of at most so many bytes, compressed. The oldest go first.
func NewRecent(bytes int) *Recent { return &Recent{limit: bytes} }

// recentID names the latest profile of a label set.
func recentID(name, labels string) string {
	return fmt.Sprintf("%016x", xxhash.Sum64String(name+labels))
}

// Write implements [Sink]. It takes the place of the profile before.
func (r *Recent) Write(_ context.Context, p Profile) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := recentID(p.Name, p.Labels.String())
	r.drop(r.index(id))
	r.kept = append(r.kept, recent{id, p})
	r.bytes += len(p.Pprof)
	for r.bytes > r.limit {
		r.drop(0)
	}
	return nil
}

func (r *Recent) drop(i int) {
	if i >= 0 {
		r.bytes -= len(r.kept[i].Pprof)
		r.kept = slices.Delete(r.kept, i, i+1)
	}
}

func (r *Recent) index(id string) int {
	return slices.IndexFunc(r.kept, func(k recent) bool { return k.id == id })
}

func (r *Recent) find(id string) (Profile, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.index(id)
	if i < 0 {
		return Profile{}, false
	}
	return r.kept[i].Profile, true
}

//go:build mutations

package sim

import (
	"strings"
	"sync"
	"testing"

	"github.com/coldframe/coldframe/internal/guard"
)

// mutations are guards that are removed one at a time, or with one that covers for it.
//
// Without the seal limit nothing is lost: it bounds what a sweep lists and HEAD remembers, and
// that bound is the law that breaks.
var mutations = [][]guard.Guard{
	{guard.Sealed},
	{guard.SealLimit},
	{guard.SweepCount},
	{guard.MergeInputs},
	{guard.OwnTransaction},
	{guard.OwnOutput},
	{guard.Version},
	{guard.Remember},
	{guard.Gathered},
	{guard.Unknown},
	{guard.Unknown, guard.GatheredStay},
	{guard.Partly},
	{guard.SweepBack},
	{guard.Tied},
	{guard.Expiry},
	{guard.SentTwice},
	{guard.MergedTwice},
	{guard.WholeDay},
	{guard.Outlive},
	{guard.Unsealed},
	{guard.Grace},
	{guard.GatheredStay},
}

// No guard is there for nothing: without it a law is broken within 300 runs.
func TestMutations(t *testing.T) {
	const most = 300
	for _, removed := range mutations {
		var names []string
		for _, g := range removed {
			names = append(names, string(g))
		}
		t.Run("without "+strings.Join(names, " and "), func(t *testing.T) {
			guard.Remove(t, removed...)
			var mu sync.Mutex
			var first uint64
			var law error
			each(t, most, func(t *testing.T, seed uint64) bool {
				o := Run(t, seed)
				mu.Lock()
				defer mu.Unlock()
				if o.Broken != nil && (law == nil || seed < first) {
					first, law = seed, o.Broken
				}
				return law == nil
			})
			if law == nil {
				t.Fatalf("%d runs, and no law is broken", most)
			}
			t.Logf("seed %d: %v", first, law)
		})
	}
}

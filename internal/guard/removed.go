//go:build mutations

package guard

import (
	"slices"
	"testing"
)

var removed []Guard

// Removed says whether the guard has been taken away.
func Removed(g Guard) bool { return slices.Contains(removed, g) }

// Remove takes guards away until the end of a test, everywhere in the process.
func Remove(t testing.TB, guards ...Guard) {
	removed = guards
	t.Cleanup(func() { removed = nil })
}

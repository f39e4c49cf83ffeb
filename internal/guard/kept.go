//go:build !mutations

package guard

// Removed says whether the guard has been taken away.
func Removed(Guard) bool { return false }

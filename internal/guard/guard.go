// Package guard names the checks that keep every profile from counting twice, or not
// at all, however uploaders, compactors and readers meet and whatever fails.
//
// Where such a check stands in the product it asks [Removed], which says no, and which
// the compiler leaves out. In a build with the tag mutations the simulation can remove
// guards, to show that it notices. So the list here is that of what the protocol stands
// on, and none of it is there for nothing. MANIFEST.md in catalog tells the protocol.
package guard

// Guard is one check.
type Guard string

// The guards of commits.
const (
	// Sealed: a seal is applied only where Sealed is what it was planned upon.
	Sealed Guard = "sealed"
	// SealLimit: no seal goes beyond swept + K/2 without a sweep before it.
	SealLimit Guard = "seal limit"
	// SweepCount: a sweep is applied only if no other came between.
	SweepCount Guard = "sweep count"
	// MergeInputs: a merge is applied only while all of its inputs are live.
	MergeInputs Guard = "merge inputs"
	// OwnTransaction: a commit of which nothing is known looks for itself in HEAD.
	OwnTransaction Guard = "own transaction"
	// Version: HEAD is replaced only if it is still the version that was read.
	Version Guard = "version"
	// Remember: HEAD remembers a commit until no sweep meets its minutes again, however
	// old it is.
	Remember Guard = "remember"
)

// OwnOutput says that what was written for a commit stays, whatever became of the commit.
const OwnOutput Guard = "own output"

// The guards of sweeps.
const (
	// Gathered: a sweep leaves out what a commit has gathered.
	Gathered Guard = "gathered"
	// Unknown: where it cannot be read what a commit has gathered, all counts as gathered.
	Unknown Guard = "unknown"
	// Partly: a sweep that has left stragglers behind does not say that it has not.
	Partly Guard = "partly"
	// SweepBack: a sweep begins K before the last one's end, not K before now.
	SweepBack Guard = "sweep back"
)

// The guards of uploads.
const (
	// Tied: a block that may have landed is tried again under the same key only.
	Tied Guard = "tied"
	// Expiry: a block is not tried under a key for longer than well below K.
	Expiry Guard = "expiry"
)

// The guards of identity.
const (
	// SentTwice: a profile that a client sent twice is written once where pprof blocks are
	// merged.
	SentTwice Guard = "sent twice"
	// MergedTwice: of a profile that is in several Arrow blocks one is left where these are merged.
	MergedTwice Guard = "merged twice"
)

// The guards of retention.
const (
	// WholeDay: a day goes when all of it is too old, and not before.
	WholeDay Guard = "whole day"
	// Outlive: rollups that are kept longer stay when the profiles of their day go.
	Outlive Guard = "outlive"
)

// The guards of answers.
const (
	// Unsealed: an answer has the pprof blocks after its HEAD's Sealed and no others.
	Unsealed Guard = "unsealed"
)

// The guards of deletion.
const (
	// Grace: what a commit has superseded stays for a while.
	Grace Guard = "grace"
	// GatheredStay: a block that HEAD names among its commits stays.
	GatheredStay Guard = "gathered stay"
)

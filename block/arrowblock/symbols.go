package arrowblock

// Symbols numbers mappings, functions and frames so that equal ones, wherever they
// come from, have one number. It grows and never shrinks.
//
// Interning is guarded by a lock, so that the stacks of several blocks may be loaded
// at the same time; everything else must wait until that is done.
type Symbols struct{ _ struct{} }

// NewSymbols returns an empty Symbols.
func NewSymbols() *Symbols { panic("soon") }

// FrameID numbers a frame in a [Symbols]. 0 is the root of a service's stacks, which is no frame.
type FrameID uint32

// Frame is a pprof location: an address, what is known of it, and all functions that
// were inlined there.
type Frame struct {
	// Address is relative to the mapping's Start; absolute when there is no mapping.
	Address uint64
	Mapping int // position in Mappings, -1 when there is none
	Folded  bool
	Lines   []Line // innermost inlined function first, caller last
}

// Line is a place in a function.
type Line struct {
	Function uint32 // in Symbols
	Line     int64
	Column   int64
}

// Function is a function's names.
type Function struct {
	Name, SystemName, Filename string
	StartLine                  int64
}

// Mapping is a binary mapped into processes. Two mappings are one if they agree in
// size (rounded up to 4 KiB), offset, build ID (or file, where there is none) and flags,
// as in google/pprof's Merge; then Start, Limit and File are those of the
// one that has a file, the smallest start, limit and file, in this order.
type Mapping struct {
	Start, Limit, Offset uint64
	File, BuildID        string
	HasFunctions         bool
	HasFilenames         bool
	HasLineNumbers       bool
	HasInlineFrames      bool
}

// Len is one more than the greatest FrameID.
func (s *Symbols) Len() int { panic("soon") }

// Frame returns what a frame is. Lines are not to be changed.
func (s *Symbols) Frame(id FrameID) Frame { panic("soon") }

// Function returns a function's names.
func (s *Symbols) Function(id uint32) Function { panic("soon") }

// NumFunctions is how many functions there are; they are numbered from 0.
func (s *Symbols) NumFunctions() int { panic("soon") }

// Mappings returns the mappings.
func (s *Symbols) Mappings() []Mapping { panic("soon") }

// Compare gives the canonical order of frames: by the 64-bit hash of their content, and by
// the content where hashes collide. It is the same in every block and process.
func (s *Symbols) Compare(a, b FrameID) int { panic("soon") }

// Package arrowblock reads and writes Arrow blocks: the profiles of one tenant,
// shard and UTC day as columns, laid out so that a query reads little and merges fast.
//
// A block is a STORED ZIP of Arrow IPC streams with zstd buffers; FORMAT.md tells it
// byte by byte. Three ideas carry it:
//
//   - The stack traces of a block are one table in depth-first preorder, (depth, frame),
//     whose first level are the services. A stack is its node's number, a subtree is
//     a range, a parent comes before its children, and cumulative totals are one
//     backward pass.
//   - Children stand in the canonical order of their frames, which depends on nothing
//     but the frames' content. So the trees of any two blocks merge in one linear walk.
//   - Every profile keeps its identity, its own time to the nanosecond and its header,
//     and no two profiles share a row. So nothing of a pprof is lost, and a profile that
//     was sent twice is recognised at every merge.
//
// A [Builder] takes decoded profiles and writes a block. [Open] gives a [Block], which
// reads what is asked and nothing else: totals, rows, stacks. The stacks of several
// blocks share [Symbols], and a [Tree] is stacks with their values.
//
// Bytes that are not what was written give block.ErrCorrupt, never a panic and never
// other data: each section's CRC32C is checked before its content, and its content
// before it is used.
package arrowblock

import (
	"cmp"
	"slices"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

// Group is what profiles must have in common so that their values stand side by
// side in the same columns: a name, the list of sample types, what a period is.
type Group struct {
	Name        string
	SampleTypes []profile.ValueType
	Period      profile.ValueType
	// Delta says that the values belong to the profile's duration; the profile has one.
	Delta bool
	// DefaultSampleType is what the pprof says: by custom the Type of one of SampleTypes, or "".
	DefaultSampleType string
}

// Types are the profile types that the group holds, one for each sample type.
func (g Group) Types() []profile.Type {
	types := make([]profile.Type, len(g.SampleTypes))
	for i, v := range g.SampleTypes {
		types[i] = profile.Type{Name: g.Name, Sample: v, Period: g.Period, Delta: g.Delta}
	}
	return types
}

// Compare orders groups by name, sample types, period, delta and default sample type.
func (g Group) Compare(other Group) int {
	return cmp.Or(
		cmp.Compare(g.Name, other.Name),
		slices.CompareFunc(g.SampleTypes, other.SampleTypes, compareValueTypes),
		compareValueTypes(g.Period, other.Period),
		compareBools(g.Delta, other.Delta),
		cmp.Compare(g.DefaultSampleType, other.DefaultSampleType),
	)
}

func compareValueTypes(a, b profile.ValueType) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Unit, b.Unit))
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// Series is a group and the labels of a target. A block's series are sorted by
// group, service and labels, and are named by their number in that order.
type Series struct {
	Group   int // in Block.Groups
	Service int // in Block.Services
	Labels  profile.Labels
}

// Service is a first-level subtree of the stack table. A block's services are
// sorted by name and named by their number.
type Service struct {
	Name  string
	Nodes Span // its stacks; the first node is the service itself
}

// Span is a half-open range of numbers: of rows, of nodes, of series.
type Span struct{ From, To uint64 }

// Len is how many numbers the span holds.
func (s Span) Len() uint64 { return s.To - s.From }

// Source says where a block's profiles came from: a pprof block of level 0 and the
// day of it that is inside. An L0 that could not be used is named too, so that it is
// not gathered again.
type Source struct {
	ID  block.ID
	Day block.Day
	// Rejected is why all of it, or Profile alone, is not inside. "" when all is.
	Rejected string
	// Profile is the file in the L0 that was rejected; "" means the whole L0.
	Profile string
}

// Header is what profiles carry for people and tools beside their samples. Few
// differ, so a block holds each once.
type Header struct {
	Comments                       []string
	DropFrames, KeepFrames, DocURL string
	// Main is the profile's first mapping, by custom the program itself: a position in
	// Block.Mappings, -1 when the profile has no mapping.
	Main int
}

// SampleLabel is a label of a sample: a string, or a number with a unit.
type SampleLabel struct {
	Key, Str string
	Num      int64
	Unit     string
	IsNum    bool
}

// Info is a block's facts, as its writer counted them.
type Info struct {
	Range            profile.TimeRange // of which it may hold profiles; Range.From is the time from which T counts
	MinTime, MaxTime int64             // of the first and of the last profile, both included, milliseconds since 1970; zero when empty
	Profiles         int64
	Samples          int64 // of the pprofs, before equal ones of a profile were summed
	Rows             int64
	Nodes            int64
	// Raw says that the block has profiles and their rows. One that has not holds what
	// its rollups say of Profiles.
	Raw bool
}

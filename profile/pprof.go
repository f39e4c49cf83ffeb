package profile

// Profile is one decoded pprof in flat arrays. It has the content of
// profile.proto's Profile: IDs are resolved to positions, strings stay positions
// in Strings, and what belongs to a sample lies in arrays that all samples share.
//
// A Profile that comes from a [Decoder] is valid until that Decoder's next Decode:
// arrays are used again and Strings alias the decoder's buffer. Clone what must
// live longer. All positions are in range; the decoder has checked them.
type Profile struct {
	Strings []string // Strings[0] is ""

	SampleTypes       []ValueTypeRef
	DefaultSampleType uint32 // in Strings; 0 when not given
	PeriodType        ValueTypeRef
	Period            int64
	TimeNanos         int64 // since 1970; 0 when not given
	DurationNanos     int64
	DropFrames        uint32
	KeepFrames        uint32
	DocURL            uint32
	Comments          []uint32

	// Sample i has the locations LocationRefs[LocationEnds[i-1]:LocationEnds[i]],
	// leaf first, the labels SampleLabels[LabelEnds[i-1]:LabelEnds[i]], and the values
	// Values[i*len(SampleTypes):(i+1)*len(SampleTypes)]. Use the methods.
	LocationRefs []uint32
	LocationEnds []uint32
	Values       []int64
	SampleLabels []SampleLabel
	LabelEnds    []uint32 // empty when no sample has a label

	Locations []Location
	Lines     []Line
	Functions []Function
	Mappings  []Mapping
}

// ValueTypeRef is a ValueType whose words are positions in Profile.Strings.
type ValueTypeRef struct{ Type, Unit uint32 }

// SampleLabel is a sample's label: a string when Str is not 0, else a number.
// Strings are positions in Profile.Strings.
type SampleLabel struct {
	Key, Str uint32
	Num      int64
	NumUnit  uint32
}

// Location is an address and what is known of it.
type Location struct {
	Address  uint64
	Mapping  int32  // position in Profile.Mappings, -1 when there is none
	LineFrom uint32 // its lines are Lines[LineFrom:LineTo]: innermost inlined function first, caller last
	LineTo   uint32
	Folded   bool // several call sites were folded into one
}

// Line is a place in a function.
type Line struct {
	Function uint32 // position in Profile.Functions
	Line     int64
	Column   int64
}

// Function is a function's names; strings are positions in Profile.Strings.
type Function struct {
	Name, SystemName, Filename uint32
	StartLine                  int64
}

// Mapping is a binary mapped into the process; strings are positions in Profile.Strings.
type Mapping struct {
	Start, Limit, Offset uint64
	File, BuildID        uint32
	HasFunctions         bool
	HasFilenames         bool
	HasLineNumbers       bool
	HasInlineFrames      bool
}

// NumSamples is how many samples the profile has.
func (p *Profile) NumSamples() int { return len(p.LocationEnds) }

// Stack returns sample i's locations as positions in Locations, leaf first.
func (p *Profile) Stack(i int) []uint32 {
	from := uint32(0)
	if i > 0 {
		from = p.LocationEnds[i-1]
	}
	return p.LocationRefs[from:p.LocationEnds[i]]
}

// SampleValues returns sample i's values, one for each of SampleTypes.
func (p *Profile) SampleValues(i int) []int64 {
	n := len(p.SampleTypes)
	return p.Values[i*n : (i+1)*n]
}

// LabelsOf returns sample i's labels in the order of the pprof.
func (p *Profile) LabelsOf(i int) []SampleLabel {
	if len(p.LabelEnds) == 0 {
		return nil
	}
	from := uint32(0)
	if i > 0 {
		from = p.LabelEnds[i-1]
	}
	return p.SampleLabels[from:p.LabelEnds[i]]
}

// ValueType resolves a reference to its words.
func (p *Profile) ValueType(r ValueTypeRef) ValueType {
	return ValueType{p.Strings[r.Type], p.Strings[r.Unit]}
}

package arrowblock

import (
	"github.com/cespare/xxhash/v2"

	"github.com/coldframe/coldframe/profile"
)

// inbox maps the numbers of the profile at hand to those of the Builder: functions, then
// locations, then stacks, only those that samples need. Each kind is hashed, looked up
// and compared for the whole profile at once, so that the machine waits for memory as
// seldom as can be. Its slices are used again for the next profile.
type inbox struct {
	p *profile.Profile
	b *Builder

	samples   []uint32 // those that count: not all of their values are zero
	locations []uint32 // that they need
	functions []uint32 // that these need

	// By position in the profile. frames is 0 for locations that no sample needs, and needed
	// until their number is known.
	frames      []FrameID
	functionNos []uint32 // plus one
	mappingNos  []uint32 // plus one
	textHashes  []uint64 // 0: not yet known

	hashes  []uint64
	pending []frame // the locations' frames: their lines are in lines
	lines   []Line
	stack   []FrameID // of all samples
	touched uint64    // keeps the compiler from leaving out reads that warm

	labels    []profile.SampleLabel // of the last sample that had any
	labelSet  uint32                // what they were mapped to
	labelList []SampleLabel
}

const needed = 1

func (in *inbox) open(b *Builder, p *profile.Profile) {
	in.b, in.p = b, p
	in.samples, in.locations, in.functions = in.samples[:0], in.locations[:0], in.functions[:0]
	in.frames = zeroed(in.frames, len(p.Locations))
	in.functionNos = zeroed(in.functionNos, len(p.Functions))
	in.mappingNos = zeroed(in.mappingNos, len(p.Mappings))
	in.textHashes = zeroed(in.textHashes, len(p.Strings))
	in.labels = nil
}

// close lets go of the profile, which its decoder will use again.
func (in *inbox) close() { in.b, in.p, in.labels = nil, nil, nil }

func zeroed[T any](s []T, n int) []T {
	if n > cap(s) {
		return make([]T, n+n/2)[:n]
	}
	s = s[:n]
	clear(s)
	return s
}

// pickSamples finds the samples that count, and numbers what they need. As in google/pprof's
// Merge, a sample of zeros does not count, nor do locations that no other needs.
func (in *inbox) pickSamples() {
	p := in.p
	for i := range p.NumSamples() {
		if allZero(p.SampleValues(i)) {
			continue
		}
		in.samples = append(in.samples, uint32(i))
		for _, l := range p.Stack(i) {
			if in.frames[l] == 0 {
				in.frames[l] = needed
				in.locations = append(in.locations, l)
			}
		}
	}
	for _, l := range in.locations {
		for _, line := range p.Lines[p.Locations[l].LineFrom:p.Locations[l].LineTo] {
			if in.functionNos[line.Function] == 0 {
				in.functionNos[line.Function] = needed
				in.functions = append(in.functions, line.Function)
			}
		}
	}
	in.internFunctions()
	in.internFrames()
}

func (in *inbox) internFunctions() {
	p, symbols := in.p, in.b.symbols
	in.hashes = in.hashes[:0]
	for _, n := range in.functions {
		f := &p.Functions[n]
		in.hashes = append(in.hashes, hashFunction(in.textHash(f.Name), in.textHash(f.SystemName), in.textHash(f.Filename), f.StartLine))
	}
	in.touched += symbols.warmFunctions(in.hashes)
	for i, n := range in.functions {
		f := &p.Functions[n]
		in.functionNos[n] = 1 + symbols.internFunction(&Function{
			Name: p.Strings[f.Name], SystemName: p.Strings[f.SystemName], Filename: p.Strings[f.Filename],
			StartLine: f.StartLine,
		}, in.hashes[i])
	}
}

func (in *inbox) textHash(i uint32) uint64 {
	if in.textHashes[i] == 0 {
		in.textHashes[i] = xxhash.Sum64String(in.p.Strings[i])
	}
	return in.textHashes[i]
}

func (in *inbox) internFrames() {
	p, symbols := in.p, in.b.symbols
	in.hashes, in.lines, in.pending = in.hashes[:0], in.lines[:0], in.pending[:0]
	for _, n := range in.locations {
		l := &p.Locations[n]
		f := frame{address: l.Address, mapping: -1, folded: l.Folded, lineFrom: uint32(len(in.lines))}
		if l.Mapping >= 0 {
			f.address -= p.Mappings[l.Mapping].Start
			f.mapping = int32(in.mapping(l.Mapping))
		}
		for _, line := range p.Lines[l.LineFrom:l.LineTo] {
			in.lines = append(in.lines, Line{in.functionNos[line.Function] - 1, line.Line, line.Column})
		}
		f.lineTo = uint32(len(in.lines))
		in.pending = append(in.pending, f)
		in.hashes = append(in.hashes, frameKey(&f, in.lines[f.lineFrom:]))
	}
	in.touched += symbols.warmFrames(in.hashes)
	for i, n := range in.locations {
		f := &in.pending[i]
		in.frames[n] = symbols.internFrame(f, in.lines[f.lineFrom:f.lineTo], in.hashes[i])
	}
}

func (in *inbox) mapping(i int32) uint32 {
	if n := in.mappingNos[i]; n != 0 {
		return n - 1
	}
	m := &in.p.Mappings[i]
	n := in.b.symbols.internMapping(Mapping{
		Start: m.Start, Limit: m.Limit, Offset: m.Offset,
		File: in.p.Strings[m.File], BuildID: in.p.Strings[m.BuildID],
		HasFunctions: m.HasFunctions, HasFilenames: m.HasFilenames,
		HasLineNumbers: m.HasLineNumbers, HasInlineFrames: m.HasInlineFrames,
	})
	in.mappingNos[i] = n + 1
	return n
}

// internStacks returns the number of each sample's stack, as one of the service's.
func (in *inbox) internStacks(service uint32) []uint32 {
	in.hashes, in.stack = in.hashes[:0], in.stack[:0]
	for _, i := range in.samples {
		from := len(in.stack)
		locations := in.p.Stack(int(i))
		for k := len(locations) - 1; k >= 0; k-- {
			in.stack = append(in.stack, in.frames[locations[k]])
		}
		in.hashes = append(in.hashes, hashStack(service, in.stack[from:]))
	}
	in.touched += in.b.stacks.warm(in.hashes)
	numbers := in.b.numbers.take(len(in.samples))
	from := 0
	for n, i := range in.samples {
		to := from + len(in.p.Stack(int(i)))
		numbers[n] = in.b.stacks.intern(service, in.stack[from:to], in.hashes[n])
		from = to
	}
	return numbers
}

// internLabels returns the number of each sample's label set, nil when all are empty.
func (in *inbox) internLabels() []uint32 {
	if len(in.p.LabelEnds) == 0 {
		return nil
	}
	numbers := in.b.numbers.take(len(in.samples))
	for n, i := range in.samples {
		numbers[n] = in.labelsOf(in.p.LabelsOf(int(i)))
	}
	return numbers
}

// copyValues returns the samples' values, sample type by sample type.
func (in *inbox) copyValues() []int64 {
	types, n := len(in.p.SampleTypes), len(in.samples)
	values := in.b.values.take(types * n)
	for row, i := range in.samples {
		for k, v := range in.p.SampleValues(int(i)) {
			values[k*n+row] = v
		}
	}
	return values
}

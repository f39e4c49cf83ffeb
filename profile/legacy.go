package profile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	pprof "github.com/google/pprof/profile"
)

// mayBeLegacy says whether err leaves it possible that the bytes are a profile in a
// format before profile.proto. All of those cease to be protobuf in their first few
// bytes.
//
// So google/pprof, which tries protobuf first too, cannot be made to spend much on it.
func mayBeLegacy(err error) bool {
	var wire *wireError
	return errors.As(err, &wire) && wire.offset < 4<<10
}

// legacy reads a profile in an older format by way of google/pprof. When that fails
// too, the error says both reasons.
func (d *Decoder) legacy(raw []byte) {
	p, err := d.parseLegacy(raw)
	if err != nil {
		d.err = invalidf("%w; and as an older format: %w", d.err, err)
		return
	}
	d.reset()
	d.fill(p)
}

func (d *Decoder) parseLegacy(raw []byte) (*pprof.Profile, error) {
	if len(raw) > d.limits.MaxLegacyBytes {
		return nil, overLimit("MaxLegacyBytes", "bytes", len(raw), d.limits.MaxLegacyBytes)
	}
	addresses, memoryMap := 0, []byte(nil)
	if wordBytes, order := legacyWords(raw); order != nil {
		addresses, memoryMap = scanLegacyBinary(raw, wordBytes, order)
	} else {
		addresses, memoryMap = scanLegacyText(raw)
	}
	if err := checkMemoryMap(memoryMap, addresses); err != nil {
		return nil, err
	}
	return pprof.ParseData(raw)
}

// legacyWords recognizes the words 0, 3 with which a binary CPU profile of gperftools
// begins. order is nil when raw is no such profile.
func legacyWords(raw []byte) (wordBytes int, order binary.ByteOrder) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, n := range []int{4, 8} {
			if len(raw) >= 5*n && word(raw, n, order) == 0 && word(raw[n:], n, order) == 3 {
				return n, order
			}
		}
	}
	return 0, nil
}

func word(b []byte, bytes int, order binary.ByteOrder) uint64 {
	if bytes == 4 {
		return uint64(order.Uint32(b))
	}
	return order.Uint64(b)
}

// scanLegacyBinary counts the addresses of a binary CPU profile and finds the memory
// map behind them. After 5 words come samples: how often, how many addresses, the
// addresses; the last is 0, 1, 0.
func scanLegacyBinary(raw []byte, wordBytes int, order binary.ByteOrder) (addresses int, memoryMap []byte) {
	b := raw[5*wordBytes:]
	for len(b) >= 2*wordBytes {
		count, n := word(b, wordBytes, order), word(b[wordBytes:], wordBytes, order)
		b = b[2*wordBytes:]
		if n > uint64(len(b)/wordBytes) {
			break
		}
		last := count == 0 && n == 1 && word(b, wordBytes, order) == 0
		b = b[int(n)*wordBytes:]
		if last {
			break
		}
		addresses += int(n)
	}
	return addresses, b
}

// scanLegacyText does the same for the text formats.
func scanLegacyText(raw []byte) (addresses int, memoryMap []byte) {
	from := len(raw)
	for _, heading := range []string{"--- Memory map: ---", "MAPPED_LIBRARIES:"} {
		if i := bytes.Index(raw, []byte(heading)); i >= 0 {
			from = min(from, i)
		}
	}
	return bytes.Count(raw, []byte("0x")), raw[from:]
}

// checkMemoryMap refuses a memory map with which few bytes would keep google/pprof
// busy for minutes or make it allocate gigabytes: it compares every address with
// every mapping, and replaces $NAME by what a line NAME=VALUE before has defined.
func checkMemoryMap(memoryMap []byte, addresses int) error {
	const (
		mostCompared    = 1 << 30 // a second or two
		mostDefinitions = 64
		mostReplaced    = 64 << 20 // bytes
	)
	var lines, definitions, longest int
	for line := range bytes.Lines(memoryMap) {
		lines++
		if !bytes.ContainsRune(line, '=') {
			continue
		}
		definitions++
		longest = max(longest, len(line))
		if bytes.ContainsRune(line, '$') {
			return invalidf("memory map line %d: a definition that refers to another", lines)
		}
	}
	if addresses*lines > mostCompared {
		return invalidf("%d addresses and a memory map of %d lines are too many", addresses, lines)
	}
	if uses := bytes.Count(memoryMap, []byte{'$'}); definitions > mostDefinitions || uses*longest > mostReplaced {
		return invalidf("memory map: %d definitions of up to %d bytes are referred to %d times, which is too much", definitions, longest, uses)
	}
	return nil
}

// fill makes a flat profile of one by google/pprof.
func (d *Decoder) fill(from *pprof.Profile) {
	p := &d.profile
	strings := map[string]uint32{}
	ref := func(s string) uint32 {
		at, ok := strings[s]
		if !ok {
			at = uint32(len(p.Strings))
			p.Strings = append(p.Strings, s)
			strings[s] = at
		}
		return at
	}
	valueType := func(t *pprof.ValueType) ValueTypeRef { return ValueTypeRef{ref(t.Type), ref(t.Unit)} }

	ref("")
	for _, t := range from.SampleType {
		p.SampleTypes = append(p.SampleTypes, valueType(t))
	}
	if from.PeriodType != nil {
		p.PeriodType = valueType(from.PeriodType)
	}
	p.DefaultSampleType = ref(from.DefaultSampleType)
	p.Period, p.TimeNanos, p.DurationNanos = from.Period, from.TimeNanos, from.DurationNanos
	p.DropFrames, p.KeepFrames, p.DocURL = ref(from.DropFrames), ref(from.KeepFrames), ref(from.DocURL)
	for _, c := range from.Comments {
		p.Comments = append(p.Comments, ref(c))
	}

	mappings := map[*pprof.Mapping]int32{nil: -1}
	for i, m := range from.Mapping {
		mappings[m] = int32(i)
		p.Mappings = append(p.Mappings, Mapping{
			Start: m.Start, Limit: m.Limit, Offset: m.Offset,
			File: ref(m.File), BuildID: ref(m.BuildID),
			HasFunctions: m.HasFunctions, HasFilenames: m.HasFilenames,
			HasLineNumbers: m.HasLineNumbers, HasInlineFrames: m.HasInlineFrames,
		})
	}
	functions := map[*pprof.Function]uint32{}
	for i, f := range from.Function {
		functions[f] = uint32(i)
		p.Functions = append(p.Functions, Function{ref(f.Name), ref(f.SystemName), ref(f.Filename), f.StartLine})
	}
	locations := map[*pprof.Location]uint32{}
	for i, l := range from.Location {
		locations[l] = uint32(i)
		first := len(p.Lines)
		for _, line := range l.Line {
			p.Lines = append(p.Lines, Line{functions[line.Function], line.Line, line.Column})
		}
		p.Locations = append(p.Locations, Location{l.Address, mappings[l.Mapping], uint32(first), uint32(len(p.Lines)), l.IsFolded})
	}
	for _, s := range from.Sample {
		for _, l := range s.Location {
			p.LocationRefs = append(p.LocationRefs, locations[l])
		}
		p.LocationEnds = append(p.LocationEnds, uint32(len(p.LocationRefs)))
		p.Values = append(p.Values, s.Value...)
		for _, key := range slices.Sorted(maps.Keys(s.NumLabel)) { // the old formats have no others
			for _, v := range s.NumLabel[key] {
				p.SampleLabels = append(p.SampleLabels, SampleLabel{Key: ref(key), Num: v})
			}
		}
		p.LabelEnds = append(p.LabelEnds, uint32(len(p.SampleLabels)))
	}
	if len(p.SampleLabels) == 0 {
		p.LabelEnds = p.LabelEnds[:0]
	}
}

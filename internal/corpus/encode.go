package corpus

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"time"

	pprof "github.com/google/pprof/profile"
)

// encoder writes pprof as runtime/pprof does: each location and function before
// the first sample that uses it, numbered from 1 in that order; mappings after the
// samples; strings last; gzip at level 1.
type encoder struct {
	pb        protobuf
	strings   map[string]uint64
	table     []string
	locations []uint64 // IDs of the seed's locations, 0 until written
	functions []uint64 // the same of its functions
	nextLoc   uint64
	nextFunc  uint64
	refs      []uint64
	gz        *gzip.Writer
}

// Field numbers of profile.proto.
const (
	profileSampleType, profileSample, profileMapping, profileLocation, profileFunction = 1, 2, 3, 4, 5
	profileStrings, profileTime, profileDuration, profilePeriodType, profilePeriod     = 6, 9, 10, 11, 12
	valueTypeType, valueTypeUnit                                                       = 1, 2
	sampleLocation, sampleValue, sampleLabel                                           = 1, 2, 3
	labelKey, labelStr, labelNum                                                       = 1, 2, 3
	mappingID, mappingStart, mappingLimit, mappingOffset                               = 1, 2, 3, 4
	mappingFile, mappingBuildID, mappingHasFunctions                                   = 5, 6, 7
	locationID, locationMapping, locationAddress, locationLine                         = 1, 2, 3, 4
	lineFunction, lineLine                                                             = 1, 2
	functionID, functionName, functionSystemName, functionFile, functionStartLine      = 1, 2, 3, 4, 5
)

func (e *encoder) cpu(b *binary, t time.Time, rows []row) []byte {
	e.reset(b)
	e.pb.uint(profileTime, uint64(t.UnixNano()))
	e.valueType(profileSampleType, "samples", "count")
	e.valueType(profileSampleType, "cpu", "nanoseconds")
	e.pb.uint(profileDuration, uint64(cpuDuration))
	e.valueType(profilePeriodType, "cpu", "nanoseconds")
	e.pb.uint(profilePeriod, uint64(cpuPeriod))
	return e.finish(b, rows, 2)
}

func (e *encoder) heap(b *binary, t time.Time, rows []row) []byte {
	e.reset(b)
	e.valueType(profilePeriodType, "space", "bytes")
	e.pb.uint(profilePeriod, heapRate)
	for _, name := range []string{"alloc", "inuse"} {
		e.valueType(profileSampleType, name+"_objects", "count")
		e.valueType(profileSampleType, name+"_space", "bytes")
	}
	e.pb.uint(profileTime, uint64(t.UnixNano()))
	return e.finish(b, rows, 4)
}

func (e *encoder) reset(b *binary) {
	e.pb = e.pb[:0]
	e.strings = map[string]uint64{"": 0}
	e.table = append(e.table[:0], "")
	e.locations = zeroed(e.locations, len(b.seed.Location)+1)
	e.functions = zeroed(e.functions, len(b.seed.Function)+1)
	e.nextLoc, e.nextFunc = 0, 0
}

func zeroed(s []uint64, n int) []uint64 {
	if cap(s) < n {
		return make([]uint64, n)
	}
	clear(s[:n])
	return s[:n]
}

func (e *encoder) finish(b *binary, rows []row, values int) []byte {
	for _, r := range rows {
		e.sample(b, r, r.values[:values])
	}
	for i, m := range b.seed.Mapping {
		limit, buildID := m.Limit, m.BuildID
		if i == 0 && b.buildID != "" {
			limit, buildID = limit+b.shift, b.buildID
		}
		if len(rows) > 0 && rows[0].site != 0 {
			limit += siteSpace
		}
		e.mapping(m, limit, buildID)
	}
	for _, s := range e.table {
		e.pb.string(profileStrings, s)
	}
	return e.compress()
}

func (e *encoder) sample(b *binary, r row, values []int64) {
	e.refs = e.refs[:0]
	for depth, l := range b.seed.Sample[r.sample].Location {
		if r.site != 0 && depth == r.depth {
			e.refs = append(e.refs, e.location(b, l, r.site))
			continue
		}
		id := &e.locations[l.ID]
		if *id == 0 {
			*id = e.location(b, l, 0)
		}
		e.refs = append(e.refs, *id)
	}
	e.pb.message(profileSample, func() {
		e.pb.uints(sampleValue, asUint64(values))
		e.pb.uints(sampleLocation, e.refs)
		if r.endpoint != "" {
			e.pb.message(sampleLabel, func() {
				e.pb.uint(labelKey, e.string("endpoint"))
				e.pb.uint(labelStr, e.string(r.endpoint))
			})
		}
		if r.bytes != 0 {
			e.pb.message(sampleLabel, func() {
				e.pb.uint(labelKey, e.string("bytes"))
				e.pb.uint(labelNum, uint64(r.bytes))
			})
		}
	})
}

// siteSpace is how far beyond a program's end the call sites of AllDistinct reach.
const siteSpace = 1 << 36

// location writes a location and those of its functions that are new. A site
// that is not 0 makes it another place in the same function.
func (e *encoder) location(b *binary, l *pprof.Location, site uint64) uint64 {
	e.nextLoc++
	address := l.Address
	if l.Mapping == b.seed.Mapping[0] {
		address += b.shift
	}
	if site != 0 {
		address = l.Mapping.Limit + b.shift + 8*site
	}
	var added []*pprof.Function
	e.pb.message(profileLocation, func() {
		e.pb.uint(locationID, e.nextLoc)
		e.pb.uint(locationAddress, address)
		for i, line := range l.Line {
			id := &e.functions[line.Function.ID]
			if *id == 0 {
				e.nextFunc++
				*id = e.nextFunc
				added = append(added, line.Function)
			}
			number := line.Line
			if site != 0 && i == len(l.Line)-1 { // the caller, when lines are inlined
				number = int64(10_000 + site)
			}
			e.pb.message(locationLine, func() {
				e.pb.uint(lineFunction, *id)
				e.pb.uint(lineLine, uint64(number))
			})
		}
		e.pb.uint(locationMapping, l.Mapping.ID)
	})
	for _, f := range added {
		e.function(b, f)
	}
	return e.nextLoc
}

func (e *encoder) function(b *binary, f *pprof.Function) {
	e.pb.message(profileFunction, func() {
		name := e.string(b.names[f.ID-1])
		e.pb.uint(functionID, e.functions[f.ID])
		e.pb.uint(functionName, name)
		e.pb.uint(functionSystemName, name)
		e.pb.uint(functionFile, e.string(b.files[f.ID-1]))
		e.pb.uint(functionStartLine, uint64(f.StartLine))
	})
}

func (e *encoder) mapping(m *pprof.Mapping, limit uint64, buildID string) {
	e.pb.message(profileMapping, func() {
		e.pb.uint(mappingID, m.ID)
		e.pb.uint(mappingStart, m.Start)
		e.pb.uint(mappingLimit, limit)
		e.pb.uint(mappingOffset, m.Offset)
		e.pb.uint(mappingFile, e.string(m.File))
		e.pb.uint(mappingBuildID, e.string(buildID))
		if m.HasFunctions {
			e.pb.uint(mappingHasFunctions, 1)
		}
	})
}

func (e *encoder) valueType(field int, name, unit string) {
	e.pb.message(field, func() {
		e.pb.uint(valueTypeType, e.string(name))
		e.pb.uint(valueTypeUnit, e.string(unit))
	})
}

func (e *encoder) string(s string) uint64 {
	id, ok := e.strings[s]
	if !ok {
		id = uint64(len(e.table))
		e.strings[s] = id
		e.table = append(e.table, s)
	}
	return id
}

func (e *encoder) compress() []byte {
	var out bytes.Buffer
	if e.gz == nil {
		e.gz, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // fails only for an unknown level
	}
	e.gz.Reset(&out)
	if _, err := e.gz.Write(e.pb); err != nil {
		panic(fmt.Sprintf("corpus: gzip into memory: %v", err))
	}
	if err := e.gz.Close(); err != nil {
		panic(fmt.Sprintf("corpus: gzip into memory: %v", err))
	}
	return out.Bytes()
}

// protobuf appends fields to a message.
type protobuf []byte

func (p *protobuf) varint(x uint64) {
	for ; x >= 0x80; x >>= 7 {
		*p = append(*p, byte(x)|0x80)
	}
	*p = append(*p, byte(x))
}

// uint appends a field, or nothing when it has its default.
func (p *protobuf) uint(field int, x uint64) {
	if x != 0 {
		p.varint(uint64(field) << 3)
		p.varint(x)
	}
}

func (p *protobuf) string(field int, s string) {
	p.varint(uint64(field)<<3 | 2)
	p.varint(uint64(len(s)))
	*p = append(*p, s...)
}

// uints appends a repeated field, packed when there are more than two, as the
// runtime does.
func (p *protobuf) uints(field int, xs []uint64) {
	if len(xs) <= 2 {
		for _, x := range xs {
			p.varint(uint64(field) << 3)
			p.varint(x)
		}
		return
	}
	p.message(field, func() {
		for _, x := range xs {
			p.varint(x)
		}
	})
}

// message appends a field whose content body appends.
func (p *protobuf) message(field int, body func()) {
	p.varint(uint64(field)<<3 | 2)
	from := len(*p)
	body()
	content := len(*p) - from
	var length protobuf
	length.varint(uint64(content))
	*p = append(*p, length...)
	copy((*p)[from+len(length):], (*p)[from:from+content])
	copy((*p)[from:], length)
}

func asUint64(xs []int64) []uint64 {
	us := make([]uint64, len(xs))
	for i, x := range xs {
		us[i] = uint64(x)
	}
	return us
}

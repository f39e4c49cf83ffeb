package perf

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
)

// The file's header, all little-endian: magic, its own size, the size of an attribute,
// then sections (offset and size in 64 bits each) of attributes, records and event types,
// and a bitmap of the features whose sections follow the records. The layout of
// attributes and records is that of linux/perf_event.h.
const (
	headerSize  = 104
	sectionSize = 16
)

// The features that are read, by their bit.
const (
	featureBuildID   = 2
	featureEventDesc = 12
	featureClockData = 29
)

// The bits of an attribute's sample_type: what a sample holds, in this order.
const (
	sampleIdentifier = 1 << 16
	sampleIP         = 1 << 0
	sampleTID        = 1 << 1
	sampleTime       = 1 << 2
	sampleAddr       = 1 << 3
	sampleID         = 1 << 6
	sampleStreamID   = 1 << 9
	sampleCPU        = 1 << 7
	samplePeriod     = 1 << 8
	sampleRead       = 1 << 4
	sampleCallchain  = 1 << 5
)

// The bits of read_format.
const (
	readEnabled = 1 << 0
	readRunning = 1 << 1
	readID      = 1 << 2
	readGroup   = 1 << 3
	readLost    = 1 << 4
)

// The bits of an attribute's flags.
const (
	flagFreq        = 1 << 10
	flagSampleIDAll = 1 << 18
)

// attr is an event that was recorded.
type attr struct {
	kind       uint32
	config     uint64
	period     uint64 // or frequency
	sampleType uint64
	readFormat uint64
	flags      uint64
	name       string
}

// file is an opened perf.data.
type file struct {
	data     []byte
	from, to int // of the records
	attrs    []*attr
	byID     map[uint64]*attr
	buildIDs map[string]string // by file name
	kernel   string            // build ID
	wall     int64             // wall clock minus the samples' clock, 0 when not known
}

var le = binary.LittleEndian

// section finds a part of the file.
func section(data []byte, offset, size uint64) ([]byte, error) {
	if offset > uint64(len(data)) || size > uint64(len(data))-offset {
		return nil, invalidf("a section of %d bytes at byte %d in a file of %d", size, offset, len(data))
	}
	return data[offset : offset+size], nil
}

func open(data []byte) (*file, error) {
	switch {
	case !IsRecording(data):
		return nil, invalidf("it does not begin with %q", Magic)
	case len(data) >= 16 && le.Uint64(data[8:]) == 16:
		return nil, invalidf("it was written to a pipe: record into a file with perf record -o FILE")
	case len(data) < headerSize:
		return nil, invalidf("%d bytes, a header has %d", len(data), headerSize)
	}
	f := &file{data: data, byID: map[uint64]*attr{}, buildIDs: map[string]string{}}
	attrSize := le.Uint64(data[16:])
	attrs, err := section(data, le.Uint64(data[24:]), le.Uint64(data[32:]))
	if err != nil {
		return nil, err
	}
	const smallest = 64 // the first version of perf_event_attr
	if attrSize < smallest+sectionSize || attrSize > uint64(len(attrs)) {
		return nil, invalidf("attributes of %d bytes in %d", attrSize, len(attrs))
	}
	for ; uint64(len(attrs)) >= attrSize; attrs = attrs[attrSize:] {
		if err := f.readAttr(attrs[:attrSize]); err != nil {
			return nil, err
		}
	}
	records, err := section(data, le.Uint64(data[40:]), le.Uint64(data[48:]))
	if err != nil {
		return nil, err
	}
	f.from = int(le.Uint64(data[40:]))
	f.to = f.from + len(records)
	if len(records) == 0 {
		return nil, invalidf("it has no records: was perf record ended by a signal?")
	}
	f.readFeatures(data[72:headerSize])
	return f, nil
}

// readAttr reads an attribute and the IDs of the event's counters.
func (f *file) readAttr(b []byte) error {
	a := parseAttr(b)
	tail := b[len(b)-sectionSize:]
	ids, err := section(f.data, le.Uint64(tail), le.Uint64(tail[8:]))
	if err != nil {
		return err
	}
	f.attrs = append(f.attrs, a)
	for ; len(ids) >= 8; ids = ids[8:] {
		f.byID[le.Uint64(ids)] = a
	}
	return nil
}

func parseAttr(b []byte) *attr {
	a := &attr{
		kind: le.Uint32(b), config: le.Uint64(b[8:]), period: le.Uint64(b[16:]), sampleType: le.Uint64(b[24:]),
		readFormat: le.Uint64(b[32:]), flags: le.Uint64(b[40:]),
	}
	a.name = a.usualName()
	return a
}

// usualName names the events that have a name in linux/perf_event.h.
func (a *attr) usualName() string {
	names := map[uint32][]string{
		0: {"cycles", "instructions", "cache-references", "cache-misses", "branches", "branch-misses", "bus-cycles", "stalled-cycles-frontend", "stalled-cycles-backend", "ref-cycles"},
		1: {"cpu-clock", "task-clock", "page-faults", "context-switches", "cpu-migrations", "minor-faults", "major-faults", "alignment-faults", "emulation-faults", "dummy", "bpf-output", "cgroup-switches"},
	}[a.kind]
	if a.config < uint64(len(names)) {
		return names[a.config]
	}
	return "event"
}

// isClock says whether the event counts nanoseconds of a CPU.
func (a *attr) isClock() bool { return a.kind == 1 && a.config <= 1 }

// readFeatures reads what stands behind the records. It is there for comfort, so what is
// malformed is left out.
func (f *file) readFeatures(bitmap []byte) {
	table := f.data[f.to:]
	for bit := range 8 * len(bitmap) {
		if bitmap[bit/8]&(1<<(bit%8)) == 0 {
			continue
		}
		if len(table) < sectionSize {
			return
		}
		body, err := section(f.data, le.Uint64(table), le.Uint64(table[8:]))
		table = table[sectionSize:]
		if err != nil {
			continue
		}
		switch bit {
		case featureBuildID:
			f.readBuildIDs(body)
		case featureEventDesc:
			f.readEventNames(body)
		case featureClockData:
			// version, clock (32 bits each), wall clock and the samples' at one moment
			if len(body) >= 24 {
				f.wall = int64(le.Uint64(body[8:])) - int64(le.Uint64(body[16:]))
			}
		}
	}
}

// readBuildIDs reads a record for each binary: pid, 20 bytes of build ID, how many of them
// count, and the file's name.
func (f *file) readBuildIDs(b []byte) {
	const fixed, miscSize = 8 + 4 + 24, 1 << 15
	for len(b) >= fixed {
		misc, size := le.Uint16(b[4:]), int(le.Uint16(b[6:]))
		if size < fixed || size > len(b) {
			return
		}
		n := 20
		if misc&miscSize != 0 {
			n = min(int(b[12+20]), 20)
		}
		id, name := hex.EncodeToString(b[12:12+n]), text(b[fixed:size])
		f.buildIDs[name] = id
		if strings.HasPrefix(name, kernelName) {
			f.kernel = id
		}
		b = b[size:]
	}
}

// readEventNames reads attributes once more, each with its name and its counters' IDs.
func (f *file) readEventNames(b []byte) {
	if len(b) < 8 {
		return
	}
	count, size := int64(le.Uint32(b)), int64(le.Uint32(b[4:]))
	b = b[8:]
	for i := int64(0); i < count && i < int64(len(f.attrs)); i++ {
		if int64(len(b)) < size+8 {
			return
		}
		ids, length := int64(le.Uint32(b[size:])), int64(le.Uint32(b[size+4:]))
		b = b[size+8:]
		if int64(len(b)) < length+8*ids {
			return
		}
		if name := text(b[:length]); name != "" {
			f.attrs[i].name = name
		}
		b = b[length+8*ids:]
	}
}

// text is a string that ends with a zero, or at the end.
func text(b []byte) string {
	if i := slices.Index(b, 0); i >= 0 {
		b = b[:i]
	}
	return strings.ToValidUTF8(string(b), "�")
}

// record is one record, with its time.
type record struct {
	kind uint32
	misc uint16
	body []byte
	at   int
	time uint64
	attr *attr
}

// The kinds of records that matter, and those that stand for what cannot be read.
const (
	recordMmap       = 1
	recordComm       = 3
	recordExit       = 4
	recordFork       = 7
	recordSample     = 9
	recordMmap2      = 10
	recordAuxtrace   = 71
	recordCompressed = 81
	recordUser       = 64 // from here on they are perf's own
)

// records gives all records in the order of their times: perf writes them CPU by CPU.
func (f *file) records() ([]record, error) {
	var all []record
	for at := f.from; at < f.to; {
		if f.to-at < 8 {
			return nil, invalidf("%d bytes are left behind the last record", f.to-at)
		}
		r := record{kind: le.Uint32(f.data[at:]), misc: le.Uint16(f.data[at+4:]), at: at}
		size := int(le.Uint16(f.data[at+6:]))
		if size < 8 || size > f.to-at {
			return nil, invalidf("record at byte %d: %d bytes, %d are left", at, size, f.to-at)
		}
		r.body = f.data[at+8 : at+size]
		at += size
		switch {
		case r.kind == recordCompressed:
			return nil, invalidf("its records are compressed: record without -z")
		case r.kind == recordAuxtrace: // data follow that the record's size leaves out
			if len(r.body) < 8 || le.Uint64(r.body) > uint64(f.to-at) {
				return nil, invalidf("record at byte %d: it is followed by more than there is", r.at)
			}
			at += int(le.Uint64(r.body))
			continue
		case r.kind >= recordUser:
			continue
		}
		f.locate(&r)
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b record) int { return cmp.Compare(a.time, b.time) })
	return all, nil
}

// locate finds a record's event and time. Samples have them among their first values,
// other records among their last.
func (f *file) locate(r *record) {
	r.attr = f.attrs[0]
	kind := r.attr.sampleType
	if r.kind != recordSample {
		if r.attr.flags&flagSampleIDAll == 0 || kind&sampleTime == 0 {
			return
		}
		behind := 0
		for _, bit := range []uint64{sampleID, sampleStreamID, sampleCPU, sampleIdentifier} {
			if kind&bit != 0 {
				behind += 8
			}
		}
		if at := len(r.body) - behind - 8; at >= 0 {
			r.time = le.Uint64(r.body[at:])
		}
		return
	}
	word := func(bits uint64) (uint64, bool) { // the value behind those of these bits
		at := 0
		for _, bit := range []uint64{sampleIdentifier, sampleIP, sampleTID, sampleTime, sampleAddr} {
			if kind&bit&bits != 0 {
				at += 8
			}
		}
		if at+8 > len(r.body) {
			return 0, false
		}
		return le.Uint64(r.body[at:]), true
	}
	id, ok := uint64(0), false
	switch {
	case kind&sampleIdentifier != 0:
		id, ok = word(0)
	case kind&sampleID != 0:
		id, ok = word(sampleIP | sampleTID | sampleTime | sampleAddr)
	}
	if a := f.byID[id]; ok && a != nil {
		r.attr = a
		kind = a.sampleType
	}
	if kind&sampleTime != 0 {
		r.time, _ = word(sampleIdentifier | sampleIP | sampleTID)
	}
}

package draft

import (
	"bytes"
	"encoding/binary"

	"github.com/klauspost/compress/gzip"

	"github.com/coldframe/coldframe/profile"
)

// The field numbers of profile.proto, github.com/google/pprof.
const (
	fieldSampleType = 1
	fieldSample     = 2
	fieldMapping    = 3
	fieldLocation   = 4
	fieldFunction   = 5
	fieldString     = 6
	fieldTime       = 9
	fieldDuration   = 10
	fieldPeriodType = 11
	fieldPeriod     = 12
	fieldComment    = 13
	fieldDefault    = 14
)

// message is a protobuf message that is being written.
type message []byte

func (m *message) number(field int, v uint64) {
	if v != 0 {
		*m = binary.AppendUvarint(*m, uint64(field)<<3)
		*m = binary.AppendUvarint(*m, v)
	}
}

func (m *message) bytes(field int, b []byte) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|2)
	*m = binary.AppendUvarint(*m, uint64(len(b)))
	*m = append(*m, b...)
}

// Encode writes the profile as pprof in gzip. The same calls before give the same bytes.
func (d *Draft) Encode() []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(d.encode()) // a Buffer takes all
	_ = w.Close()
	return out.Bytes()
}

// encode writes the profile as pprof, uncompressed.
func (d *Draft) encode() []byte {
	var out, part message
	for _, t := range d.SampleTypes {
		part = d.valueType(part[:0], t)
		out.bytes(fieldSampleType, part)
	}
	out = d.encodeSamples(out)
	for i, m := range d.mappings {
		part = part[:0]
		part.number(1, uint64(i+1))
		part.number(2, m.Start)
		part.number(3, m.Limit)
		part.number(4, m.Offset)
		part.number(5, d.text(m.File))
		part.number(6, d.text(m.BuildID))
		if m.HasFunctions {
			part.number(7, 1)
		}
		out.bytes(fieldMapping, part)
	}
	out = d.encodeLocations(out)
	for i, f := range d.functions {
		system := f.SystemName
		if system == "" {
			system = f.Name
		}
		part = part[:0]
		part.number(1, uint64(i+1))
		part.number(2, d.text(f.Name))
		part.number(3, d.text(system))
		part.number(4, d.text(f.File))
		part.number(5, uint64(f.StartLine))
		out.bytes(fieldFunction, part)
	}
	if !d.Time.IsZero() {
		out.number(fieldTime, uint64(d.Time.UnixNano()))
	}
	out.number(fieldDuration, uint64(d.Duration))
	if d.PeriodType != (profile.ValueType{}) {
		part = d.valueType(part[:0], d.PeriodType)
		out.bytes(fieldPeriodType, part)
	}
	out.number(fieldPeriod, uint64(d.Period))
	for _, c := range d.Comments {
		out.number(fieldComment, d.text(c))
	}
	out.number(fieldDefault, d.text(d.DefaultSample))
	for _, s := range d.table { // last: all of the above add to it
		out.bytes(fieldString, []byte(s))
	}
	return out
}

func (d *Draft) valueType(part message, t profile.ValueType) message {
	part.number(1, d.text(t.Type))
	part.number(2, d.text(t.Unit))
	return part
}

func (d *Draft) encodeSamples(out message) message {
	var part, packed message
	stackFrom, labelFrom := uint32(0), uint32(0)
	for i, s := range d.samples {
		part, packed = part[:0], packed[:0]
		for _, ref := range d.stacks[stackFrom:s.stackTo] {
			packed = binary.AppendUvarint(packed, uint64(ref))
		}
		if len(packed) > 0 {
			part.bytes(1, packed)
		}
		packed = packed[:0]
		for _, v := range d.values[i*len(d.SampleTypes) : (i+1)*len(d.SampleTypes)] {
			packed = binary.AppendUvarint(packed, uint64(v))
		}
		part.bytes(2, packed)
		for _, l := range d.labels[labelFrom:s.labelTo] {
			packed = packed[:0]
			packed.number(1, d.text(l.Key))
			packed.number(2, d.text(l.Str))
			if l.Str == "" {
				packed.number(3, uint64(l.Num))
				packed.number(4, d.text(l.Unit))
			}
			part.bytes(3, packed)
		}
		out.bytes(fieldSample, part)
		stackFrom, labelFrom = s.stackTo, s.labelTo
	}
	return out
}

func (d *Draft) encodeLocations(out message) message {
	var part, line message
	for i, l := range d.locations {
		part = part[:0]
		part.number(1, uint64(i+1))
		part.number(2, uint64(l.mapping))
		part.number(3, l.address)
		for _, at := range d.lines[l.lineFrom:l.lineTo] {
			line = line[:0]
			line.number(1, uint64(at.Function))
			line.number(2, uint64(at.Line))
			line.number(3, uint64(at.Column))
			part.bytes(4, line)
		}
		out.bytes(fieldLocation, part)
	}
	return out
}

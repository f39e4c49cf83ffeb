package profile

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// The readers below read one message each, which is b[i:end]. At least padding
// bytes follow it.
//
// Each tries the fields in the order in which they are usually written, so that a
// message takes one turn of the loop and no search for what a tag means. Any other
// order takes more turns and gives the same. What was read past the message's end,
// because the last field claims to be longer, is noticed after the loop.

func (d *Decoder) valueType(b []byte, i, end int) ValueTypeRef {
	var kind, unit uint64
	at := i
	for i < end {
		at = i
		if b[i] == 1<<3 { // type
			kind, i = uvarint(b, i+1)
		}
		if b[i] == 2<<3 { // unit
			unit, i = uvarint(b, i+1)
		}
		if i == at {
			i = skip(b, i, end, 2)
		}
	}
	if i != end {
		d.broken("value type", b, at)
	}
	return ValueTypeRef{stringRef(kind), stringRef(unit)}
}

func (d *Decoder) sample(b []byte, i, end int) {
	p := &d.profile
	refs, values, labels := len(p.LocationRefs), len(p.Values), len(p.SampleLabels)
	first, at := i, i
	for i < end {
		at = i
		if b[i] == 2<<3|lengthType { // value, packed
			from, to := span(b, i+1, end)
			i = d.packedValues(b, from, to)
		}
		for i < end && b[i] == 2<<3 { // value
			var v uint64
			v, i = uvarint(b, i+1)
			p.Values = append(p.Values, int64(v))
		}
		if i < end && b[i] == 1<<3|lengthType { // location_id, packed
			from, to := span(b, i+1, end)
			i = d.packedRefs(b, from, to)
		}
		for i < end && b[i] == 1<<3 { // location_id
			var id uint64
			id, i = uvarint(b, i+1)
			p.LocationRefs = append(p.LocationRefs, d.locations.refer(id))
		}
		for i < end && b[i] == 3<<3|lengthType { // label
			from, to := span(b, i+1, end)
			if !d.usualLabel(b, from, to) {
				d.label(b, from, to)
			}
			i = to
		}
		if i == at {
			i = skip(b, i, end, 3)
		}
	}
	if i != end {
		d.broken("sample", b, at)
	}
	if len(p.LocationEnds) == 0 {
		d.valuesEach = len(p.Values)
	}
	p.LocationEnds = append(p.LocationEnds, uint32(len(p.LocationRefs)))
	if len(p.SampleLabels) > 0 {
		p.LabelEnds = append(p.LabelEnds, uint32(len(p.SampleLabels)))
	}
	depth, values, labels := len(p.LocationRefs)-refs, len(p.Values)-values, len(p.SampleLabels)-labels
	if values != d.valuesEach || depth > d.limits.MaxDepth || labels > d.limits.MaxSampleLabels || len(p.LocationEnds) > d.limits.MaxSamples {
		d.checkSample(first, depth, values, labels)
	}
}

// checkSample checks the sample at b[at:].
func (d *Decoder) checkSample(at, depth, values, labels int) {
	d.atMost("MaxDepth", "locations in a stack trace", depth, d.limits.MaxDepth)
	d.atMost("MaxSampleLabels", "labels of a sample", labels, d.limits.MaxSampleLabels)
	d.atMost("MaxSamples", "samples", d.profile.NumSamples(), d.limits.MaxSamples)
	if values != d.valuesEach && d.err == nil {
		d.err = invalidf("pprof sample at byte %d: %d values, but the samples before it have %d", d.base+at, values, d.valuesEach)
	}
}

func (d *Decoder) packedRefs(b []byte, i, end int) int {
	refs := d.profile.LocationRefs
	n := len(refs)
	if cap(refs)-n < end-i+refRoom {
		refs = slices.Grow(refs, end-i+refRoom) // a byte each at least
	}
	for i < end {
		var read int
		read, i, d.locations.top = usualRefs(refs[len(refs):cap(refs)], b, i, end, d.locations.top)
		refs = refs[:len(refs)+read]
		if i < end { // a longer one
			var id uint64
			id, i = uvarint(b, i)
			refs = append(refs, d.locations.refer(id))
		}
	}
	d.profile.LocationRefs = refs
	if i != end {
		return broken(b)
	}
	return end
}

// packedValues reads up to 56 bits at a time without branches: values are of all
// lengths.
func (d *Decoder) packedValues(b []byte, i, end int) int {
	values := d.profile.Values
	for i < end {
		w := binary.LittleEndian.Uint64(b[i:])
		stops := ^w & 0x8080808080808080
		if stops == 0 {
			var v uint64
			v, i = uvarint(b, i)
			values = append(values, int64(v))
			continue
		}
		i += bits.TrailingZeros64(stops)/8 + 1
		w &= stops ^ (stops - 1) // up to the first byte that is the last of a varint
		w = w&0x007f007f007f007f | w>>1&0x3f803f803f803f80
		w = w&0x00003fff00003fff | w>>2&0x0fffc0000fffc000
		w = w&0x000000000fffffff | w>>4&0x00fffffff0000000
		values = append(values, int64(w))
	}
	d.profile.Values = values
	if i != end {
		return broken(b)
	}
	return end
}

func (d *Decoder) label(b []byte, i, end int) {
	var key, str, num, numUnit uint64
	first, at := i, i
	for i < end {
		at = i
		if b[i] == 1<<3 { // key
			key, i = uvarint(b, i+1)
		}
		if i < end && b[i] == 2<<3 { // str
			str, i = uvarint(b, i+1)
		}
		if i < end && b[i] == 3<<3 { // num
			num, i = uvarint(b, i+1)
		}
		if i < end && b[i] == 4<<3 { // num_unit
			numUnit, i = uvarint(b, i+1)
		}
		if i == at {
			i = skip(b, i, end, 4)
		}
	}
	if i != end {
		d.broken("label", b, at)
	}
	if str != 0 { // then it is a string, whatever else is given
		num, numUnit = 0, 0
	}
	l := SampleLabel{Key: stringRef(key), Str: stringRef(str), Num: int64(num), NumUnit: stringRef(numUnit)}
	d.refersTo(max(l.Key, l.Str, l.NumUnit), first)
	if str == 0 && num == 0 && numUnit == 0 {
		return // says nothing
	}
	p := &d.profile
	if len(p.SampleLabels) == 0 { // the samples before have none
		p.LabelEnds = slices.Grow(p.LabelEnds, len(p.LocationEnds))[:len(p.LocationEnds)]
		clear(p.LabelEnds)
	}
	p.SampleLabels = append(p.SampleLabels, l)
}

func (d *Decoder) mapping(b []byte, i, end int) {
	var m Mapping
	var id, v uint64
	first, at := i, i
	for i < end {
		at = i
		switch b[i] {
		case 1 << 3:
			id, i = uvarint(b, i+1)
		case 2 << 3:
			m.Start, i = uvarint(b, i+1)
		case 3 << 3:
			m.Limit, i = uvarint(b, i+1)
		case 4 << 3:
			m.Offset, i = uvarint(b, i+1)
		case 5 << 3:
			v, i = uvarint(b, i+1)
			m.File = stringRef(v)
		case 6 << 3:
			v, i = uvarint(b, i+1)
			m.BuildID = stringRef(v)
		case 7 << 3:
			v, i = uvarint(b, i+1)
			m.HasFunctions = v != 0
		case 8 << 3:
			v, i = uvarint(b, i+1)
			m.HasFilenames = v != 0
		case 9 << 3:
			v, i = uvarint(b, i+1)
			m.HasLineNumbers = v != 0
		case 10 << 3:
			v, i = uvarint(b, i+1)
			m.HasInlineFrames = v != 0
		default:
			i = skip(b, i, end, 10)
		}
	}
	if i != end {
		d.broken("mapping", b, at)
	}
	d.mappings.add(id)
	d.refersTo(max(m.File, m.BuildID), first)
	d.profile.Mappings = append(d.profile.Mappings, m)
}

func (d *Decoder) location(b []byte, i, end int) {
	p := &d.profile
	var id, mapping, address, folded uint64
	lineFrom := len(p.Lines)
	at := i
	for i < end {
		at = i
		if b[i] == 1<<3 { // id
			id, i = uvarint(b, i+1)
		}
		if b[i] == 2<<3 { // mapping_id
			mapping, i = uvarint(b, i+1)
		}
		if b[i] == 3<<3 { // address
			address, i = uvarint(b, i+1)
		}
		for i < end && b[i] == 4<<3|lengthType { // line
			from, to := span(b, i+1, end)
			d.line(b, from, to)
			i = to
		}
		if i < end && b[i] == 5<<3 { // is_folded
			folded, i = uvarint(b, i+1)
		}
		if i == at {
			i = skip(b, i, end, 5)
		}
	}
	if i != end {
		d.broken("location", b, at)
	}
	d.locations.add(id)
	l := push(&p.Locations)
	l.Address = address
	l.Mapping = -1
	if mapping != 0 {
		l.Mapping = int32(d.mappings.refer(mapping))
	}
	l.LineFrom = uint32(lineFrom)
	l.LineTo = uint32(len(p.Lines))
	l.Folded = folded != 0
}

func (d *Decoder) line(b []byte, i, end int) {
	var function, number, column uint64
	at := i
	for i < end {
		at = i
		if b[i] == 1<<3 { // function_id
			function, i = uvarint(b, i+1)
		}
		if i < end && b[i] == 2<<3 { // line
			number, i = uvarint(b, i+1)
		}
		if i < end && b[i] == 3<<3 { // column
			column, i = uvarint(b, i+1)
		}
		if i == at {
			i = skip(b, i, end, 3)
		}
	}
	if i != end {
		d.broken("line", b, at)
	}
	l := push(&d.profile.Lines)
	l.Function = d.functions.refer(function)
	l.Line = int64(number)
	l.Column = int64(column)
}

func (d *Decoder) function(b []byte, i, end int) {
	var id, name, systemName, filename, startLine uint64
	first, at := i, i
	for i < end {
		at = i
		if b[i] == 1<<3 { // id
			id, i = uvarint(b, i+1)
		}
		if b[i] == 2<<3 { // name
			name, i = uvarint(b, i+1)
		}
		if b[i] == 3<<3 { // system_name
			systemName, i = uvarint(b, i+1)
		}
		if b[i] == 4<<3 { // filename
			filename, i = uvarint(b, i+1)
		}
		if b[i] == 5<<3 { // start_line
			startLine, i = uvarint(b, i+1)
		}
		if i == at {
			i = skip(b, i, end, 5)
		}
	}
	if i != end {
		d.broken("function", b, at)
	}
	d.functions.add(id)
	f := push(&d.profile.Functions)
	f.Name = stringRef(name)
	f.SystemName = stringRef(systemName)
	f.Filename = stringRef(filename)
	f.StartLine = int64(startLine)
	d.refersTo(max(f.Name, f.SystemName, f.Filename), first)
}

// push makes an array one longer and returns the new place. What it holds is left
// from an earlier profile: every field has to be set. Appending a struct instead
// makes the compiler build it elsewhere and copy it.
func push[T any](s *[]T) *T {
	n := len(*s)
	if n == cap(*s) {
		*s = slices.Grow(*s, 1)
	}
	*s = (*s)[:n+1]
	return &(*s)[n]
}

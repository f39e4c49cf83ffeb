package profile

// The readers below read a message of the shape that nearly all have: fields in the
// order in which the Go runtime or google/pprof writes them, IDs that count from 1,
// and numbers of one or two bytes. Of anything else they say false and leave it to
// the reader that knows all shapes. They call nothing and write only where there is
// room, which makes them twice as fast.

// short reads a varint of one or two bytes. What is longer gives a number of more
// than 14 bits.
func short(b []byte, i int) (v uint64, next int) {
	v, next = uint64(b[i]), i+1
	if v >= 0x80 {
		v = v&0x7f | uint64(b[next])<<7
		next++
	}
	return
}

const maxShort = 1<<14 - 1

func (d *Decoder) usualLocation(b []byte, i, end int) bool {
	p := &d.profile
	if b[i] != 1<<3 {
		return false
	}
	var mapping, address uint64
	id, i := short(b, i+1)
	if b[i] == 2<<3 {
		mapping, i = short(b, i+1)
	}
	if b[i] == 3<<3 {
		address, i = uvarint(b, i+1)
	}
	n := len(p.Lines)
	lines := p.Lines[:cap(p.Lines)]
	top := d.functions.top
	all := id
	for i < end && b[i] == 4<<3|lengthType {
		to := i + 2 + int(b[i+1])
		if b[i+2] != 1<<3 || n >= len(lines) {
			return false
		}
		var function, number uint64
		function, i = short(b, i+3)
		if i < to && b[i] == 2<<3 {
			number, i = short(b, i+1)
		}
		if i != to || function == 0 {
			return false
		}
		all |= function | number
		top = max(top, function-1)
		l := &lines[n]
		l.Function = uint32(function - 1)
		l.Line = int64(number)
		l.Column = 0
		n++
	}
	if i < end && b[i] == 2<<3 {
		mapping, i = short(b, i+1)
	}
	at := len(p.Locations)
	if i != end || all > maxShort || mapping-1 > d.mappings.top || at >= cap(p.Locations) || id != uint64(d.locations.count+1) || len(d.locations.keys) > 0 {
		return false
	}
	d.locations.count++
	d.functions.top = top
	p.Locations = p.Locations[:at+1]
	l := &p.Locations[at]
	l.Address = address
	l.Mapping = int32(mapping - 1)
	l.LineFrom = uint32(len(p.Lines))
	l.LineTo = uint32(n)
	l.Folded = false
	p.Lines = lines[:n]
	return true
}

func (d *Decoder) usualFunction(b []byte, i, end int) bool {
	p := &d.profile
	if b[i] != 1<<3 {
		return false
	}
	var name, systemName, filename, startLine uint64
	id, i := short(b, i+1)
	if b[i] == 2<<3 {
		name, i = short(b, i+1)
	}
	if b[i] == 3<<3 {
		systemName, i = short(b, i+1)
	}
	if b[i] == 4<<3 {
		filename, i = short(b, i+1)
	}
	if i < end && b[i] == 5<<3 {
		startLine, i = short(b, i+1)
	}
	at := len(p.Functions)
	if i != end || id|name|systemName|filename|startLine > maxShort || at >= cap(p.Functions) || id != uint64(d.functions.count+1) || len(d.functions.keys) > 0 {
		return false
	}
	d.functions.count++
	p.Functions = p.Functions[:at+1]
	f := &p.Functions[at]
	f.Name = uint32(name)
	f.SystemName = uint32(systemName)
	f.Filename = uint32(filename)
	f.StartLine = int64(startLine)
	d.refersTo(uint32(max(name, systemName, filename)), i)
	return true
}

// usualLabel reads a label that is a number without a unit, such as the size of what a
// heap profile's sample counts.
func (d *Decoder) usualLabel(b []byte, i, end int) bool {
	p := &d.profile
	if b[i] != 1<<3 {
		return false
	}
	key, i := short(b, i+1)
	if b[i] != 3<<3 {
		return false
	}
	num, i := uvarint(b, i+1)
	at := len(p.SampleLabels)
	if i != end || key > uint64(d.topString) || num == 0 || at == 0 || at >= cap(p.SampleLabels) {
		return false
	}
	p.SampleLabels = p.SampleLabels[:at+1]
	p.SampleLabels[at] = SampleLabel{Key: uint32(key), Num: int64(num)}
	return true
}

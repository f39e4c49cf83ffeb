package profile

import "unsafe"

// Decoder reads pprof into a [Profile] whose memory it uses again for the next.
//
//	var d profile.Decoder
//	for _, body := range bodies {
//		p, err := d.Decode(body)
//		if err != nil {
//			return err // wraps ErrInvalid
//		}
//		for i := range p.NumSamples() {
//			total += p.SampleValues(i)[0]
//		}
//	}
//
// It accepts what google/pprof's Parse accepts and gives the same content, except
// that zstd is accepted beside gzip, and that these are refused: what is over
// [Limits], a field number written in more bytes than it needs, and old formats
// whose memory map would take google/pprof minutes or gigabytes.
//
// The zero Decoder is ready. It keeps as much memory as the largest profile took.
// It must not be used concurrently.
type Decoder struct {
	Limits Limits // may be changed between calls

	limits  Limits // with defaults
	profile Profile
	err     error // the first that was met; what was read after it does not count

	raw    []byte // what Uncompress made
	tail   []byte // the last fields of a profile, and padding
	base   int    // where in the profile the bytes that are being read begin
	gunzip gunzip
	unzstd unzstd

	mappings, functions, locations idIndex

	valuesEach  int    // how many values the first sample has
	topString   uint32 // the largest string position that was referred to
	topStringAt int    // by the message that begins here
}

// Decode decodes a pprof as clients send it: in gzip or zstd, told by their magic,
// or plain; as profile.proto says, or in one of the formats before it that
// gperftools and old Go and Java programs write.
//
// The Profile is valid until the next call of any method. What is malformed or over
// a limit is ErrInvalid.
func (d *Decoder) Decode(data []byte) (*Profile, error) {
	raw, err := d.Uncompress(data)
	if err != nil {
		return nil, err
	}
	if len(raw) > 0 && &raw[0] == &data[0] { // was not compressed
		d.raw = append(d.raw[:0], raw...)
		raw = d.raw
	}
	return d.DecodeUncompressed(raw)
}

// DecodeUncompressed is [Decoder.Decode] of bytes that are not compressed, such as
// the result of [Decoder.Uncompress].
//
// It does not copy: the Profile's strings lie in raw, which must not change as
// long as the Profile is used.
func (d *Decoder) DecodeUncompressed(raw []byte) (*Profile, error) {
	d.limits = d.Limits.withDefaults()
	switch {
	case len(raw) == 0:
		return nil, invalidf("pprof: empty")
	case len(raw) > d.limits.MaxBytes:
		return nil, overLimit("MaxBytes", "uncompressed bytes", len(raw), d.limits.MaxBytes)
	}
	d.reset()
	d.proto(raw)
	if d.err == nil {
		d.resolve()
	}
	if d.err != nil && mayBeLegacy(d.err) {
		d.legacy(raw)
	}
	if d.err != nil {
		return nil, d.err
	}
	return &d.profile, nil
}

// reset empties all arrays and keeps their memory.
func (d *Decoder) reset() {
	p := &d.profile
	clear(p.Strings) // lets go of the bytes of the profile before
	*p = Profile{
		Strings:      p.Strings[:0],
		SampleTypes:  p.SampleTypes[:0],
		Comments:     p.Comments[:0],
		LocationRefs: p.LocationRefs[:0],
		LocationEnds: p.LocationEnds[:0],
		Values:       p.Values[:0],
		SampleLabels: p.SampleLabels[:0],
		LabelEnds:    p.LabelEnds[:0],
		Locations:    p.Locations[:0],
		Lines:        p.Lines[:0],
		Functions:    p.Functions[:0],
		Mappings:     p.Mappings[:0],
	}
	d.mappings.reset()
	d.functions.reset()
	d.locations.reset()
	d.err, d.base, d.valuesEach, d.topString, d.topStringAt = nil, 0, 0, 0, 0
}

// proto reads a whole profile. What begins or ends close to its end is read from a
// copy, which has padding behind it.
func (d *Decoder) proto(raw []byte) {
	rest := d.fields(raw, len(raw)-padding)
	if d.err != nil {
		return
	}
	d.base = rest
	end := len(raw) - rest
	d.tail = append(d.tail[:0], raw[rest:]...)
	d.tail = append(d.tail, zeros[:]...)
	if at := d.fields(d.tail, end); at < end && d.err == nil {
		d.broken("profile", d.tail, at)
	}
}

// fields reads the fields of a profile up to the first that does not lie wholly in
// b[:end], and says where that is. At least padding bytes follow.
func (d *Decoder) fields(b []byte, end int) int {
	p := &d.profile
	i := 0
	for i < end && d.err == nil {
		tag := b[i]
		if tag&0x87 != lengthType {
			next := d.scalar(b, i, end)
			if next > end {
				return i
			}
			i = next
			continue
		}
		from, to := span(b, i+1, end)
		if to > end {
			return i
		}
		switch tag >> 3 {
		case 1: // sample_type
			t := d.valueType(b, from, to)
			d.refersTo(max(t.Type, t.Unit), i)
			p.SampleTypes = append(p.SampleTypes, t)
			d.atMost("MaxSampleTypes", "sample types", len(p.SampleTypes), d.limits.MaxSampleTypes)
		case 2:
			d.sample(b, from, to)
		case 3:
			d.mapping(b, from, to)
		case 4:
			if !d.usualLocation(b, from, to) {
				d.location(b, from, to)
			}
		case 5:
			if !d.usualFunction(b, from, to) {
				d.function(b, from, to)
			}
		case 6: // string_table
			if len(p.Strings) == 0 && from != to {
				d.broken("profile", b, i)
			}
			to = d.strings(b, i, end)
		case 11:
			p.PeriodType = d.valueType(b, from, to)
		case 13: // comment, packed
			for from < to {
				var v uint64
				v, from = uvarint(b, from)
				p.Comments = append(p.Comments, stringRef(v))
			}
			if from != to {
				d.broken("profile", b, i)
			}
		case 0: // nobody's
		default:
			d.broken("profile", b, i)
		}
		i = to
	}
	return i
}

// strings reads the strings that follow each other from b[i:] on, up to one that does
// not lie wholly in b[:end], and says where they end.
func (d *Decoder) strings(b []byte, i, end int) int {
	all := d.profile.Strings
	for i < end && b[i] == 6<<3|lengthType {
		from, to := span(b, i+1, end)
		if to > end {
			break
		}
		all = append(all, unsafe.String(&b[from], to-from))
		i = to
	}
	d.profile.Strings = all
	return i
}

// scalar reads the profile's field at b[i:], which is a number or is unknown.
func (d *Decoder) scalar(b []byte, i, end int) int {
	p := &d.profile
	v, next := uvarint(b, i+1)
	if next > end && b[i]&0x87 == varintType {
		return next
	}
	switch b[i] {
	case 7 << 3:
		p.DropFrames = stringRef(v)
	case 8 << 3:
		p.KeepFrames = stringRef(v)
	case 9 << 3:
		if p.TimeNanos != 0 {
			d.err = invalidf("pprof: byte %d: a second time_nanos, as when profiles are concatenated", d.base+i)
		}
		p.TimeNanos = int64(v)
	case 10 << 3:
		p.DurationNanos = int64(v)
	case 12 << 3:
		p.Period = int64(v)
	case 13 << 3:
		p.Comments = append(p.Comments, stringRef(v))
	case 14 << 3:
		p.DefaultSampleType = stringRef(v)
	case 15 << 3:
		p.DocURL = stringRef(v)
	default:
		return skip(b, i, end, 15)
	}
	return next
}

// broken notes that a message's field at b[at:] cannot be read.
func (d *Decoder) broken(message string, b []byte, at int) {
	if d.err != nil {
		return
	}
	tag, _ := uvarint(b, at)
	field := tag >> 3
	d.err = &wireError{message, field, d.base + at}
	if b[at] >= 0x80 && 0 < field && field < 16 {
		d.err = invalidf("pprof %s: the number of field %d at byte %d is in more bytes than it needs", message, field, d.base+at)
	}
}

// atMost notes that a limit is exceeded, if it is.
func (d *Decoder) atMost(limit, what string, got, allowed int) {
	if got > allowed && d.err == nil {
		d.err = overLimit(limit, what, got, allowed)
	}
}

// refersTo notes that a message, which begins at b[at:], refers to a string.
func (d *Decoder) refersTo(ref uint32, at int) {
	if ref > d.topString {
		d.topString, d.topStringAt = ref, d.base+at
	}
}

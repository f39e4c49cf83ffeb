package profile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/profile"
)

// msg is a protobuf message under construction.
type msg []byte

func (m msg) varint(field int, v uint64) msg {
	return binary.AppendUvarint(binary.AppendUvarint(m, uint64(field)<<3), v)
}

func (m msg) bytes(field int, b []byte) msg {
	m = binary.AppendUvarint(binary.AppendUvarint(m, uint64(field)<<3|2), uint64(len(b)))
	return append(m, b...)
}

func (m msg) packed(field int, vs ...uint64) msg {
	var b []byte
	for _, v := range vs {
		b = binary.AppendUvarint(b, v)
	}
	return m.bytes(field, b)
}

func (m msg) raw(b ...byte) msg { return append(m, b...) }

func (m msg) strings(ss ...string) msg {
	for _, s := range ss {
		m = m.bytes(6, []byte(s))
	}
	return m
}

// small is a profile of one sample type, one function at one location, and one
// sample with it.
func small() msg {
	return msg{}.
		bytes(1, msg{}.varint(1, 1).varint(2, 2)).
		bytes(2, msg{}.packed(1, 1).packed(2, 7)).
		bytes(3, msg{}.varint(1, 1).varint(2, 0x1000).varint(3, 0x2000).varint(5, 4)).
		bytes(4, msg{}.varint(1, 1).varint(2, 1).varint(3, 0x1234).bytes(4, msg{}.varint(1, 1).varint(2, 12))).
		bytes(5, msg{}.varint(1, 1).varint(2, 3).varint(4, 4)).
		strings("", "cpu", "nanoseconds", "main.main", "main.go", "k", "v", "bytes")
}

// without strings, so that a test can add messages that come before them.
func twoTypes() msg {
	return msg{}.bytes(1, msg{}.varint(1, 1).varint(2, 2)).bytes(1, msg{}.varint(1, 3).varint(2, 4))
}

var wireCases = map[string]struct {
	pprof   []byte
	refused string // a part of our error; "" when the profile is accepted
}{
	"small":                  {pprof: small()},
	"empty":                  {pprof: nil, refused: "empty"},
	"no string":              {pprof: msg{}.varint(9, 1), refused: "string_table"},
	"only strings":           {pprof: msg{}.strings("")},
	"first string not empty": {pprof: msg{}.strings("a"), refused: "field 6"},

	"everything": {pprof: small().
		varint(7, 3).varint(8, 4).varint(9, 1<<60).varint(10, 5).
		bytes(11, msg{}.varint(1, 1).varint(2, 2)).varint(12, 10e6).
		packed(13, 1, 2).varint(13, 3).varint(14, 1).varint(15, 4)},
	"strings first":           {pprof: msg{}.strings("", "a", "b").bytes(1, msg{}.varint(1, 1)).bytes(2, msg{}.varint(2, 3))},
	"sample first":            {pprof: msg{}.bytes(2, msg{}.varint(1, 5).varint(2, 3)).bytes(4, msg{}.varint(1, 5)).bytes(1, nil).strings("")},
	"last period type counts": {pprof: small().bytes(11, msg{}.varint(1, 1).varint(2, 99)).bytes(11, msg{}.varint(2, 2))},
	"last scalar counts":      {pprof: small().varint(14, 999).varint(14, 1).varint(10, 1).varint(10, 2)},
	"two times":               {pprof: small().varint(9, 1).varint(9, 1), refused: "concatenated"},
	"time zero, then a time":  {pprof: small().varint(9, 0).varint(9, 1)},
	"concatenated":            {pprof: append(small().varint(9, 1), small().varint(9, 1)...), refused: "concatenated"},
	"concatenated, no time":   {pprof: append(small(), small()...), refused: "its ID"},

	"unknown fields": {pprof: small().
		varint(16, 1).varint(1000, 1).bytes(17, []byte("x")).raw(0x95, 1, 1, 2, 3, 4).raw(0x91, 1, 1, 2, 3, 4, 5, 6, 7, 8).
		raw(0, 1).raw(2, 1, 'x').raw(1, 1, 2, 3, 4, 5, 6, 7, 8).raw(5, 1, 2, 3, 4)},
	"unknown fields inside": {pprof: msg{}.
		bytes(1, msg{}.varint(3, 1).varint(1, 1).bytes(100, nil)).
		bytes(2, msg{}.varint(9, 1).varint(1, 1).varint(2, 1).bytes(3, msg{}.varint(1, 1).varint(2, 1).varint(5, 1)).varint(9, 1)).
		bytes(3, msg{}.varint(11, 1).varint(1, 1)).
		bytes(4, msg{}.varint(6, 1).varint(1, 1).bytes(4, msg{}.varint(4, 1).varint(1, 1)).varint(2, 1)).
		bytes(5, msg{}.varint(6, 1).varint(1, 1).varint(6, 1)).
		strings("", "a")},
	"huge field number":            {pprof: small().raw(0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1)},
	"group":                        {pprof: small().raw(16<<3|3&0x7f, 1), refused: "field"},
	"wire type 7":                  {pprof: small().raw(0x87, 1, 1), refused: "field 16"},
	"unpacked":                     {pprof: twoTypes().bytes(2, msg{}.varint(1, 1).varint(1, 1).varint(2, 3).varint(2, 4)).bytes(4, msg{}.varint(1, 1)).strings("", "a", "b", "c", "d")},
	"packed in pieces":             {pprof: twoTypes().bytes(2, msg{}.packed(1, 1).packed(2, 3).varint(1, 1).varint(2, 4).packed(1).packed(1, 1, 1)).bytes(4, msg{}.varint(1, 1)).strings("", "a", "b", "c", "d")},
	"negative value":               {pprof: twoTypes().bytes(2, msg{}.packed(2, uint64(math.MaxUint64), 1<<63)).strings("", "a", "b", "c", "d")},
	"negative value, one":          {pprof: small().bytes(2, msg{}.varint(2, math.MaxUint64))},
	"values of all lengths":        {pprof: lengths()},
	"too many bits":                {pprof: small().bytes(2, msg{}.raw(2<<3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f))},
	"too many bits, packed":        {pprof: small().bytes(2, msg{}.bytes(2, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}))},
	"eleven bytes":                 {pprof: small().bytes(2, msg{}.raw(2<<3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1)), refused: "pprof sample: field"},
	"eleven bytes, packed":         {pprof: small().bytes(2, msg{}.bytes(2, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})), refused: "pprof sample: field"},
	"eleven bytes, an ID":          {pprof: small().bytes(2, msg{}.bytes(1, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})), refused: "pprof sample: field"},
	"long ID":                      {pprof: small().bytes(2, msg{}.raw(1<<3, 0x81, 0x80, 0x80, 0, 2<<3, 1))},
	"long IDs, packed":             {pprof: small().bytes(2, msg{}.bytes(1, []byte{0x81, 0, 0x81, 0x80, 0, 1}).varint(2, 1))},
	"packed ID crosses its end":    {pprof: small().bytes(2, msg{}.raw(1<<3|2, 2, 1, 0x81, 2<<3, 1)), refused: "pprof sample: field"},
	"packed value crosses its end": {pprof: small().bytes(2, msg{}.raw(2<<3|2, 1, 0x81, 1, 1)), refused: "pprof sample: field"},
	"field crosses its message":    {pprof: small().bytes(4, msg{}.raw(1<<3, 0x82)).raw(0, 0, 0), refused: "pprof location: field"},
	"length crosses its message":   {pprof: small().bytes(4, msg{}.varint(1, 2).raw(4<<3|2, 5, 8)), refused: "pprof location: field"},
	"length of 2⁶³":                {pprof: small().raw(2<<3|2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), refused: "field 2"},
	"length of 2⁶³ inside":         {pprof: small().bytes(2, msg{}.raw(3<<3|2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1)), refused: "field 3"},
	"wrong wire type":              {pprof: small().bytes(7, nil), refused: "field 7"},
	"wrong wire type, a message":   {pprof: small().varint(2, 1), refused: "field 2"},
	"wrong wire type, fixed":       {pprof: small().raw(7<<3|5, 1, 2, 3, 4), refused: "field 7"},
	"wrong wire type inside":       {pprof: small().bytes(5, msg{}.bytes(2, nil)), refused: "pprof function: field"},
	"packed comment is cut":        {pprof: small().bytes(13, []byte{0x80}), refused: "field 13"},
	"time of eleven bytes":         {pprof: small().raw(9<<3, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1), refused: "field 9"},

	"no sample type":              {pprof: msg{}.bytes(2, nil).strings(""), refused: "sample types"},
	"too few values":              {pprof: twoTypes().bytes(2, msg{}.packed(2, 1)).strings("", "a", "b", "c", "d"), refused: "1 values"},
	"too many values":             {pprof: small().bytes(2, msg{}.packed(2, 1, 2)), refused: "2 values"},
	"values differ":               {pprof: twoTypes().bytes(2, msg{}.packed(2, 1, 2)).bytes(2, msg{}.packed(2, 1)).strings("", "a", "b", "c", "d"), refused: "1 values"},
	"no location":                 {pprof: small().bytes(2, msg{}.packed(1, 2).packed(2, 1)), refused: "location ID 2"},
	"no location at all":          {pprof: msg{}.bytes(1, nil).bytes(2, msg{}.varint(1, 1).varint(2, 1)).strings(""), refused: "location ID 1"},
	"location 0":                  {pprof: small().bytes(2, msg{}.packed(1, 0).packed(2, 1)), refused: "location ID 0"},
	"location 0, unpacked":        {pprof: small().bytes(2, msg{}.varint(1, 0).packed(2, 1)), refused: "location ID 0"},
	"location is 0":               {pprof: small().bytes(4, msg{}.varint(3, 1)), refused: "its ID is 0"},
	"location twice":              {pprof: small().bytes(4, msg{}.varint(1, 1)), refused: "its ID 1"},
	"mapping is 0":                {pprof: small().bytes(3, msg{}.varint(2, 1)), refused: "its ID is 0"},
	"mapping twice":               {pprof: small().bytes(3, msg{}.varint(1, 1)), refused: "its ID 1"},
	"mapping unknown":             {pprof: small().bytes(4, msg{}.varint(1, 2).varint(2, 77))},
	"mapping unknown, wide":       {pprof: small().bytes(4, msg{}.varint(1, 2).varint(2, 1<<40))},
	"mapping twice in a location": {pprof: small().bytes(4, msg{}.varint(1, 2).varint(2, 77).varint(2, 1))},
	"function is 0":               {pprof: small().bytes(5, msg{}.varint(2, 1)), refused: "its ID is 0"},
	"function twice":              {pprof: small().bytes(5, msg{}.varint(1, 1)), refused: "its ID 1"},
	"line without function":       {pprof: small().bytes(4, msg{}.varint(1, 2).bytes(4, msg{}.varint(2, 3))), refused: "function ID 0"},
	"no function":                 {pprof: small().bytes(4, msg{}.varint(1, 2).bytes(4, msg{}.varint(1, 3))), refused: "function ID 3"},
	"no wide function":            {pprof: small().bytes(4, msg{}.varint(1, 2).bytes(4, msg{}.varint(1, 1<<50))), refused: "function ID 1125899906842624"},
	"string unknown":              {pprof: small().varint(14, 8), refused: "string 8"},
	"string negative":             {pprof: small().varint(14, math.MaxUint64), refused: "string"},
	"string unknown, a label":     {pprof: small().bytes(2, msg{}.varint(2, 1).bytes(3, msg{}.varint(1, 9))), refused: "string 9"},
	"string unknown, a comment":   {pprof: small().packed(13, 1, 8), refused: "string 8"},
	"string of 2³²":               {pprof: small().varint(7, 1<<32), refused: "string"},

	"inlined lines": {pprof: small().bytes(5, msg{}.varint(1, 2).varint(2, 1).varint(3, 2).varint(5, 99)).
		bytes(4, msg{}.varint(1, 2).bytes(4, msg{}.varint(1, 2).varint(2, 1).varint(3, 9)).varint(2, 1).bytes(4, msg{}.varint(2, 5).varint(1, 1)).varint(5, 1))},
	"line of 3 bytes":             {pprof: small().bytes(4, msg{}.varint(1, 2).bytes(4, msg{}.varint(1, 1).varint(2, 1<<20)))},
	"negative line":               {pprof: small().bytes(4, msg{}.varint(1, 2).bytes(4, msg{}.varint(1, 1).varint(2, math.MaxUint64)))},
	"empty location":              {pprof: small().bytes(4, nil), refused: "its ID is 0"},
	"folded zero":                 {pprof: small().bytes(4, msg{}.varint(1, 2).varint(5, 0))},
	"folded 2":                    {pprof: small().bytes(4, msg{}.varint(1, 2).varint(5, 2))},
	"last line's field":           {pprof: small().bytes(4, msg{}.varint(1, 2).bytes(4, msg{}.varint(1, 7).varint(1, 1).varint(2, 3).varint(2, 4)))},
	"location of reversed fields": {pprof: small().bytes(4, msg{}.varint(5, 1).bytes(4, msg{}.varint(3, 1).varint(2, 2).varint(1, 1)).varint(3, 7).varint(2, 1).varint(1, 2))},
	"function of reversed fields": {pprof: small().bytes(5, msg{}.varint(5, 1).varint(4, 1).varint(3, 2).varint(2, 3).varint(1, 2))},

	"labels": {pprof: small().bytes(2, msg{}.varint(2, 1).
		bytes(3, msg{}.varint(1, 5).varint(2, 6)).
		bytes(3, msg{}.varint(1, 5).varint(2, 3)).
		bytes(3, msg{}.varint(1, 7).varint(3, 512)).
		bytes(3, msg{}.varint(1, 7).varint(3, 1024).varint(4, 7)).
		bytes(3, msg{}.varint(1, 5).varint(3, math.MaxUint64)))},
	"label before and after unlabeled": {pprof: small().bytes(2, msg{}.varint(2, 1).bytes(3, msg{}.varint(1, 5).varint(2, 6))).bytes(2, msg{}.varint(2, 1))},
	"label says nothing":               {pprof: small().bytes(2, msg{}.varint(2, 1).bytes(3, msg{}.varint(1, 5)).bytes(3, nil))},
	"label of unit alone":              {pprof: small().bytes(2, msg{}.varint(2, 1).bytes(3, msg{}.varint(1, 5).varint(4, 7)))},
	"label of both":                    {pprof: small().bytes(2, msg{}.varint(2, 1).bytes(3, msg{}.varint(1, 5).varint(2, 6).varint(3, 1).varint(4, 7)))},
	"label of both, unknown unit":      {pprof: small().bytes(2, msg{}.varint(2, 1).bytes(3, msg{}.varint(1, 5).varint(2, 6).varint(3, 1).varint(4, 99)))},

	"IDs in disorder":    {pprof: ids(3, 1, 2)},
	"IDs with gaps":      {pprof: ids(10, 200, 30)},
	"IDs far apart":      {pprof: ids(1, 1<<29, 1<<30, 1<<30-1)},
	"IDs as addresses":   {pprof: ids(0x7fff00001000, 0x7fff00002000, math.MaxUint64, 1, 1<<30+1)},
	"wide IDs twice":     {pprof: ids(1<<40, 1<<40), refused: "its ID 1099511627776"},
	"gaps, twice":        {pprof: ids(10, 10), refused: "its ID 10"},
	"far apart, twice":   {pprof: ids(1, 1<<29, 1<<29), refused: "its ID 536870912"},
	"0 among others":     {pprof: ids(2, 0), refused: "its ID is 0"},
	"wide, then unknown": {pprof: append(ids(1<<40, 2), msg{}.bytes(2, msg{}.varint(1, 1<<41).varint(2, 1))...), refused: "location ID 2199023255552"},

	"long tag": {pprof: small().raw(0xf8, 0, 1), refused: "more bytes"},
}

// ids makes a profile whose mappings, functions and locations have these IDs, and
// one sample for each and for all of them.
func ids(ids ...uint64) msg {
	m := msg{}.bytes(1, nil)
	for _, id := range ids {
		m = m.bytes(2, msg{}.packed(1, id).varint(2, id))
	}
	m = m.bytes(2, msg{}.packed(1, ids...).varint(2, 1))
	for i, id := range ids {
		m = m.bytes(3, msg{}.varint(1, id).varint(2, uint64(i))).
			bytes(4, msg{}.varint(1, id).varint(2, id).varint(3, uint64(i)).bytes(4, msg{}.varint(1, id).varint(2, uint64(i)))).
			bytes(5, msg{}.varint(1, id).varint(5, uint64(i)))
	}
	return m.strings("")
}

// lengths makes a profile with values whose varints have all lengths.
func lengths() msg {
	m := msg{}.bytes(1, nil).bytes(1, nil).bytes(1, nil)
	for shift := range 64 {
		v := uint64(1) << shift
		m = m.bytes(2, msg{}.packed(2, v, v-1, v+1)).bytes(2, msg{}.varint(2, v).varint(2, v-1).varint(2, v+1))
		m = m.bytes(3, msg{}.varint(1, uint64(shift+1)).varint(2, v).varint(3, v-1).varint(4, v+1))
	}
	return m.strings("")
}

func TestWire(t *testing.T) {
	var d profile.Decoder
	for name, c := range wireCases {
		t.Run(name, func(t *testing.T) {
			want, wantErr := pprof.ParseUncompressed(c.pprof)
			if wantErr == nil {
				wantErr = want.CheckValid()
			}
			// Behind a long string the rest is not read from the copy with padding.
			for _, behind := range []string{"", strings.Repeat("x", 200)} {
				data := c.pprof
				if behind != "" && len(data) > 0 {
					data = msg(bytes.Clone(data)).bytes(100, []byte(behind))
				}
				got, err := d.DecodeUncompressed(data)
				if c.refused != "" {
					if !errors.Is(err, profile.ErrInvalid) || !strings.Contains(err.Error(), c.refused) {
						t.Errorf("error %v does not say %q", err, c.refused)
					}
					if wantErr == nil && c.refused != "more bytes" {
						t.Errorf("google/pprof accepts it; we say %v", err)
					}
					continue
				}
				if err != nil || wantErr != nil {
					t.Fatalf("error %v, google/pprof's %v", err, wantErr)
				}
				requireSame(t, got, want)
			}
		})
	}
}

// TestCut cuts profiles at each byte.
func TestCut(t *testing.T) {
	var d profile.Decoder
	for name, c := range wireCases {
		for n := range c.pprof {
			cut := c.pprof[:n:n]
			want, wantErr := pprof.ParseUncompressed(cut)
			if wantErr == nil {
				wantErr = want.CheckValid()
			}
			got, err := d.DecodeUncompressed(cut)
			if (err == nil) != (wantErr == nil) && c.refused != "more bytes" {
				t.Errorf("%s: %d of %d bytes: error %v, google/pprof's %v", name, n, len(c.pprof), err, wantErr)
			}
			if err == nil {
				requireSame(t, got, want)
			}
		}
	}
}

// TestBytesBehind puts a string of one repeated byte behind each profile: what comes
// after a field that cannot be read must not be taken for its rest, whatever it is.
func TestBytesBehind(t *testing.T) {
	var d profile.Decoder
	for name, c := range wireCases {
		for filler := range 256 {
			data := msg(bytes.Clone(c.pprof)).bytes(6, bytes.Repeat([]byte{byte(filler)}, 100))
			want, wantErr := pprof.ParseUncompressed(data)
			if wantErr == nil {
				wantErr = want.CheckValid()
			}
			_, err := d.DecodeUncompressed(data)
			if err != nil && !errors.Is(err, profile.ErrInvalid) || err == nil && wantErr != nil {
				t.Errorf("%s, %#x behind it: %v, google/pprof says %v", name, filler, err, wantErr)
			}
		}
	}
}

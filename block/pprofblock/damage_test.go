package pprofblock_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"reflect"
	"strings"
	"testing"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/pprofblock"
)

// checkDamaged holds the law of damage: what is still read is what was written, and
// all else is ErrCorrupt. It returns how many profiles were lost.
func checkDamaged(t *testing.T, what string, damaged, whole []byte) (lost int) {
	t.Helper()
	want := open(t, whole)
	got, err := pprofblock.Open(damaged, pprofblock.Limits{})
	if err != nil {
		if !errors.Is(err, block.ErrCorrupt) {
			t.Fatalf("%s: %v is not ErrCorrupt", what, err)
		}
		return want.Len()
	}
	if err := got.Verify(); !errors.Is(err, block.ErrCorrupt) {
		t.Fatalf("%s: verify: got %v, want ErrCorrupt", what, err)
	}
	if !reflect.DeepEqual(got.Manifest(), want.Manifest()) {
		t.Fatalf("%s: another manifest: %+v", what, got.Manifest())
	}
	for i := range want.Len() {
		body, err := got.Profile(i)
		wantBody, _ := want.Profile(i)
		switch {
		case errors.Is(err, block.ErrCorrupt):
			lost++
		case err != nil || !bytes.Equal(body, wantBody):
			t.Fatalf("%s: profile %d: got %q, %v, want %q", what, i, body, err, wantBody)
		}
	}
	return lost
}

// Every bit is flipped once. A flip in the manifest loses the block, one in a profile
// loses the profile, and one in the ZIP's headers behind the manifest loses nothing.
func TestEveryFlippedBit(t *testing.T) {
	whole := tinyBlock(t)
	manifestEnd := bytes.Index(whole, []byte("\n]}\n")) + len("\n]}\n")
	r := open(t, whole)
	want := make([]int, len(whole))
	for i := range manifestEnd {
		want[i] = r.Len()
	}
	for i := range r.Len() {
		body, _ := r.Profile(i)
		at := bytes.Index(whole, body)
		for j := range body {
			want[at+j] = 1
		}
	}
	for i := range whole {
		for bit := range 8 {
			damaged := bytes.Clone(whole)
			damaged[i] ^= 1 << bit
			what := fmt.Sprintf("byte %d bit %d", i, bit)
			if lost := checkDamaged(t, what, damaged, whole); lost != want[i] {
				t.Errorf("%s: %d profiles lost, want %d", what, lost, want[i])
			}
		}
	}
}

func TestEveryTruncation(t *testing.T) {
	whole := tinyBlock(t)
	for n := range whole {
		if _, err := pprofblock.Open(whole[:n], pprofblock.Limits{}); !errors.Is(err, block.ErrCorrupt) {
			t.Errorf("%d of %d bytes: got %v", n, len(whole), err)
		}
	}
	if _, err := pprofblock.Open(append(bytes.Clone(whole), 0), pprofblock.Limits{}); !errors.Is(err, block.ErrCorrupt) {
		t.Errorf("a byte more: got %v", err)
	}
}

// blockOf writes a block around a manifest that no Builder would make.
func blockOf(manifest string, bodies ...string) []byte {
	var out, directory []byte
	le := binary.LittleEndian
	add := func(name, body string) {
		facts := []byte{10, 0, 0, 0, 0, 0, 0, 0, 0x21, 0}
		facts = le.AppendUint32(facts, crc32.ChecksumIEEE([]byte(body)))
		facts = le.AppendUint32(facts, uint32(len(body)))
		facts = le.AppendUint32(facts, uint32(len(body)))
		facts = le.AppendUint32(facts, uint32(len(name)))
		directory = append(append(append(directory, "PK\x01\x02\x0a\x00"...), facts...), make([]byte, 10)...)
		directory = append(le.AppendUint32(directory, uint32(len(out))), name...)
		out = append(append(append(append(out, "PK\x03\x04"...), facts...), name...), body...)
	}
	add("manifest.json", manifest)
	for i, body := range bodies {
		add(fmt.Sprintf("%d.pb.gz", i), body)
	}
	from := len(out)
	out = append(append(out, directory...), "PK\x05\x06\x00\x00\x00\x00"...)
	out = le.AppendUint16(out, uint16(1+len(bodies)))
	out = le.AppendUint16(out, uint16(1+len(bodies)))
	out = le.AppendUint32(out, uint32(len(directory)))
	out = le.AppendUint32(out, uint32(from))
	return append(out, 0, 0)
}

const goodEntry = `{"file":"0.pb.gz","name":"cpu","labels":{},"types":["samples:count"],"period":":","min":1,"max":2,"samples":3,"size":4,"crc":0}`

func manifestOf(entries ...string) string {
	return `{"v":1,"id":"01J9ZQ4T5V8W3X6Y7Z0A1B2C3D","agent":"a","created":5,"profiles":[` + strings.Join(entries, ",") + `]}`
}

func TestAbsurdManifests(t *testing.T) {
	if r := open(t, blockOf(manifestOf())); r.Len() != 0 {
		t.Fatal("an empty block of another writer")
	}
	if r, err := pprofblock.Open(blockOf(manifestOf(goodEntry), "body"), pprofblock.Limits{}); err != nil || r.Len() != 1 {
		t.Fatalf("a block of another writer: %v", err)
	}
	replace := func(old, new string) []byte {
		s := strings.Replace(manifestOf(goodEntry), old, new, 1)
		if !strings.Contains(manifestOf(goodEntry), old) {
			t.Fatalf("%s is not there", old)
		}
		return blockOf(s, "body")
	}
	for name, data := range map[string][]byte{
		"nothing":               nil,
		"text":                  []byte("hello"),
		"zeros":                 make([]byte, 1000),
		"empty ZIP":             []byte("PK\x05\x06" + strings.Repeat("\x00", 18)),
		"not JSON":              blockOf("{"),
		"no manifest":           blockOf("null"),
		"version 2":             replace(`"v":1`, `"v":2`),
		"bad ID":                replace(`01J9`, `x`),
		"ID in lower case":      replace(`01J9`, `01j9`),
		"agent not a string":    replace(`"agent":"a"`, `"agent":1`),
		"long agent":            replace(`"agent":"a"`, `"agent":"`+strings.Repeat("a", 2000)+`"`),
		"created before 1970":   replace(`"created":5`, `"created":-5`),
		"created after 2262":    replace(`"created":5`, `"created":9223372036854775807`),
		"path as file":          replace(`0.pb.gz`, `../0.pb.gz`),
		"other file":            replace(`0.pb.gz`, `1.pb.gz`),
		"no name":               replace(`"name":"cpu"`, `"name":""`),
		"no types":              replace(`"samples:count"`, ``),
		"type without colon":    replace(`"samples:count"`, `"samples"`),
		"type with two colons":  replace(`"samples:count"`, `"samples:count:x"`),
		"period without colon":  replace(`"period":":"`, `"period":""`),
		"label without name":    replace(`"labels":{}`, `"labels":{"":"x"}`),
		"reversed times":        replace(`"min":1`, `"min":3`),
		"negative time":         replace(`"min":1`, `"min":-1`),
		"time after 2262":       replace(`"max":2`, `"max":9223372036854775807`),
		"negative samples":      replace(`"samples":3`, `"samples":-3`),
		"size 0":                replace(`"size":4`, `"size":0`),
		"negative size":         replace(`"size":4`, `"size":-4`),
		"size too small":        replace(`"size":4`, `"size":3`),
		"size too large":        replace(`"size":4`, `"size":5`),
		"huge size":             replace(`"size":4`, `"size":9223372036854775807`),
		"CRC of 33 bits":        replace(`"crc":0`, `"crc":4294967296`),
		"one profile too few":   blockOf(manifestOf(), "body"),
		"one profile too many":  blockOf(manifestOf(goodEntry)),
		"the same file twice":   blockOf(manifestOf(goodEntry, goodEntry), "body"),
		"deep JSON":             blockOf(strings.Repeat("[", 1<<20)),
		"deflated manifest":     bytes.Replace(blockOf(manifestOf()), []byte("\x0a\x00\x00\x00\x00\x00"), []byte("\x0a\x00\x00\x00\x08\x00"), 1),
		"manifest of 4 GiB":     bytes.Replace(blockOf(manifestOf()), le32(len(manifestOf())), []byte{0xff, 0xff, 0xff, 0xff}, 2),
		"manifest over a limit": blockOf(manifestOf() + strings.Repeat(" ", 65<<20)),
	} {
		if r, err := pprofblock.Open(data, pprofblock.Limits{}); !errors.Is(err, block.ErrCorrupt) {
			t.Errorf("%s: got %+v, %v, want ErrCorrupt", name, r, err)
		}
	}
}

func le32(n int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }

// Any bytes.
func FuzzOpen(f *testing.F) {
	f.Add(tinyBlock(f))
	f.Add(blockOf(manifestOf()))
	f.Add(blockOf(manifestOf(goodEntry), "body"))
	f.Add([]byte("PK\x03\x04"))
	f.Fuzz(checkOpen)
}

// Any manifest, with a ZIP around it that is right.
func FuzzManifest(f *testing.F) {
	gzipped := strings.Replace(goodEntry, `"crc":0`, `"crc":2316004251`, 1)
	f.Add(manifestOf(), "")
	f.Add(manifestOf(goodEntry), "body")
	f.Add(manifestOf(gzipped), "\x1f\x8b\x08\x00")
	f.Fuzz(func(t *testing.T, manifest, body string) {
		if body == "" {
			checkOpen(t, blockOf(manifest))
			return
		}
		checkOpen(t, blockOf(manifest, body))
	})
}

// checkOpen holds the laws of reading: nothing panics, and what opens can be built
// again from what was read, and reads the same.
func checkOpen(t *testing.T, data []byte) {
	r, err := pprofblock.Open(data, pprofblock.Limits{ManifestBytes: 1 << 20})
	if err != nil {
		if !errors.Is(err, block.ErrCorrupt) {
			t.Fatalf("%v is not ErrCorrupt", err)
		}
		return
	}
	if err := pprofblock.Print(&bytes.Buffer{}, r); err != nil {
		t.Fatal(err)
	}
	_ = r.Verify()
	m := r.Manifest()
	b := pprofblock.NewBuilder(m.ID, m.Agent, m.Created)
	var kept []pprofblock.Entry
	for i, e := range m.Profiles {
		body, err := r.Profile(i)
		if err != nil || !bytes.HasPrefix(body, []byte("\x1f\x8b")) {
			continue
		}
		if err := b.Add(e, body); err != nil {
			t.Fatalf("profile %d was read and cannot be written: %v", i, err)
		}
		e.File = fmt.Sprintf("%d.pb.gz", len(kept))
		kept = append(kept, e)
	}
	again := open(t, b.Bytes()).Manifest()
	if again.ID != m.ID || again.Agent != m.Agent || !again.Created.Equal(m.Created) || len(again.Profiles) != len(kept) {
		t.Fatalf("got %+v, want %+v", again, m)
	}
	for i, e := range again.Profiles {
		if !reflect.DeepEqual(e, kept[i]) {
			t.Fatalf("profile %d: got %+v, want %+v", i, e, kept[i])
		}
	}
}

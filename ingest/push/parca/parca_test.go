package parca_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	pprof "github.com/google/pprof/profile"
	"github.com/klauspost/compress/zstd"

	"github.com/coldframe/coldframe/ingest/push/parca"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/profile/draft"
)

// describe tells what profiles hold.
func describe(t *testing.T, made []draft.Profile) string {
	t.Helper()
	var lines []string
	for _, m := range made {
		p, err := pprof.ParseData(m.Body)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.CheckValid(); err != nil {
			t.Fatal(err)
		}
		var types []string
		for _, st := range p.SampleType {
			types = append(types, st.Type+":"+st.Unit)
		}
		lines = append(lines, fmt.Sprintf("%s%s %s period %s:%s %d at %d for %d", m.Name, m.Labels, strings.Join(types, " "), p.PeriodType.Type, p.PeriodType.Unit, p.Period, p.TimeNanos-at, p.DurationNanos))
		for _, s := range p.Sample {
			line := fmt.Sprintf("  %d", s.Value)
			for _, l := range s.Location {
				line += fmt.Sprintf(" | %#x %s %s %x-%x@%x", l.Address, l.Mapping.File, l.Mapping.BuildID, l.Mapping.Start, l.Mapping.Limit, l.Mapping.Offset)
				for _, at := range l.Line {
					line += fmt.Sprintf(" %s %s %s:%d:%d+%d", at.Function.Name, at.Function.SystemName, at.Function.Filename, at.Line, at.Column, at.Function.StartLine)
				}
			}
			lines = append(lines, line+" "+fmt.Sprint(s.Label))
		}
	}
	return strings.Join(lines, "\n")
}

const wantV2 = `process_cpu{comm="shop", node="n1", original_name="parca_agent"} samples:count cpu:nanoseconds period cpu:nanoseconds 52631578 at 0 for 2000000000
  [2 105263156] | 0x1234 /bin/shop feed 0-0@0 work work shop.go:7:2+3 | 0x2000 /bin/shop feed 0-0@0 main.main.func1.a_name_that_is_long main.main.func1.a_name_that_is_long :9:0+0 map[thread_id:[7]]
  [1 52631578] | 0x1234 /bin/shop feed 0-0@0 work work shop.go:7:2+3 | 0x2000 /bin/shop feed 0-0@0 main.main.func1.a_name_that_is_long main.main.func1.a_name_that_is_long :9:0+0 map[thread_id:[8]]
process_cpu{comm="cart", node="n1", original_name="parca_agent"} samples:count cpu:nanoseconds period cpu:nanoseconds 52631578 at 3000000000 for 1000000000
  [1 52631578] | 0xffffffff81000000 [kernel.kallsyms]  0-0@0 | 0x2000 /bin/shop feed 0-0@0 main.main.func1.a_name_that_is_long main.main.func1.a_name_that_is_long :9:0+0 map[thread_id:[9]]
memory{comm="shop", node="n1"} inuse_objects:count inuse_space:bytes period space:bytes 524288 at 4000000000 for 0
  [5 4096] | 0x1234 /bin/shop feed 0-0@0 work work shop.go:7:2+3 | 0x2000 /bin/shop feed 0-0@0 main.main.func1.a_name_that_is_long main.main.func1.a_name_that_is_long :9:0+0 map[]`

const wantV1 = `process_cpu{comm="shop", node="n1", original_name="parca_agent"} samples:count cpu:nanoseconds period cpu:nanoseconds 52631578 at 0 for 2000000000
  [1 52631578] | 0x1000 /bin/shop feed 1000-9000@40 work _work shop.c:7:1+3 | 0x1001 /bin/shop feed 1000-9000@40 main _main shop.c:8:1+3 map[thread_name:[io]]
  [1 52631578] | 0x2000 /bin/shop feed 1000-9000@40 | 0x2001 /bin/shop feed 1000-9000@40 main _main shop.c:8:1+3 map[thread_name:[io]]
  [1 52631578] | 0x1000 /bin/shop feed 1000-9000@40 work _work shop.c:7:1+3 | 0x1001 /bin/shop feed 1000-9000@40 main _main shop.c:8:1+3 map[]`

// A batch of either schema becomes a profile for each series, with all that it says.
func TestDecode(t *testing.T) {
	v2, samples, locations := messageV2(t), samplesV1(t), locationsV1(t)
	for name, c := range map[string]struct {
		streams [][]byte
		want    string
	}{
		"v2":                  {[][]byte{v2}, wantV2},
		"v1":                  {[][]byte{samples, locations}, wantV1},
		"v1, one after other": {[][]byte{slices.Concat(samples, locations)}, wantV1},
		"v1, stacks first":    {[][]byte{locations, samples}, wantV1},
		"both":                {[][]byte{v2, locations}, wantV2},
	} {
		made, err := parca.Decode(c.streams...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := describe(t, made); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

// A server of v1 asks for the stacks that it does not know, once.
func TestMissingStacksAreAskedFor(t *testing.T) {
	s := parca.NewSamples()
	if err := s.Add(samplesV1(t)); err != nil {
		t.Fatal(err)
	}
	asked, err := s.Missing()
	if err != nil || strings.Count(string(asked), "stack-000000000") != 2 {
		t.Fatalf("asked %q, %v", asked, err)
	}
	if err := s.Add(locationsV1(t)); err != nil {
		t.Fatal(err)
	}
	if again, err := s.Missing(); again != nil || err != nil {
		t.Errorf("asked again: %q, %v", again, err)
	}
	made, err := s.Profiles()
	if err != nil || describe(t, made) != wantV1 {
		t.Errorf("got %v\n%s", err, describe(t, made))
	}
}

// A file gives its batches; one that ends within a batch gives those before.
func TestFiles(t *testing.T) {
	v2 := messageV2(t)
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	whole := padata(2, v2, v2)
	for name, c := range map[string]struct {
		data    []byte
		batches int
		whole   bool
	}{
		"whole":                {whole, 2, true},
		"zstd":                 {z.EncodeAll(whole, nil), 2, true},
		"count not yet there":  {padata(0, v2), 1, true},
		"none":                 {padata(0), 0, true},
		"cut in a batch":       {whole[:len(whole)-5], 1, false},
		"cut in a length":      {padata(2, v2)[:len(padata(2, v2))], 1, false},
		"cut before a batch":   {append(padata(1, v2), 0, 0), 1, false},
		"a claim of gigabytes": {append(padata(1), 0xff, 0xff, 0xff, 0xff), 0, false},
	} {
		if !parca.IsFile(c.data) {
			t.Errorf("%s: not seen as a file", name)
		}
		batches, whole, err := parca.Batches(c.data)
		if err != nil || len(batches) != c.batches || whole != c.whole {
			t.Errorf("%s: %d batches, whole: %v, %v; want %d, %v", name, len(batches), whole, err, c.batches, c.whole)
		}
		made, whole, err := parca.DecodeFile(c.data)
		want := strings.TrimSuffix(strings.Repeat(wantV2+"\n", c.batches), "\n")
		if got := describe(t, made); err != nil || whole != c.whole || got != want {
			t.Errorf("%s: whole: %v, %v\n%s", name, whole, err, got)
		}
	}
	v1 := padata(4, samplesV1(t), locationsV1(t), samplesV1(t), locationsV1(t))
	if made, whole, err := parca.DecodeFile(v1); err != nil || !whole || describe(t, made) != wantV1+"\n"+wantV1 {
		t.Errorf("v1: whole: %v, %v\n%s", whole, err, describe(t, made))
	}
	if _, _, err := parca.DecodeFile(padata(1, []byte("x"))); !errors.Is(err, profile.ErrInvalid) {
		t.Errorf("a batch that is none: %v", err)
	}
	for _, bad := range [][]byte{nil, {0xa6, 0xe7}, {0x28, 0xb5, 0x2f, 0xfd, 0}} {
		if _, _, err := parca.Batches(bad); !errors.Is(err, profile.ErrInvalid) || parca.IsFile(bad) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

func TestMalformed(t *testing.T) {
	v2 := messageV2(t)
	for name, data := range map[string][]byte{
		"nothing": nil, "text": []byte("hello"), "cut": v2[:len(v2)/2], "metadata of 2 GiB": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"version": []byte(strings.Replace(string(v2), "\x02\x00\x00\x00v2", "\x02\x00\x00\x00v3", 1)),
		"column":  []byte(strings.ReplaceAll(string(v2), "producer", "producor")),
	} {
		if _, err := parca.Decode(data); !errors.Is(err, profile.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever comes is refused with ErrInvalid or becomes sound profiles, within bounds of memory.
func FuzzDecode(f *testing.F) {
	t := &testing.T{}
	f.Add(messageV2(t))
	f.Add(slices.Concat(samplesV1(t), locationsV1(t)))
	f.Add(locationsV1(t))
	f.Fuzz(func(t *testing.T, data []byte) {
		made, err := parca.Decode(data)
		if err != nil {
			if !errors.Is(err, profile.ErrInvalid) {
				t.Fatalf("%v is not ErrInvalid", err)
			}
			return
		}
		for _, m := range made {
			var d profile.Decoder
			if _, err := d.Decode(m.Body); err != nil {
				t.Fatalf("what was made cannot be read: %v", err)
			}
		}
	})
}

func FuzzBatches(f *testing.F) {
	f.Add(padata(1, []byte("abc")))
	f.Add(padata(2, nil, []byte("abc"))[:14])
	f.Fuzz(func(t *testing.T, data []byte) {
		batches, _, err := parca.Batches(data)
		if err != nil && !errors.Is(err, profile.ErrInvalid) {
			t.Fatalf("%v is not ErrInvalid", err)
		}
		if err == nil && !parca.IsFile(data) {
			t.Fatalf("%d batches of what is no file", len(batches))
		}
	})
}

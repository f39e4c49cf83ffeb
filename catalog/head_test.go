package catalog

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

// wholeHead has something in every field.
func wholeHead(t testing.TB) Head {
	t.Helper()
	ms := time.Date(2026, 8, 21, 10, 0, 0, 0, time.UTC).UnixMilli()
	day := block.DayOfMillis(ms)
	live := []block.Meta{
		{ID: nameID("a"), Level: block.L1, Day: day, MinTime: ms, MaxTime: ms + 59_000, Size: 5000, Tail: 600, CRC: 77, Rows: 9, Profiles: 3, Types: block.Types{cpuType()}},
		{
			ID: nameID("b"), Level: block.L4, Day: day, MinTime: ms + 1, MaxTime: ms + 2, Size: 50, Tail: 50, Types: block.Types{}, Bad: "raw/0: checksum",
			R4: &block.Rollup{ID: nameID("r"), Size: 10, Tail: 5, CRC: 8},
		},
	}
	h := Head{
		V: 1, Seq: 3, Txn: nameID("t3"), Sealed: 29_784_600, Sweep: 2, Swept: 29_784_590,
		Live:    live,
		Commits: []Gathering{{From: 29_784_599, To: 29_784_600, Time: ms / 1000, Out: []Output{outputOf(live[0])}}},
		Txns:    []block.ID{nameID("t2"), nameID("t3")},
		Arch:    []Part{{ID: nameID("p"), Entries: 4, MinTime: ms - 10, MaxTime: ms - 5, Size: 900, CRC: 1}},
	}
	if err := h.validate(); err != nil {
		t.Fatal(err)
	}
	return h
}

func cpuType() profile.Type {
	cpu := profile.ValueType{Type: "cpu", Unit: "nanoseconds"}
	return profile.Type{Name: "process_cpu", Sample: cpu, Period: cpu, Delta: true}
}

// The written form is a contract with other versions: MANIFEST.md shows this HEAD.
func TestHeadIsWrittenAsDocumented(t *testing.T) {
	const want = `{"v":1,"seq":3,"txn":"00000000000000000000000X1K","sealed":29784600,"sweep":2,"swept":29784590,` +
		`"live":[{"id":"00000000000000000000000031","l":1,"day":"20260821","min":1787306400000,"max":1787306459000,"size":5000,"tail":600,"crc":77,"rows":9,"profiles":3,"types":["process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta"]},` +
		`{"id":"00000000000000000000000032","l":4,"day":"20260821","min":1787306400001,"max":1787306400002,"size":50,"tail":50,"crc":0,"rows":0,"profiles":0,"types":[],"bad":"raw/0: checksum","r4":{"id":"0000000000000000000000003J","size":10,"tail":5,"crc":8}}],` +
		`"commits":[{"from":29784599,"to":29784600,"time":1787306400,"out":[{"id":"00000000000000000000000031","l":1,"day":"20260821","size":5000,"tail":600,"crc":77}]}],` +
		`"txns":["00000000000000000000000X1J","00000000000000000000000X1K"],` +
		`"arch":[{"id":"0000000000000000000000003G","n":4,"min":1787306399990,"max":1787306399995,"size":900,"crc":1}]}`
	h := wholeHead(t)
	data, err := h.encode()
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != want {
		t.Errorf("got  %s\nwant %s", data, want)
	}
	read, err := ParseHead(data)
	if err != nil || !reflect.DeepEqual(read, h) {
		t.Errorf("read again: %+v, %v", read, err)
	}
}

func TestHeadHasNoNulls(t *testing.T) {
	h, err := next(Head{}, Seal{To: 1}, nameID("t"), time.Unix(0, 0), 60)
	if err != nil {
		t.Fatal(err)
	}
	data, err := h.encode()
	if err != nil || bytes.Contains(data, []byte("null")) {
		t.Errorf("got %s, %v", data, err)
	}
}

func TestParseHeadRefuses(t *testing.T) {
	data, err := wholeHead(t).encode()
	if err != nil {
		t.Fatal(err)
	}
	whole := string(data)
	tests := []struct {
		name, old, new string
		want           error
	}{
		{"nothing", whole, "", block.ErrCorrupt},
		{"another object", whole, "[]", block.ErrCorrupt},
		{"no version", `"v":1,`, ``, block.ErrCorrupt},
		{"next version", `"v":1`, `"v":2`, ErrNewer},
		{"next version of another shape", whole, `{"v":2,"seq":"x"}`, ErrNewer},
		{"unknown field", `"seq":3`, `"seq":3,"epoch":1`, ErrNewer},
		{"unknown field of an entry", `"rows":9`, `"rows":9,"mood":1`, ErrNewer},
		{"cut", whole, whole[:len(whole)-1], block.ErrCorrupt},
		{"more after the end", whole, whole + "{}", block.ErrCorrupt},
		{"seq 0", `"seq":3`, `"seq":0`, block.ErrCorrupt},
		{"txn not the last", `"txn":"00000000000000000000000X1K"`, `"txn":"00000000000000000000000X1J"`, block.ErrCorrupt},
		{"swept after sealed", `"swept":29784590`, `"swept":29784601`, block.ErrCorrupt},
		{"swept before 1970", `"swept":29784590`, `"swept":-1`, block.ErrCorrupt},
		{"level of a pprof block", `"l":4`, `"l":0`, block.ErrCorrupt},
		{"level that there is not", `"l":4`, `"l":5`, block.ErrCorrupt},
		{"level of an output", `"out":[{"id":"00000000000000000000000031","l":1`, `"out":[{"id":"00000000000000000000000031","l":200`, block.ErrCorrupt},
		{"day that there is not", `"day":"20260821","min":1787306400000`, `"day":"20260832","min":1787306400000`, block.ErrCorrupt},
		{"times in another day", `"day":"20260821","min":1787306400000`, `"day":"20260822","min":1787306400000`, block.ErrCorrupt},
		{"block twice", `"id":"00000000000000000000000032"`, `"id":"00000000000000000000000031"`, block.ErrCorrupt},
		{"out of order", `"min":1787306400000,"max":1787306459000`, `"min":1787306400002,"max":1787306459000`, block.ErrCorrupt},
		{"commit backwards", `"from":29784599`, `"from":29784600`, block.ErrCorrupt},
		{"commit after sealed", `"from":29784599,"to":29784600`, `"from":29784599,"to":29784601`, block.ErrCorrupt},
		{"empty part", `"n":4`, `"n":0`, block.ErrCorrupt},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(whole, tt.old, tt.new, 1)
			if text == whole {
				t.Fatalf("%s is not in the HEAD", tt.old)
			}
			if _, err := ParseHead([]byte(text)); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// What is read can be written, and is then read as the same; nothing panics.
func FuzzParseHead(f *testing.F) {
	data, err := wholeHead(f).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"v":1,"seq":1,"txn":"00000000000000000000000X1K","txns":["00000000000000000000000X1K"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := ParseHead(data)
		if err != nil {
			if !errors.Is(err, block.ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Fatalf("neither corrupt nor newer: %v", err)
			}
			return
		}
		written, err := h.encode()
		if err != nil {
			t.Fatalf("cannot be written: %v", err)
		}
		again, err := ParseHead(written)
		if err != nil {
			t.Fatalf("cannot be read again: %v\n%s", err, written)
		}
		if twice, err := again.encode(); err != nil || !bytes.Equal(written, twice) {
			t.Fatalf("written as\n%s\nand then as\n%s, %v", written, twice, err)
		}
	})
}

func FuzzParseArchive(f *testing.F) {
	f.Add([]byte(`{"v":1,"live":[{"id":"00000000000000000000000031","l":1,"day":"20260821","min":1787306400000,"max":1787306459000,"size":5000,"tail":600,"crc":77,"rows":9,"profiles":3,"types":[]}]}`))
	f.Add([]byte(`{"v":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		live, err := ParseArchive(data)
		if err != nil {
			if !errors.Is(err, block.ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Fatalf("neither corrupt nor newer: %v", err)
			}
			return
		}
		for i, m := range live {
			if err := m.Validate(); err != nil {
				t.Fatal(err)
			}
			if i > 0 && order(live[i-1], m) >= 0 {
				t.Fatalf("%s after %s", m.ID, live[i-1].ID)
			}
		}
	})
}

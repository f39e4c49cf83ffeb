package draft_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/profile/draft"
)

var cpu = profile.ValueType{Type: "cpu", Unit: "nanoseconds"}

func parse(t *testing.T, d *draft.Draft) *pprof.Profile {
	t.Helper()
	p, err := pprof.ParseData(d.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.CheckValid(); err != nil {
		t.Fatal(err)
	}
	return p
}

// All that can be said in a draft is read by google/pprof as it was said.
func TestGooglePprofReadsIt(t *testing.T) {
	at := time.Unix(1_767_607_200, 5)
	d := draft.New(profile.ValueType{Type: "samples", Unit: "count"}, cpu)
	d.DefaultSample, d.PeriodType, d.Period = "cpu", cpu, 10_000_000
	d.Time, d.Duration, d.Comments = at, 10*time.Second, []string{"one", "two"}
	m := d.Mapping(draft.Mapping{Start: 0x1000, Limit: 0x2000, Offset: 0x100, File: "/bin/x", BuildID: "abcd", HasFunctions: true})
	inner := d.Function(draft.Function{Name: "inner", SystemName: "_inner", File: "x.c", StartLine: 3})
	outer := d.Function(draft.Function{Name: "outer"})
	leaf := d.Location(m, 0x1234, draft.Line{Function: inner, Line: 5, Column: 7}, draft.Line{Function: outer, Line: -1})
	root := d.Frame("main")
	labels := []draft.Label{{Key: "thread", Str: "a"}, {Key: "bytes", Num: 512, Unit: "bytes"}}
	for range 2 {
		if err := d.Add([]draft.LocationRef{leaf, root}, labels, 1, 10_000_000); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Add(nil, nil, 1, -1); err != nil {
		t.Fatal(err)
	}

	p := parse(t, d)
	if len(p.Sample) != 2 || p.Sample[0].Value[0] != 2 || p.Sample[0].Value[1] != 20_000_000 || p.Sample[1].Value[1] != -1 {
		t.Fatalf("samples: %v", p)
	}
	s := p.Sample[0]
	if s.Label["thread"][0] != "a" || s.NumLabel["bytes"][0] != 512 || s.NumUnit["bytes"][0] != "bytes" {
		t.Errorf("labels: %v %v %v", s.Label, s.NumLabel, s.NumUnit)
	}
	l := s.Location[0]
	if l.Address != 0x1234 || *l.Mapping != (pprof.Mapping{ID: 1, Start: 0x1000, Limit: 0x2000, Offset: 0x100, File: "/bin/x", BuildID: "abcd", HasFunctions: true}) {
		t.Errorf("location: %+v %+v", l, l.Mapping)
	}
	if len(l.Line) != 2 || l.Line[0].Line != 5 || l.Line[0].Column != 7 || l.Line[1].Line != -1 {
		t.Errorf("lines: %+v", l.Line)
	}
	if f := l.Line[0].Function; f.Name != "inner" || f.SystemName != "_inner" || f.Filename != "x.c" || f.StartLine != 3 {
		t.Errorf("function: %+v", f)
	}
	if f := s.Location[1].Line[0].Function; f.Name != "main" || f.SystemName != "main" {
		t.Errorf("frame: %+v", f)
	}
	if p.TimeNanos != at.UnixNano() || p.DurationNanos != 1e10 || p.Period != 1e7 || p.DefaultSampleType != "cpu" || p.PeriodType.Unit != "nanoseconds" {
		t.Errorf("head: %v", p)
	}
	if len(p.Comments) != 2 || p.Comments[1] != "two" {
		t.Errorf("comments: %q", p.Comments)
	}
}

// A profile that is sent again is known by its bytes.
func TestSameCallsGiveSameBytes(t *testing.T) {
	build := func() []byte {
		d := draft.New(cpu)
		for _, name := range []string{"a", "b", "c", "a"} {
			if err := d.Add([]draft.LocationRef{d.Frame(name), d.Frame("main")}, []draft.Label{{Key: "k", Str: name}}, 1); err != nil {
				t.Fatal(err)
			}
		}
		return d.Encode()
	}
	if a, b := build(), build(); !bytes.Equal(a, b) {
		t.Error("the same calls gave other bytes")
	}
}

// Types may be known late, or follow from others.
func TestTypesAddedLate(t *testing.T) {
	d := draft.New()
	samples := d.AddType(profile.ValueType{Type: "samples", Unit: "count"})
	if err := d.Add([]draft.LocationRef{d.Frame("a")}, nil, 3); err != nil {
		t.Fatal(err)
	}
	d.AddType(profile.ValueType{Type: "x", Unit: "count"})
	if err := d.Add([]draft.LocationRef{d.Frame("a")}, nil, 1, 5); err != nil {
		t.Fatal(err)
	}
	if err := d.Add([]draft.LocationRef{d.Frame("b")}, nil, 0, 7); err != nil {
		t.Fatal(err)
	}
	d.Derive(cpu, samples, 10)
	p := parse(t, d)
	if got := fmt.Sprintf("%v %v %s", p.Sample[0].Value, p.Sample[1].Value, p.SampleType[2].Type); got != "[4 5 40] [0 7 0] cpu" {
		t.Errorf("got %s", got)
	}
}

func TestBounds(t *testing.T) {
	d := draft.New(cpu)
	deep := make([]draft.LocationRef, 16<<10+1)
	for i := range deep {
		deep[i] = d.Frame("f")
	}
	if err := d.Add(deep, nil, 1); !errors.Is(err, profile.ErrInvalid) {
		t.Errorf("too deep: %v", err)
	}
	if err := d.Add(nil, make([]draft.Label, 1<<10+1), 1); !errors.Is(err, profile.ErrInvalid) {
		t.Errorf("too many labels: %v", err)
	}
	var err error
	for i := 0; err == nil && i < 2000; i++ {
		err = d.Add(deep[:len(deep)-1-i%1000], []draft.Label{{Key: "n", Num: int64(i)}}, 1)
	}
	if !errors.Is(err, profile.ErrInvalid) {
		t.Errorf("too much: %v", err)
	}
}

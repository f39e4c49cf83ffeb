package block_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

var bloomVectors = []struct {
	labels []string
	want   string
}{
	{nil, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
	{[]string{"pod", "a", "namespace", "b"}, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
	{[]string{"job", "api"}, "AAAAAAAAAMABAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
	{[]string{"service_name", "checkout"}, "AAAACAQCAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
	{[]string{"comm", "größe"}, "AAAAAAAAAAgAAAAAIAAAAACAAAAAAAAAAAAAAAAAAAA"},
	{[]string{"service_name", "checkout", "service", "shop", "job", "api", "comm", "java", "pod", "x"}, "AAAgCAQCAMAhEAgQAAAAAAAAAAAAAAAAAEAAAAAAAAA"},
}

// The vectors come from an implementation of xxhash64 other than the one used here.
// They stand in FORMAT.md for other writers and readers.
func TestBloomVectors(t *testing.T) {
	format, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range bloomVectors {
		var b block.Bloom
		ls := labels(t, v.labels...)
		b.Add(ls)
		if b.String() != v.want {
			t.Errorf("%s: got %s, want %s", ls, b, v.want)
		}
		if row := fmt.Sprintf("| `%s` | `%s` |", ls, b); !strings.Contains(string(format), row) {
			t.Errorf("FORMAT.md lacks %s", row)
		}
		if back, err := block.ParseBloom(b.String()); err != nil || back != b {
			t.Errorf("parse %s: got %s, %v", b, back, err)
		}
	}
}

func TestParseBloomRefuses(t *testing.T) {
	for _, s := range []string{"", strings.Repeat("A", 42), strings.Repeat("A", 44), strings.Repeat("A", 42) + "B", strings.Repeat("A", 42) + "=", strings.Repeat("A", 42) + "/", strings.Repeat("A", 39) + "\r\n\r\n"} {
		if b, err := block.ParseBloom(s); !errors.Is(err, block.ErrCorrupt) {
			t.Errorf("%q: got %s, %v", s, b, err)
		}
	}
}

func TestBloomMayMatch(t *testing.T) {
	var b, empty block.Bloom
	b.Add(labels(t, "service_name", "checkout", "pod", "a"))
	b.Add(labels(t, "job", "api", "pod", "b"))
	empty.Add(labels(t, "pod", "a"))
	for _, c := range []struct {
		selector    string
		inB, inNone bool
	}{
		{`{}`, true, true},
		{`{service_name="checkout"}`, true, false},
		{`{service_name="cart"}`, false, false},
		{`{job="api"}`, true, false},
		{`{job="checkout"}`, false, false}, // the value is there, but of another label
		{`{service_name="checkout", job="cart"}`, false, false},
		{`{service_name=""}`, true, true},
		{`{service_name!=""}`, true, false},
		{`{service_name!="checkout"}`, true, true}, // an absent label is not "checkout"
		{`{service_name=~"cart|checkout"}`, true, false},
		{`{service_name=~"cart|basket"}`, false, false},
		{`{service_name=~"cart|"}`, true, true},
		{`{service_name=~"(?i)CHECKOUT"}`, true, false},
		{`{service_name=~"c.*"}`, true, false},
		{`{service_name=~".*"}`, true, true},
		{`{service_name!~"c.*"}`, true, true},
		{`{service_name!~"checkout|"}`, true, false},
		{`{pod="z"}`, true, true}, // not a label that the filter holds
		{`process_cpu:cpu:nanoseconds:cpu:nanoseconds{comm="java"}`, false, false},
	} {
		sel, err := profile.ParseSelector(c.selector)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.MayMatch(sel); got != c.inB {
			t.Errorf("%s: got %v, want %v", c.selector, got, c.inB)
		}
		if got := empty.MayMatch(sel); got != c.inNone {
			t.Errorf("%s, without any such label: got %v, want %v", c.selector, got, c.inNone)
		}
	}
}

// A block that holds a matching series is never ruled out; of those that do not,
// about one in 38 is kept when there are 30 services inside.
func TestBloomNeverHidesAMatch(t *testing.T) {
	var b block.Bloom
	for i := range 30 {
		b.Add(labels(t, "service_name", fmt.Sprintf("service-%d", i)))
	}
	kept := 0
	for i := range 10_000 {
		sel, err := profile.ParseSelector(fmt.Sprintf(`{service_name="service-%d"}`, i))
		if err != nil {
			t.Fatal(err)
		}
		switch may := b.MayMatch(sel); {
		case i < 30 && !may:
			t.Fatalf("service-%d is hidden", i)
		case i >= 30 && may:
			kept++
		}
	}
	if kept < 100 || kept > 500 {
		t.Errorf("%d of 9970 absent services look present, want about 262", kept)
	}
}

func BenchmarkBloomMayMatch(b *testing.B) {
	var bloom block.Bloom
	sel, err := profile.ParseSelector(`{service_name="checkout", pod="a"}`)
	if err != nil {
		b.Fatal(err)
	}
	bloom.Add(labels(b, "service_name", "checkout"))
	for b.Loop() {
		bloom.MayMatch(sel)
	}
}

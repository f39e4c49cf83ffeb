package query

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/coldframe/coldframe/profile"
)

func TestParseFilter(t *testing.T) {
	for text, want := range map[string][]Condition{
		"function=main.main":       {{FunctionName, Equal, "main.main", 0}},
		"function!=a=b":            {{FunctionName, NotEqual, "a=b", 0}},
		"system*=_ZN":              {{SystemName, Contains, "_ZN", 0}},
		"binary!*=libc":            {{Binary, NotContains, "libc", 0}},
		"file^=/src/":              {{Filename, StartsWith, "/src/", 0}},
		"file!^=":                  {{Filename, NotStartsWith, "", 0}},
		"address=0x10":             {{Address, Equal, "", 16}},
		"line!=12":                 {{LineNumber, NotEqual, "", 12}},
		"function=f && line=3":     {{FunctionName, Equal, "f", 0}, {LineNumber, Equal, "", 3}},
		"function=operator&&(int)": {{FunctionName, Equal, "operator&&(int)", 0}},
	} {
		f, err := ParseFilter(text, true)
		if err != nil || !f.Frames || !reflect.DeepEqual(f.Where, want) {
			t.Errorf("%q: %v and %v, want %v", text, f.Where, err, want)
		}
		again, err := ParseFilter(f.String(), true)
		if err != nil || !reflect.DeepEqual(again, f) {
			t.Errorf("%q written as %q: %v and %v", text, f, again, err)
		}
	}
	for text, hint := range map[string]string{
		"":                 "FIELD=VALUE",
		"main.main":        "FIELD=VALUE",
		"name=x":           "function, system, binary, file, address, line",
		"function~x":       "FIELD=VALUE",
		"function=~x":      "",
		"function!~=x":     "= != *= !*= ^= !^=",
		"line=twelve":      "want a number",
		"line*=12":         "= and != only",
		"function=a &&  b": "FIELD=VALUE",
		"path=":            "want names of functions",
		"path=a;;b":        "want names of functions",
	} {
		_, err := ParseFilter(text, false)
		if hint == "" {
			if err != nil { // a name may begin with ~
				t.Errorf("%q: %v", text, err)
			}
			continue
		}
		if !errors.Is(err, profile.ErrInvalid) || !strings.Contains(err.Error(), hint) {
			t.Errorf("%q: %v, want one that says %q", text, err, hint)
		}
	}
}

func TestParsePath(t *testing.T) {
	for text, want := range map[string][]string{
		"path=main.main":            {"main.main"},
		"path=main.main;main.serve": {"main.main", "main.serve"},
		`path=Lcom/foo\;;b\\`:       {"Lcom/foo;", `b\`},
		"path=a && b":               {"a && b"},
	} {
		f, err := ParseFilter(text, false)
		if err != nil || !reflect.DeepEqual(f, Filter{Path: want}) || f.String() != text {
			t.Errorf("%q: %q, written as %q, and %v, want %q", text, f.Path, f, err, want)
		}
	}
	if _, err := ParseFilter("path=a", true); !errors.Is(err, profile.ErrInvalid) {
		t.Errorf("a path as a filter of frames: %v", err)
	}
}

// FuzzParseFilter: what is read is written so that it reads the same.
func FuzzParseFilter(f *testing.F) {
	for _, seed := range []string{"function*=malloc && binary!=libc.so.6", "address=0x1f", "line!=3", "file^=/a && ", "=", "!*=", `path=a;Lb\;;c\\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		filter, err := ParseFilter(text, false)
		if err != nil {
			if !errors.Is(err, profile.ErrInvalid) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		again, err := ParseFilter(filter.String(), false)
		if err != nil || !reflect.DeepEqual(again, filter) {
			t.Fatalf("%q is %v, which reads as %v and %v", text, filter, again, err)
		}
	})
}

func TestParseGroupBy(t *testing.T) {
	var v View
	if err := ParseGroupBy(&v, []string{"pod", "function", "file", "labels.line"}); err != nil {
		t.Fatal(err)
	}
	if want := (View{Frames: FrameByFunction | FrameByFile, Labels: []string{"pod", "line"}}); !reflect.DeepEqual(v, want) {
		t.Errorf("%+v, want %+v", v, want)
	}
	for _, words := range [][]string{{"labels."}, {""}, make([]string, 17)} {
		if err := ParseGroupBy(&View{}, words); !errors.Is(err, profile.ErrInvalid) {
			t.Errorf("%q: %v", words, err)
		}
	}
	many := &View{Labels: make([]string, maxGroupLabels+1)}
	if err := many.validate(); !errors.Is(err, profile.ErrInvalid) {
		t.Errorf("%d labels: %v", len(many.Labels), err)
	}
}

// Edges are the calls of a tree; a call that is on a stack several times counts once.
func TestEdges(t *testing.T) {
	tree := treeOf(map[string]int64{"a;b;a;b": 3, "a;b": 2, "a;c": 5, "b": 7})
	got := map[string]int64{}
	for _, e := range tree.Edges() {
		got[tree.Frames[e.Caller].Name+" "+tree.Frames[e.Callee].Name] = e.Value
	}
	want := map[string]int64{"a b": 5, "b a": 3, "a c": 5}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

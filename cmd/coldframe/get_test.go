package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// Two selectors, or two times, are compared; filters and groups change what is shown.
func TestGetViews(t *testing.T) {
	bkt := folder(t)
	for _, job := range []string{"a", "b"} {
		file := write(t, t.TempDir(), "p.pb.gz", oneSample(t, "only_in_"+job))
		must(t, "push", "--bucket-config", bkt, "--label", "job="+job, file)
	}
	ask := func(args ...string) string {
		t.Helper()
		return must(t, append([]string{"get", "--bucket-config", bkt}, args...)...)
	}
	for what, c := range map[string]struct {
		out       string
		want, not string
	}{
		"two selectors":       {ask(`{job="a"}`, `{job="b"}`), "only_in_b", ""},
		"the tree of them":    {ask("--format", "tree", `{job="a"}`, `{job="b"}`), "diff", ""},
		"with before":         {ask("--diff", `{job="a"}`), "Base: ", ""},
		"with another time":   {ask("--diff-from", "now-1d", "--diff-absolute", `{job="a"}`), "Base: ", "relative"},
		"a filter":            {ask("--filter", "function*=in_b", "{}"), "only_in_b", "only_in_a"},
		"a filter of frames":  {ask("--frame-filter", "function!=only_in_b", "{}"), "only_in_a", "only_in_b"},
		"grouped":             {ask("--format", "folded", "--group-by", "job", "{}"), `{job="a"};only_in_a `, ""},
		"a sandwich":          {ask("--sandwich", "only_in_a", "--invert", "{}"), "only_in_a", "only_in_b"},
		"series, grouped":     {ask("--format", "series", "--group-by", "job", "{}"), "time,job,value", ""},
		"what would be read":  {ask("--explain", "{}"), `"live":2`, ""},
		"ordered by the rest": {ask("--order", "total", "{}"), "only_in_a", ""},
	} {
		if !strings.Contains(c.out, c.want) || c.not != "" && strings.Contains(c.out, c.not) {
			t.Errorf("%s: want %q and not %q in\n%s", what, c.want, c.not, c.out)
		}
	}
	if !json.Valid([]byte(ask("--format", "speedscope", "{}"))) {
		t.Error("speedscope's file is no JSON")
	}
}

func TestLineCutter(t *testing.T) {
	var b bytes.Buffer
	w := &lineCutter{w: &b, width: 5}
	for _, piece := range []string{"abc", "de\nabcdef\n", "äöüßéè\n\n", "no end"} {
		if n, err := w.Write([]byte(piece)); err != nil || n != len(piece) {
			t.Fatal(n, err)
		}
	}
	if want := "abcde\nabcd…\näöüß…\n\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

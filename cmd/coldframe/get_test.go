package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coldframe/coldframe/query"
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
		"series, filtered":    {ask("--format", "series", "--by", "job", "--filter", "function=only_in_a", "{}"), "Z,b,0", "Z,b,1"},
		"frames by binary":    {ask("--format", "folded", "--group-by", "binary", "{}"), "[unknown]", "only_in"},
		"an inverted tree":    {ask("--format", "tree", "--invert", "{}"), "only_in_a", ""},
		"several conditions":  {ask("--filter", "function^=only && function!*=in_a", "{}"), "only_in_b", "only_in_a"},
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

// lockedBuffer is written by one goroutine and read by another.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A terminal is told how long a query takes, on a line that is gone when the answer comes; nothing
// else is.
func TestProgress(t *testing.T) {
	t.Parallel()
	var terminal lockedBuffer
	done, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); tellProgress(&terminal, &query.Progress{}, done) }()
	eventually(t, time.Minute, func() (string, bool) {
		return terminal.String(), strings.Contains(terminal.String(), "s: waiting for the answer")
	})
	close(done)
	<-ended
	if !strings.HasSuffix(terminal.String(), "\r\x1b[K") {
		t.Errorf("the line stays: %q", terminal.String())
	}
	var file lockedBuffer
	showProgress(&file, &query.Progress{})()
	if file.String() != "" {
		t.Errorf("a file has %q", file.String())
	}
}

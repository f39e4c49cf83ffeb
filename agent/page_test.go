package agent

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coldframe/coldframe/bpf"
	"github.com/coldframe/coldframe/profile"
)

// Of each label set the latest profile is kept, and of all no more bytes than allowed.
func TestRecent(t *testing.T) {
	r := NewRecent(100)
	write := func(comm string, bytes int) {
		t.Helper()
		labels, err := profile.NewLabels(profile.Label{Name: "comm", Value: comm})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Write(t.Context(), Profile{Name: "process_cpu", Labels: labels, Pprof: make([]byte, bytes)}); err != nil {
			t.Fatal(err)
		}
	}
	kept := func() string {
		var all []string
		for _, p := range r.kept {
			all = append(all, fmt.Sprintf("%s:%d", p.Labels.Get("comm"), len(p.Pprof)))
		}
		return strings.Join(all, " ")
	}
	for _, step := range []struct {
		comm  string
		bytes int
		want  string
	}{
		{"a", 40, "a:40"}, {"b", 40, "a:40 b:40"}, {"a", 50, "b:40 a:50"}, {"c", 30, "a:50 c:30"}, {"d", 101, ""}, {"e", 100, "e:100"},
	} {
		write(step.comm, step.bytes)
		if got := kept(); got != step.want {
			t.Errorf("after %s of %d bytes: %q is kept, want %q", step.comm, step.bytes, got, step.want)
		}
	}
}

// A host that is sampled in half of its intervals is sampled in some and not in others.
func TestDrawnIntervals(t *testing.T) {
	p := begin(t, Config{Threshold: 50, Interval: 20 * time.Millisecond})
	seen := map[bool]bool{}
	p.until("intervals with and without samples", func() bool {
		s, err := p.agent.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen[s.Sampling] = true
		return len(seen) == 2
	})
	p.stop()
}

// The page lists what runs, and shows a profile's functions, innermost last, and by their own samples.
func TestPage(t *testing.T) {
	path := compile(t, testdata+"ratio.c", "cf_page", "gcc", "-O2")
	recent := NewRecent(8 << 20)
	p := begin(t, Config{Sampler: bpf.Config{Frequency: 499}})
	cmd := start(t, path)
	p.gather(200, cmd.Process.Pid)
	page := p.agent.Page(recent)
	show := func(path string, want int) string {
		t.Helper()
		w := httptest.NewRecorder()
		page.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
		if w.Code != want {
			t.Fatalf("%s: %d, want %d\n%s", path, w.Code, want, w.Body)
		}
		return w.Body.String()
	}
	var last Profile
	p.until("a written profile", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, x := range p.profiles {
			if x.Labels.Get("comm") == "cf_page" {
				last = x
			}
		}
		return last.Pprof != nil
	})
	if err := recent.Write(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	id := recentID(last.Name, last.Labels.String())
	list := show("/processes", http.StatusOK)
	if !strings.Contains(list, "<td>cf_page") || !strings.Contains(list, `href="/profiles/`+id+`"`) {
		t.Errorf("the list lacks the process or its profile:\n%s", list)
	}
	shown := show("/profiles/"+id, http.StatusOK)
	for _, want := range []string{`title="heavy: `, `title="light: `, `>spin</span>`, `<td>heavy</tr>`} {
		if !strings.Contains(shown, want) {
			t.Errorf("the profile lacks %s:\n%s", want, shown)
		}
	}
	if raw := show("/profiles/"+id+".pb.gz", http.StatusOK); raw != string(last.Pprof) {
		t.Errorf("%d bytes of pprof, want %d", len(raw), len(last.Pprof))
	}
	show("/profiles/0000000000000000", http.StatusNotFound)
	p.stop()
}

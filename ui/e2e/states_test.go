package e2e

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cdp "github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	pprof "github.com/google/pprof/profile"
)

// A new server has nothing, and says what to do about it.
func TestEmpty(t *testing.T) {
	chromium(t)
	s := serve(t)
	b := open(t, s.url)
	b.visit("?from=1000000000000&to=1000003600000") // long ago
	b.until(`document.querySelector('.empty')?.innerText.includes('No profiles in this range')`)
	b.until(`document.querySelector('.empty pre').innerText.includes('coldframe push --server ' + location.origin)`)
	b.shot("empty")
	b.visit("?view=labels&from=1000000000000&to=1000003600000")
	b.until(`document.querySelector('main.labels')`)

	b.visit("?query=service_name%3D%22none%22&type=process_cpu/cpu")
	b.until(`document.querySelector('.empty, .notice')`)
}

// slower is a server in front of another that holds flame graphs back, or has them trimmed.
type slower struct {
	url            string
	wait, maxNodes atomic.Int64  // nanoseconds; nodes, 0: as many as are asked for
	cancelled      chan struct{} // told once when a client gives up while it waits
}

func between(t *testing.T, behind string) *slower {
	t.Helper()
	to, err := url.Parse(behind)
	if err != nil {
		t.Fatal(err)
	}
	proxy, p := httputil.NewSingleHostReverseProxy(to), &slower{cancelled: make(chan struct{}, 1)}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/flamegraph") {
			select {
			case <-time.After(time.Duration(p.wait.Load())):
			case <-r.Context().Done():
				select {
				case p.cancelled <- struct{}{}:
				default:
				}
				return
			}
			if n := p.maxNodes.Load(); n > 0 {
				asked := r.URL.Query()
				asked.Set("max_nodes", strconv.FormatInt(n, 10))
				r.URL.RawQuery = asked.Encode()
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	p.url = s.URL
	return p
}

// A slow answer says so, and can be cancelled; what was there before stays.
func TestSlowAndCancelled(t *testing.T) {
	p := between(t, shared(t).url)
	b := open(t, p.url)
	b.visit("?query=service_name%3D%22compile%22")
	b.graph()
	p.wait.Store(int64(patience))
	b.button("Ask again (R)")
	b.until(`document.querySelector('.where .progress')`)
	b.until(`/Still reading the bucket/.test(document.querySelector('.notice.slow')?.innerText)`)
	b.shot("slow")
	b.button("Cancel")
	select {
	case <-p.cancelled: // the server is told, so that it stops reading
	case <-time.After(patience):
		t.Error("the server never heard that the question was cancelled")
	}
	b.until(`/Cancelled/.test(document.querySelector('.where .notice')?.innerText) && !document.querySelector('.notice.slow')`)
	b.until(`document.querySelector('.flame canvas')`)
	p.wait.Store(0)
	b.button("Ask once more")
	b.graph()
	b.until(`!document.querySelector('.where .notice')`)
	b.until(`!document.querySelector('.price .warn')`)

	// What the server trims is told.
	p.maxNodes.Store(500)
	b.button("Ask again (R)")
	b.until(`/^[\d,]+ nodes trimmed$/.test(document.querySelector('.price .warn')?.textContent) && coldframe.flame.nodes <= 501`)
	b.graph()
	b.shot("trimmed")
}

// What the server refuses is told in its own words, with what to do; so is a server that is gone.
func TestFailing(t *testing.T) {
	chromium(t)
	s := serve(t, "--query-memory-bytes", "4096")
	pushSome(t, s.url)
	b := open(t, s.url)
	b.expect("422")
	b.expect("Failed to load")
	b.visit("?type=process_cpu/cpu")
	b.until(`document.querySelector('.notice.failed')?.innerText.includes('Too much to read')`)
	b.until(`document.querySelector('.notice.failed')?.innerText.includes('Narrow the selector')`)
	b.shot("failing")
	b.until(`document.querySelectorAll('.notice.failed').length === 1 && document.querySelector('.told-below')`)
	_ = s.cmd.Process.Kill()
	b.button("Try again")
	b.until(`[...document.querySelectorAll('.notice.failed')].some(n => n.innerText.includes('The server does not answer'))`)
}

func pushSome(t *testing.T, server string) {
	t.Helper()
	body, err := os.ReadFile(filepath.Join(seeds, "compile.cpu.pb.gz"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := pprof.ParseData(body)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		push(t, server, part(p, time.Now().Add(-time.Duration(i+1)*time.Minute), uint64(i)), url.Values{"service_name": {"compile"}, "type_name": {"process_cpu"}})
	}
}

// A damaged object costs one object: the rest is shown, and what is missing is named.
func TestPartial(t *testing.T) {
	chromium(t)
	s := serve(t, "--tick", "1h")
	pushSome(t, s.url)
	var damaged string
	err := filepath.WalkDir(s.data, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".pprof.zip") && damaged == "" {
			damaged = path
		}
		return err
	})
	if err != nil || damaged == "" {
		t.Fatalf("no block to damage: %v", err)
	}
	body, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(damaged, bytes.Repeat([]byte{0x55}, len(body)), 0o644); err != nil {
		t.Fatal(err)
	}
	b := open(t, s.url)
	b.visit("?query=service_name%3D%22compile%22&type=process_cpu/cpu")
	b.graph()
	b.until(`/^⚠ Partial: 1 block could not be read/.test(document.querySelector('.partial')?.innerText)`)
	b.button("⚠ Partial")
	b.until(`document.querySelector('.partial[open] code')?.innerText.endsWith('.pprof.zip') && document.querySelectorAll('.partial li').length === 1`)
	b.shot("partial")
}

// What can be taken along is what is on the screen.
func TestShare(t *testing.T) {
	b := open(t, shared(t).url)
	dir := t.TempDir()
	b.downloadTo(dir)
	b.visit("?query=service_name%3D%22compile%22&filter=function*%3Druntime")
	b.graph()
	// Headless browsers have no clipboard that can be read: what is written is caught.
	b.do("catch", cdp.Evaluate[none](`{navigator.clipboard.writeText = text => (window.copied = text, Promise.resolve())}`))
	copied := map[string]string{}
	for item, want := range map[string]string{
		"Copy a link":            "from=1",
		"Copy the go tool pprof": "go tool pprof -http :8081 'http",
		"Copy the coldframe get": `coldframe get --server http`,
	} {
		b.do("forget", cdp.Evaluate[none](`{window.copied = ''}`))
		b.button("Share and download")
		b.item(item)
		b.until(`window.copied?.includes(` + quote(want) + `)`)
		b.until(`/copied/.test(document.querySelector('.word').textContent)`) // told to those who do not see it
		copied[item] = value[string](b, `window.copied`)
	}
	checkCommands(t, copied["Copy the coldframe get"], copied["Copy the go tool pprof"], func(out string) bool {
		return strings.Contains(out, "runtime.") && !strings.Contains(out, "nothing")
	})
	for _, c := range []struct {
		item, suffix string
		check        func([]byte) bool
	}{
		{"Download pprof", ".pb.gz", func(body []byte) bool {
			p, err := pprof.ParseData(body)
			return err == nil && len(p.Sample) > 0
		}},
		{"Download folded", ".folded.txt", func(body []byte) bool {
			return bytes.Contains(body, []byte("runtime.")) && bytes.Contains(body, []byte(";"))
		}},
		{"Download for speedscope", ".speedscope.json", func(body []byte) bool {
			var v struct {
				Profiles []struct{ Samples, Weights []any }
			}
			return json.Unmarshal(body, &v) == nil && len(v.Profiles) == 1 && len(v.Profiles[0].Samples) > 10 && len(v.Profiles[0].Samples) == len(v.Profiles[0].Weights)
		}},
		{"Download a picture.svg", ".svg", func(body []byte) bool {
			return bytes.HasPrefix(body, []byte("<svg")) && bytes.Contains(body, []byte("<title>runtime."))
		}},
		{"Download a picture.png", ".png", func(body []byte) bool { return bytes.HasPrefix(body, []byte("\x89PNG")) && len(body) > 10_000 }},
	} {
		b.button("Share and download")
		b.item(c.item)
		if body := arrived(dir, c.suffix); !c.check(body) {
			t.Errorf("%s: %d bytes that are none: %.80q", c.item, len(body), body)
		}
	}
	b.key(kb.Escape)

	// Whoever follows the link sees the same.
	table := value[string](b, `document.querySelector('.top-body').innerText`)
	b.do("follow the link", cdp.Navigate(copied["Copy a link"]))
	b.graph()
	b.until(`document.querySelector('.chip') && /from=\d+&to=\d+/.test(location.search) && document.querySelector('.top-body').innerText === ` + quote(table))
}

// checkCommands runs what was copied as a shell does; what comes must pass.
func checkCommands(t *testing.T, get, pprof string, pass func(out string) bool) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{
		strings.Replace(get, "coldframe get", path+" get", 1),
		strings.Replace(pprof, "-http :8081", "-top -symbolize=none", 1),
	} {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
		cmd.Env = append(os.Environ(), "PPROF_TMPDIR="+t.TempDir())
		out, err := cmd.Output()
		if err != nil || !pass(string(out)) {
			t.Errorf("%s: %v\n%.2000s", command, err, out)
		}
	}
}

// Commands ask for what is on the screen: the filters of stacks and frames, the group, the
// function that is looked at, the other side of a comparison.
func TestCommandsCarryTheView(t *testing.T) {
	b := open(t, shared(t).url)
	copied := func(item string) string {
		t.Helper()
		b.graph()
		b.do("catch", cdp.Evaluate[none](`{window.copied = ''; navigator.clipboard.writeText = text => (window.copied = text, Promise.resolve())}`))
		b.button("Share and download")
		b.item(item)
		b.until(`window.copied`)
		return value[string](b, `window.copied`)
	}
	b.visit("?query=service_name%3D%22prometheus%22&filter=function%3D" + url.QueryEscape(serveConn) + "&hide=binary!%3Dnone%0Afunction!%3Dmain.main&group=pod")
	get, pprof := copied("Copy the coldframe get"), copied("Copy the go tool pprof")
	for _, want := range []string{"--filter 'function=" + serveConn + "'", "--frame-filter 'function!=main.main'", "--group-by pod", "--format tree"} {
		if !strings.Contains(get, want) {
			t.Errorf("%s lacks %s", get, want)
		}
	}
	checkCommands(t, get, pprof, func(out string) bool { return strings.Contains(out, serveConn) && !strings.Contains(out, "main.main") })

	b.visit("?query=service_name%3D%22prometheus%22&sandwich=" + url.QueryEscape(serveConn) + "&inv=1")
	b.until(`document.querySelectorAll('.sandwich canvas').length === 2`)
	if get := copied("Copy the coldframe get"); !strings.Contains(get, "--sandwich '"+serveConn+"' --invert") {
		t.Errorf("%s lacks the function", get)
	}

	b.visit("?view=compare&from=now-30m&query=service_name%3D%22prometheus%22&bquery=service_name%3D%22compile%22")
	get, pprof = copied("Copy the coldframe get"), copied("Copy the go tool pprof")
	if !strings.Contains(get, "--diff-from") || !strings.HasSuffix(get, `'{service_name="prometheus"}' '{service_name="compile"}'`) || !strings.Contains(pprof, "-normalize -diff_base") {
		t.Errorf("%s and %s lack the other side", get, pprof)
	}
	checkCommands(t, get, pprof, func(out string) bool { return strings.Contains(out, "prometheus/") })
}

// arrived waits for a download.
func arrived(dir, suffix string) []byte {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if files, _ := filepath.Glob(filepath.Join(dir, "*"+suffix)); len(files) == 1 {
			if body, err := os.ReadFile(files[0]); err == nil && len(body) > 0 {
				return body
			}
		}
	}
	return nil
}

func quote(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

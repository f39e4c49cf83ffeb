package ui

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

func fetch(t *testing.T, h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// page is what was built; the test is skipped where nothing was, except in CI.
func page(t *testing.T) map[string]*file {
	t.Helper()
	files, err := load(os.DirFS("dist"))
	if err != nil {
		t.Fatal(err)
	}
	if files["index.html"] == nil {
		if os.Getenv("CI") != "" {
			t.Fatal("the page is not built: make build")
		}
		t.Skip("the page is not built: make build")
	}
	return files
}

// What a browser loads is small: scripts and styles are at most 90 kB as they travel.
func TestBudget(t *testing.T) {
	const budget = 90_000
	total := 0
	for name, f := range page(t) {
		if name != "licenses.txt" {
			total += len(f.gzipped)
			t.Logf("%s: %d bytes, %d gzipped", name, len(f.plain), len(f.gzipped))
		}
	}
	if total > budget {
		t.Errorf("the page is %d bytes gzipped, more than %d", total, budget)
	}
}

// Nothing in the page names another host to load from, and the page holds no inline
// script or style, which the policy would forbid.
func TestPageAsksNobodyElse(t *testing.T) {
	files := page(t)
	for name, f := range files {
		if name == "licenses.txt" {
			continue
		}
		for _, url := range regexp.MustCompile(`(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}`).FindAllString(string(f.plain), -1) {
			if !strings.HasSuffix(url, "//www.w3.org") && !strings.HasSuffix(url, "//www.speedscope.app") { // names, which nobody fetches
				t.Errorf("%s names %s", name, url)
			}
		}
	}
	html := string(files["index.html"].plain)
	if found := regexp.MustCompile(`<style|\sstyle=|\son[a-z]+=|<script(?:\s+type="module")?>`).FindString(html); found != "" {
		t.Errorf("index.html has %q, which the policy forbids", found)
	}
}

func TestHandler(t *testing.T) {
	script := strings.Repeat("let x = 1;\n", 100)
	h := handler(fstest.MapFS{
		".keep":              {},
		"index.html":         {Data: []byte(`<script type="module" src="assets/page-A.js"></script>`)},
		"assets/page-A.js":   {Data: []byte(script)},
		"assets/style-B.css": {Data: []byte("a{}")},
	})
	for _, c := range []struct{ path, contentType, cache string }{
		{"/", "text/html; charset=utf-8", "no-cache"},
		{"/assets/page-A.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"},
		{"/assets/style-B.css", "text/css; charset=utf-8", "public, max-age=31536000, immutable"},
	} {
		w := fetch(t, h, c.path)
		got := fmt.Sprint(w.Code, w.Header().Get("Content-Type"), w.Header().Get("Cache-Control"), w.Header().Get("Content-Security-Policy"))
		if want := fmt.Sprint(200, c.contentType, c.cache, Policy); got != want {
			t.Errorf("%s:\n got %s\nwant %s", c.path, got, want)
		}
		again := fetch(t, h, c.path, "If-None-Match", w.Header().Get("ETag"))
		if again.Code != http.StatusNotModified || again.Body.Len() != 0 {
			t.Errorf("%s again: %d %q, want 304 without a body", c.path, again.Code, again.Body)
		}
	}
	w := fetch(t, h, "/assets/page-A.js", "Accept-Encoding", "br, gzip")
	if w.Header().Get("Content-Encoding") != "gzip" || w.Body.Len() >= len(script) {
		t.Errorf("compressed: %q, %d bytes of %d", w.Header().Get("Content-Encoding"), w.Body.Len(), len(script))
	}
	for _, path := range []string{"/.keep", "/assets/", "/other"} {
		if w := fetch(t, h, path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", path, w.Code)
		}
	}
}

// A binary without the page says how to get it, and where the API is.
func TestWithoutPage(t *testing.T) {
	w := fetch(t, handler(fstest.MapFS{".keep": {}}), "/")
	if body := w.Body.String(); w.Code != http.StatusOK || !strings.Contains(body, "make build") || !strings.Contains(body, "/api/v1/flamegraph") {
		t.Errorf("%d %s", w.Code, body)
	}
}

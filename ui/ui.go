// Package ui serves coldframe's web page, which the binary carries.
//
// The page is written in TypeScript below src and built by npm and esbuild into dist
// (`make build`). What is built is not committed, so a binary that was made without
// Node has no page: [Handler] then answers with what there is instead, and how to get it.
//
// The page asks only the server that it came from: the Content-Security-Policy that it is
// served with forbids everything else, inline scripts too.
package ui

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed all:dist
var dist embed.FS

// Policy is the Content-Security-Policy of everything that is served here.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// withoutPage is what a binary says that was built without Node.
const withoutPage = `coldframe

This binary was built without its web page. To get it, build on a machine that has Node 20 or later:

    make build

The API is here all the same:

GET  /api/v1/pprof?query={job="api"}&type=process_cpu    for: go tool pprof
GET  /api/v1/flamegraph, top, series, types, labels, label/NAME/values
POST /api/v1/push?job=api                                a pprof
GET  /metrics  /-/healthy  /-/ready  /debug/pprof/
`

// Handler serves the page at /, and below /assets/ what belongs to it, whose names hold
// their hash, so that browsers keep them. Everything is compressed once, here.
func Handler() http.Handler {
	built, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // the folder is part of the binary
	}
	return handler(built)
}

func handler(built fs.FS) http.Handler {
	mux := http.NewServeMux()
	files, err := load(built)
	if err != nil {
		panic(err) // the files are part of the binary
	}
	for name, f := range files {
		if name == "index.html" {
			mux.Handle("GET /{$}", f)
			continue
		}
		mux.Handle("GET /"+name, f)
	}
	if files["index.html"] == nil {
		mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("Cache-Control", "no-store")
			fmt.Fprint(w, withoutPage)
		})
	}
	return mux
}

// file is one file of the page, ready to be sent.
type file struct {
	name, contentType, tag string
	plain, gzipped         []byte // gzipped is nil when it would not be smaller
}

func load(built fs.FS) (map[string]*file, error) {
	files := map[string]*file{}
	err := fs.WalkDir(built, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(path.Base(name), ".") {
			return err
		}
		plain, err := fs.ReadFile(built, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(plain)
		f := &file{name: name, plain: plain, contentType: contentType(name), tag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
		if f.gzipped, err = compress(plain); err != nil {
			return err
		}
		files[name] = f
		return nil
	})
	return files, err
}

// contentType does not ask the machine's own tables, which differ.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".txt":
		return "text/plain; charset=utf-8"
	case ".html":
		return "text/html; charset=utf-8"
	}
	return mime.TypeByExtension(path.Ext(name))
}

func compress(plain []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if out.Len() >= len(plain) {
		return nil, nil
	}
	return out.Bytes(), nil
}

// ServeHTTP sends the file, or says that the client has it.
func (f *file) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", Policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Type", f.contentType)
	h.Set("Vary", "Accept-Encoding")
	if strings.HasPrefix(f.name, "assets/") {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache") // ask whether it changed, by its tag
	}
	body := f.plain
	h.Set("ETag", f.tag)
	if f.gzipped != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		body = f.gzipped
		h.Set("ETag", strings.TrimSuffix(f.tag, `"`)+`-gzip"`)
		h.Set("Content-Encoding", "gzip")
	}
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(body))
}

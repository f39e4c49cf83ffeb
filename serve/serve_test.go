package serve_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
)

// start runs a server on a free port and returns its URL and what ends it.
func start(t *testing.T, cfg serve.Config, routes map[string]http.HandlerFunc) (url string, s *serve.Server, stop func() error) {
	t.Helper()
	cfg.Address = "127.0.0.1:0"
	s = serve.New(cfg)
	for pattern, h := range routes {
		s.Handle(pattern, h)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = func() error { cancel(); return <-done }
	t.Cleanup(cancel)
	return "http://" + s.Addr().String(), s, stop
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestEveryProcessHasTheseRoutes(t *testing.T) {
	url, s, stop := start(t, serve.Config{Metrics: prometheus.NewRegistry()}, nil)
	if status, _ := get(t, url+"/-/ready"); status != http.StatusServiceUnavailable {
		t.Errorf("before SetReady: /-/ready is %d, want 503", status)
	}
	s.SetReady(func() error { return nil })
	for _, path := range []string{"/-/ready", "/-/healthy", "/metrics", "/debug/pprof/", "/debug/pprof/goroutine"} {
		if status, body := get(t, url+path); status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	s.SetReady(func() error { return errors.New("the bucket is away") })
	if status, body := get(t, url+"/-/ready"); status != http.StatusServiceUnavailable || !strings.Contains(body, "the bucket is away") {
		t.Errorf("/-/ready: %d %q", status, body)
	}
	if err := stop(); err != nil {
		t.Errorf("a clean stop says %v", err)
	}
}

// A handler that panics costs its own request, and tells the client nothing of the inside.
func TestPanicCostsOneRequest(t *testing.T) {
	url, _, _ := start(t, serve.Config{}, map[string]http.HandlerFunc{
		"/panic": func(http.ResponseWriter, *http.Request) { panic("secret") },
		"/fine":  func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "fine") },
	})
	if status, body := get(t, url+"/panic"); status != http.StatusInternalServerError || strings.Contains(body, "secret") {
		t.Errorf("/panic: %d %q", status, body)
	}
	if status, body := get(t, url+"/fine"); status != http.StatusOK || body != "fine" {
		t.Errorf("/fine: %d %q", status, body)
	}
}

// A stop waits for the requests that are being answered.
func TestStopDrains(t *testing.T) {
	begun, answer := make(chan struct{}), make(chan struct{})
	url, _, stop := start(t, serve.Config{}, map[string]http.HandlerFunc{
		"/slow": func(w http.ResponseWriter, _ *http.Request) {
			close(begun)
			<-answer
			fmt.Fprint(w, "whole")
		},
	})
	got := make(chan string, 1)
	go func() {
		_, body := get(t, url+"/slow")
		got <- body
	}()
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	time.Sleep(20 * time.Millisecond) // the stop has begun
	close(answer)
	if body := <-got; body != "whole" {
		t.Errorf("the request in flight got %q", body)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestPortInUseIsSaidBeforeAnythingElse(t *testing.T) {
	url, _, _ := start(t, serve.Config{}, nil)
	err := serve.New(serve.Config{Address: strings.TrimPrefix(url, "http://")}).Listen(t.Context())
	if err == nil || !strings.Contains(err.Error(), "--http-address") {
		t.Errorf("got %v, want an error that names --http-address", err)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		body   string
	}{
		{fmt.Errorf("label %q: %w", "", profile.ErrInvalid), 400, `{"error":{"code":"invalid","message":"label \"\": invalid"}}`},
		{serve.Field("from", fmt.Errorf("time %q: %w", "x", profile.ErrInvalid)), 400, `{"error":{"code":"invalid","message":"from: time \"x\": invalid","field":"from"}}`},
		{&serve.Error{Status: 503, Code: "unavailable", RetryAfter: 1500 * time.Millisecond, Err: errors.New("bucket away")}, 503, `{"error":{"code":"unavailable","message":"bucket away"}}`},
		{context.DeadlineExceeded, 504, `{"error":{"code":"timeout","message":"context deadline exceeded"}}`},
		{&http.MaxBytesError{Limit: 5}, 413, `{"error":{"code":"too_large","message":"http: request body too large"}}`},
		{errors.New("x"), 500, `{"error":{"code":"internal","message":"x"}}`},
	} {
		w := httptest.NewRecorder()
		serve.WriteError(w, c.err)
		if w.Code != c.status || strings.TrimSpace(w.Body.String()) != c.body {
			t.Errorf("%v:\n got %d %s\nwant %d %s", c.err, w.Code, w.Body, c.status, c.body)
		}
		if c.status == 503 && w.Header().Get("Retry-After") != "2" {
			t.Errorf("Retry-After %q, want 2", w.Header().Get("Retry-After"))
		}
	}
}

func TestTenant(t *testing.T) {
	for header, want := range map[string]profile.Tenant{"": "default", "team-a": "team-a", "../x": ""} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header.Set(serve.TenantHeader, header)
		got, err := serve.Tenant(r)
		if got != want || (want == "") != errors.Is(err, profile.ErrInvalid) {
			t.Errorf("header %q: %q, %v", header, got, err)
		}
	}
}

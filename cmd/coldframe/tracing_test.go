package main

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// received are the spans that a collector was sent.
type received struct {
	t  *testing.T
	mu sync.Mutex

	spans []*tracepb.Span
}

func (c *received) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		var err error
		if body, err = gzip.NewReader(r.Body); err != nil {
			c.t.Error(err)
			return
		}
	}
	data, err := io.ReadAll(body)
	var sent collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(data, &sent)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		c.t.Errorf("%s: %v", r.URL.Path, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range sent.GetResourceSpans() {
		for _, ss := range rs.GetScopeSpans() {
			c.spans = append(c.spans, ss.GetSpans()...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// below counts the spans of one name that are children of one of another.
func (c *received) below(parent, child string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		for _, p := range c.spans {
			if s.GetName() == child && p.GetName() == parent && string(s.GetParentSpanId()) == string(p.GetSpanId()) {
				n++
			}
		}
	}
	return n
}

// A collector gets a span of each job and each request of a client, in the client's own
// trace, and below these one of each request to the bucket.
func TestTraces(t *testing.T) {
	c := &received{t: t}
	server := httptest.NewServer(c)
	defer server.Close()
	bkt := folder(t)
	must(t, "push", "--bucket-config", bkt, "--type-name", "work", pprofOf(t, time.Now()))
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	must(t, "compact", "--bucket-config", bkt, "--once", "--seal-now")
	if got, put, replaced := c.below("compact seal", "bucket get"), c.below("compact seal", "bucket create"), c.below("compact seal", "bucket replace"); got == 0 || put != 1 || replaced != 1 {
		t.Errorf("below the seal: %d gets, %d creates, %d replaces; %d spans", got, put, replaced, len(c.spans))
	}

	address := freeAddress(t)
	q := spawn(t, "query", "--bucket-config", bkt, "--http-address", address)
	q.ready(t, "http://"+address)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/api/v1/types", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if err := q.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	q.done <- <-q.done
	if n := c.below("GET /api/v1/types", "bucket get"); n == 0 {
		t.Errorf("no request to the bucket below the client's; %s", q.stderr)
	}
	for _, s := range c.spans {
		if s.GetName() == "GET /api/v1/types" && (len(s.GetTraceId()) != 16 || s.GetTraceId()[0] != 0x0a) {
			t.Errorf("the request is not in the client's trace but in %x", s.GetTraceId())
		}
	}
}

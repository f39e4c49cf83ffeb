package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coldframe/coldframe/internal/lambdaenv"
)

// X-Ray is told of what an invocation does that it samples: requests, jobs, and below them all that
// is asked of the bucket and of other invocations, whose own segments are below those.
func TestTraces(t *testing.T) {
	const shards = 8
	c := newCloud(t)
	c.fill(t, corpusOf()[:24], shards)
	f := c.deploy(t, lambdaenv.Config{Timeout: time.Minute, Traced: true, Env: []string{"COLDFRAME_SHARE_BLOCKS=1", "COLDFRAME_WORKERS=1"}})
	if answer, err := f.Invoke(t.Context(), []byte(compactAll)); err != nil {
		t.Fatalf("%s, %v", answer, err)
	}
	f.Settle()
	const client = "1-0af76519-16cd43dd8448eb211c80319c"
	path := "/api/v1/flamegraph?type=" + corpusOf()[0].Name + "&" + wholeRange
	if status, body, _ := fetch(t, f, http.MethodGet, path, nil, "X-Amzn-Trace-Id", "Root="+client+";Parent=b7ad6b7169203331;Sampled=1"); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	for _, chain := range []string{
		"coldframe > compact > invoke > coldframe > compact > compact seal > bucket create",
		"coldframe > GET /api/v1/flamegraph > bucket get",
		"coldframe > GET /api/v1/flamegraph > invoke > coldframe > part > bucket get range",
	} {
		if !eventually(t, func() bool { return slices.Contains(chains(f), chain) }) {
			segments, _ := f.Segments()
			t.Errorf("%s: not among %d segments:\n%s", chain, len(segments), strings.Join(slices.Compact(slices.Sorted(slices.Values(chains(f)))), "\n"))
		}
	}
	segments, bad := f.Segments()
	for _, err := range bad {
		t.Error(err)
	}
	for _, s := range segments {
		if s.Fault {
			t.Errorf("%s: a fault", s.Name)
		}
		if strings.HasPrefix(s.Name, "GET ") && s.TraceID != client {
			t.Errorf("%s is in %s, not in the client's trace", s.Name, s.TraceID)
		}
	}

	unsampled := c.deploy(t, lambdaenv.Config{Timeout: time.Minute})
	if status, body, _ := fetch(t, unsampled, http.MethodGet, path, nil); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	if segments, bad := unsampled.Segments(); len(segments)+len(bad) != 0 {
		t.Errorf("without sampling: %v, %v", segments, bad)
	}
}

// chains are the names of each segment's ancestors and its own, as far as those have arrived.
func chains(f *lambdaenv.Function) (all []string) {
	segments, _ := f.Segments()
	byID := map[string]lambdaenv.Segment{}
	for _, s := range segments {
		byID[s.ID] = s
	}
	for _, s := range segments {
		chain := s.Name
		for {
			parent, ok := byID[s.ParentID]
			if !ok || parent.TraceID != s.TraceID {
				break
			}
			chain, s = parent.Name+" > "+chain, parent
		}
		all = append(all, chain)
	}
	return all
}

// eventually waits until it is so, for half a minute: datagrams may take a moment.
func eventually(t *testing.T, so func() bool) bool {
	t.Helper()
	for range 300 {
		if so() {
			return true
		}
		time.Sleep(100 * time.Millisecond)
	}
	return so()
}

// A trace's header may be anything; only a whole one that is sampled makes subsegments.
func TestTraceHeader(t *testing.T) {
	tr := newTracer("tcp:127.0.0.1:2000 udp:127.0.0.1:2001", func(err error) { t.Error(err) })
	for header, want := range map[string]bool{
		"Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=53995c3f42cd8ad8;Sampled=1":                   true,
		"Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700; Parent=53995c3f42cd8ad8; Sampled=1;Lineage=a:0|b:0": true,
		"Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=53995c3f42cd8ad8;Sampled=0":                   false,
		"Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=1":                                           false,
		"Parent=53995c3f42cd8ad8;Sampled=1":                                                            false,
		"Sampled":                                                                                      false,
		"":                                                                                             false,
	} {
		ctx := context.WithValue(t.Context(), "x-amzn-trace-id", header) //nolint:staticcheck // the key of Lambda's runtime
		_, s := tr.begin(tr.invoked(ctx), "x")
		if (s != nil) != want {
			t.Errorf("%q: sampled %t, want %t", header, s != nil, want)
		}
	}
	if name := segmentName("GET /a b?ü" + strings.Repeat("x", 300)); !strings.HasPrefix(name, "GET /a b__xx") || len(name) != 200 {
		t.Error(name)
	}
	var none *tracer
	ctx, s := none.begin(none.invoked(t.Context()), "x")
	s.note(nil)
	s.end(fmt.Errorf("any"))
	if ctx != t.Context() {
		t.Error("no tracer, and another context")
	}
}

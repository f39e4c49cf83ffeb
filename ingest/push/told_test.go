package push_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/ingest/push"
	"github.com/coldframe/coldframe/upload"
)

// The observer is told of every request, also of those that cannot be read so far that they
// would be stored, and whether a client's pushes end otherwise than before, which is when a
// log says something.
func TestPushesAreTold(t *testing.T) {
	var mu sync.Mutex
	var told []string
	b := &shaky{Bucket: bucket.Mem()}
	s := serveOn(t, b, push.Config{Observer: push.Observer{Pushed: func(p push.Push) {
		mu.Lock()
		defer mu.Unlock()
		line := fmt.Sprintf("%s of %s: %s", p.Protocol, p.Client, p.Outcome())
		if p.Changed {
			line += ", changed"
		}
		told = append(told, line)
	}}}, upload.Config{PushTimeout: 100 * time.Millisecond})
	good := samplePprof(t, noon())
	for _, step := range []struct {
		path, kind string
		body       []byte
		away       bool
		want       string
	}{
		{"/api/v1/push?job=a", "", good, false, "pprof of 127.0.0.1: stored, changed"},
		{"/api/v1/push?job=a", "", good, false, "pprof of 127.0.0.1: stored"},
		{"/api/v1/push?job=a", "", good, true, "pprof of 127.0.0.1: unavailable, changed"},
		{"/api/v1/push?job=a", "", good, true, "pprof of 127.0.0.1: unavailable"},
		{"/api/v1/push?job=a&node=n1", "", good, false, "pprof of n1: stored, changed"},
		{"/api/v1/push?job=a", "", good, false, "pprof of 127.0.0.1: stored, changed"},
		{"/api/v1/push?job=a", "", nil, false, "pprof of 127.0.0.1: refused, changed"},
		{"/ingest?name=app&format=jfr", "", []byte("no recording"), false, "ingest of 127.0.0.1: refused, changed"},
		{"/v1development/profiles", "application/json", []byte("{"), false, "otlp of 127.0.0.1: refused, changed"},
		{"/v1development/profiles", "text/plain", nil, false, "otlp of 127.0.0.1: refused"},
		{"/api/profiles/writeraw", "", []byte("{"), false, "parca of 127.0.0.1: refused, changed"},
	} {
		b.away.Store(step.away)
		s.post(t, step.path, step.kind, step.body)
		mu.Lock()
		if !slices.Equal(told, []string{step.want}) {
			t.Errorf("%s: got %q, want %q", step.path, told, step.want)
		}
		told = nil
		mu.Unlock()
	}
}

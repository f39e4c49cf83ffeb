package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/compactor"
	"github.com/coldframe/coldframe/internal/lambdaenv"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/upload"
)

// A part of a query that is too large for the answer of an invocation comes by way of v1/tmp/, and counts like any other.
func TestLargePartsPassThroughTheBucket(t *testing.T) {
	c := newCloud(t)
	const days = 4 // each a block, of which the worker gets every second one
	for day := range days {
		var body bytes.Buffer
		if err := longNames(uint64(day), time.Now().Add(-time.Duration(day)*24*time.Hour)).Write(&body); err != nil {
			t.Fatal(err)
		}
		c.push(t, "agent", upload.Profile{Name: "cpu", Body: body.Bytes()})
	}
	if err := compactor.New(catalog.New(c.bkt, catalog.Config{}), c.bkt, compactor.Config{SealNow: true}).RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := c.deploy(t, lambdaenv.Config{MemoryMB: 2048, Timeout: time.Minute, Env: []string{"COLDFRAME_SHARE_BLOCKS=1", "COLDFRAME_WORKERS=1"}})
	path := "/api/v1/flamegraph?format=folded&type=cpu&" + wholeRange
	status, got, _ := fetch(t, f, http.MethodGet, path, nil)
	here := query.New(catalog.New(c.bkt, catalog.Config{}), c.bkt, query.Config{})
	if want := answerOf(t, here.Handler(), path); status != http.StatusOK || !bytes.Equal(got, want) {
		t.Errorf("%d: %d bytes, in one process %d", status, len(got), len(want))
	}
	if c.metric(t, "WorkerFailures") != 0 || f.Processes() != 2 {
		t.Errorf("%v failures, %d environments", c.metric(t, "WorkerFailures"), f.Processes())
	}
	var spilled int64
	for o, err := range c.bkt.List(t.Context(), "v1/tmp/") {
		if err != nil {
			t.Fatal(err)
		}
		spilled += o.Size
	}
	if spilled <= maxInline {
		t.Errorf("%d bytes passed through the bucket, want more than %d", spilled, maxInline)
	}
}

// longNames is a profile of stacks of functions whose names nothing can make shorter.
func longNames(seed uint64, at time.Time) *pprof.Profile {
	p := &pprof.Profile{
		SampleType: []*pprof.ValueType{{Type: "cpu", Unit: "nanoseconds"}}, PeriodType: &pprof.ValueType{Type: "cpu", Unit: "nanoseconds"},
		TimeNanos: at.UnixNano(), DurationNanos: 1e9,
	}
	random := rand.NewChaCha8([32]byte{byte(seed)})
	for i := range 5_000 {
		name := make([]byte, 480)
		_, _ = random.Read(name) // it never fails
		f := &pprof.Function{ID: uint64(i + 1), Name: fmt.Sprint(i, ".", hex.EncodeToString(name))}
		l := &pprof.Location{ID: f.ID, Line: []pprof.Line{{Function: f}}}
		p.Function, p.Location = append(p.Function, f), append(p.Location, l)
		p.Sample = append(p.Sample, &pprof.Sample{Location: []*pprof.Location{l}, Value: []int64{int64(i + 1)}})
	}
	return p
}

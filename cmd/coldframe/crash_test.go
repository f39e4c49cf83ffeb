package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"
)

// Servers and compactors are killed at random moments while clients push and try
// again, as clients do. What was acknowledged counts exactly once afterwards; what was
// not counts once or not at all.
func TestKilledProcessesLoseNothing(t *testing.T) {
	bkt, spool := folder(t), t.TempDir()
	address := freeAddress(t)
	url := "http://" + address
	deadline := time.Now().Add(8 * time.Second)
	if testing.Short() {
		deadline = time.Now().Add(3 * time.Second)
	}
	ingest := func() *spawned {
		p := spawn(t, "ingest", "--bucket-config", bkt, "--http-address", address, "--spool-dir", spool)
		p.ready(t, url)
		return p
	}
	server := ingest()

	acknowledged, tried := map[string]bool{}, map[string]bool{}
	var mu sync.Mutex
	var clients sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for client := range 4 {
		clients.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				name := fmt.Sprintf("client_%d_push_%d", client, n)
				body := oneSample(t, name)
				mu.Lock()
				tried[name] = true
				mu.Unlock()
				for ctx.Err() == nil && !pushOnce(ctx, url, body) {
					time.Sleep(20 * time.Millisecond)
				}
				if ctx.Err() == nil {
					mu.Lock()
					acknowledged[name] = true
					mu.Unlock()
				}
			}
		})
	}
	compacting := spawn(t, "compact", "--bucket-config", bkt, "--every", "20ms", "--http-address", "127.0.0.1:0")
	rng := rand.New(rand.NewPCG(1, 2))
	kills := 0
	for time.Now().Before(deadline) {
		time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
		kills++
		if kills%2 == 0 {
			server.kill()
			server = ingest()
			continue
		}
		compacting.kill()
		once := spawn(t, "compact", "--bucket-config", bkt, "--once", "--seal-now")
		time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
		once.kill()
		compacting = spawn(t, "compact", "--bucket-config", bkt, "--every", "20ms", "--http-address", "127.0.0.1:0")
	}
	stop()
	clients.Wait()
	server.kill()
	compacting.kill()

	last := ingest() // takes over what the killed ones left in the spool
	if err := last.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := <-last.done; err != nil {
		t.Errorf("a clean stop: %v\n%s", err, last.stderr)
	}
	last.done <- nil
	must(t, "compact", "--bucket-config", bkt, "--once", "--seal-now")
	counts := map[string]int64{}
	for _, s := range get(t, bkt, "--type", "test").Sample {
		counts[s.Location[0].Line[0].Function.Name] += s.Value[0]
	}
	for name := range acknowledged {
		if counts[name] != 1 {
			t.Errorf("%s was acknowledged and counts %d times", name, counts[name])
		}
	}
	for name, n := range counts {
		if n != 1 || !tried[name] {
			t.Errorf("%s counts %d times", name, n)
		}
	}
	must(t, "fsck", "--bucket-config", bkt)
	t.Logf("%d kills, %d pushes acknowledged, %d in the bucket", kills, len(acknowledged), len(counts))
	if len(acknowledged) < 20 || kills < 5 {
		t.Errorf("only %d pushes were acknowledged and %d processes killed: this shows nothing", len(acknowledged), kills)
	}
}

// oneSample is a profile of one sample in the function name.
func oneSample(t testing.TB, name string) []byte {
	f := &pprof.Function{ID: 1, Name: name}
	l := &pprof.Location{ID: 1, Line: []pprof.Line{{Function: f, Line: 1}}}
	p := &pprof.Profile{
		SampleType: []*pprof.ValueType{{Type: "samples", Unit: "count"}},
		TimeNanos:  time.Now().UnixNano(),
		Function:   []*pprof.Function{f},
		Location:   []*pprof.Location{l},
		Sample:     []*pprof.Sample{{Location: []*pprof.Location{l}, Value: []int64{1}}},
	}
	var body bytes.Buffer
	if err := p.Write(&body); err != nil {
		t.Fatal(err)
	}
	return body.Bytes()
}

// pushOnce says whether a push was acknowledged.
func pushOnce(ctx context.Context, url string, body []byte) bool {
	return pushTo(ctx, url+"/api/v1/push?job=crash&type_name=test", body)
}

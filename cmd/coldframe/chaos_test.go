package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/bucket/buckettest"
)

// chaosFor is how long the chaos lasts: as the environment says, in `make chaos` two minutes.
func chaosFor(t *testing.T) time.Duration {
	if text := os.Getenv("COLDFRAME_TEST_CHAOS"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if testing.Short() {
		t.Skip("takes long")
	}
	return 15 * time.Second
}

// Three compactors behind a bad network are killed and started again at random, while clients
// push. At every query no sample counts twice, and all that was acknowledged before are there
// after at most one sweep; in the end the sums by type, service and stack are those that were acknowledged.
func TestChaos(t *testing.T) {
	length := chaosFor(t)
	direct := buckettest.S3(t)
	through, network := buckettest.Toxic(t, direct)
	bkt, bad := string(direct), string(through)
	address := freeAddress(t)
	server := spawn(t, "ingest", "--bucket-config", bad, "--http-address", address, "--spool-dir", t.TempDir())
	server.ready(t, "http://"+address)

	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var running sync.WaitGroup
	running.Go(func() { network.Trouble(ctx, rand.New(rand.NewPCG(seed, 0))) })
	p := &pushes{tried: map[string]int64{}, acknowledged: map[string]int64{}}
	for client := range 4 {
		running.Go(func() { p.client(ctx, t, client, "http://"+address) })
	}
	kills := make([]int, 3)
	for n := range kills {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(1+n)))
			for ctx.Err() == nil {
				args := []string{"compact", "--bucket-config", bad, "--every", "100ms", "--claim", "1s", "--http-address", "127.0.0.1:0"}
				if rng.IntN(2) == 0 {
					args = []string{"compact", "--bucket-config", bad, "--once", "--seal-now"}
				}
				c := spawn(t, args...)
				time.Sleep(time.Duration(300+rng.IntN(2500)) * time.Millisecond)
				c.kill()
				kills[n]++
			}
		})
	}
	queries := 0
	for ctx.Err() == nil {
		p.check(t, bkt)
		queries++
		time.Sleep(500 * time.Millisecond)
	}
	running.Wait()
	if err := server.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	server.done <- <-server.done // what waits is in the bucket, or in the spool

	must(t, "compact", "--bucket-config", bkt, "--once", "--seal-now")
	p.check(t, bkt)
	must(t, "fsck", "--bucket-config", bkt)
	t.Logf("%d queries, %v kills, %d of %d stacks acknowledged", queries, kills, len(p.acknowledged), len(p.tried))
	if len(p.acknowledged) < 10 {
		t.Error("so few pushes were acknowledged that this shows nothing")
	}
}

// pushes are sums by type, service and stack.
type pushes struct {
	mu                  sync.Mutex
	tried, acknowledged map[string]int64
}

// client pushes until ctx ends, each profile again until it is acknowledged.
func (p *pushes) client(ctx context.Context, t testing.TB, number int, url string) {
	for n := 0; ctx.Err() == nil; n++ {
		service := fmt.Sprintf("service%d", n%3)
		body, sums := chaosProfile(t, service, fmt.Sprintf("client%d/push%d", number, n), int64(n+1))
		p.mu.Lock()
		maps.Copy(p.tried, sums)
		p.mu.Unlock()
		for ctx.Err() == nil {
			if pushTo(ctx, url+"/api/v1/push?type_name=chaos&service_name="+service, body) {
				p.mu.Lock()
				maps.Copy(p.acknowledged, sums)
				p.mu.Unlock()
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// chaosProfile has one sample of two types in a stack that no other has.
func chaosProfile(t testing.TB, service, name string, value int64) (body []byte, sums map[string]int64) {
	t.Helper()
	p, err := pprof.ParseData(oneSample(t, name))
	if err != nil {
		t.Fatal(err)
	}
	p.SampleType = append(p.SampleType, &pprof.ValueType{Type: "cpu", Unit: "nanoseconds"})
	p.Sample[0].Value = []int64{value, 1000 * value}
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), map[string]int64{
		"samples " + service + " " + name: value,
		"cpu " + service + " " + name:     1000 * value,
	}
}

func pushTo(ctx context.Context, url string, body []byte) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// check asks for everything. What was acknowledged before is there, or, if it came late for its
// minute, after a sweep; and nothing counts but as often as it was pushed.
func (p *pushes) check(t testing.TB, bkt string) {
	t.Helper()
	p.mu.Lock()
	want := maps.Clone(p.acknowledged)
	p.mu.Unlock()
	var missing []string
	for try := 0; try < 20; try++ {
		sums := p.ask(t, bkt)
		missing = missing[:0]
		for at := range want {
			if _, there := sums[at]; !there {
				missing = append(missing, at)
			}
		}
		if len(missing) == 0 {
			return
		}
		command(t, "compact", "--bucket-config", bkt, "--once") // it may lose a race, and is called again
	}
	t.Errorf("%d of %d sums that were acknowledged are missing after many sweeps, among them %s", len(missing), len(want), missing[0])
}

// ask gives the sums of everything, which must be those that were tried.
func (p *pushes) ask(t testing.TB, bkt string) map[string]int64 {
	t.Helper()
	sums := map[string]int64{}
	for service := range 3 {
		name := fmt.Sprintf("service%d", service)
		status, out, stderr := command(t, "get", "--bucket-config", bkt, "--from", "0", "--to", "now+1h", "--strict", "--format", "pprof", "--type", "chaos", `{service_name="`+name+`"}`)
		if status != 0 {
			if !strings.Contains(stderr, "no such profile type") {
				t.Errorf("get: status %d: %s", status, stderr)
			}
			continue
		}
		answer, err := pprof.ParseData([]byte(out))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range answer.Sample {
			for i, of := range answer.SampleType {
				sums[of.Type+" "+name+" "+s.Location[0].Line[0].Function.Name] += s.Value[i]
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for at, sum := range sums {
		if sum != p.tried[at] {
			t.Errorf("%s sums up to %d, pushed was %d", at, sum, p.tried[at])
		}
	}
	return sums
}

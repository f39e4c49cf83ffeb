package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	parcav1 "github.com/coldframe/coldframe/api/parca/profilestore/v1alpha1"
	"github.com/coldframe/coldframe/bucket/buckettest"
	"github.com/coldframe/coldframe/profile"
)

// The bucket is away for longer than a push may take, while clients push more than may wait:
// over HTTP and gRPC they are told to come back, memory stays bounded, and what is scraped
// goes to the spool. When the bucket is back all that was acknowledged and all that was scraped
// is there, once.
func TestBucketAway(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("is away for longer than a push may take")
	}
	const memory = 8 << 20
	direct := buckettest.S3(t)
	through, network := buckettest.Toxic(t, direct)
	target, served := numberedTarget(t)
	config := write(t, t.TempDir(), "parca.yaml", fmt.Appendf(nil, `
scrape_configs:
  - job_name: scraped
    scrape_interval: 200ms
    scrape_timeout: 60s
    static_configs: [{targets: [%q]}]
    profiling_config: {pprof_config: {test: {path: /test}, memory: {enabled: false}, block: {enabled: false}, mutex: {enabled: false}, goroutine: {enabled: false}, process_cpu: {enabled: false}}}
`, target))
	address := freeAddress(t)
	server := spawn(t, "ingest", "--bucket-config", string(through), "--http-address", address, "--config-path", config,
		"--window", "1s", "--spool-dir", t.TempDir(), "--memory-bytes", strconv.Itoa(memory))
	server.ready(t, "http://"+address)

	c := &outageClients{address: address, filler: filler(t, 128<<10)}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	for n := range 100 {
		push := c.overHTTP
		if n%5 == 0 {
			push = func(name string, body []byte) error { return c.overGRPC(t.Context(), conn, name, body) }
		}
		running.Go(func() { c.run(ctx, t, fmt.Sprintf("client%d", n), push) })
	}
	waitFor := func(what string, n *atomic.Int64, least int64) {
		t.Helper()
		eventually(t, time.Minute, func() (string, bool) { return fmt.Sprintf("%d %s", n.Load(), what), n.Load() >= least })
	}
	waitFor("pushes acknowledged", &c.acknowledged, 100)
	network.Away(true)
	c.away.Store(true)
	waitFor("HTTP clients told to come back", &c.toldHTTP, 100)
	waitFor("gRPC clients told to come back", &c.toldGRPC, 25)
	eventually(t, time.Minute, func() (string, bool) {
		return "spool", metricOf(t, address, "coldframe_upload_spool_blocks") >= 2
	})
	if waits := metricOf(t, address, "coldframe_upload_memory_bytes"); waits > memory {
		t.Errorf("%.0f bytes wait in memory, at most %d may", waits, memory)
	}
	c.away.Store(false)
	network.Away(false)
	before := c.acknowledged.Load()
	waitFor("pushes acknowledged", &c.acknowledged, before+100)
	stop()
	running.Wait()
	last := served.Load()
	waitFor("scrapes", served, last+2) // then the last one is taken
	// What is still in the spool when the server stops stays there for the next start.
	eventually(t, time.Minute, func() (string, bool) {
		return "the spool empties", metricOf(t, address, "coldframe_upload_spool_blocks") == 0
	})
	peak := peakMemory(t, server.Process.Pid)
	if err := server.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := <-server.done; err != nil {
		t.Errorf("a clean stop: %v\n%s", err, server.stderr)
	}
	server.done <- nil

	counts := map[string]int64{}
	for _, s := range get(t, string(direct), "--type", "test").Sample {
		counts[s.Location[0].Line[0].Function.Name] += s.Value[0]
	}
	c.stored.Range(func(name, _ any) bool {
		if n := counts[name.(string)]; n != 1 {
			t.Errorf("%s was acknowledged and counts %d times", name, n)
		}
		return true
	})
	for n := int64(1); n <= last; n++ {
		if counts[scrapeName(n)] != 1 {
			t.Errorf("%s counts %d times", scrapeName(n), counts[scrapeName(n)])
		}
	}
	for name, n := range counts {
		if n != 1 {
			t.Errorf("%s counts %d times", name, n)
		}
	}
	log := server.stderr.String()
	if n := strings.Count(log, "the bucket does not take blocks"); n == 0 || n > 20 || strings.Count(log, "\n") > 1000 {
		t.Errorf("%d lines say that the bucket is away, among %d:\n%.5000s", n, strings.Count(log, "\n"), log)
	}
	if peak > 512<<20 {
		t.Errorf("the server has taken %d MiB", peak>>20)
	}
	t.Logf("%d pushes acknowledged, %d HTTP and %d gRPC requests told to come back, %d scrapes, %d MiB at most", c.acknowledged.Load(), c.toldHTTP.Load(), c.toldGRPC.Load(), last, peak>>20)
}

// outageClients push profiles of one sample each, again until they are acknowledged.
type outageClients struct {
	address string
	filler  []byte // what makes a profile large
	away    atomic.Bool

	acknowledged, toldHTTP, toldGRPC atomic.Int64
	stored                           sync.Map // by name
}

func (c *outageClients) run(ctx context.Context, t *testing.T, client string, push func(name string, body []byte) error) {
	for n := 0; ctx.Err() == nil; n++ {
		name := fmt.Sprintf("%s_push%d", client, n)
		body, err := new(profile.Decoder).Uncompress(oneSample(t, name))
		if err != nil {
			t.Error(err)
			return
		}
		body = append(bytes.Clone(body), c.filler...)
		for {
			err := push(name, body)
			if err == nil {
				c.acknowledged.Add(1)
				c.stored.Store(name, true)
				break
			}
			if !errors.Is(err, errComeBack) {
				t.Errorf("%s: %v", name, err)
				return
			}
			time.Sleep(500 * time.Millisecond)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

var errComeBack = errors.New("told to come back")

func (c *outageClients) overHTTP(_ string, body []byte) error {
	resp, err := http.Post("http://"+c.address+"/api/v1/push?job=pushed&type_name=test", "", bytes.NewReader(body)) //nolint:noctx // it waits for its answer whatever happens
	if err != nil {
		return errComeBack // a connection that broke; clients try again, and it counts once
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return errComeBack
	case resp.StatusCode == http.StatusOK:
		return nil
	case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
		if c.away.Load() {
			c.toldHTTP.Add(1)
		}
		return errComeBack
	}
	return fmt.Errorf("%s: %s", resp.Status, answer)
}

func (c *outageClients) overGRPC(ctx context.Context, conn *grpc.ClientConn, _ string, body []byte) error {
	req := &parcav1.WriteRawRequest{Series: []*parcav1.RawProfileSeries{{
		Labels:  &parcav1.LabelSet{Labels: []*parcav1.Label{{Name: "__name__", Value: "test"}, {Name: "job", Value: "pushed"}}},
		Samples: []*parcav1.RawSample{{RawProfile: body}},
	}}}
	err := conn.Invoke(ctx, parcav1.ProfileStoreServiceWriteRawProcedure, req, new(parcav1.WriteRawResponse))
	told := status.Convert(err)
	if told.Code() != codes.Unavailable {
		return err
	}
	for _, detail := range told.Details() {
		if d, ok := detail.(*errdetails.RetryInfo); ok && d.GetRetryDelay().AsDuration() > 0 {
			if c.away.Load() {
				c.toldGRPC.Add(1)
			}
			return errComeBack
		}
	}
	return errComeBack // a connection that broke
}

// filler is a string that no sample uses, to be appended to an uncompressed pprof.
func filler(t *testing.T, n int) []byte {
	t.Helper()
	text := make([]byte, n)
	if _, err := rand.Read(text); err != nil {
		t.Fatal(err)
	}
	for i := range text {
		text[i] = 'a' + text[i]%26
	}
	field := []byte{6<<3 | 2}
	for ; n > 0x7f; n >>= 7 {
		field = append(field, byte(n)|0x80)
	}
	return append(append(field, byte(n)), text...)
}

// numberedTarget answers every scrape with another profile, and counts them.
func numberedTarget(t *testing.T) (address string, served *atomic.Int64) {
	t.Helper()
	served = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(oneSample(t, scrapeName(served.Add(1))))
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), served
}

func scrapeName(n int64) string { return fmt.Sprintf("scrape%d", n) }

// metricOf reads a metric without labels.
func metricOf(t *testing.T, address, name string) float64 {
	t.Helper()
	_, body, err := fetch(t, "http://"+address+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(body)
	if found == nil {
		t.Fatalf("no metric %s in\n%s", name, body)
	}
	value, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// peakMemory is the most that a process has had in memory, in bytes.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("no VmHWM in\n%s", text)
	}
	kb, err := strconv.ParseInt(string(found[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

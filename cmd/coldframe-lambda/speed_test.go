package main

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/compactor"
	"github.com/coldframe/coldframe/internal/lambdaenv"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

// ask is a request that must be answered.
func ask(b *testing.B, f *lambdaenv.Function, path string) {
	b.Helper()
	if status, body, _ := fetch(b, f, http.MethodGet, path, nil); status != http.StatusOK {
		b.Fatalf("%s: %d %.300s", path, status, body)
	}
}

// From exec to the first request for an event, at the median.
func BenchmarkColdStart(b *testing.B) {
	c := newCloud(b)
	var times []time.Duration
	for b.Loop() {
		f := c.deploy(b, lambdaenv.Config{})
		ask(b, f, "/-/healthy")
		times = append(times, f.ColdStarts()...)
		f.Close()
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1e3, "p50-ms")
}

// What an environment that is there adds to a request that costs nothing itself.
func BenchmarkWarm(b *testing.B) {
	c := newCloud(b)
	f := c.deploy(b, lambdaenv.Config{})
	ask(b, f, "/-/healthy")
	var times []time.Duration
	for b.Loop() {
		began := time.Now()
		ask(b, f, "/-/healthy")
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1e3, "p50-ms")
}

// The first query of a new environment: a flame graph of one service over thirty days, each a block.
func BenchmarkFirstQuery(b *testing.B) {
	c := newCloud(b)
	for day := range 30 {
		var profiles []upload.Profile
		for i, p := range corpusOf()[:40] {
			one, err := pprof.ParseData(p.Body)
			if err != nil {
				b.Fatal(err)
			}
			one.TimeNanos = time.Now().Add(-time.Duration(day)*24*time.Hour - time.Duration(i)*time.Minute).UnixNano()
			var body bytes.Buffer
			if err := one.Write(&body); err != nil {
				b.Fatal(err)
			}
			profiles = append(profiles, upload.Profile{Name: p.Name, Labels: p.Labels, Body: body.Bytes()})
		}
		c.push(b, "test", profiles...)
	}
	if err := compactor.New(catalog.New(c.bkt, catalog.Config{}), c.bkt, compactor.Config{}).RunOnce(b.Context()); err != nil {
		b.Fatal(err)
	}
	first := corpusOf()[0]
	var times []time.Duration
	for b.Loop() {
		f := c.deploy(b, lambdaenv.Config{MemoryMB: 1769, Timeout: time.Minute, Env: []string{"COLDFRAME_WORKERS=0"}})
		began := time.Now()
		ask(b, f, "/api/v1/flamegraph?type="+first.Name+"&from=now-30d&to=now")
		times = append(times, time.Since(began))
		f.Close()
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1e3, "p50-ms")
}

// minuteOf100Hosts uploads 57 MB of gzip pprof, a block of each host.
func (c *cloud) minuteOf100Hosts(t testing.TB) {
	t.Helper()
	const hosts, wantBytes = 100, 57_000_000
	all := corpusOf()
	bytesIn := 0
	for host := range hosts {
		var profiles []upload.Profile
		for i := 0; bytesIn < wantBytes/hosts*(host+1); i++ {
			p := all[(host*7+i)%len(all)]
			labels := p.Labels.Map()
			labels["host"] = fmt.Sprint(host)
			distinct, err := profile.LabelsFromMap(labels)
			if err != nil {
				t.Fatal(err)
			}
			bytesIn += len(p.Body)
			profiles = append(profiles, upload.Profile{Name: p.Name, Labels: distinct, Body: p.Body})
		}
		c.push(t, fmt.Sprint("host-", host), profiles...)
	}
}

// compactMinute has one invocation of 512 MB compact it.
func (c *cloud) compactMinute(t testing.TB) lambdaenv.Spent {
	t.Helper()
	f := c.deploy(t, lambdaenv.Config{MemoryMB: 512, Timeout: 15 * time.Minute, Env: []string{"COLDFRAME_ROLES=compact"}})
	if answer, err := f.Invoke(t.Context(), []byte(compactAll)); err != nil {
		t.Fatalf("%s %v", answer, err)
	}
	f.Close()
	return f.Spent()
}

// A minute of 100 hosts, in one invocation.
func BenchmarkCompactMinute(b *testing.B) {
	var spent lambdaenv.Spent
	for b.Loop() {
		b.StopTimer()
		c := newCloud(b)
		c.minuteOf100Hosts(b)
		b.StartTimer()
		spent = c.compactMinute(b)
	}
	b.ReportMetric(spent.CPU.Seconds()*1e3, "cpu-ms/minute")
	b.ReportMetric(float64(spent.MemoryBytes)/1e6, "peak-MB")
}

// An invocation that has 512 MB compacts a minute of 100 hosts within them, and every profile is there.
func TestCompactMinute(t *testing.T) {
	c := newCloud(t)
	c.minuteOf100Hosts(t)
	spent := c.compactMinute(t)
	t.Logf("%s of CPU, %d MB at most", spent.CPU, spent.MemoryBytes/1_000_000)
	if spent.MemoryBytes == 0 || spent.MemoryBytes > 512_000_000 {
		t.Errorf("%d bytes of memory at most, want up to 512 MB", spent.MemoryBytes)
	}
	if n := c.metric(t, "CompactedBytes"); n < 57_000_000 || c.metric(t, "RejectedProfiles") != 0 {
		t.Errorf("%.0f bytes were read, %.0f profiles rejected", n, c.metric(t, "RejectedProfiles"))
	}
	if c.metric(t, "StoppedCompactions") != 0 {
		t.Error("it was stopped before its end")
	}
}

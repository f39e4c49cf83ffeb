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
	"github.com/coldframe/coldframe/internal/corpus"
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
	up, err := upload.New(earlier{c.bkt}, upload.Config{Agent: "test"})
	if err != nil {
		b.Fatal(err)
	}
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
		if err := up.Push(b.Context(), profile.DefaultTenant, profiles...); err != nil {
			b.Fatal(err)
		}
	}
	if err := up.Close(b.Context()); err != nil {
		b.Fatal(err)
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

// A minute of 100 hosts, 57 MB of gzip pprof in a block of each host, in one invocation.
func BenchmarkCompactMinute(b *testing.B) {
	const hosts, wantBytes = 100, 57_000_000
	var spent lambdaenv.Spent
	for b.Loop() {
		b.StopTimer()
		c := newCloud(b)
		var bytesIn int
		for host := range hosts {
			up, err := upload.New(earlier{c.bkt}, upload.Config{Agent: fmt.Sprint("host-", host)})
			if err != nil {
				b.Fatal(err)
			}
			var profiles []upload.Profile
			all := corpus.FiveMinutes()
			for i := 0; bytesIn < wantBytes/hosts*(host+1); i++ {
				p := all[(host*7+i)%len(all)]
				labels := p.Labels.Map()
				labels["host"] = fmt.Sprint(host)
				distinct, err := profile.LabelsFromMap(labels)
				if err != nil {
					b.Fatal(err)
				}
				bytesIn += len(p.Body)
				profiles = append(profiles, upload.Profile{Name: p.Name, Labels: distinct, Body: p.Body})
			}
			err = up.Push(b.Context(), profile.DefaultTenant, profiles...)
			if err == nil {
				err = up.Close(b.Context())
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		f := c.deploy(b, lambdaenv.Config{MemoryMB: 512, Timeout: 15 * time.Minute, Env: []string{"COLDFRAME_ROLES=compact"}})
		b.StartTimer()
		if answer, err := f.Invoke(b.Context(), []byte(compactAll)); err != nil {
			b.Fatalf("%s %v", answer, err)
		}
		f.Close()
		spent = f.Spent()
	}
	b.ReportMetric(spent.CPU.Seconds()*1e3, "cpu-ms/minute")
	b.ReportMetric(float64(spent.MemoryBytes)/1e6, "peak-MB")
}

// Package apitest is a small house for tests of the query APIs: a bucket in memory with
// profiles of two tenants, small enough to know by heart, a Querier that answers from it
// and a listener.
//
// The default tenant has CPU profiles (delta) and heap profiles (levels) of two pods,
// one every ten seconds for two minutes from [House.Start] on, and a goroutine profile of
// a target that was scraped and has no label but job. The tenant other has a profile in
// which everything is called secret.
package apitest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/serve"
	"github.com/coldframe/coldframe/upload"
)

// What the house has.
const (
	CPU         = "process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta"
	Heap        = "memory:inuse_space:bytes:space:bytes"
	Other       = "other"  // a tenant
	Secret      = "secret" // in every name that Other has
	Span        = "00f067aa0ba902b7"
	Rounds      = 12
	Every       = 10 * time.Second
	Unsymbolize = 0x1234 // an address without a function
	Goroutines  = 7
)

// House is a running one.
type House struct {
	URL     string
	Querier *query.Querier
	Start   time.Time // of the first profiles
	End     time.Time // after the last ones
	CPU     []*pprof.Profile
	Heap    []*pprof.Profile
}

// Open fills a house and serves routes of its Querier until the test ends.
func Open(t testing.TB, cfg query.Config, routes func(q *query.Querier, handle func(string, http.Handler))) *House {
	t.Helper()
	bkt := bucket.Mem()
	h := &House{Start: time.Now().Add(-10 * time.Minute).Truncate(time.Minute)}
	h.End = h.Start.Add(Rounds * Every)
	h.fill(t, bkt)
	h.Querier = query.New(catalog.New(bkt, catalog.Config{}), bkt, cfg)
	h.serve(t, func(handle func(string, http.Handler)) { routes(h.Querier, handle) })
	return h
}

func (h *House) serve(t testing.TB, routes func(func(string, http.Handler))) {
	t.Helper()
	s := serve.New(serve.Config{Address: "127.0.0.1:0"})
	routes(s.Handle)
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	h.URL = "http://" + s.Addr().String()
}

func (h *House) fill(t testing.TB, bkt bucket.Bucket) {
	t.Helper()
	up, err := upload.New(bkt, upload.Config{Agent: "apitest"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := up.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	var all []upload.Profile
	for i := range Rounds {
		for _, pod := range []string{"a", "b"} {
			labels, err := profile.NewLabels(profile.Label{Name: "service_name", Value: "api"}, profile.Label{Name: "pod", Value: pod})
			if err != nil {
				t.Fatal(err)
			}
			at := h.Start.Add(time.Duration(i) * Every)
			cpu, heap := cpuProfile(at, int64(i+1), pod), heapProfile(at, int64(i+1))
			h.CPU, h.Heap = append(h.CPU, cpu), append(h.Heap, heap)
			all = append(all,
				upload.Profile{Name: "process_cpu", Labels: labels, Body: write(t, cpu)},
				upload.Profile{Name: "memory", Labels: labels, Body: write(t, heap)})
		}
	}
	scraped, err := profile.NewLabels(profile.Label{Name: "job", Value: "scraped"})
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, upload.Profile{Name: "goroutine", Labels: scraped, Body: write(t, goroutineProfile(h.Start))})
	if err := up.Push(t.Context(), profile.DefaultTenant, all...); err != nil {
		t.Fatal(err)
	}
	secret := cpuProfile(h.Start, 1, Secret)
	for _, f := range secret.Function {
		f.Name = Secret + "." + f.Name
	}
	labels, err := profile.NewLabels(profile.Label{Name: Secret, Value: Secret}, profile.Label{Name: "service_name", Value: Secret})
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Push(t.Context(), Other, upload.Profile{Name: Secret, Labels: labels, Body: write(t, secret)}); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, p *pprof.Profile) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// program is what the profiles are of: a binary, a library without symbols, and the
// functions main.main, main.serve, main.page with main.render inlined, main.parse.
type program struct {
	*pprof.Profile
	main, serve, page, parse, unknown *pprof.Location
}

func newProgram(at time.Time) *program {
	bin := &pprof.Mapping{ID: 1, Start: 0x400000, Limit: 0x500000, File: "/usr/bin/app", BuildID: "b1d", HasFunctions: true}
	lib := &pprof.Mapping{ID: 2, Start: 0x7f0000, Limit: 0x7f8000, File: "/usr/lib/libc.so.6", BuildID: "c2d"}
	p := &program{Profile: &pprof.Profile{TimeNanos: at.UnixNano(), Mapping: []*pprof.Mapping{bin, lib}}}
	function := func(name string, line int64) *pprof.Function {
		f := &pprof.Function{ID: uint64(len(p.Function) + 1), Name: name, SystemName: name, Filename: "/src/main.go", StartLine: line}
		p.Function = append(p.Function, f)
		return f
	}
	location := func(m *pprof.Mapping, address uint64, lines ...pprof.Line) *pprof.Location {
		l := &pprof.Location{ID: uint64(len(p.Location) + 1), Mapping: m, Address: m.Start + address, Line: lines}
		p.Location = append(p.Location, l)
		return l
	}
	p.main = location(bin, 0x10, pprof.Line{Function: function("main.main", 1), Line: 3})
	p.serve = location(bin, 0x20, pprof.Line{Function: function("main.serve", 10), Line: 13})
	p.page = location(bin, 0x30, pprof.Line{Function: function("main.render", 20), Line: 23}, pprof.Line{Function: function("main.page", 30), Line: 33})
	p.parse = location(bin, 0x40, pprof.Line{Function: function("main.parse", 40), Line: 43})
	p.unknown = location(lib, Unsymbolize)
	return p
}

func (p *program) sample(labels map[string][]string, values []int64, leafFirst ...*pprof.Location) {
	p.Sample = append(p.Sample, &pprof.Sample{Location: leafFirst, Value: values, Label: labels})
}

func cpuProfile(at time.Time, n int64, pod string) *pprof.Profile {
	p := newProgram(at)
	p.SampleType = []*pprof.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}}
	p.PeriodType, p.Period = &pprof.ValueType{Type: "cpu", Unit: "nanoseconds"}, 10_000_000
	p.DurationNanos = int64(Every)
	for _, s := range []struct {
		samples   int64
		labels    map[string][]string
		leafFirst []*pprof.Location
	}{
		{1, nil, []*pprof.Location{p.serve, p.main}},
		{4 * n, map[string][]string{"span_id": {Span}}, []*pprof.Location{p.page, p.serve, p.main}},
		{3, nil, []*pprof.Location{p.parse, p.serve, p.main}},
		{2, nil, []*pprof.Location{p.parse, p.parse, p.serve, p.main}},
		{5, nil, []*pprof.Location{p.unknown, p.main}},
	} {
		if pod == "b" && s.samples == 5 {
			continue // a stack that only one pod has
		}
		p.sample(s.labels, []int64{s.samples, s.samples * p.Period}, s.leafFirst...)
	}
	return p.Profile
}

func heapProfile(at time.Time, n int64) *pprof.Profile {
	p := newProgram(at)
	p.SampleType = []*pprof.ValueType{{Type: "inuse_objects", Unit: "count"}, {Type: "inuse_space", Unit: "bytes"}}
	p.PeriodType, p.Period = &pprof.ValueType{Type: "space", Unit: "bytes"}, 512<<10
	p.sample(nil, []int64{n, n << 20}, p.page, p.main)
	p.sample(nil, []int64{1, 1 << 20}, p.parse, p.main)
	return p.Profile
}

func goroutineProfile(at time.Time) *pprof.Profile {
	p := newProgram(at)
	p.SampleType = []*pprof.ValueType{{Type: "goroutine", Unit: "count"}}
	p.PeriodType, p.Period = &pprof.ValueType{Type: "goroutine", Unit: "count"}, 1
	p.sample(nil, []int64{Goroutines}, p.serve, p.main)
	return p.Profile
}

// Between are the profiles that began in [from, to).
func Between(all []*pprof.Profile, from, to time.Time) []*pprof.Profile {
	var some []*pprof.Profile
	for _, p := range all {
		if at := time.Unix(0, p.TimeNanos); !at.Before(from) && at.Before(to) {
			some = append(some, p)
		}
	}
	return some
}

// Paths are the values of one sample type by stack, the root's function first and joined
// by semicolons: each stack's own, and with all that it called. An address without a
// function is called by its address.
func Paths(profiles []*pprof.Profile, sampleType string) (self, total map[string]int64) {
	self, total = map[string]int64{}, map[string]int64{}
	for _, p := range profiles {
		column := 0
		for i, v := range p.SampleType {
			if v.Type == sampleType {
				column = i
			}
		}
		for _, s := range p.Sample {
			path := ""
			for _, name := range names(s) {
				path = strings.TrimPrefix(path+";"+name, ";")
				total[path] += s.Value[column]
			}
			self[path] += s.Value[column]
			total[""] += s.Value[column]
		}
	}
	return self, total
}

// names are a sample's functions, the root's first.
func names(s *pprof.Sample) []string {
	var all []string
	for i := len(s.Location) - 1; i >= 0; i-- {
		l := s.Location[i]
		if len(l.Line) == 0 {
			all = append(all, "0x1234")
		}
		for j := len(l.Line) - 1; j >= 0; j-- {
			all = append(all, l.Line[j].Function.Name)
		}
	}
	return all
}

// Get asks for a path of the house.
func (h *House) Get(t testing.TB, path string, header ...string) (status int, body string) {
	t.Helper()
	return h.Do(t, http.MethodGet, path, "", header...)
}

// Do sends a request with a body, and headers in pairs.
func (h *House) Do(t testing.TB, method, path, body string, header ...string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, h.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	return resp.StatusCode, string(read)
}

// HTTP2 is a client that speaks HTTP/2 without TLS, as gRPC's do, until the test ends.
func HTTP2(t testing.TB) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

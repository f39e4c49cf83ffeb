package push_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/block/pprofblock"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/ingest/push"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

// server is a receiver on a real listener, before a bucket in memory.
type server struct {
	*httptest.Server
	bkt bucket.Bucket
}

func serveOn(t testing.TB, bkt bucket.Bucket, cfg push.Config, up upload.Config) *server {
	t.Helper()
	up.Agent = "test"
	u, err := upload.New(bkt, up)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
		defer cancel()
		_ = u.Close(ctx)
	})
	return serveWith(t, bkt, push.New(u, cfg))
}

func serveWith(t testing.TB, bkt bucket.Bucket, rc *push.Receiver) *server {
	t.Helper()
	mux := http.NewServeMux()
	rc.Routes(mux.Handle)
	s := httptest.NewUnstartedServer(mux)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return &server{s, bkt}
}

func newServer(t *testing.T) *server {
	t.Helper()
	return serveOn(t, bucket.Mem(), push.Config{}, upload.Config{})
}

// post sends a body and gives status and answer.
func (s *server) post(t *testing.T, path, contentType string, body []byte, headers ...string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer), resp.Header
}

// stored is a profile in the bucket.
type stored struct {
	pprofblock.Entry
	body []byte
	*pprof.Profile
}

// types lists the sample types, as "process_cpu: samples:count cpu:nanoseconds".
func (s stored) types() string {
	words := []string{s.Name + ":"}
	for _, t := range s.Profile.SampleType {
		words = append(words, t.Type+":"+t.Unit)
	}
	return strings.Join(words, " ")
}

// folded gives the samples, root first, with labels and values, sorted.
func (s stored) folded() string {
	var lines []string
	for _, sample := range s.Sample {
		var names []string
		for _, l := range slices.Backward(sample.Location) {
			if len(l.Line) == 0 {
				names = append(names, fmt.Sprintf("%#x", l.Address))
			}
			for _, line := range slices.Backward(l.Line) {
				names = append(names, line.Function.Name)
			}
		}
		line := strings.Join(names, ";")
		var labels []string
		for key, values := range sample.Label {
			labels = append(labels, key+"="+strings.Join(values, ","))
		}
		for key, values := range sample.NumLabel {
			labels = append(labels, fmt.Sprintf("%s=%d%s", key, values[0], strings.Join(sample.NumUnit[key], "")))
		}
		if slices.Sort(labels); len(labels) > 0 {
			line += " {" + strings.Join(labels, " ") + "}"
		}
		lines = append(lines, line+" "+strings.Trim(fmt.Sprint(sample.Value), "[]"))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// stored lists what is in the bucket of a tenant, by name and labels.
func (s *server) stored(t *testing.T, tenant profile.Tenant) (all []stored) {
	t.Helper()
	for o, err := range s.bkt.List(t.Context(), "v1/l0/"+string(tenant)+"/") {
		if err != nil {
			t.Fatal(err)
		}
		data, _, err := s.bkt.Get(t.Context(), o.Key)
		if err != nil {
			t.Fatal(err)
		}
		r, err := pprofblock.Open(data, pprofblock.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range r.Manifest().Profiles {
			body, err := r.Profile(i)
			if err != nil {
				t.Fatal(err)
			}
			p, err := pprof.ParseData(body)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, stored{e, body, p})
		}
	}
	slices.SortStableFunc(all, func(a, b stored) int {
		return strings.Compare(a.Name+a.Labels.String(), b.Name+b.Labels.String())
	})
	return all
}

// only is the one profile that a tenant has.
func (s *server) only(t *testing.T, tenant profile.Tenant) stored {
	t.Helper()
	all := s.stored(t, tenant)
	if len(all) != 1 {
		t.Fatalf("%d profiles are stored, want 1", len(all))
	}
	return all[0]
}

// samplePprof is a pprof with sample labels of both kinds, taken at a time or at none.
func samplePprof(t *testing.T, at time.Time, kinds ...string) []byte {
	t.Helper()
	if len(kinds) == 0 {
		kinds = []string{"samples:count", "cpu:nanoseconds"}
	}
	p := &pprof.Profile{PeriodType: &pprof.ValueType{Type: "cpu", Unit: "nanoseconds"}, Period: 1e7, DurationNanos: 1e10}
	if !at.IsZero() {
		p.TimeNanos = at.UnixNano()
	}
	for i, name := range []string{"work", "main"} {
		p.Function = append(p.Function, &pprof.Function{ID: uint64(i + 1), Name: name, SystemName: name, Filename: name + ".go"})
		p.Location = append(p.Location, &pprof.Location{ID: uint64(i + 1), Address: uint64(0x1000 * (i + 1)), Line: []pprof.Line{{Function: p.Function[i], Line: int64(i + 1)}}})
	}
	s := &pprof.Sample{
		Location: p.Location, Label: map[string][]string{"handler": {"/cart"}},
		NumLabel: map[string][]int64{"bytes": {512}}, NumUnit: map[string][]string{"bytes": {"bytes"}},
	}
	for i, kind := range kinds {
		name, unit, _ := strings.Cut(kind, ":")
		p.SampleType = append(p.SampleType, &pprof.ValueType{Type: name, Unit: unit})
		s.Value = append(s.Value, int64(i+1)*3)
	}
	p.Sample = []*pprof.Sample{s}
	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// sampleFolded is what samplePprof says.
const sampleFolded = "main;work {bytes=512bytes handler=/cart} 3 6"

// noon is a time within any retention.
func noon() time.Time { return time.Now().Add(-time.Hour).Truncate(time.Millisecond) }

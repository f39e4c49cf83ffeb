package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	runtimepprof "runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"
	"github.com/grafana/pyroscope-go"
	pushv1 "github.com/grafana/pyroscope/api/gen/proto/go/push/v1"
	typesv1 "github.com/grafana/pyroscope/api/gen/proto/go/types/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	profilesv1 "go.opentelemetry.io/proto/otlp/profiles/v1development"

	parcav1 "github.com/coldframe/coldframe/api/parca/profilestore/v1alpha1"
	"github.com/coldframe/coldframe/internal/truth"
)

// What Pyroscope's SDKs for Go and Node have sent is what a query answers, by every stack, value and label of
// samples: an ear between client and server hears what was sent.
func TestWhatSDKsSendComesBack(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("profiles itself and Node for seconds")
	}
	for name, send := range map[string]func(t *testing.T, url string){"goshop": sendByGo, "node-shop": sendByNode} {
		t.Run(name, func(t *testing.T) {
			bkt, address := folder(t), freeAddress(t)
			spawn(t, "ingest", "--bucket-config", bkt, "--http-address", address).ready(t, "http://"+address)
			ear := listenTo(t, "http://"+address)
			send(t, ear.URL)

			kinds := 0
			for kind, sent := range ear.heard(t) {
				want, err := pprof.Merge(sent)
				if err != nil {
					t.Fatal(err)
				}
				got := get(t, bkt, "--type", kind, fmt.Sprintf("{service_name=%q}", name))
				if diff := truth.Difference(truth.Samples(got), truth.Samples(want)); diff != "" {
					t.Errorf("%s, of %d profiles: %s", kind, len(sent), diff)
				}
				if kind == "process_cpu" || kind == "wall" {
					if !slices.ContainsFunc(got.Sample, func(s *pprof.Sample) bool { return slices.Contains(s.Label["handler"], "cart") }) {
						t.Errorf("%s: no sample has the label that the program gave", kind)
					}
				}
				kinds++
			}
			if kinds < 2 {
				t.Errorf("%d kinds of profiles were heard", kinds)
			}
			_, metrics, err := fetch(t, "http://"+address+"/metrics")
			if err != nil || !bytes.Contains(metrics, []byte(`coldframe_pushes_total{outcome="stored",protocol="ingest"}`)) {
				t.Errorf("no metric of the pushes: %v", err)
			}
		})
	}
}

// ear passes requests on to a server and keeps their bodies.
type ear struct {
	*httptest.Server

	mu       sync.Mutex
	requests []*http.Request
	bodies   [][]byte
}

func listenTo(t *testing.T, server string) *ear {
	t.Helper()
	to, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	e := &ear{}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ModifyResponse = func(resp *http.Response) error {
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", resp.Request.URL, resp.Status)
		}
		return nil
	}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		e.mu.Lock()
		e.requests, e.bodies = append(e.requests, r), append(e.bodies, body)
		e.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(e.Close)
	return e
}

// heard gives the profiles that were sent, by the name under which they are to be found.
func (e *ear) heard(t *testing.T) map[string][]*pprof.Profile {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	all := map[string][]*pprof.Profile{}
	for i, r := range e.requests {
		p, err := pprof.ParseData(profileIn(t, r, e.bodies[i]))
		if err != nil {
			t.Fatal(err)
		}
		kind := ""
		for _, st := range p.SampleType {
			if known := map[string]string{"cpu": "process_cpu", "wall": "wall", "inuse_space": "memory", "goroutines": "goroutine", "goroutine": "goroutine"}[st.Type]; kind == "" {
				kind = known
			}
		}
		if kind == "" {
			t.Fatalf("what is of these types? %v", p.SampleType)
		}
		all[kind] = append(all[kind], p)
	}
	return all
}

// profileIn takes the pprof out of a request's form; Node's SDK sends it alone.
func profileIn(t *testing.T, r *http.Request, body []byte) []byte {
	t.Helper()
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return body
	}
	for form := multipart.NewReader(bytes.NewReader(body), params["boundary"]); ; {
		part, err := form.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if part.FormName() != "profile" {
			continue
		}
		data, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
}

// sendByGo profiles this process for two seconds.
func sendByGo(t *testing.T, url string) {
	t.Helper()
	profiler, err := pyroscope.Start(pyroscope.Config{
		ApplicationName: "goshop", ServerAddress: url, UploadRate: time.Second,
		ProfileTypes: []pyroscope.ProfileType{
			pyroscope.ProfileCPU, pyroscope.ProfileAllocObjects, pyroscope.ProfileAllocSpace, pyroscope.ProfileInuseObjects, pyroscope.ProfileInuseSpace, pyroscope.ProfileGoroutines,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	runtimepprof.Do(t.Context(), runtimepprof.Labels("handler", "cart"), func(context.Context) {
		var spent time.Duration // by as many turns as there are, on a loaded machine
		for n := 0; spent < 1500*time.Millisecond; n++ {
			began := time.Now()
			for i := range 1_000_000 {
				n += i & 1
			}
			spent += min(time.Since(began), 10*time.Millisecond)
		}
	})
	profiler.Flush(true)
	if err := profiler.Stop(); err != nil {
		t.Fatal(err)
	}
}

// sendByNode runs a program of its own, in a folder into which the SDK is installed.
func sendByNode(t *testing.T, url string) {
	t.Helper()
	dir, from := t.TempDir(), filepath.Join("..", "..", "ingest", "push", "testdata", "node")
	for _, name := range []string{"package.json", "package-lock.json", "push.js"} {
		write(t, dir, name, read(t, filepath.Join(from, name)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	in := func(argv ...string) error {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", argv, err, out)
		}
		return nil
	}
	if err := in("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if err := in("node", "push.js", url); err != nil {
		t.Fatal(err)
	}
}

// Sample labels, of strings and of numbers, come back from a query whatever the protocol.
func TestSampleLabelsComeBack(t *testing.T) {
	t.Parallel()
	bkt, address := folder(t), freeAddress(t)
	server := "http://" + address
	spawn(t, "ingest", "--bucket-config", bkt, "--http-address", address).ready(t, server)
	labelled := func(function string) []byte {
		p, err := pprof.ParseData(oneSample(t, function))
		if err != nil {
			t.Fatal(err)
		}
		p.Sample[0].Label = map[string][]string{"handler": {"cart"}}
		p.Sample[0].NumLabel, p.Sample[0].NumUnit = map[string][]int64{"bytes": {512}}, map[string][]string{"bytes": {"bytes"}}
		var body bytes.Buffer
		if err := p.Write(&body); err != nil {
			t.Fatal(err)
		}
		return body.Bytes()
	}
	push := &pushv1.PushRequest{Series: []*pushv1.RawProfileSeries{{
		Labels:  []*typesv1.LabelPair{{Name: "__name__", Value: "test"}, {Name: "service_name", Value: "pyroscope"}},
		Samples: []*pushv1.RawSample{{RawProfile: labelled("pyroscope")}},
	}}}
	otlp := otlpOfOneSample("otlp", time.Now())
	otlp.Dictionary.StringTable = append(otlp.Dictionary.StringTable, "handler")
	otlp.Dictionary.AttributeTable = []*profilesv1.KeyValueAndUnit{{}, {
		KeyStrindex: int32(len(otlp.Dictionary.StringTable) - 1), Value: &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: "cart"}},
	}}
	otlp.ResourceProfiles[0].ScopeProfiles[0].Profiles[0].Samples[0].AttributeIndices = []int32{1}
	arrows := func(name string) []byte { return read(t, "../../ingest/push/parca/testdata/"+name) }

	for name, send := range map[string]send{
		"pprof":     post("/api/v1/push?type_name=test&service_name=pprof", "", labelled("pprof")),
		"ingest":    post("/ingest?name=ingest&format=pprof", "", labelled("ingest")),
		"pyroscope": post("/push.v1.PusherService/Push", "application/proto", marshal(t, push)),
		"raw":       post(parcav1.ProfileStoreServiceWriteRawProcedure, "application/proto", marshal(t, rawOf("raw", labelled("raw")))),
		"otlp":      post("/v1development/profiles", "application/x-protobuf", marshal(t, otlp)),
		"Arrow, v2": post(parcav1.ProfileStoreServiceWriteArrowProcedure, "application/proto", marshal(t, &parcav1.WriteArrowRequest{IpcBuffer: arrows("v2.arrows")})),
		"Arrow, v1": writeStream(arrows("v1-samples.arrows"), arrows("v1-locations.arrows")),
	} {
		if err := send(t.Context(), server); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for selector, want := range map[string]string{
		`{service_name="pprof"}`:     "pprof bytes=512 handler=cart 1",
		`{service_name="ingest"}`:    "ingest bytes=512 handler=cart 1",
		`{service_name="pyroscope"}`: "pyroscope bytes=512 handler=cart 1",
		`{service_name="raw"}`:       "raw bytes=512 handler=cart 1",
		`{service_name="otlp"}`:      "otlp handler=cart 500000000",
		`{comm="shop"}`:              "? thread_name=io 1|work 1|work thread_id=7 2|work thread_id=8 1|work thread_name=io 1",
	} {
		if got := labelledSamples(get(t, bkt, "--type", kindOfSelector(selector), "--from", "2020-01-01T00:00:00Z", selector)); got != want {
			t.Errorf("%s: got %s, want %s", selector, got, want)
		}
	}
}

// kindOfSelector is under which type TestSampleLabelsComeBack has sent what a selector selects.
func kindOfSelector(selector string) string {
	switch selector {
	case `{service_name="otlp"}`, `{comm="shop"}`:
		return "process_cpu"
	case `{service_name="ingest"}`:
		return "samples"
	}
	return "test"
}

// labelledSamples gives the leaf, labels and first value of every sample, sorted.
func labelledSamples(p *pprof.Profile) string {
	var all []string
	for _, s := range p.Sample {
		words := []string{}
		for key, values := range s.Label {
			words = append(words, key+"="+strings.Join(values, ","))
		}
		for key, values := range s.NumLabel {
			words = append(words, fmt.Sprintf("%s=%d", key, values[0]))
		}
		slices.Sort(words)
		leaf := "?"
		if lines := s.Location[0].Line; len(lines) > 0 {
			leaf = lines[0].Function.Name
		}
		words = append(words, fmt.Sprint(s.Value[0]))
		all = append(all, leaf+" "+strings.Join(words, " "))
	}
	slices.Sort(all)
	return strings.Join(all, "|")
}

package push_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"
	pushv1 "github.com/grafana/pyroscope/api/gen/proto/go/push/v1"
	typesv1 "github.com/grafana/pyroscope/api/gen/proto/go/types/v1"
	"google.golang.org/protobuf/proto"
)

// request is a push as a client makes it.
type request struct {
	path, query string
	headers     []string
	body        []byte
}

// Requests of the SDKs that are in no registry that tests reach, put together as their sources
// do it: query, headers, encodings, names and types. Those of Go and Node push for real, in
// TestPyroscopeGo and TestPyroscopeNode.
func TestRequestsOfSDKs(t *testing.T) {
	at := noon().Truncate(time.Second)
	seconds := fmt.Sprintf("&from=%d&until=%d", at.Unix(), at.Unix()+10)
	recording, contexts := asyncProfiler(t, "dump1.jfr.gz"), asyncProfiler(t, "dump1.labels.pb.gz")
	cpu := `process_cpu: samples:count cpu:nanoseconds`
	for name, c := range map[string]struct {
		request
		want []string // types and labels
		at   time.Time
	}{
		"Java, recording and contexts in gzip": {
			request{"/ingest", "name=shop%7Bregion%3Deu%7D&units=samples&aggregationType=sum" + seconds + "&spyName=javaspy&sampleRate=100&format=jfr", nil, nil}.
				form(t, "jfr", "jfr", "application/octet-stream", recording, "labels", "labels", "application/x-protobuf", contexts),
			[]string{cpu + ` {pyroscope_spy="javaspy", region="eu", service_name="shop"}`},
			time.Time{},
		},
		"Java, uncompressed, without contexts": {
			request{"/ingest", "name=shop%7B%7D&units=samples&aggregationType=sum" + seconds + "&spyName=javaspy&sampleRate=100&format=jfr", nil, nil}.
				form(t, "jfr", "jfr", "application/octet-stream", gunzip(t, recording)),
			[]string{cpu + ` {pyroscope_spy="javaspy", service_name="shop"}`},
			time.Time{},
		},
		"Rust, Python and Ruby, folded": {
			request{"/ingest", "name=shop%7Bregion%3Deu%7D" + seconds + "&format=folded&sampleRate=100&spyName=pyspy", []string{"Content-Type", "binary/octet-stream"}, []byte("main.py:1 - main;shop.py:7 - work 3\nmain.py:1 - main 1\n")},
			[]string{cpu + ` {pyroscope_spy="pyspy", region="eu", service_name="shop"}`},
			at,
		},
		"Rust, Python and Ruby, folded in gzip": {
			request{"/ingest", "name=shop" + seconds + "&format=folded&sampleRate=100&spyName=rbspy", []string{"Content-Type", "binary/octet-stream", "Content-Encoding", "gzip"}, zipped(t, []byte("main.rb:1 - main;shop.rb:7 - work 3\n"))},
			[]string{cpu + ` {pyroscope_spy="rbspy", service_name="shop"}`},
			at,
		},
		"Rust, Python and Ruby, pprof in gzip whose time is in microseconds": {
			request{"/ingest", "name=shop%7Bregion%3Deu%7D" + seconds + "&format=pprof&sampleRate=100&spyName=pyroscope-rs", []string{"Content-Type", "binary/octet-stream", "Content-Encoding", "gzip"}, pprofOf(t, at, "cpu:nanoseconds", func(p *pprof.Profile) { p.TimeNanos /= 1e3 })},
			[]string{`process_cpu: cpu:nanoseconds {pyroscope_spy="pyroscope-rs", region="eu", service_name="shop"}`},
			at,
		},
		"Rust, Python and Ruby, today": {
			pushOf(t, true, pprofOf(t, at, "cpu:nanoseconds", nil), "service_name", "shop", "__name__", "process_cpu", "process.runtime.name", "rust", "region", "eu"),
			[]string{`process_cpu: cpu:nanoseconds {process.runtime.name="rust", region="eu", service_name="shop"}`},
			at,
		},
		"Rust, heap": {
			pushOf(t, true, pprofOf(t, at, "alloc_objects:count alloc_space:bytes inuse_objects:count inuse_space:bytes", nil), "service_name", "shop", "__name__", "memory"),
			[]string{`memory: alloc_objects:count alloc_space:bytes inuse_objects:count inuse_space:bytes {service_name="shop"}`},
			at,
		},
		".NET until 0.13, all in one pprof without a time": {
			request{"/ingest", fmt.Sprintf("name=shop%%7Benv=prod%%7D&from=%d&until=%d&spyName=dotnetspy&spyVersion=0.13.0", at.UnixMilli(), at.UnixMilli()+10_000), nil, nil}.
				form(t, "profile", "profile.pprof", "", ofDotNet(t), "sample_type_config", "sample_type_config.json", "", []byte(dotNetConfig)),
			[]string{
				`exception: exception:count {env="prod", pyroscope_spy="dotnetspy", service_name="shop"}`,
				`memory: alloc_samples:count alloc_space:bytes inuse_objects:count inuse_space:bytes {env="prod", pyroscope_spy="dotnetspy", service_name="shop"}`,
				`mutex: contentions:count delay:nanoseconds {env="prod", pyroscope_spy="dotnetspy", service_name="shop"}`,
				`process_cpu: cpu:nanoseconds {env="prod", pyroscope_spy="dotnetspy", service_name="shop"}`,
				`wall: wall:nanoseconds {env="prod", pyroscope_spy="dotnetspy", service_name="shop"}`,
			},
			at,
		},
		".NET, CPU": {
			pushOf(t, false, pprofOf(t, at, "cpu:nanoseconds cpu_samples:count", nil), dotNetLabels("process_cpu")...),
			[]string{`process_cpu: cpu:nanoseconds samples:count ` + dotNetStored},
			at,
		},
		".NET, locks": {
			pushOf(t, false, pprofOf(t, at, "lock_count:count lock_time:nanoseconds", nil), dotNetLabels("lock")...),
			[]string{`mutex: contentions:count delay:nanoseconds ` + strings.Replace(dotNetStored, "otel.scope.name", `original_name="lock", otel.scope.name`, 1)},
			at,
		},
		".NET, allocations": {
			pushOf(t, false, pprofOf(t, at, "alloc_samples:count alloc_size:bytes", nil), dotNetLabels("memory")...),
			[]string{`memory: alloc_samples:count alloc_space:bytes ` + dotNetStored},
			at,
		},
		"Alloy, scraped Go program": {
			pushOf(t, true, pprofOf(t, at, "contentions:count delay:nanoseconds", nil), "__name__", "mutex", "__delta__", "false", "__session_id__", "cafe", "service_name", "shop", "instance", "shop:6060", "job", "shop"),
			[]string{`mutex: contentions:count delay:nanoseconds {instance="shop:6060", job="shop", service_name="shop"}`},
			at,
		},
		"Alloy, what an SDK sent to it": {
			request{"/ingest", "aggregationType=sum&name=shop%7B__session_id__%3Dcafe%2Cregion%3Deu%7D" + seconds + "&sampleRate=100&spyName=gospy&units=samples", nil, nil}.
				form(t, "profile", "profile.pprof", "application/octet-stream", pprofOf(t, at, "samples:count cpu:nanoseconds", nil)),
			[]string{cpu + ` {pyroscope_spy="gospy", region="eu", service_name="shop"}`},
			at,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			status, answer, _ := s.post(t, c.path+"?"+c.query, "", c.body, append(c.headers, "X-Scope-OrgID", "team")...)
			if status != http.StatusOK {
				t.Fatalf("%d %s", status, answer)
			}
			var got []string
			for _, p := range s.stored(t, "team") {
				got = append(got, p.types()+" "+p.Labels.String())
				if len(p.Sample) == 0 || !c.at.IsZero() && !p.MinTime.Equal(c.at) {
					t.Errorf("%s has %d samples and is of %s, want %s", p.types(), len(p.Sample), p.MinTime, c.at)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("stored\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// What .NET's SDK mixes is taken apart with all values and labels, and what is no mixture is not.
func TestMixedPprof(t *testing.T) {
	s := newServer(t)
	body, contentType := form(t, "profile", ofDotNet(t), "sample_type_config", dotNetConfig)
	if status, answer, _ := s.post(t, "/ingest?name=shop", contentType, body); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	want := map[string]string{
		"process_cpu": "Burn {thread=a} 1000000", "wall": "Wait 2000000", "memory": "Allocate 3 30 4 40",
		"mutex": "Wait 5 50", "exception": "Throw 6",
	}
	for _, p := range s.stored(t, "default") {
		if p.folded() != want[p.Name] {
			t.Errorf("%s: got\n%s\nwant\n%s", p.Name, p.folded(), want[p.Name])
		}
		if (p.Profile.PeriodType != nil && p.Profile.PeriodType.Type == "cpu") != (p.Name == "process_cpu") || len(p.Function) != 1 {
			t.Errorf("%s has the period %v and %d functions", p.Name, p.Profile.PeriodType, len(p.Function))
		}
		delete(want, p.Name)
	}
	if len(want) > 0 {
		t.Errorf("not stored: %v", want)
	}
	// Node's samples have both times at once.
	s = newServer(t)
	body, contentType = form(t, "profile", samplePprof(t, noon(), "samples:count", "wall:nanoseconds", "cpu:nanoseconds"))
	if status, answer, _ := s.post(t, "/ingest?name=shop", contentType, body); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	if p := s.only(t, "default"); p.folded() != sampleFolded+" 9" {
		t.Errorf("stored %s:\n%s", p.types(), p.folded())
	}
}

// dotNetConfig is what .NET's SDK says of its types with every pprof, in part.
const dotNetConfig = `{
  "alloc_samples": {"units": "objects", "display-name": "alloc_objects"},
  "alloc_size": {"units": "bytes", "display-name": "alloc_space"},
  "cpu": {"units": "samples", "sampled": true},
  "exception": {"units": "exceptions", "display-name": "exceptions"},
  "lock_count": {"units": "lock_samples", "display-name": "mutex_count"},
  "lock_time": {"units": "lock_nanoseconds", "display-name": "mutex_duration"},
  "wall": {"units": "samples", "sampled": true},
  "inuse_objects": {"units": "objects", "display-name": "inuse_objects", "aggregation": "average"},
  "inuse_space": {"units": "bytes", "display-name": "inuse_space", "aggregation": "average"}
}`

// ofDotNet is a pprof of all types, whose samples are of one kind each.
func ofDotNet(t *testing.T) []byte {
	t.Helper()
	p := &pprof.Profile{PeriodType: &pprof.ValueType{Type: "cpu", Unit: "nanoseconds"}, Period: 1}
	types := strings.Fields("wall:nanoseconds cpu:nanoseconds exception:count lock_count:count lock_time:nanoseconds alloc_samples:count alloc_size:bytes inuse_objects:count inuse_space:bytes")
	for _, word := range types {
		kind, unit, _ := strings.Cut(word, ":")
		p.SampleType = append(p.SampleType, &pprof.ValueType{Type: kind, Unit: unit})
	}
	add := func(function string, values map[int]int64) {
		id := uint64(len(p.Function) + 1)
		i := slices.IndexFunc(p.Function, func(f *pprof.Function) bool { return f.Name == function })
		if i < 0 {
			p.Function = append(p.Function, &pprof.Function{ID: id, Name: function, Filename: "Shop"})
			p.Location = append(p.Location, &pprof.Location{ID: id, Line: []pprof.Line{{Function: p.Function[id-1]}}})
			i = len(p.Function) - 1
		}
		s := &pprof.Sample{Location: p.Location[i : i+1], Value: make([]int64, len(types))}
		for at, v := range values {
			s.Value[at] = v
		}
		if function == "Burn" {
			s.Label = map[string][]string{"thread": {"a"}}
		}
		p.Sample = append(p.Sample, s)
	}
	add("Wait", map[int]int64{0: 2e6})
	add("Burn", map[int]int64{1: 1e6})
	add("Throw", map[int]int64{2: 6})
	add("Wait", map[int]int64{3: 5, 4: 50})
	add("Allocate", map[int]int64{5: 3, 6: 30})
	add("Allocate", map[int]int64{7: 4, 8: 40})
	var out bytes.Buffer
	if err := p.WriteUncompressed(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func dotNetLabels(name string) []string {
	return []string{
		"__name__", name, "service_name", "shop", "spy_name", "dotnetspy", "otel.scope.name", "com.grafana.pyroscope/dotnet", "otel.scope.version", "1.5.1",
		"process.runtime.name", ".NET", "process.runtime.version", "10.0.0", "env", "prod",
	}
}

const dotNetStored = `{env="prod", otel.scope.name="com.grafana.pyroscope/dotnet", otel.scope.version="1.5.1", process.runtime.name=".NET", process.runtime.version="10.0.0", service_name="shop", spy_name="dotnetspy"}`

// pushOf is a call of push.v1.PusherService/Push by a client that knows Connect only as HTTP.
func pushOf(t *testing.T, inGzip bool, body []byte, labels ...string) request {
	t.Helper()
	s := &pushv1.RawProfileSeries{Samples: []*pushv1.RawSample{{RawProfile: body, ID: "0f5d2b9a-9a3c-4c57-b7b2-1a2b3c4d5e6f"}}}
	for i := 0; i < len(labels); i += 2 {
		s.Labels = append(s.Labels, &typesv1.LabelPair{Name: labels[i], Value: labels[i+1]})
	}
	message, err := proto.Marshal(&pushv1.PushRequest{Series: []*pushv1.RawProfileSeries{s}})
	if err != nil {
		t.Fatal(err)
	}
	r := request{path: pushProcedure, headers: []string{"Content-Type", "application/proto"}, body: message}
	if inGzip {
		r.headers, r.body = append(r.headers, "Content-Encoding", "gzip"), zipped(t, message)
	}
	return r
}

// form gives a request a multipart form of parts: name, file name, type (or none), contents.
func (r request) form(t *testing.T, parts ...any) request {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(parts); i += 4 {
		header := textproto.MIMEHeader{"Content-Disposition": {fmt.Sprintf(`form-data; name=%q; filename=%q`, parts[i], parts[i+1])}}
		if kind := parts[i+2].(string); kind != "" {
			header.Set("Content-Type", kind)
		}
		part, err := w.CreatePart(header)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = part.Write(parts[i+3].([]byte))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r.headers, r.body = append(r.headers, "Content-Type", w.FormDataContentType()), b.Bytes()
	return r
}

// pprofOf is samplePprof of types, changed.
func pprofOf(t *testing.T, at time.Time, types string, change func(*pprof.Profile)) []byte {
	t.Helper()
	body := samplePprof(t, at, strings.Fields(types)...)
	if change == nil {
		return body
	}
	p, err := pprof.ParseData(body)
	if err != nil {
		t.Fatal(err)
	}
	change(p)
	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(data)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gunzip(t *testing.T, data []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := out.ReadFrom(z); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// asyncProfiler reads a file that others have collected of async-profiler and its labels.
func asyncProfiler(t *testing.T, name string) []byte {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/grafana/jfr-parser").Output()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "parser", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

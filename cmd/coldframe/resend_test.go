package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	pprof "github.com/google/pprof/profile"
	pushv1 "github.com/grafana/pyroscope/api/gen/proto/go/push/v1"
	typesv1 "github.com/grafana/pyroscope/api/gen/proto/go/types/v1"
	collector "go.opentelemetry.io/proto/otlp/collector/profiles/v1development"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	profilesv1 "go.opentelemetry.io/proto/otlp/profiles/v1development"
	resourcev1 "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	parcav1 "github.com/coldframe/coldframe/api/parca/profilestore/v1alpha1"
	"github.com/coldframe/coldframe/block/pprofblock"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/bucket/buckettest"
)

// send pushes to a server, and sends the same when it is called again.
type send func(ctx context.Context, url string) error

// A server is killed by kill -9 while the pushes of every protocol wait for their answers:
// before any of them has reached the bucket, and when all have and no answer came back. Each
// client sends again, to the next server. In both cases everything counts once, as it
// does in a bucket to which it was sent once.
func TestKilledBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	sends := sendsOfAllProtocols(t)
	once := string(buckettest.S3(t))
	address := freeAddress(t)
	server := spawn(t, "ingest", "--bucket-config", once, "--http-address", address)
	server.ready(t, "http://"+address)
	for name, send := range sends {
		if err := send(t.Context(), "http://"+address); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	server.kill()
	kinds := kindsIn(t, []byte(once))
	want := sumsOf(t, once, kinds)
	if len(want) < len(sends) {
		t.Fatalf("%d stacks of %d protocols: %v", len(want), len(sends), want)
	}
	for name, c := range map[string]struct {
		cut  func(*buckettest.Network, bool)
		left int // times that every profile is in the bucket in the end
	}{
		"between push and flush":     {(*buckettest.Network).Away, 1},
		"between the PUT and answer": {(*buckettest.Network).Mute, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct := buckettest.S3(t)
			through, network := buckettest.Toxic(t, direct)
			start := func() (*spawned, string) {
				address := freeAddress(t)
				p := spawn(t, "ingest", "--bucket-config", string(through), "--http-address", address)
				p.ready(t, "http://"+address)
				return p, "http://" + address
			}
			first, url := start()
			// One push has been answered: the server is past all that it asks first.
			if err := sends["pprof"](t.Context(), url); err != nil {
				t.Fatal(err)
			}
			c.cut(network, true)
			var waiting sync.WaitGroup
			for name, send := range sends {
				waiting.Go(func() {
					if err := send(t.Context(), url); err == nil {
						t.Errorf("%s is acknowledged, and the bucket has not answered", name)
					}
				})
			}
			if c.left == 2 {
				eventually(t, 30*time.Second, func() (string, bool) {
					n := len(kindsIn(t, direct))
					return fmt.Sprintf("%d profiles", n), n >= len(kinds)+1
				})
			} else {
				time.Sleep(time.Second) // as good as any moment: nothing can land
			}
			first.kill()
			waiting.Wait()
			c.cut(network, false)

			_, url = start()
			time.Sleep(1100 * time.Millisecond) // the time of receipt is surely another
			for name, send := range sends {
				if err := send(t.Context(), url); err != nil {
					t.Errorf("%s, sent again: %v", name, err)
				}
			}
			t.Logf("%d profiles are in the bucket, of %d pushes", len(kindsIn(t, direct)), len(sends))
			if n, least := len(kindsIn(t, direct)), c.left*len(kinds); n < least {
				t.Errorf("%d profiles are in the bucket, want %d: this shows nothing", n, least)
			}
			check := func(when string) {
				t.Helper()
				got := sumsOf(t, string(direct), kinds)
				for stack, n := range want {
					if got[stack] != n {
						t.Errorf("%s %s counts %d, want %d", when, stack, got[stack], n)
					}
				}
				if len(got) != len(want) {
					t.Errorf("%s there are %d stacks, want %d", when, len(got), len(want))
				}
			}
			check("as it came,")
			must(t, "compact", "--bucket-config", string(direct), "--once", "--seal-now")
			check("compacted,")
		})
	}
}

// kindsIn lists the profiles that wait for compaction in a bucket, each time they are there:
// name and labels.
func kindsIn(t *testing.T, config []byte) (kinds []string) {
	t.Helper()
	bkt, err := bucket.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	for o, err := range bkt.List(t.Context(), "v1/l0/") {
		if err != nil {
			t.Fatal(err)
		}
		data, _, err := bkt.Get(t.Context(), o.Key)
		if err != nil {
			t.Fatal(err)
		}
		r, err := pprofblock.Open(data, pprofblock.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Manifest().Profiles {
			kinds = append(kinds, e.Name+" "+e.Labels.String())
		}
	}
	return kinds
}

// sumsOf gives the first value of every stack, by kind.
func sumsOf(t *testing.T, bkt string, kinds []string) map[string]int64 {
	t.Helper()
	sums := map[string]int64{}
	for _, kind := range slices.Compact(slices.Sorted(slices.Values(kinds))) {
		name, labels, _ := strings.Cut(kind, " ")
		for _, s := range get(t, bkt, "--from", "2020-01-01T00:00:00Z", "--type", name, labels).Sample {
			var stack []string
			for _, l := range s.Location {
				for _, line := range l.Line {
					stack = append(stack, line.Function.Name)
				}
			}
			sums[kind+" "+strings.Join(stack, ";")] += s.Value[0]
		}
	}
	return sums
}

// sendsOfAllProtocols are a push of each protocol that clients repeat, with its own service.
func sendsOfAllProtocols(t *testing.T) map[string]send {
	t.Helper()
	at := time.Now().Add(-time.Minute)
	arrows := func(name string) []byte { return read(t, "../../ingest/push/parca/testdata/"+name) }
	pyroscope := &pushv1.PushRequest{Series: []*pushv1.RawProfileSeries{{
		Labels:  []*typesv1.LabelPair{{Name: "__name__", Value: "test"}, {Name: "service_name", Value: "pyroscope"}},
		Samples: []*pushv1.RawSample{{RawProfile: oneSample(t, "pyroscope")}},
	}}}
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("profile", "profile.pprof")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = part.Write(oneSample(t, "form"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	overOTLP, overJSON := otlpOfOneSample("otlp", at), otlpOfOneSample("otlp_json", at)
	inJSON, err := protojson.Marshal(overJSON)
	if err != nil {
		t.Fatal(err)
	}
	gateway, err := protojson.Marshal(rawOf("gateway", oneSample(t, "gateway")))
	if err != nil {
		t.Fatal(err)
	}
	times := fmt.Sprintf("&from=%d&until=%d", at.Unix(), at.Unix()+10)
	sends := map[string]send{
		"pprof":        post("/api/v1/push?type_name=test&service_name=pprof", "", oneSample(t, "pprof")),
		"ingest form":  post("/ingest?name=form"+times, w.FormDataContentType(), form.Bytes()),
		"without time": post("/api/v1/push?type_name=test&service_name=timeless", "", timeless(t, "timeless"), "Date", at.UTC().Format(http.TimeFormat)),
		"no from":      post("/ingest?name=no_from&format=lines", "", []byte("main;no_from\nmain;no_from\n"), "Date", at.UTC().Format(http.TimeFormat)),
		"relative":     post("/ingest?name=relative&from=now-30s&until=now", "", []byte("main;relative 3\n"), "Date", at.UTC().Format(http.TimeFormat)),
		"trie":         post("/ingest?name=trie"+times, "binary/octet-stream+trie", []byte("\x00\x00\x01\x04trie\x03\x00")),
		"tree":         post("/ingest?name=tree"+times, "binary/octet-stream+tree", []byte("\x00\x00\x01\x04tree\x03\x00")),
		"gateway":      post("/api/profiles/writeraw", "application/json", gateway),
		"ingest lines": post("/ingest?name=folded"+times, "", []byte("main;folded 3\n")),
		"pyroscope":    post("/push.v1.PusherService/Push", "application/proto", marshal(t, pyroscope)),
		"otlp":         post("/v1development/profiles", "application/x-protobuf", marshal(t, overOTLP)),
		"otlp json":    post("/v1development/profiles", "application/json", inJSON),
		"raw":          post(parcav1.ProfileStoreServiceWriteRawProcedure, "application/proto", marshal(t, rawOf("raw", oneSample(t, "raw")))),
		"arrow":        post(parcav1.ProfileStoreServiceWriteArrowProcedure, "application/proto", marshal(t, &parcav1.WriteArrowRequest{IpcBuffer: arrows("v2.arrows")})),
		"write":        writeStream(arrows("v1-samples.arrows"), arrows("v1-locations.arrows")),
	}
	for _, file := range recordings(t) {
		sends["jfr"] = post("/ingest?format=jfr&name=jfr"+times, "", read(t, file))
	}
	return sends
}

// rawOf is a push of a profile of a service to Parca.
func rawOf(service string, body []byte) *parcav1.WriteRawRequest {
	return &parcav1.WriteRawRequest{Series: []*parcav1.RawProfileSeries{{
		Labels:  &parcav1.LabelSet{Labels: []*parcav1.Label{{Name: "__name__", Value: "test"}, {Name: "service_name", Value: service}}},
		Samples: []*parcav1.RawSample{{RawProfile: body}},
	}}}
}

// timeless is oneSample without its time.
func timeless(t *testing.T, name string) []byte {
	t.Helper()
	p, err := pprof.ParseData(oneSample(t, name))
	if err != nil {
		t.Fatal(err)
	}
	p.TimeNanos = 0
	var body bytes.Buffer
	if err := p.Write(&body); err != nil {
		t.Fatal(err)
	}
	return body.Bytes()
}

func post(path, kind string, body []byte, headers ...string) send {
	return func(ctx context.Context, url string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+path, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", kind)
		for i := 0; i+1 < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", resp.Status, answer)
		}
		return err
	}
}

// writeStream is the exchange of older agents: samples, what stacks are missing, these, the end.
func writeStream(samples, locations []byte) send {
	return func(ctx context.Context, url string) error {
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		transport := &http.Transport{Protocols: protocols}
		defer transport.CloseIdleConnections()
		stream := connect.NewClient[parcav1.WriteRequest, parcav1.WriteResponse](
			&http.Client{Transport: transport}, url+parcav1.ProfileStoreServiceWriteProcedure, connect.WithGRPC()).CallBidiStream(ctx)
		if err := stream.Send(&parcav1.WriteRequest{Record: samples}); err != nil {
			return err
		}
		if _, err := stream.Receive(); err != nil {
			return err
		}
		if err := stream.Send(&parcav1.WriteRequest{Record: locations}); err != nil {
			return err
		}
		if err := stream.CloseRequest(); err != nil {
			return err
		}
		if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
			return err
		}
		return nil
	}
}

func otlpOfOneSample(name string, at time.Time) *collector.ExportProfilesServiceRequest {
	service := &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: name}}
	return &collector.ExportProfilesServiceRequest{
		Dictionary: &profilesv1.ProfilesDictionary{
			StringTable:   []string{"", "cpu", "nanoseconds", name},
			FunctionTable: []*profilesv1.Function{{}, {NameStrindex: 3}},
			LocationTable: []*profilesv1.Location{{}, {Lines: []*profilesv1.Line{{FunctionIndex: 1}}}},
			StackTable:    []*profilesv1.Stack{{}, {LocationIndices: []int32{1}}},
		},
		ResourceProfiles: []*profilesv1.ResourceProfiles{{
			Resource: &resourcev1.Resource{Attributes: []*commonv1.KeyValue{{Key: "service.name", Value: service}}},
			ScopeProfiles: []*profilesv1.ScopeProfiles{{Profiles: []*profilesv1.Profile{{
				SampleType: &profilesv1.ValueType{TypeStrindex: 1, UnitStrindex: 2}, TimeUnixNano: uint64(at.UnixNano()), DurationNano: 1e9,
				Samples: []*profilesv1.Sample{{StackIndex: 1, Values: []int64{5e8}}},
			}}}},
		}},
	}
}

// recordings is one JFR recording that others have made, if their module is there.
func recordings(t *testing.T) []string {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/grafana/jfr-parser").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "parser", "testdata", "*.jfr.gz"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	return files[:1]
}

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	body, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

package push_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"testing"

	"connectrpc.com/connect"
	pushv1 "github.com/grafana/pyroscope/api/gen/proto/go/push/v1"
	typesv1 "github.com/grafana/pyroscope/api/gen/proto/go/types/v1"
)

// client makes a client of a procedure that speaks HTTP/2 without TLS, as gRPC needs.
func client[Req, Res any](s *server, procedure string, opts ...connect.ClientOption) *connect.Client[Req, Res] {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return connect.NewClient[Req, Res](&http.Client{Transport: &http.Transport{Protocols: protocols}}, s.URL+procedure, opts...)
}

// transports are the ways in which a procedure may be called.
var transports = map[string]connect.ClientOption{
	"grpc": connect.WithGRPC(), "grpc-web": connect.WithGRPCWeb(), "connect": connect.WithSendGzip(), "json": connect.WithProtoJSON(),
}

const pushProcedure = "/push.v1.PusherService/Push"

func pushRequest(body []byte, labels ...string) *pushv1.PushRequest {
	s := &pushv1.RawProfileSeries{Samples: []*pushv1.RawSample{{RawProfile: body}}}
	for i := 0; i < len(labels); i += 2 {
		s.Labels = append(s.Labels, &typesv1.LabelPair{Name: labels[i], Value: labels[i+1]})
	}
	return &pushv1.PushRequest{Series: []*pushv1.RawProfileSeries{s}}
}

func TestPyroscopePush(t *testing.T) {
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			req := connect.NewRequest(pushRequest(samplePprof(t, noon()), "__name__", "process_cpu", "service_name", "shop", "__session_id__", "x", "__delta__", "false"))
			req.Header().Set("X-Scope-OrgID", "team")
			if _, err := client[pushv1.PushRequest, pushv1.PushResponse](s, pushProcedure, transport).CallUnary(t.Context(), req); err != nil {
				t.Fatal(err)
			}
			p := s.only(t, "team")
			if p.types() != "process_cpu: samples:count cpu:nanoseconds" || p.Labels.String() != `{service_name="shop"}` || p.folded() != sampleFolded {
				t.Errorf("stored %s %s %s", p.types(), p.Labels, p.folded())
			}
		})
	}
}

// A name that only one client uses is stored as the usual one, and kept as a label.
func TestNamesAreMadeUsual(t *testing.T) {
	s := newServer(t)
	req := pushRequest(samplePprof(t, noon(), "alloc_objects:count", "alloc_space:bytes"), "__name__", "godeltaprof_memory")
	if _, err := client[pushv1.PushRequest, pushv1.PushResponse](s, pushProcedure).CallUnary(t.Context(), connect.NewRequest(req)); err != nil {
		t.Fatal(err)
	}
	if p := s.only(t, "default"); p.Name != "memory" || p.Labels.Get("original_name") != "godeltaprof_memory" {
		t.Errorf("stored as %s %s", p.Name, p.Labels)
	}
}

func TestPyroscopePushRefusals(t *testing.T) {
	s := newServer(t)
	for _, c := range []struct {
		name   string
		req    *pushv1.PushRequest
		tenant string
	}{
		{"no pprof", pushRequest([]byte("x"), "a", "b"), ""},
		{"label twice", pushRequest(samplePprof(t, noon()), "a", "b", "a", "c"), ""},
		{"name twice", pushRequest(samplePprof(t, noon()), "__name__", "b", "__name__", "c"), ""},
		{"tenant", pushRequest(samplePprof(t, noon())), "../x"},
	} {
		req := connect.NewRequest(c.req)
		req.Header().Set("X-Scope-OrgID", c.tenant)
		_, err := client[pushv1.PushRequest, pushv1.PushResponse](s, pushProcedure, connect.WithGRPC()).CallUnary(t.Context(), req)
		if connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: %v, want InvalidArgument", c.name, err)
		}
	}
	// As curl sends it.
	body := fmt.Sprintf(`{"series":[{"labels":[{"name":"service_name","value":"shop"}],"samples":[{"rawProfile":%q}]}]}`, base64.StdEncoding.EncodeToString(samplePprof(t, noon())))
	if status, answer, _ := s.post(t, pushProcedure, "application/json", []byte(body)); status != http.StatusOK || answer != "{}" {
		t.Errorf("%d %s", status, answer)
	}
}

package push_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	collector "go.opentelemetry.io/proto/otlp/collector/profiles/v1development"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	profilesv1 "go.opentelemetry.io/proto/otlp/profiles/v1development"
	resourcev1 "go.opentelemetry.io/proto/otlp/resource/v1"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/ingest/push"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

const otlpProcedure = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"

func otlpRequest(at time.Time) *collector.ExportProfilesServiceRequest {
	value := &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: "shop"}}
	return &collector.ExportProfilesServiceRequest{
		Dictionary: &profilesv1.ProfilesDictionary{
			StringTable:    []string{"", "cpu", "nanoseconds", "main", "handler"},
			FunctionTable:  []*profilesv1.Function{{}, {NameStrindex: 3}},
			LocationTable:  []*profilesv1.Location{{}, {Lines: []*profilesv1.Line{{FunctionIndex: 1}}}},
			StackTable:     []*profilesv1.Stack{{}, {LocationIndices: []int32{1}}},
			AttributeTable: []*profilesv1.KeyValueAndUnit{{}, {KeyStrindex: 4, Value: value}},
		},
		ResourceProfiles: []*profilesv1.ResourceProfiles{{
			Resource: &resourcev1.Resource{Attributes: []*commonv1.KeyValue{{Key: "service.name", Value: value}}},
			ScopeProfiles: []*profilesv1.ScopeProfiles{{Profiles: []*profilesv1.Profile{{
				SampleType: &profilesv1.ValueType{TypeStrindex: 1, UnitStrindex: 2}, TimeUnixNano: uint64(at.UnixNano()), DurationNano: 1e9,
				Samples: []*profilesv1.Sample{{StackIndex: 1, Values: []int64{5e8}, AttributeIndices: []int32{1}}},
			}}}},
		}},
	}
}

func checkOTLP(t *testing.T, s *server, at time.Time) {
	t.Helper()
	p := s.only(t, "default")
	if p.types() != "process_cpu: cpu:nanoseconds" || p.folded() != "main {handler=shop} 500000000" || p.Labels.String() != `{service_name="shop"}` || !p.MinTime.Equal(at) {
		t.Errorf("stored %s %s %s %s", p.types(), p.Labels, p.folded(), p.MinTime)
	}
}

func TestOTLPOverRPC(t *testing.T) {
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			s, at := newServer(t), noon()
			c := client[collector.ExportProfilesServiceRequest, collector.ExportProfilesServiceResponse](s, otlpProcedure, transport)
			if _, err := c.CallUnary(t.Context(), connect.NewRequest(otlpRequest(at))); err != nil {
				t.Fatal(err)
			}
			checkOTLP(t, s, at)
		})
	}
	t.Run("grpc-go", func(t *testing.T) {
		s, at := newServer(t), noon()
		conn, err := grpc.NewClient(s.Listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := collector.NewProfilesServiceClient(conn).Export(t.Context(), otlpRequest(at)); err != nil {
			t.Fatal(err)
		}
		checkOTLP(t, s, at)
	})
}

func TestOTLPOverHTTP(t *testing.T) {
	for kind, marshal := range map[string]func(proto.Message) ([]byte, error){
		"application/x-protobuf": proto.Marshal, "application/json": protojson.Marshal,
	} {
		s, at := newServer(t), noon()
		body, err := marshal(otlpRequest(at))
		if err != nil {
			t.Fatal(err)
		}
		status, answer, header := s.post(t, "/v1development/profiles", kind, body)
		if status != http.StatusOK || header.Get("Content-Type") != kind {
			t.Fatalf("%s: %d %s", kind, status, answer)
		}
		checkOTLP(t, s, at)
	}
}

// What cannot be read is told in the request's own encoding; what can be read is stored.
func TestOTLPRefusals(t *testing.T) {
	s := newServer(t)
	mixed := otlpRequest(noon())
	sp := mixed.ResourceProfiles[0].ScopeProfiles[0]
	sp.Profiles = append(sp.Profiles, &profilesv1.Profile{SampleType: &profilesv1.ValueType{TypeStrindex: 77}})
	c := client[collector.ExportProfilesServiceRequest, collector.ExportProfilesServiceResponse](s, otlpProcedure, connect.WithGRPC())
	res, err := c.CallUnary(t.Context(), connect.NewRequest(mixed))
	if err != nil || res.Msg.GetPartialSuccess().GetRejectedProfiles() != 1 || !strings.Contains(res.Msg.GetPartialSuccess().GetErrorMessage(), "string 77") {
		t.Errorf("one of two: %v, %v", res, err)
	}
	if n := len(s.stored(t, "default")); n != 1 {
		t.Errorf("%d profiles are stored, want the one that can be read", n)
	}
	sp.Profiles = sp.Profiles[1:]
	if _, err := c.CallUnary(t.Context(), connect.NewRequest(mixed)); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("none can be read: %v", err)
	}

	status, answer, _ := s.post(t, "/v1development/profiles", "application/x-protobuf", []byte{0xff})
	told := new(rpcstatus.Status)
	if err := proto.Unmarshal([]byte(answer), told); err != nil || status != 400 || told.GetCode() != 3 {
		t.Errorf("%d %v %v", status, told, err)
	}
	status, answer, _ = s.post(t, "/v1development/profiles", "application/json", []byte("{"))
	var inJSON struct{ Message string }
	if err := json.Unmarshal([]byte(answer), &inJSON); err != nil || status != 400 || inJSON.Message == "" {
		t.Errorf("%d %s %v", status, answer, err)
	}
	if status, _, _ := s.post(t, "/v1development/profiles", "text/plain", nil); status != http.StatusUnsupportedMediaType {
		t.Errorf("text/plain: %d", status)
	}
	limited := serveOn(t, bucket.Mem(), push.Config{Limits: func(profile.Tenant) push.Limits { return push.Limits{Series: 1} }}, upload.Config{})
	for i, want := range []int{200, 200, 429} {
		req := otlpRequest(noon())
		req.ResourceProfiles[0].Resource.Attributes[0].Key += strings.Repeat("x", i/2)
		body, err := proto.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		status, _, header := limited.post(t, "/v1development/profiles", "application/x-protobuf", body)
		if status != want || want == 429 && header.Get("Retry-After") == "" {
			t.Errorf("push %d: %d %v, want %d", i, status, header, want)
		}
	}
}

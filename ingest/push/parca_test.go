package push_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"

	parcav1 "github.com/coldframe/coldframe/api/parca/profilestore/v1alpha1"
)

func writeRawRequest(body []byte, labels ...string) *parcav1.WriteRawRequest {
	set := &parcav1.LabelSet{}
	for i := 0; i < len(labels); i += 2 {
		set.Labels = append(set.Labels, &parcav1.Label{Name: labels[i], Value: labels[i+1]})
	}
	return &parcav1.WriteRawRequest{Series: []*parcav1.RawProfileSeries{{Labels: set, Samples: []*parcav1.RawSample{{RawProfile: body}}}}}
}

// message reads a message as Parca's agent builds it: see the test of package parca.
func message(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("parca", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestWriteRaw(t *testing.T) {
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			body := samplePprof(t, noon())
			c := client[parcav1.WriteRawRequest, parcav1.WriteRawResponse](s, parcav1.ProfileStoreServiceWriteRawProcedure, transport)
			if _, err := c.CallUnary(t.Context(), connect.NewRequest(writeRawRequest(body, "__name__", "process_cpu", "job", "shop", "node", "n1"))); err != nil {
				t.Fatal(err)
			}
			if p := s.only(t, "default"); p.Name != "process_cpu" || p.Labels.String() != `{job="shop", node="n1"}` || p.folded() != sampleFolded || string(p.body) != string(body) {
				t.Errorf("stored %s %s %s", p.Name, p.Labels, p.folded())
			}
		})
	}
}

// cpuOfShop is the CPU profile of testdata's messages.
const cpuOfShop = `process_cpu: samples:count cpu:nanoseconds {comm="shop", node="n1", original_name="parca_agent"}`

func TestWriteArrow(t *testing.T) {
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			c := client[parcav1.WriteArrowRequest, parcav1.WriteArrowResponse](s, parcav1.ProfileStoreServiceWriteArrowProcedure, transport)
			if _, err := c.CallUnary(t.Context(), connect.NewRequest(&parcav1.WriteArrowRequest{IpcBuffer: message(t, "v2.arrows")})); err != nil {
				t.Fatal(err)
			}
			all := s.stored(t, "default")
			if len(all) != 3 || all[2].types()+" "+all[2].Labels.String() != cpuOfShop ||
				!strings.Contains(all[2].folded(), "main.main.func1.a_name_that_is_long;work {thread_id=7} 2 105263156") {
				t.Errorf("%d profiles are stored, the last %s %s %s", len(all), all[2].types(), all[2].Labels, all[2].folded())
			}
			_, err := c.CallUnary(t.Context(), connect.NewRequest(&parcav1.WriteArrowRequest{IpcBuffer: []byte("x")}))
			if connect.CodeOf(err) != connect.CodeInvalidArgument {
				t.Errorf("no record: %v", err)
			}
		})
	}
}

// An older agent sends samples, is asked for their stacks, sends them, and is
// acknowledged by the end of the stream.
func TestWriteStream(t *testing.T) {
	s := newServer(t)
	stream := client[parcav1.WriteRequest, parcav1.WriteResponse](s, parcav1.ProfileStoreServiceWriteProcedure, connect.WithGRPC()).CallBidiStream(t.Context())
	if err := stream.Send(&parcav1.WriteRequest{Record: message(t, "v1-samples.arrows")}); err != nil {
		t.Fatal(err)
	}
	res, err := stream.Receive()
	if err != nil || !strings.Contains(string(res.GetRecord()), "stack-0000000002") {
		t.Fatalf("asked %q, %v", res.GetRecord(), err)
	}
	if n := len(s.stored(t, "default")); n != 0 {
		t.Errorf("%d profiles are stored before their stacks are there", n)
	}
	if err := stream.Send(&parcav1.WriteRequest{Record: message(t, "v1-locations.arrows")}); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseRequest(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
		t.Fatalf("the stream ended with %v", err)
	}
	p := s.only(t, "default")
	if p.types()+" "+p.Labels.String() != cpuOfShop || !strings.Contains(p.folded(), "main;work {thread_name=io} 1 52631578") {
		t.Errorf("stored %s %s %s", p.types(), p.Labels, p.folded())
	}

	bad := client[parcav1.WriteRequest, parcav1.WriteResponse](s, parcav1.ProfileStoreServiceWriteProcedure, connect.WithGRPC()).CallBidiStream(t.Context())
	if err := bad.Send(&parcav1.WriteRequest{Record: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if _, err := bad.Receive(); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("no record: %v", err)
	}
}

// The JSON of Parca's gateway, and its form of errors.
func TestParcaGateway(t *testing.T) {
	s := newServer(t)
	raw := base64.StdEncoding.EncodeToString(samplePprof(t, noon()))
	body := fmt.Sprintf(`{"series":[{"labels":{"labels":[{"name":"__name__","value":"process_cpu"},{"name":"job","value":"shop"}]},"samples":[{"rawProfile":%q}]}]}`, raw)
	if status, answer, _ := s.post(t, "/api/profiles/writeraw", "application/x-www-form-urlencoded", []byte(body)); status != 200 || answer != "{}" {
		t.Errorf("writeraw: %d %s", status, answer)
	}
	body = fmt.Sprintf(`{"ipcBuffer":%q}`, base64.StdEncoding.EncodeToString(message(t, "v2.arrows")))
	if status, answer, _ := s.post(t, "/api/profiles/writearrow", "application/json", []byte(body)); status != 200 || answer != "{}" {
		t.Errorf("writearrow: %d %s", status, answer)
	}
	if n := len(s.stored(t, "default")); n != 4 {
		t.Errorf("%d profiles are stored, want 4", n)
	}
	for _, bad := range []string{`{"series":1}`, `{"series":[{"samples":[{"rawProfile":"eA=="}]}]}`} {
		status, answer, _ := s.post(t, "/api/profiles/writeraw", "application/json", []byte(bad))
		var told struct {
			Code    int
			Message string
			Details []any
		}
		if err := json.Unmarshal([]byte(answer), &told); err != nil || status != 400 || told.Code != 3 || told.Message == "" || told.Details == nil {
			t.Errorf("%s: %d %s %v", bad, status, answer, err)
		}
	}
}

// Who has pushed is listed, with the last error, in Parca's API and in ours.
func TestAgents(t *testing.T) {
	s := newServer(t)
	c := client[parcav1.WriteRawRequest, parcav1.WriteRawResponse](s, "/api"+parcav1.ProfileStoreServiceWriteRawProcedure, connect.WithGRPCWeb())
	for _, body := range [][]byte{samplePprof(t, noon()), []byte("x")} {
		_, _ = c.CallUnary(t.Context(), connect.NewRequest(writeRawRequest(body, "node", "n1")))
	}
	s.post(t, "/api/v1/push?job=a", "", samplePprof(t, noon()))
	s.post(t, "/api/v1/push?job=a", "", samplePprof(t, noon()), "X-Scope-OrgID", "other")

	agents := client[parcav1.AgentsRequest, parcav1.AgentsResponse](s, parcav1.AgentsServiceAgentsProcedure, connect.WithGRPC())
	res, err := agents.CallUnary(t.Context(), connect.NewRequest(&parcav1.AgentsRequest{}))
	if err != nil || len(res.Msg.GetAgents()) != 2 || res.Msg.GetAgents()[1].GetId() != "n1" || res.Msg.GetAgents()[1].GetLastError() == "" || res.Msg.GetAgents()[0].GetLastPushDuration().AsDuration() <= 0 {
		t.Errorf("got %v, %v", res, err)
	}
	for _, path := range []string{"/api/v1/agents", "/api/agents"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ Agents []map[string]any }
		err = json.NewDecoder(resp.Body).Decode(&got)
		resp.Body.Close()
		if err != nil || len(got.Agents) != 2 || got.Agents[0]["id"] != "127.0.0.1" || got.Agents[1]["id"] != "n1" {
			t.Errorf("%s: %v, %v", path, got, err)
		}
	}
}

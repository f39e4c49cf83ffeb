package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"connectrpc.com/connect"
	querierv1 "github.com/grafana/pyroscope/api/gen/proto/go/querier/v1"
	"google.golang.org/protobuf/reflect/protoreflect"

	parcav1 "github.com/coldframe/coldframe/api/parca/query/v1alpha1"
)

// wrongWays are what is wrong with a request of whatever endpoint, and how it is refused.
var wrongWays = []struct {
	name, token, tenant string
	garbage             bool
	status              int
	code                connect.Code
	says                string
}{
	{"no token", "", "", false, 401, connect.CodeUnauthenticated, "a token is needed"},
	{"unknown token", "token-of-nobody", "", false, 401, connect.CodeUnauthenticated, "not known here"},
	{"writer's token", "token-of-writer", "", false, 403, connect.CodePermissionDenied, `does not have the right \"read\"`},
	{"another's tenant", "token-of-reader", "team-b", false, 403, connect.CodePermissionDenied, "the token is for another tenant"},
	{"tenant of nobody", "token-of-reader", "team-c", false, 403, connect.CodePermissionDenied, "the token is for another tenant"},
	{"malformed tenant", "token-of-reader", "../x", false, 400, connect.CodeInvalidArgument, "X-Scope-OrgID"},
	{"garbage", "token-of-reader", "", true, 400, connect.CodeInvalidArgument, ""},
}

// Every endpoint of every protocol refuses who may not ask, and what is no message, with the code
// of its protocol and a sentence, and tells nothing of tenants.
func TestWrongCallers(t *testing.T) {
	t.Parallel()
	bkt, address := folder(t), freeAddress(t)
	tokens := write(t, t.TempDir(), "tokens.yaml", []byte(`
tokens:
  - {name: reader, token: token-of-reader, tenant: team-a, rights: [read]}
  - {name: writer, token: token-of-writer, tenant: team-a, rights: [write]}
  - {name: b, token: token-of-b, tenant: team-b, rights: [read, write]}
`))
	server := "http://" + address
	spawn(t, "query", "--bucket-config", bkt, "--http-address", address, "--tokens-file", tokens).ready(t, server)
	for _, path := range []string{
		"/api/v1/pprof", "/api/v1/flamegraph", "/api/v1/top", "/api/v1/series", "/api/v1/types", "/api/v1/labels", "/api/v1/label/x/values", "/api/v1/blocks",
		"/api/profiles/query_range", "/api/profiles/query", "/api/profiles/series", "/api/profiles/types", "/api/profiles/labels", "/api/profiles/labels/x/values", "/api/profiles/has_profile_data",
		"/pyroscope/render", "/pyroscope/render-diff", "/pyroscope/label-values",
	} {
		for _, wrong := range wrongWays {
			if !wrong.garbage {
				wrongCall{http.MethodGet, path, "", nil}.check(t, server, wrong.name)
			}
		}
	}
	for _, path := range []string{"/api/profiles/query", "/api/profiles/share"} {
		for _, wrong := range wrongWays {
			wrongCall{http.MethodPost, path, "application/json", []byte(`{"mode":`)}.check(t, server, wrong.name)
		}
	}
	calls := 0
	for _, service := range []protoreflect.ServiceDescriptor{
		parcav1.File_parca_query_v1alpha1_query_proto.Services().ByName("QueryService"),
		querierv1.File_querier_v1_querier_proto.Services().ByName("QuerierService"),
	} {
		for i := range service.Methods().Len() {
			method := service.Methods().Get(i)
			if method.Name() == "SelectHeatmap" { // is not there
				continue
			}
			path := fmt.Sprintf("/%s/%s", service.FullName(), method.Name())
			for contentType, body := range map[string][]byte{
				"application/json": []byte(`{"start":`), "application/proto": []byte("\xff\xff\xff"),
				"application/grpc+proto": framed("\xff\xff\xff"), "application/grpc-web+proto": framed("\xff\xff\xff"),
			} {
				for _, wrong := range wrongWays {
					wrongCall{http.MethodPost, path, contentType, body}.check(t, server, wrong.name)
					calls++
				}
			}
		}
	}
	if calls < 400 {
		t.Errorf("only %d calls", calls)
	}
}

// framed is a short message as gRPC sends it.
func framed(message string) []byte {
	return append([]byte{0, 0, 0, 0, byte(len(message))}, message...)
}

// wrongCall is a request to an endpoint, with a body that is no message.
type wrongCall struct {
	method, path, contentType string
	body                      []byte
}

func (c wrongCall) check(t *testing.T, server, name string) {
	t.Helper()
	for _, wrong := range wrongWays {
		if wrong.name != name {
			continue
		}
		what := fmt.Sprintf("%s %s %s, %s", c.method, c.path, c.contentType, name)
		status, code, text := c.send(t, server, wrong.token, wrong.tenant)
		if strings.HasPrefix(c.contentType, "application/grpc") {
			if status != http.StatusOK || code != wrong.code {
				t.Errorf("%s: status %d, code %s, want %s: %s", what, status, code, wrong.code, text)
			}
		} else if status != wrong.status {
			t.Errorf("%s: status %d, want %d: %s", what, status, wrong.status, text)
		}
		says := wrong.says
		if strings.HasPrefix(c.contentType, "application/grpc") {
			says = strings.ReplaceAll(says, `\"`, `"`)
		}
		if !strings.Contains(text, says) || len(text) < 10 || strings.Contains(text, "team-") || strings.Contains(text, "panic") {
			t.Errorf("%s: %q, want a sentence with %q", what, text, says)
		}
	}
}

// send gives the status, the code of gRPC and what is said.
func (c wrongCall) send(t *testing.T, server, token, tenant string) (status int, code connect.Code, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), c.method, server+c.path, bytes.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Authorization": "Bearer " + token, "X-Scope-OrgID": tenant, "Content-Type": c.contentType} {
		if value != "" && value != "Bearer " {
			req.Header.Set(name, value)
		}
	}
	client := http.DefaultClient
	if strings.HasPrefix(c.contentType, "application/grpc+") {
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		transport := &http.Transport{Protocols: protocols}
		defer transport.CloseIdleConnections()
		client = &http.Client{Transport: transport}
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(c.contentType, "application/grpc") {
		if !json.Valid(body) {
			t.Errorf("%s %s: %q is no JSON", c.path, c.contentType, body)
		}
		return resp.StatusCode, 0, string(body)
	}
	// The end of a call is in trailers, in headers when nothing else comes, and in the body of gRPC-Web.
	said := resp.Header.Get("Grpc-Status") + resp.Trailer.Get("Grpc-Status")
	text = resp.Header.Get("Grpc-Message") + resp.Trailer.Get("Grpc-Message")
	for line := range strings.SplitSeq(string(body), "\r\n") {
		if _, value, ok := strings.Cut(strings.ToLower(line), "grpc-status:"); ok {
			said = strings.TrimSpace(value)
		}
		if _, value, ok := strings.Cut(line, "grpc-message:"); ok {
			text = strings.TrimSpace(value)
		}
	}
	n, err := strconv.Atoi(said)
	if err != nil {
		t.Errorf("%s %s: no status in %v %v %q", c.path, c.contentType, resp.Header, resp.Trailer, body)
	}
	if text, err = url.PathUnescape(text); err != nil {
		t.Error(err)
	}
	return resp.StatusCode, connect.Code(n), text
}

package serve_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	queryv1alpha1 "github.com/coldframe/coldframe/api/parca/query/v1alpha1"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
)

// echo answers Values with what it was asked, and ProfileTypes with err.
type echo struct {
	queryv1alpha1.UnimplementedQueryServiceHandler
	err error
}

func (e *echo) Values(_ context.Context, req *queryv1alpha1.ValuesRequest) (*queryv1alpha1.ValuesResponse, error) {
	return &queryv1alpha1.ValuesResponse{LabelValues: append([]string{req.GetLabelName()}, req.GetMatch()...), Warnings: []string{
		req.GetStart().AsTime().Format(time.RFC3339), req.GetProfileType(),
	}}, nil
}

func (e *echo) ProfileTypes(context.Context, *queryv1alpha1.ProfileTypesRequest) (*queryv1alpha1.ProfileTypesResponse, error) {
	if e.err == nil {
		panic("secret")
	}
	return nil, serve.RPCError(e.err)
}

func (e *echo) Query(_ context.Context, req *queryv1alpha1.QueryRequest) (*queryv1alpha1.QueryResponse, error) {
	return &queryv1alpha1.QueryResponse{Total: int64(req.GetMode()), Report: &queryv1alpha1.QueryResponse_Pprof{Pprof: []byte(req.GetMerge().GetQuery())}}, nil
}

// startEcho serves e as procedures and at JSON paths.
func startEcho(t *testing.T, e *echo, origins ...string) string {
	t.Helper()
	s := serve.New(serve.Config{Address: "127.0.0.1:0"})
	s.AllowOrigins(origins...)
	s.Handle(queryv1alpha1.NewQueryServiceHandler(e, connect.WithReadMaxBytes(1<<20)))
	s.Handle("GET /api/profiles/labels/{label_name}/values", serve.JSONCall(e.Values, "label_name"))
	s.Handle("GET /api/profiles/query", serve.JSONCall(e.Query))
	s.Handle("POST /api/profiles/query", serve.JSONCall(e.Query))
	s.Handle("GET /api/profiles/types", serve.JSONCall(e.ProfileTypes))
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + s.Addr().String()
}

// h2c is a client that speaks HTTP/2 without TLS, as gRPC's do.
func h2c() *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: protocols}}
}

// asText has a gRPC-Web client speak the text form, its bodies in base64.
type asText struct{ pieces int }

func (a asText) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	for at := 0; at < len(body); at += a.pieces {
		text.WriteString(base64.StdEncoding.EncodeToString(body[at:min(at+a.pieces, len(body))]))
	}
	r = r.Clone(r.Context())
	r.Header.Set("Content-Type", strings.Replace(r.Header.Get("Content-Type"), "grpc-web", "grpc-web-text", 1))
	r.Body, r.ContentLength = io.NopCloser(&text), int64(text.Len())
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/grpc-web-text") {
		return nil, fmt.Errorf("answered in %s", got)
	}
	resp.Header.Set("Content-Type", strings.Replace(resp.Header.Get("Content-Type"), "-text", "", 1))
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	binaryBody, err := base64.StdEncoding.DecodeString(string(answer))
	resp.Body = io.NopCloser(bytes.NewReader(binaryBody))
	return resp, err
}

// clients are generated clients of every protocol, over every version of HTTP that it
// goes over.
func clients(url string) map[string]queryv1alpha1.QueryServiceClient {
	web := func(pieces int) queryv1alpha1.QueryServiceClient {
		return queryv1alpha1.NewQueryServiceClient(&http.Client{Transport: asText{pieces}}, url+"/api", connect.WithGRPCWeb())
	}
	return map[string]queryv1alpha1.QueryServiceClient{
		"gRPC":                    queryv1alpha1.NewQueryServiceClient(h2c(), url, connect.WithGRPC()),
		"gRPC in gzip":            queryv1alpha1.NewQueryServiceClient(h2c(), url, connect.WithGRPC(), connect.WithSendGzip()),
		"gRPC-Web":                queryv1alpha1.NewQueryServiceClient(http.DefaultClient, url, connect.WithGRPCWeb()),
		"gRPC-Web below /api":     queryv1alpha1.NewQueryServiceClient(http.DefaultClient, url+"/api", connect.WithGRPCWeb()),
		"gRPC-Web as text":        web(1 << 20),
		"gRPC-Web in short texts": web(7),
		"Connect":                 queryv1alpha1.NewQueryServiceClient(http.DefaultClient, url),
		"Connect over HTTP/2":     queryv1alpha1.NewQueryServiceClient(h2c(), url),
		"Connect in JSON":         queryv1alpha1.NewQueryServiceClient(http.DefaultClient, url, connect.WithProtoJSON()),
	}
}

func TestEveryProtocolOnOnePort(t *testing.T) {
	url := startEcho(t, &echo{err: serve.Field("start", fmt.Errorf("yesterday: %w", profile.ErrInvalid))})
	long := strings.Repeat("x", 100_000)
	for name, c := range clients(url) {
		got, err := c.Values(t.Context(), &queryv1alpha1.ValuesRequest{LabelName: "pod", Match: []string{long}})
		if err != nil || len(got.GetLabelValues()) != 2 || got.GetLabelValues()[0] != "pod" || got.GetLabelValues()[1] != long {
			t.Errorf("%s: %d values and %v", name, len(got.GetLabelValues()), err)
		}
		_, err = c.ProfileTypes(t.Context(), &queryv1alpha1.ProfileTypesRequest{})
		if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "start: yesterday") {
			t.Errorf("%s: a wrong request gives %v", name, err)
		}
		if _, err = c.Labels(t.Context(), &queryv1alpha1.LabelsRequest{}); connect.CodeOf(err) != connect.CodeUnimplemented {
			t.Errorf("%s: what is not implemented gives %v", name, err)
		}
		_, err = c.Values(t.Context(), &queryv1alpha1.ValuesRequest{LabelName: strings.Repeat("x", 2<<20)})
		if code := connect.CodeOf(err); code != connect.CodeResourceExhausted && code != connect.CodeUnknown { // or the connection is cut while it is sent
			t.Errorf("%s: a message of 2 MiB gives %v", name, err)
		}
	}
}

// A handler that panics costs its own call, and tells nobody of the inside.
func TestPanicInEveryProtocol(t *testing.T) {
	url := startEcho(t, &echo{})
	for name, c := range clients(url) {
		_, err := c.ProfileTypes(t.Context(), &queryv1alpha1.ProfileTypesRequest{})
		if connect.CodeOf(err) != connect.CodeInternal || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if status, body := get(t, url+"/api/profiles/types"); status != http.StatusInternalServerError || strings.Contains(body, "secret") {
		t.Errorf("JSON: %d %s", status, body)
	}
}

func TestJSONPaths(t *testing.T) {
	e := &echo{err: &serve.Error{Status: 422, Code: "too_large", Err: errors.New("narrow it")}}
	url := startEcho(t, e)
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/api/profiles/labels/pod/values?match=a&match=b&start=2026-08-21T12:00:00Z", "", 200, `{"labelValues":["pod","a","b"],"warnings":["2026-08-21T12:00:00Z",""]}`},
		{"GET", "/api/profiles/labels/pod/values?profile_type=x", "", 200, `{"labelValues":["pod"],"warnings":["1970-01-01T00:00:00Z","x"]}`},
		{"GET", "/api/profiles/labels/pod/values?profileType=x", "", 200, `{"labelValues":["pod"],"warnings":["1970-01-01T00:00:00Z","x"]}`},
		{"GET", "/api/profiles/labels/p%2Fd/values", "", 200, `{"labelValues":["p/d"],"warnings":["1970-01-01T00:00:00Z",""]}`},
		{"GET", "/api/profiles/query?mode=MODE_MERGE&merge.query=q&report_type=1&invertCallStack=true&nodeTrimThreshold=0.5", "", 200, `{"pprof":"cQ==","total":"2","filtered":"0"}`},
		{"POST", "/api/profiles/query", `{"mode":"MODE_MERGE","merge":{"query":"q"},"later":1}`, 200, `{"pprof":"cQ==","total":"2","filtered":"0"}`},
		{"GET", "/api/profiles/query", "", 200, `{"pprof":"","total":"0","filtered":"0"}`},
		{"GET", "/api/profiles/types", "", 422, `{"code":3,"message":"narrow it","details":[]}`},
		{"GET", "/api/profiles/query?mode=MODE_BOTH", "", 400, `{"code":3,"message":"mode: \"MODE_BOTH\": want one of MODE_SINGLE_UNSPECIFIED, MODE_DIFF, MODE_MERGE, or its number: invalid","details":[]}`},
		{"GET", "/api/profiles/query?mode=7", "", 400, ``},
		{"GET", "/api/profiles/query?mode=2&mode=2", "", 400, ``},
		{"GET", "/api/profiles/query?merge=x", "", 400, ``},
		{"GET", "/api/profiles/query?merge.start=yesterday", "", 400, `{"code":3,"message":"merge.start: \"yesterday\": want a time such as 2006-01-02T15:04:05Z: invalid","details":[]}`},
		{"GET", "/api/profiles/query?merge.query=x&single.query=y", "", 400, `{"code":3,"message":"single.query: merge is given too, and only one of them may be: invalid","details":[]}`},
		{"GET", "/api/profiles/query?filter=x", "", 400, ``},
		{"GET", "/api/profiles/query?filter.x=x", "", 400, ``},
		{"GET", "/api/profiles/query?mode.x=x", "", 400, ``},
		{"GET", "/api/profiles/query?nodeTrimThreshold=few", "", 400, ``},
		{"GET", "/api/profiles/query?invertCallStack=perhaps", "", 400, ``},
		{"GET", "/api/profiles/query?fortnight=1", "", 400, `{"code":3,"message":"fortnight: there is no parameter \"fortnight\": invalid","details":[]}`},
		{"GET", "/api/profiles/query?a=%zz", "", 400, ``},
		{"POST", "/api/profiles/query", `{"mode":`, 400, ``},
		{"POST", "/api/profiles/query", `{"mode":{}}`, 400, ``},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, url+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		got := strings.ReplaceAll(strings.TrimSpace(string(body)), `", "`, `","`)
		got = strings.NewReplacer(`": `, `":`, `, "`, `,"`).Replace(got) // protobuf's JSON has spaces at random, but not in texts here
		want := strings.NewReplacer(`": `, `":`, `, "`, `,"`).Replace(c.want)
		if err != nil || resp.StatusCode != c.status || c.want != "" && got != want {
			t.Errorf("%s %s:\n got %d %s\nwant %d %s", c.method, c.path, resp.StatusCode, got, c.status, want)
		}
		if c.status != 200 && !strings.HasPrefix(got, `{"code":3,"message":`) {
			t.Errorf("%s %s: %s", c.method, c.path, got)
		}
	}
}

// What goes wrong in the text is a wrong request, and what is no procedure is unknown.
func TestWrongText(t *testing.T) {
	url := startEcho(t, &echo{})
	for _, body := range []string{"", "####", "AAAA=", "AAA", "AAA=", "AAAA=AAA"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+queryv1alpha1.QueryServiceValuesProcedure, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/grpc-web-text+proto")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		frames, err2 := base64.StdEncoding.DecodeString(string(text))
		if err != nil || err2 != nil {
			t.Fatalf("%q: %v, %v", body, err, err2)
		}
		trailer := string(frames) + fmt.Sprint(resp.Header)
		if !strings.Contains(strings.ToLower(trailer), "grpc-status") || strings.Contains(trailer, "grpc-status: 0") {
			t.Errorf("%q: %d %q, want a status that is not 0", body, resp.StatusCode, trailer)
		}
	}
	c := queryv1alpha1.NewQueryServiceClient(http.DefaultClient, url+"/nowhere", connect.WithGRPCWeb())
	if _, err := c.Values(t.Context(), &queryv1alpha1.ValuesRequest{}); connect.CodeOf(err) != connect.CodeUnimplemented {
		t.Errorf("an unknown procedure gives %v", err)
	}
}

// Pages of the origins that are allowed may call and read how it ended; others may not.
func TestCORS(t *testing.T) {
	const page = "https://parca.example"
	for _, c := range []struct {
		origins []string
		origin  string
		allowed bool
	}{
		{nil, page, false},
		{[]string{page}, page, true},
		{[]string{"*"}, page, true},
		{[]string{page}, "https://elsewhere.example", false},
		{[]string{"*"}, "", false},
	} {
		url := startEcho(t, &echo{}, c.origins...)
		for _, method := range []string{http.MethodOptions, http.MethodGet} {
			req, err := http.NewRequestWithContext(t.Context(), method, url+"/api/profiles/labels/pod/values", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Origin", c.origin)
			if method == http.MethodOptions {
				req.Header.Set("Access-Control-Request-Method", "POST")
				req.Header.Set("Access-Control-Request-Headers", "content-type,x-grpc-web,x-scope-orgid")
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got := resp.Header.Get("Access-Control-Allow-Origin"); c.allowed != (got == c.origin && got != "") || !c.allowed && got != "" {
				t.Errorf("%v, %s from %q: allowed %q", c.origins, method, c.origin, got)
			}
			if c.allowed && method == http.MethodOptions && resp.Header.Get("Access-Control-Allow-Headers") != "content-type,x-grpc-web,x-scope-orgid" {
				t.Errorf("%v: %v", c.origins, resp.Header)
			}
		}
	}
}

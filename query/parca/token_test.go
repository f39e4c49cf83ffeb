package parca_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	pb "github.com/coldframe/coldframe/api/parca/query/v1alpha1"
	"github.com/coldframe/coldframe/internal/apitest"
	"github.com/coldframe/coldframe/query/parca"
	"github.com/coldframe/coldframe/serve"
)

const tokens = `
tokens:
  - {name: reader, token: reads-everything, rights: [read]}
  - {name: writer, token: writes-only, rights: [write]}
  - {name: half, token: reads-pod-b-only, rights: [read], selector: '{pod="b"}'}
  - {name: other, token: reads-the-other, rights: [read], tenant: other}
  - {name: job, token: reads-one-job-only, rights: [read], selector: '{job="scraped"}'}
`

// bearer sends a token.
type bearer struct {
	token, tenant string
	http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	if b.tenant != "" {
		r.Header.Set("X-Scope-OrgID", b.tenant)
	}
	return b.RoundTripper.RoundTrip(r)
}

// With tokens in use an API answers their bearers, about what they may see, and refuses
// the rest in the words of the protocol.
func TestTokens(t *testing.T) {
	h := open(t)
	known, err := serve.ParseTokens("tokens.yaml", []byte(tokens))
	if err != nil {
		t.Fatal(err)
	}
	gate := &serve.Gate{}
	gate.Use(known)
	s := serve.New(serve.Config{Address: "127.0.0.1:0", Gate: gate})
	parca.New(h.Querier, parca.Config{}).Routes(s.Handle)
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	url := "http://" + s.Addr().String()
	for _, c := range []struct {
		token, tenant string
		code          connect.Code // 0: answered
		pods          []string
	}{
		{"reads-everything", "", 0, []string{"a", "b"}},
		{"reads-everything", apitest.Other, connect.CodePermissionDenied, nil},
		{"reads-pod-b-only", "", 0, []string{"b"}},
		{"reads-the-other", "", 0, nil},
		{"reads-one-job-only", "", 0, nil},
		{"writes-only", "", connect.CodePermissionDenied, nil},
		{"no-such-token", "", connect.CodeUnauthenticated, nil},
	} {
		overGRPC := pb.NewQueryServiceClient(&http.Client{Transport: bearer{c.token, c.tenant, apitest.HTTP2(t).Transport}}, url, connect.WithGRPC())
		overWeb := pb.NewQueryServiceClient(&http.Client{Transport: bearer{c.token, c.tenant, http.DefaultTransport}}, url+"/api", connect.WithGRPCWeb())
		overConnect := pb.NewQueryServiceClient(&http.Client{Transport: bearer{c.token, c.tenant, http.DefaultTransport}}, url)
		for name, client := range map[string]pb.QueryServiceClient{"gRPC": overGRPC, "gRPC-Web": overWeb, "Connect": overConnect} {
			res, err := client.Values(t.Context(), &pb.ValuesRequest{LabelName: "pod"})
			right := err == nil && slices.Equal(res.GetLabelValues(), c.pods)
			if c.code != 0 {
				right = connect.CodeOf(err) == c.code
			}
			if !right {
				t.Errorf("%s over %s: %v and %v, want %v and %v", c.token, name, res.GetLabelValues(), err, c.pods, c.code)
			}
		}
	}
	// What is wrong with a question is told without types that the token does not see.
	half := pb.NewQueryServiceClient(&http.Client{Transport: bearer{"reads-one-job-only", "", http.DefaultTransport}}, url)
	_, err = half.Query(t.Context(), merge(h, pb.QueryRequest_REPORT_TYPE_FLAMEGRAPH_ARROW))
	if connect.CodeOf(err) != connect.CodeNotFound || !strings.Contains(err.Error(), "there are only goroutine:") || strings.Contains(err.Error(), "memory") {
		t.Errorf("a type that the token does not see: %v", err)
	}
	types, err := half.ProfileTypes(t.Context(), &pb.ProfileTypesRequest{})
	if err != nil || len(types.GetTypes()) != 1 || types.GetTypes()[0].GetName() != "goroutine" {
		t.Errorf("types %v and %v", types, err)
	}
}

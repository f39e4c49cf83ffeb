package serve_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
)

const someTokens = `
tokens:
  - {name: reader-a, token: reads-of-a, tenant: team-a, rights: [read], selector: '{env="prod"}'}
  - {name: writer-a, token: writes-of-a, tenant: team-a, rights: [write], labels: {team: a}}
  - {name: both-b, token: both-of-b, tenant: team-b, rights: [read, write]}
  - {name: operator, token: operates, rights: [operate]}
`

// whose are routes that tell what a request may do.
func whose(t *testing.T) map[string]http.HandlerFunc {
	t.Helper()
	tell := func(tenant func(*http.Request) (profile.Tenant, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			got, err := tenant(r)
			if err != nil {
				serve.WriteError(w, err)
				return
			}
			a := serve.AccessOf(r.Context())
			forced, err := a.Force(profile.Labels{{Name: "team", Value: "x"}})
			if err != nil {
				t.Error(err)
			}
			fmt.Fprintf(w, "%s %s %s", got, a.Restrict(profile.Selector{}), forced)
		}
	}
	return map[string]http.HandlerFunc{"/read": tell(serve.Tenant), "/write": tell(serve.WriteTenant)}
}

func ask(t *testing.T, client *http.Client, url string, header map[string]string) (status int, body string, got http.Header) {
	t.Helper()
	method := http.MethodGet
	if header["Content-Type"] != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		if user, password, ok := strings.Cut(value, ":"); name == "basic" && ok {
			req.SetBasicAuth(user, password)
			continue
		}
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

// Who may do what, by token and header. No answer names a tenant that is not the token's.
func TestTokens(t *testing.T) {
	tokens, err := serve.ParseTokens("tokens.yaml", []byte(someTokens))
	if err != nil {
		t.Fatal(err)
	}
	gate := new(serve.Gate)
	gate.Use(tokens)
	url, _, _ := start(t, serve.Config{Gate: gate, Metrics: prometheus.NewRegistry()}, whose(t))
	for _, c := range []struct {
		path, token, tenant string
		status              int
		body                string
	}{
		{"/read", "", "", 401, "a token is needed"},
		{"/read", "", "team-a", 401, "a token is needed"},
		{"/read", "wrong", "team-a", 401, "not known"},
		{"/read", "reads-of-", "", 401, "not known"},
		{"/read", "reads-of-a", "", 200, `team-a {env="prod"} {team="x"}`},
		{"/read", "reads-of-a", "team-a", 200, `team-a {env="prod"} {team="x"}`},
		{"/read", "reads-of-a", "team-b", 403, "another tenant"},
		{"/read", "reads-of-a", "team-none", 403, "another tenant"},
		{"/read", "reads-of-a", "../x", 400, "X-Scope-OrgID"},
		{"/write", "reads-of-a", "", 403, `does not have the right \"write\"`},
		{"/write", "writes-of-a", "", 200, `team-a {} {team="a"}`},
		{"/read", "writes-of-a", "", 403, `does not have the right \"read\"`},
		{"/write", "writes-of-a", "team-b", 403, "another tenant"},
		{"/read", "both-of-b", "", 200, `team-b {} {team="x"}`},
		{"/write", "both-of-b", "", 200, `team-b {} {team="x"}`},
		{"/read", "operates", "", 403, "right"},
		{"/metrics", "operates", "", 200, ""},
		{"/metrics", "both-of-b", "", 403, "operate"},
		{"/metrics", "", "", 401, "token"},
		{"/debug/pprof/cmdline", "both-of-b", "", 403, "operate"},
		{"/-/healthy", "", "", 200, "healthy"},
		{"/nowhere", "", "", 401, "token"},
		{"/debug/pprof/../../read", "", "", 401, "token"},
	} {
		header := map[string]string{}
		if c.token != "" {
			header["Authorization"] = "Bearer " + c.token
		}
		if c.tenant != "" {
			header[serve.TenantHeader] = c.tenant
		}
		status, body, got := ask(t, http.DefaultClient, url+c.path, header)
		if status != c.status || !strings.Contains(body, c.body) {
			t.Errorf("%s with token %q and tenant %q: %d %s, want %d %s", c.path, c.token, c.tenant, status, body, c.status, c.body)
		}
		for _, other := range []string{"team-a", "team-b", "team-none"} {
			if status != 200 && strings.Contains(body, other) {
				t.Errorf("%s with token %q: the refusal names %s: %s", c.path, c.token, other, body)
			}
		}
		if (status == 401) != strings.HasPrefix(got.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s with token %q: %d, WWW-Authenticate %q", c.path, c.token, status, got.Get("WWW-Authenticate"))
		}
	}
	if status, body, _ := ask(t, http.DefaultClient, url+"/read", map[string]string{"basic": "anybody:both-of-b"}); status != 200 {
		t.Errorf("the token as a password: %d %s", status, body)
	}
	if status, _, got := ask(t, http.DefaultClient, url+"/read", map[string]string{"Content-Type": "application/grpc"}); status != 200 || got.Get("Content-Type") != "application/grpc" {
		t.Errorf("a gRPC call without a token is not answered as one: %d %v", status, got)
	}

	others, err := serve.ParseTokens("tokens.yaml", []byte("tokens: [{name: n, token: a-new-token, tenant: team-b, rights: [read]}]"))
	if err != nil {
		t.Fatal(err)
	}
	gate.Use(others)
	if status, _, _ := ask(t, http.DefaultClient, url+"/read", map[string]string{"Authorization": "Bearer both-of-b"}); status != 401 {
		t.Errorf("a token that is no longer in the file: %d", status)
	}
}

// A gate without tokens lets everybody in, as whom the header says.
func TestNoTokens(t *testing.T) {
	url, _, _ := start(t, serve.Config{Metrics: prometheus.NewRegistry()}, whose(t))
	for path, want := range map[string]string{"/read": `team-x {} {team="x"}`, "/write": `team-x {} {team="x"}`} {
		if status, body, _ := ask(t, http.DefaultClient, url+path, map[string]string{serve.TenantHeader: "team-x", "Authorization": "Bearer anything"}); status != 200 || body != want {
			t.Errorf("%s: %d %s, want %s", path, status, body, want)
		}
	}
	if status, _ := get(t, url+"/metrics"); status != 200 {
		t.Errorf("/metrics: %d", status)
	}
}

func TestParseTokens(t *testing.T) {
	sum := sha256.Sum256([]byte("a-good-token"))
	for text, want := range map[string]string{
		"":                                       "tokens.yaml: there are no tokens",
		"tokens: []":                             "there are no tokens",
		"token: x":                               `tokens.yaml:1: unknown key "token"`,
		"tokens:\n  - {name: a, tokn: secret-x}": `tokens.yaml:2: unknown key "tokn"`,
		"tokens:\n  - {name: a, token: [secret-x]}":                                                           `tokens.yaml:2: a value of the kind !!seq does not fit here`,
		"tokens:\n  - {token: secret-x, rights: [read]}":                                                      "tokens.yaml:2: tokens[0]: name is missing",
		"tokens:\n  - {name: a, rights: [read]}":                                                              "want one of token and sha256",
		"tokens:\n  - {name: a, token: secret-x, sha256: aa, rights: [read]}":                                 "want one of token and sha256",
		"tokens:\n  - {name: a, token: short, rights: [read]}":                                                "token has 5 bytes, want at least 8",
		"tokens:\n  - {name: a, sha256: abc, rights: [read]}":                                                 "64 hexadecimal digits",
		"tokens:\n  - {name: a, token: secret-x}":                                                             "rights are missing",
		"tokens:\n  - {name: a, token: secret-x, rights: [all]}":                                              `right "all": want read, write or operate`,
		"tokens:\n  - {name: a, token: secret-x, rights: [read], tenant: ../x}":                               "tenant",
		"tokens:\n  - {name: a, token: secret-x, rights: [read], selector: 'x='}":                             "selector",
		"tokens:\n  - {name: a, token: secret-x, rights: [read], selector: 'cpu{}'}":                          "only labels can be restricted",
		"tokens:\n  - {name: a, token: secret-x, rights: [read], labels: {'': x}}":                            "labels",
		"tokens:\n- {name: a, token: secret-x, rights: [read]}\n- {name: a, token: secret-y, rights: [read]}": `tokens.yaml:3: tokens[1]: name "a" is there twice`,
		"tokens:\n- {name: a, token: secret-x, rights: [read]}\n- {name: b, token: secret-x, rights: [read]}": `it is the token of "a" too`,
		"tokens: [{name: a, sha256: " + hex.EncodeToString(sum[:]) + ", rights: [read]}]":                     "",
	} {
		tokens, err := serve.ParseTokens("tokens.yaml", []byte(text))
		if want == "" {
			if err != nil || tokens.Len() != 1 {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, profile.ErrInvalid) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "secret-") {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
}

func FuzzParseTokens(f *testing.F) {
	f.Add([]byte(someTokens))
	f.Add([]byte("tokens: [{name: a, sha256: aa}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if tokens, err := serve.ParseTokens("t", text); err == nil && tokens.Len() == 0 || err != nil && !errors.Is(err, profile.ErrInvalid) {
			t.Errorf("%v", err)
		}
	})
}

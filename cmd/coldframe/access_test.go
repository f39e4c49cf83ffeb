package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// With tokens in use, each tenant sees its own profiles and no others', whatever it asks,
// and a token with a selector sees only what that selects.
func TestTokensEndToEnd(t *testing.T) {
	t.Parallel()
	dir, bkt := t.TempDir(), folder(t)
	tokens := write(t, dir, "tokens.yaml", []byte(`
tokens:
  - {name: a, token: token-of-a, tenant: team-a, rights: [read, write]}
  - {name: a-prod, token: token-of-a-prod, tenant: team-a, rights: [read], selector: '{env="prod"}'}
  - {name: a-forced, token: token-of-a-forced, tenant: team-a, rights: [write], labels: {env: test}}
  - {name: b, token: token-of-b, tenant: team-b, rights: [read, write]}
  - {name: operator, token: token-of-operator, rights: [operate]}
`))
	limits := write(t, dir, "limits.yaml", []byte("limits: {team-b: {labels: 2, query_range: 2h, queries: 3}}"))
	ingest, query := freeAddress(t), freeAddress(t)
	spawn(t, "ingest", "--bucket-config", bkt, "--http-address", ingest, "--tokens-file", tokens, "--limits-file", limits).ready(t, "http://"+ingest)
	spawn(t, "query", "--bucket-config", bkt, "--http-address", query, "--tokens-file", tokens, "--limits-file", limits, "--query-tenant-range", "24h").ready(t, "http://"+query)

	file := func(token string) string { return write(t, dir, token, []byte(token+"\n")) }
	push := func(token, function string, labels ...string) (int, string) {
		args := []string{"push", "--server", "http://" + ingest, "--token-file", file(token), "--type-name", "cpu"}
		for _, l := range labels {
			args = append(args, "--label", l)
		}
		status, _, stderr := command(t, append(args, write(t, dir, function+".pb.gz", oneSample(t, function)))...)
		return status, stderr
	}
	for _, c := range []struct {
		token, function string
		labels          []string
		says            string // "" when it is stored
	}{
		{"token-of-a", "prod_of_a", []string{"env=prod"}, ""},
		{"token-of-a-forced", "test_of_a", []string{"env=prod"}, ""}, // it says prod, and is test
		{"token-of-b", "prod_of_b", []string{"env=prod"}, ""},
		{"token-of-b", "many", []string{"env=prod", "x=1", "y=2"}, "limit labels is 2"},
		{"token-of-a-prod", "refused", nil, "does not have the right"},
		{"token-of-nobody", "refused", nil, "not known"},
	} {
		status, stderr := push(c.token, c.function, c.labels...)
		if (status == 0) != (c.says == "") || !strings.Contains(stderr, c.says) {
			t.Errorf("push of %s with %s: exit status %d, want %q in:\n%s", c.function, c.token, status, c.says, stderr)
		}
	}

	all := []string{"prod_of_a", "test_of_a", "prod_of_b"}
	sees := map[string][]string{"token-of-a": all[:2], "token-of-a-prod": all[:1], "token-of-b": all[2:]}
	for token, mine := range sees {
		for _, selector := range []string{``, `{}`, `{env="prod"}`, `{env=~".*"}`, `{env!="prod"}`, `{env="test"}`, `{__name__="cpu", env=~"test|prod"}`} {
			out := must(t, "get", "--server", "http://"+query, "--token-file", file(token), "--format", "folded", "--type", "cpu", selector)
			for _, function := range all {
				if strings.Contains(out, function) && !contains(mine, function) {
					t.Errorf("%s sees %s by %q", token, function, selector)
				}
			}
			if selector == "{}" {
				for _, function := range mine {
					if !strings.Contains(out, function) {
						t.Errorf("%s does not see %s:\n%s", token, function, out)
					}
				}
			}
		}
		for _, path := range []string{
			"/api/v1/pprof?type=cpu", "/api/v1/top?type=cpu", "/api/v1/flamegraph?type=cpu", "/api/v1/types", "/api/v1/labels", "/api/v1/label/env/values", "/api/v1/series?type=cpu&by=env",
			`/api/v1/flamegraph?type=cpu&query={env="prod"}&base_query={env=~".*"}`, `/api/v1/flamegraph?type=cpu&base.query={}&base.from=now-2h`,
		} {
			status, body := withToken(t, "http://"+query+path, token, "")
			if status >= 500 || token == "token-of-a-prod" && strings.Contains(body, "test") {
				t.Errorf("%s with %s: %d %s", path, token, status, body)
			}
			for _, function := range all {
				if strings.Contains(body, function) && !contains(mine, function) {
					t.Errorf("%s with %s shows %s", path, token, function)
				}
			}
		}
		if status, body := withToken(t, "http://"+query+"/api/v1/top?type=cpu", token, "team-c"); status != http.StatusForbidden || strings.Contains(body, "team-") {
			t.Errorf("%s as another tenant: %d %s", token, status, body)
		}
	}
	for token, most := range map[string]string{"token-of-a": "24h0m0s", "token-of-b": "2h0m0s"} { // of the flag, and of the file
		if status, body := withToken(t, "http://"+query+"/api/v1/top?type=cpu&from=now-2d", token, ""); status != http.StatusUnprocessableEntity || !strings.Contains(body, "at most "+most) {
			t.Errorf("two days, with %s: %d %s", token, status, body)
		}
	}
	for token, want := range map[string]int{"": 401, "token-of-nobody": 401, "token-of-operator": 403} {
		if status, body := withToken(t, "http://"+query+"/api/v1/types", token, ""); status != want {
			t.Errorf("token %q: %d %s, want %d", token, status, body, want)
		}
	}

	if err := os.WriteFile(tokens, []byte("tokens: [{name: a, token: another-of-a, tenant: team-a, rights: [read]}, {name: o, token: token-of-operator, rights: [operate]}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, func() (string, bool) {
		was, _ := withToken(t, "http://"+query+"/api/v1/types", "token-of-a", "")
		is, body := withToken(t, "http://"+query+"/api/v1/types", "another-of-a", "")
		return fmt.Sprintf("old token %d, new token %d %s", was, is, body), was == 401 && is == 200
	})
}

func contains(words []string, word string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}

func withToken(t *testing.T, url, token, tenant string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.NewReplacer(" ", "%20", `"`, "%22").Replace(url), nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if tenant != "" {
		req.Header.Set("X-Scope-OrgID", tenant)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(bytes.ReplaceAll(b, []byte("token-of"), nil))
}

// A mistake in a file of access is told in a line, with exit status 2.
func TestAccessMistakes(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ flag, text, says string }{
		"tokens":       {"--tokens-file", "tokens:\n  - {nam: a}", `:2: unknown key "nam"`},
		"limits":       {"--limits-file", "limits:\n  a: {seris: 1}", `:2: unknown key "seris"`},
		"a limit":      {"--limits-file", "limits: {a: {series: -1}}", "negative"},
		"a range":      {"--limits-file", "limits: {a: {query_range: long}}", "limits.a.query_range"},
		"an age":       {"--limits-file", "limits: {a: {max_age: 5}}", "limits.a.max_age"},
		"TLS":          {"--web.config.file", "tls_server_config: {cert_file: none.pem, key_file: none.key}", "none.pem"},
		"web's keys":   {"--web.config.file", "tls: {}", "tls"},
		"limit's name": {"--limits-file", "limits: {../x: {}}", "tenant"},
	} {
		file := write(t, dir, strings.ReplaceAll(name, " ", "-"), []byte(c.text))
		status, _, stderr := command(t, "ingest", "--bucket-config", folder(t), "--http-address", "127.0.0.1:0", c.flag, file)
		if status != exitUsage || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: exit status %d, want %q in\n%s", name, status, c.says, stderr)
		}
	}
}

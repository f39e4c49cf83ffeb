package webconfig_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
	"github.com/coldframe/coldframe/serve/webconfig"
)

// start runs a server by a file's configuration, and gives the URL that tells a request's
// protocol. It stops cleanly at the end of the test.
func start(t *testing.T, file string) (url string) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	by, err := webconfig.Load(file, log)
	if err != nil {
		t.Fatal(err)
	}
	s := serve.New(serve.Config{Address: "127.0.0.1:0", Serve: by})
	s.Handle("/x", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
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
	return "http://" + s.Addr().String() + "/x"
}

// ask makes a request, as NAME:PASSWORD unless that is empty. Status 0 is no connection.
func ask(t *testing.T, client *http.Client, url, basic string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if user, password, ok := strings.Cut(basic, ":"); ok {
		req.SetBasicAuth(user, password)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TLS, client certificates and basic authentication are those of the exporter-toolkit.
func TestWebConfig(t *testing.T) {
	dir := t.TempDir()
	pki := newPKI(t, dir)
	for name, c := range map[string]struct {
		config string
		client *tls.Config
		basic  string
		want   int // 0: no connection
		proto  string
	}{
		"TLS":                      {"tls_server_config: {cert_file: server.pem, key_file: server.key}", &tls.Config{RootCAs: pki.pool}, "", 200, "HTTP/2.0"},
		"TLS of an unknown CA":     {"tls_server_config: {cert_file: server.pem, key_file: server.key}", &tls.Config{}, "", 0, ""},
		"mutual TLS without":       {"tls_server_config: {cert_file: server.pem, key_file: server.key, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem}", &tls.Config{RootCAs: pki.pool}, "", 0, ""},
		"mutual TLS":               {"tls_server_config: {cert_file: server.pem, key_file: server.key, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem}", &tls.Config{RootCAs: pki.pool, Certificates: []tls.Certificate{pki.client}}, "", 200, "HTTP/2.0"},
		"basic authentication":     {"basic_auth_users: {me: " + pki.bcrypt + "}", nil, "me:secret", 200, "HTTP/1.1"},
		"a wrong password":         {"basic_auth_users: {me: " + pki.bcrypt + "}", nil, "me:wrong", 401, ""},
		"no password":              {"basic_auth_users: {me: " + pki.bcrypt + "}", nil, "", 401, ""},
		"a user that is not there": {"basic_auth_users: {me: " + pki.bcrypt + "}", nil, "you:secret", 401, ""},
	} {
		t.Run(name, func(t *testing.T) {
			file := pki.write(t, strings.ReplaceAll(name, " ", "-")+".yaml", []byte(c.config))
			url := start(t, file)
			transport := &http.Transport{TLSClientConfig: c.client, ForceAttemptHTTP2: true}
			defer transport.CloseIdleConnections()
			if c.client != nil {
				url = strings.Replace(url, "http://", "https://", 1)
			}
			status, body := ask(t, &http.Client{Transport: transport}, url, c.basic)
			if status != c.want || status == 200 && body != c.proto {
				t.Errorf("%d %s, want %d %s", status, body, c.want, c.proto)
			}
		})
	}
	for config, want := range map[string]string{
		"tls_server_config: {cert_file: none.pem, key_file: server.key}": "none.pem",
		"tls_serve_config: {}":          "tls_serve_config",
		"basic_auth_users: {me: plain}": "bcrypt",
	} {
		if _, err := webconfig.Load(pki.write(t, "bad.yaml", []byte(config)), slog.New(slog.DiscardHandler)); !errors.Is(err, profile.ErrInvalid) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "bad.yaml") {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
}

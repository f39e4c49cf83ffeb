package agent

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	profilestore "github.com/coldframe/coldframe/api/parca/profilestore/v1alpha1"
	"github.com/coldframe/coldframe/profile"
)

// store is a server of WriteRaw, over HTTP/2 without TLS as agents commonly reach one.
type store struct {
	profilestore.UnimplementedProfileStoreServiceHandler
	mu     sync.Mutex
	err    func(*profilestore.WriteRawRequest) error
	got    []string // __name__ and comm of each profile
	header http.Header
	asked  int
}

func (s *store) WriteRaw(ctx context.Context, r *profilestore.WriteRawRequest) (*profilestore.WriteRawResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if call, ok := connect.CallInfoForHandlerContext(ctx); ok {
		s.header = call.RequestHeader()
	}
	if s.err != nil {
		if err := s.err(r); err != nil {
			return nil, err
		}
	}
	for _, series := range r.GetSeries() {
		var name []string
		for _, l := range series.GetLabels().GetLabels() {
			name = append(name, l.GetName()+"="+l.GetValue())
		}
		s.got = append(s.got, strings.Join(name, ",")+":"+string(series.GetSamples()[0].GetRawProfile()))
	}
	return &profilestore.WriteRawResponse{}, nil
}

func (s *store) taken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.got...)
}

func (s *store) fail(err func(*profilestore.WriteRawRequest) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func startStore(t *testing.T) (*store, string) {
	t.Helper()
	s := &store{}
	mux := http.NewServeMux()
	mux.Handle(profilestore.NewProfileStoreServiceHandler(s))
	server := httptest.NewUnstartedServer(mux)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return s, strings.TrimPrefix(server.URL, "http://")
}

func aProfile(t *testing.T, comm, body string) Profile {
	t.Helper()
	ls, err := profile.NewLabels(profile.Label{Name: "comm", Value: comm})
	if err != nil {
		t.Fatal(err)
	}
	return Profile{Name: "process_cpu", Labels: ls, Range: profile.TimeRange{From: time.Now(), To: time.Now()}, Pprof: []byte(body)}
}

func TestRemote(t *testing.T) {
	s, address := startStore(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := NewRemote(RemoteConfig{Address: address, Plaintext: true, TokenFile: token, Header: http.Header{"X-Scope-Orgid": {"team"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, comm := range []string{"a", "b"} {
		if err := r.Write(t.Context(), aProfile(t, comm, "body of "+comm)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(s.taken(), " "); got != "__name__=process_cpu,comm=a:body of a __name__=process_cpu,comm=b:body of b" {
		t.Errorf("the server has %s", got)
	}
	if s.header.Get("Authorization") != "Bearer secret" || s.header.Get("X-Scope-OrgID") != "team" {
		t.Errorf("header %v", s.header)
	}
	if err := r.Write(t.Context(), aProfile(t, "c", "")); err == nil {
		t.Error("a closed queue takes a profile")
	}
}

// While the server is away profiles wait; when it is back, all are there.
func TestRemoteWaits(t *testing.T) {
	s, address := startStore(t)
	s.fail(func(*profilestore.WriteRawRequest) error {
		return connect.NewError(connect.CodeUnavailable, errors.New("the bucket is away"))
	})
	failed := make(chan error, 100)
	r, err := NewRemote(RemoteConfig{Address: address, Plaintext: true, QueueBytes: 10, Observer: RemoteObserver{Failed: func(err error) { failed <- err }}})
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"12345", "67890"} {
		if err := r.Write(t.Context(), aProfile(t, "a", body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-failed; connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("failed: %v", err)
	}
	if err := r.Write(t.Context(), aProfile(t, "a", "x")); err == nil || !strings.Contains(err.Error(), "10 bytes") {
		t.Errorf("a full queue takes more: %v", err)
	}
	s.fail(nil)
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.taken(); len(got) != 2 {
		t.Errorf("the server has %v", got)
	}
}

// A profile that the server refuses is lost, and told; the others of its batch are not.
func TestRemoteRefuses(t *testing.T) {
	s, address := startStore(t)
	s.fail(func(r *profilestore.WriteRawRequest) error {
		for _, series := range r.GetSeries() {
			if string(series.GetSamples()[0].GetRawProfile()) == "bad" {
				return connect.NewError(connect.CodeInvalidArgument, errors.New("no profile"))
			}
		}
		return nil
	})
	lost := make(chan error, 10)
	r, err := NewRemote(RemoteConfig{Address: "http://" + address, Observer: RemoteObserver{Lost: func(n int, err error) { lost <- err }}})
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"good", "bad", "fine"} {
		if err := r.Write(t.Context(), aProfile(t, "a", body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.taken(); len(got) != 2 {
		t.Errorf("the server has %v", got)
	}
	if err := <-lost; !strings.Contains(err.Error(), "no profile") {
		t.Errorf("lost: %v", err)
	}
}

// What waits too long is lost, and so is what waits when time is up.
func TestRemoteGivesUp(t *testing.T) {
	lost := make(chan error, 10)
	r, err := NewRemote(RemoteConfig{
		Address: "127.0.0.1:1", Plaintext: true, KeepFor: time.Nanosecond,
		Observer: RemoteObserver{Lost: func(n int, err error) { lost <- err }},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Write(t.Context(), aProfile(t, "a", "x")); err != nil {
		t.Fatal(err)
	}
	if err := <-lost; !strings.Contains(err.Error(), "away for") {
		t.Errorf("lost: %v", err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	r, err = NewRemote(RemoteConfig{Address: "127.0.0.1:1", Plaintext: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Write(t.Context(), aProfile(t, "a", "x")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.Close(ctx); err == nil || !strings.Contains(err.Error(), "1 profiles lost") {
		t.Errorf("close: %v", err)
	}
}

func TestRemoteAddress(t *testing.T) {
	for address, want := range map[string]string{
		"parca:7070": "https://parca:7070", "http://parca:7070/": "http://parca:7070", "https://host/path": "https://host/path",
		"": "", "ftp://x": "", "http://": "", "::": "",
	} {
		u, err := remoteURL(RemoteConfig{Address: address})
		if (err == nil) != (want != "") || err == nil && u.String() != want {
			t.Errorf("%q: %v, %v; want %q", address, u, err, want)
		}
	}
}

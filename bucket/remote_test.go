package bucket_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/bucket/buckettest"
)

// A fault meets a request on its way to the server. It may answer, break the
// connection, or call forward, which gives the request to the server and its answer to
// the recorder.
type fault func(w http.ResponseWriter, r *http.Request, forward func(http.ResponseWriter))

// A network lies between a bucket and its server. Each request meets the next fault
// that is set for its method; those beyond pass.
type network struct {
	mu     sync.Mutex
	faults map[string][]fault
	seen   []string // methods, in order
}

// between puts a network before the S3 server that config names.
func between(t testing.TB, config []byte) ([]byte, *network) {
	t.Helper()
	_, rest, _ := strings.Cut(string(config), "endpoint: ")
	address, _, _ := strings.Cut(rest, "\n")
	server := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: address})
			r.Out.Host = r.In.Host // which is signed
		},
		Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 10},
	}
	n := &network{faults: map[string][]fault{}}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		forward := func(w http.ResponseWriter) { server.ServeHTTP(w, r) }
		if meet := n.next(r.Method); meet != nil {
			meet(w, r, forward)
		} else {
			forward(w)
		}
	}))
	t.Cleanup(front.Close)
	return bytes.ReplaceAll(config, []byte(address), []byte(front.Listener.Addr().String())), n
}

func (n *network) next(method string) fault {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = append(n.seen, method)
	faults := n.faults[method]
	if len(faults) == 0 {
		return nil
	}
	n.faults[method] = faults[1:]
	return faults[0]
}

func (n *network) set(method string, faults ...fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults[method], n.seen = faults, nil
}

func (n *network) requests() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.seen, " ")
}

// hangUp breaks the connection without an answer.
func hangUp(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
}

func requestLost(w http.ResponseWriter, _ *http.Request, _ func(http.ResponseWriter)) { hangUp(w) }

func answerLost(w http.ResponseWriter, _ *http.Request, forward func(http.ResponseWriter)) {
	forward(httptest.NewRecorder())
	hangUp(w)
}

// answerCut passes the first half of the answer's body.
func answerCut(w http.ResponseWriter, _ *http.Request, forward func(http.ResponseWriter)) {
	whole := httptest.NewRecorder()
	forward(whole)
	for name, values := range whole.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(whole.Code)
	_, _ = w.Write(whole.Body.Bytes()[:whole.Body.Len()/2])
	_ = http.NewResponseController(w).Flush()
	hangUp(w)
}

// answers answers in the server's stead.
func answers(status int, code string) fault {
	return func(w http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter)) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		if code != "" {
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>so says the server</Message></Error>", code)
		}
	}
}

// s3Network is a bucket in a real S3 server behind a network, and one that has no
// network to fear.
func s3Network(t testing.TB) (b, calm bucket.Bucket, n *network) {
	config := buckettest.S3(t)
	behind, n := between(t, config)
	return open(t, behind), open(t, config), n
}

// What becomes of a write when the network or the server fails in the middle of it.
func TestWriteFaults(t *testing.T) {
	t.Parallel()
	b, calm, n := s3Network(t)

	const mine, theirs = "mine", "theirs"
	// Another writer is faster.
	overtaken := func(key string) fault {
		return func(w http.ResponseWriter, _ *http.Request, _ func(http.ResponseWriter)) {
			if err := calm.Put(t.Context(), key, []byte(theirs)); err != nil {
				t.Error(err)
			}
			hangUp(w)
		}
	}
	unknown := errors.New("none of the sentinels")
	always := func(f fault) []fault { return slices.Repeat([]fault{f}, 10) }
	tests := []struct {
		name     string
		op       string // create, replace or put
		faults   []fault
		get      []fault
		want     error
		holds    string // afterwards
		requests string
	}{
		{"no fault", "create", nil, nil, nil, mine, "PUT"},
		{"request lost", "create", []fault{requestLost}, nil, nil, mine, "PUT PUT"},
		{"request lost", "replace", []fault{requestLost}, nil, nil, mine, "PUT PUT"},
		{"request lost", "put", []fault{requestLost}, nil, nil, mine, "PUT PUT"},
		{"answer lost", "create", []fault{answerLost}, nil, nil, mine, "PUT PUT GET"},
		{"answer lost", "replace", []fault{answerLost}, nil, nil, mine, "PUT PUT GET"},
		{"answer lost", "put", []fault{answerLost}, nil, nil, mine, "PUT PUT"},
		{"every request lost", "put", always(requestLost), nil, unknown, "old", "PUT PUT PUT PUT"},
		{"answer lost and no leave to read", "create", []fault{answerLost}, []fault{answers(403, "AccessDenied")}, unknown, mine, "PUT PUT GET"},
		{"answer lost and no leave to read", "replace", []fault{answerLost}, []fault{answers(403, "AccessDenied")}, unknown, mine, "PUT PUT GET"},
		{"every answer lost", "create", always(answerLost), nil, unknown, mine, "PUT PUT PUT PUT"},
		{"every answer lost", "replace", always(answerLost), nil, unknown, mine, "PUT PUT PUT PUT"},
		{"overtaken", "create", []fault{nil}, nil, bucket.ErrExist, theirs, "PUT PUT GET"},
		{"overtaken", "replace", []fault{nil}, nil, unknown, theirs, "PUT PUT GET"},

		{"conflict in flight", "create", []fault{answers(409, "ConditionalRequestConflict")}, nil, nil, mine, "PUT PUT"},
		{"conflict in flight", "replace", []fault{answers(409, "ConditionalRequestConflict")}, nil, nil, mine, "PUT PUT"},
		{"slow down", "put", []fault{answers(503, "SlowDown"), answers(429, "")}, nil, nil, mine, "PUT PUT PUT"},
		{"a proxy's 503", "put", []fault{answers(503, "")}, nil, nil, mine, "PUT PUT"},
		{"a server's 500", "create", []fault{answers(500, "InternalError")}, nil, nil, mine, "PUT PUT"},
		{"bad request", "create", []fault{answers(400, "InvalidArgument")}, nil, unknown, "", "PUT"},
		{"no bucket", "replace", []fault{answers(404, "NoSuchBucket")}, nil, unknown, "old", "PUT"},
		{"no key", "replace", []fault{answers(404, "NoSuchKey")}, nil, bucket.ErrConflict, "old", "PUT"},
		{"answer lost, then denied", "put", []fault{answerLost, answers(403, "AccessDenied")}, nil, unknown, mine, "PUT PUT"},
		{"denied", "create", []fault{answers(403, "AccessDenied")}, nil, bucket.ErrDenied, "", "PUT"},
		{"token ran out", "put", []fault{answers(401, "")}, nil, bucket.ErrDenied, "old", "PUT"},
		{"clock wrong", "create", []fault{answers(403, "RequestTimeTooSkewed")}, nil, bucket.ErrDenied, "", "PUT"},
	}
	for i, tt := range tests {
		t.Run(tt.op+", "+tt.name, func(t *testing.T) {
			key := fmt.Sprintf("k%d", i)
			var old bucket.Version
			if tt.op != "create" {
				var err error
				if old, err = calm.Replace(t.Context(), key, []byte("old"), ""); err != nil {
					t.Fatal(err)
				}
			}
			if len(tt.faults) > 0 && tt.faults[0] == nil {
				tt.faults = []fault{overtaken(key)}
			}
			n.set(http.MethodGet, tt.get...)
			n.set(http.MethodPut, tt.faults...)

			var err error
			var v bucket.Version
			switch tt.op {
			case "create":
				err = b.Create(t.Context(), key, strings.NewReader(mine), int64(len(mine)))
			case "replace":
				v, err = b.Replace(t.Context(), key, []byte(mine), old)
			case "put":
				err = b.Put(t.Context(), key, []byte(mine))
			}
			switch {
			case errors.Is(tt.want, unknown):
				if err == nil || known(err) {
					t.Errorf("got error %v, want one that tells nothing", err)
				}
			case !errors.Is(err, tt.want):
				t.Errorf("got error %v, want %v", err, tt.want)
			}
			if err != nil && (!strings.HasPrefix(err.Error(), tt.op+" s3://profiles/"+key) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("error does not say what was asked for: %v", err)
			}
			if got := n.requests(); got != tt.requests {
				t.Errorf("requests were %s, want %s (%v)", got, tt.requests, err)
			}
			n.set(http.MethodGet)
			n.set(http.MethodPut)
			data, now, err := calm.Get(t.Context(), key)
			if string(data) != tt.holds || (err != nil) != (tt.holds == "") {
				t.Errorf("the object holds %q, %v; want %q", data, err, tt.holds)
			}
			if v != "" && v != now {
				t.Errorf("Replace returned version %q, the object has %q", v, now)
			}
		})
	}
}

func known(err error) bool {
	for _, sentinel := range []error{bucket.ErrNotExist, bucket.ErrExist, bucket.ErrConflict, bucket.ErrDenied} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}

// Reads are tried again, and every attempt is on the bill.
func TestReadFaults(t *testing.T) {
	t.Parallel()
	b, calm, n := s3Network(t)
	content := strings.Repeat("0123456789", 10<<10)
	if err := calm.Put(t.Context(), "v1/k", []byte(content)); err != nil {
		t.Fatal(err)
	}
	operations := map[string]func(ctx context.Context) (string, error){
		"get": func(ctx context.Context) (string, error) {
			data, _, err := b.Get(ctx, "v1/k")
			return string(data), err
		},
		"get range of": func(ctx context.Context) (string, error) {
			data, err := b.GetRange(ctx, "v1/k", -int64(len(content)), int64(len(content)))
			return string(data), err
		},
		"list": func(ctx context.Context) (string, error) {
			var keys []string
			for o, err := range b.List(ctx, "v1/") {
				if err != nil {
					return "", err
				}
				keys = append(keys, o.Key)
			}
			return strings.Replace(strings.Join(keys, " "), "v1/k", content, 1), nil
		},
	}
	tests := []struct {
		op, name string
		faults   []fault
		want     string // in the error
		requests int64  // 0 if they are the transport's affair, which knows stale connections
	}{
		{"get", "connection lost", []fault{requestLost, answerLost}, "", 0},
		{"list", "connection lost", []fault{answerLost}, "", 0},
		{"get", "answer cut short", []fault{answerCut, answerCut}, "", 3},
		{"get range of", "answer cut short", []fault{answerCut}, "", 2},
		{"list", "answer cut short", []fault{answerCut}, "", 2},
		{"get", "server busy", []fault{answers(503, "SlowDown"), answers(500, "InternalError"), answers(429, "")}, "", 4},
		{"list", "server busy", []fault{answers(503, "")}, "", 2},
		{"get range of", "server broken", slices.Repeat([]fault{answers(502, "Broken")}, 10), "4 attempts: 502 Broken: so says the server", 4},
		{"get", "bad request", []fault{answers(400, "InvalidArgument")}, "400 InvalidArgument: so says the server", 1},
		{"get", "no bucket", []fault{answers(404, "NoSuchBucket")}, "404 NoSuchBucket: so says the server", 1},
		{"list", "no bucket", []fault{answers(404, "NoSuchBucket")}, "404 NoSuchBucket: so says the server", 1},
		{"get range of", "no user", []fault{answers(404, "NoSuchUser")}, "404 NoSuchUser: so says the server", 1},
	}
	for _, tt := range tests {
		t.Run(tt.op+", "+tt.name, func(t *testing.T) {
			n.set(http.MethodGet, tt.faults...)
			var account bucket.Account
			got, err := operations[tt.op](bucket.WithAccount(t.Context(), &account))
			if tt.want == "" && (err != nil || got != content) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			if tt.want != "" && (err == nil || known(err) || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), tt.op+" s3://profiles/v1/")) {
				t.Errorf("got error %v, want %q in it", err, tt.want)
			}
			used := account.Usage()
			if tt.requests > 0 && used.Requests() != tt.requests || used.Puts+used.Deletes != 0 {
				t.Errorf("used %+v, want %d requests", used, tt.requests)
			}
			n.set(http.MethodGet)
		})
	}
}

// A server that refuses an object before it has read it closes the connection under
// the rest. Its answer arrives all the same, with the first attempt.
func TestEarlyRefusal(t *testing.T) {
	t.Parallel()
	for name, config := range map[string][]byte{"plain": buckettest.S3(t), "TLS": buckettest.S3TLS(t)} {
		b := open(t, config)
		for _, size := range []int{0, 10, 100 << 10, 2 << 20} {
			data := make([]byte, size)
			create := func(ctx context.Context) error {
				return b.Create(ctx, fmt.Sprint("k", size), bytes.NewReader(data), int64(size))
			}
			if err := create(t.Context()); err != nil {
				t.Fatal(err)
			}
			var account bucket.Account
			for range 20 {
				if err := create(bucket.WithAccount(t.Context(), &account)); !errors.Is(err, bucket.ErrExist) {
					t.Errorf("%s, %d bytes: %v", name, size, err)
				}
			}
			if used := account.Usage(); used.Puts != 20 || used.Gets != 0 {
				t.Errorf("%s, %d bytes: 20 refusals took %+v", name, size, used)
			}
		}
	}
}

// A caller that gives up does not wait for a server that does not answer, or for one
// that stops in the middle.
func TestSlowServer(t *testing.T) {
	t.Parallel()
	b, calm, n := s3Network(t)
	if err := calm.Put(t.Context(), "k", make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	silent := func(_ http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter)) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
	stalls := func(w http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter)) {
		w.Header().Set("Content-Length", "1000")
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		_, _ = w.Write([]byte("and then"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	operations := map[string]func(ctx context.Context) error{
		"get": func(ctx context.Context) error { _, _, err := b.Get(ctx, "k"); return err },
		"put": func(ctx context.Context) error { return b.Put(ctx, "k", nil) },
		"create": func(ctx context.Context) error {
			return b.Create(ctx, "new", strings.NewReader("x"), 1)
		},
		"list": func(ctx context.Context) (err error) {
			for _, err = range b.List(ctx, "k") {
			}
			return err
		},
	}
	for name, slow := range map[string]fault{"silent": silent, "stalls": stalls} {
		for op, do := range operations {
			t.Run(op+", "+name, func(t *testing.T) {
				n.set(http.MethodGet, slow)
				n.set(http.MethodPut, slow)
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				begin := time.Now()
				err := do(ctx)
				if name == "stalls" && (op == "put" || op == "create") {
					return // the answer's body does not matter to them
				}
				if !errors.Is(err, context.DeadlineExceeded) || known(err) {
					t.Errorf("got error %v", err)
				}
				if took := time.Since(begin); took > 2*time.Second {
					t.Errorf("took %v", took)
				}
			})
		}
	}
}

func TestNoServer(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(nil)
	gone.Close()
	b := open(t, fmt.Appendf(nil, `{type: S3, config: {bucket: profiles, endpoint: %q, access_key: a, secret_key: s, region: r, insecure: true}}`, gone.Listener.Addr()))
	err := b.Create(t.Context(), "k", strings.NewReader(""), 0)
	if err == nil || known(err) || !strings.Contains(err.Error(), "4 attempts") || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("create: %v", err)
	}
	if _, err := b.Now(t.Context()); err == nil {
		t.Error("knows the time of a server that is not there")
	}
}

// Who is refused learns that, and the time.
func TestDenied(t *testing.T) {
	t.Run("S3", func(t *testing.T) {
		t.Parallel()
		denied(t, bytes.Replace(buckettest.S3(t), []byte(buckettest.Secret), []byte("wrong"), 1), "SignatureDoesNotMatch")
	})
	t.Run("Azure", func(t *testing.T) {
		t.Parallel()
		config := bytes.Replace(buckettest.Azure(t), []byte("AccountKey=Eby8"), []byte("AccountKey=AAAA"), 1)
		if _, err := bucket.Open(t.Context(), config); !errors.Is(err, bucket.ErrDenied) {
			t.Errorf("open with the container to create: %v", err)
		}
		denied(t, append(config, "  storage_create_container: false\n"...), "AuthorizationFailure")
	})
	t.Run("GCS", func(t *testing.T) {
		config := buckettest.GCS(t)
		refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"error": {"code": 403, "message": "no", "errors": [{"reason": "forbidden"}]}}`)
		}))
		defer refusing.Close()
		t.Setenv("STORAGE_EMULATOR_HOST", refusing.Listener.Addr().String())
		denied(t, config, "403")
	})
	t.Run("GCS token", func(t *testing.T) {
		refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error": "invalid_grant", "error_description": "no such account"}`)
		}))
		defer refusing.Close()
		config := buckettest.GCS(t)
		at := bytes.Index(config, []byte(`"token_uri":"`)) + len(`"token_uri":"`)
		end := at + bytes.IndexByte(config[at:], '"')
		config = slices.Concat(config[:at], []byte(refusing.URL), config[end:])
		if _, _, err := open(t, config).Get(t.Context(), "k"); !errors.Is(err, bucket.ErrDenied) || !strings.Contains(err.Error(), "invalid_grant") {
			t.Errorf("get: %v", err)
		}
	})
}

func denied(t *testing.T, config []byte, says string) {
	t.Helper()
	b := open(t, config)
	now, err := b.Now(t.Context())
	if err != nil || time.Until(now).Abs() > 2*time.Second {
		t.Errorf("now = %v, %v", now, err)
	}
	_, _, get := b.Get(t.Context(), "k")
	_, stat := b.Stat(t.Context(), "k")
	_, replace := b.Replace(t.Context(), "k", nil, "")
	var list error
	for _, err := range b.List(t.Context(), "") {
		list = err
	}
	for op, err := range map[string]error{
		"create": b.Create(t.Context(), "k", strings.NewReader("x"), 1), "replace": replace, "put": b.Put(t.Context(), "k", nil),
		"get": get, "list": list, "delete": b.Delete(t.Context(), "k"), "stat": stat,
	} {
		if !errors.Is(err, bucket.ErrDenied) {
			t.Errorf("%s: %v", op, err)
		}
		if err != nil && op != "stat" && !strings.Contains(err.Error(), says) { // the answer to a HEAD has no body
			t.Errorf("%s does not repeat the server's %s: %v", op, says, err)
		}
	}
}

// A server with a certificate that nobody vouches for is not asked again and again.
func TestUnknownCertificate(t *testing.T) {
	t.Parallel()
	config, _, _ := bytes.Cut(buckettest.S3TLS(t), []byte("  http_config"))
	begin := time.Now()
	_, _, err := open(t, config).Get(t.Context(), "k")
	if err == nil || known(err) || !strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "attempts") {
		t.Errorf("get: %v", err)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
}

// What Open was given to connect does not bind what is done later: Google's client asks
// for its first token with the first request.
func TestOpenContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b, err := bucket.Open(ctx, buckettest.GCS(t))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := b.Put(t.Context(), "k", nil); err != nil {
		t.Error(err)
	}
}

// An answer that carries another version's ETag is not believed. A server whose ETags
// are no checksums is.
func TestForeignETag(t *testing.T) {
	t.Parallel()
	b, calm, n := s3Network(t)
	old, err := calm.Replace(t.Context(), "k", []byte("old"), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := calm.Put(t.Context(), "k", []byte("new")); err != nil {
		t.Fatal(err)
	}
	foreign := func(w http.ResponseWriter, _ *http.Request, forward func(http.ResponseWriter)) {
		answer := httptest.NewRecorder()
		forward(answer)
		answer.Header().Set("ETag", `"`+string(old)+`"`)
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	}
	for _, tt := range []struct {
		name     string
		faults   []fault
		own      bool // the version is that of the content
		requests string
	}{
		{"once", []fault{foreign}, true, "GET GET"},
		{"always", slices.Repeat([]fault{foreign}, 10), false, "GET GET"},
		{"ever after", slices.Repeat([]fault{foreign}, 10), false, "GET"},
	} {
		n.set(http.MethodGet, tt.faults...)
		data, v, err := b.Get(t.Context(), "k")
		if string(data) != "new" || err != nil || (v != old) != tt.own || n.requests() != tt.requests {
			t.Errorf("%s: %q at %q after %s, %v", tt.name, data, v, n.requests(), err)
		}
	}
}

// Google's checksums are compared with what arrives, and a body that does not match is
// fetched again.
func TestFlippedBit(t *testing.T) {
	config := buckettest.GCS(t)
	emulator := &url.URL{Scheme: "http", Host: os.Getenv("STORAGE_EMULATOR_HOST")}
	flips := 0
	flipping := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(emulator) },
		ModifyResponse: func(r *http.Response) error {
			if r.Request.Method == http.MethodGet && flips > 0 {
				flips--
				data, err := io.ReadAll(r.Body)
				data[len(data)/2] ^= 1
				r.Body = io.NopCloser(bytes.NewReader(data))
				return err
			}
			return nil
		},
	})
	defer flipping.Close()
	t.Setenv("STORAGE_EMULATOR_HOST", flipping.Listener.Addr().String())
	b := open(t, config)
	if err := b.Put(t.Context(), "k", []byte("content")); err != nil {
		t.Fatal(err)
	}
	flips = 2
	if data, _, err := b.Get(t.Context(), "k"); string(data) != "content" || err != nil || flips != 0 {
		t.Errorf("get = %q, %v, with %d flips left", data, err, flips)
	}
	flips = 10
	if data, _, err := b.Get(t.Context(), "k"); err == nil || known(err) || data != nil {
		t.Errorf("get = %q, %v", data, err)
	}
}

// Two prefixes of one bucket are two buckets, and the bucket without one sees both.
func TestPrefix(t *testing.T) {
	t.Parallel()
	config := string(buckettest.S3(t))
	all := open(t, []byte(config))
	a, ab := open(t, []byte(config+"prefix: a\n")), open(t, []byte(config+"prefix: a/b\n"))
	for b, key := range map[bucket.Bucket]string{a: "k", ab: "k"} {
		if err := b.Put(t.Context(), key, []byte(b.Name())); err != nil {
			t.Fatal(err)
		}
	}
	for b, want := range map[bucket.Bucket]string{all: "a/b/k a/k", a: "b/k k", ab: "k"} {
		var keys []string
		for o, err := range b.List(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, o.Key)
		}
		if got := strings.Join(keys, " "); got != want {
			t.Errorf("%s lists %s, want %s", b.Name(), got, want)
		}
	}
	if data, _, err := all.Get(t.Context(), "a/b/k"); string(data) != "s3://profiles/a/b" {
		t.Errorf("a/b/k holds %q, %v", data, err)
	}
}

// A bucket that takes conditions and forgets them, or that refuses them, is found out,
// and from then on written to without.
func TestProbeWithoutConditions(t *testing.T) {
	t.Run("forgets", func(t *testing.T) {
		config := buckettest.GCS(t)
		emulator := &url.URL{Scheme: "http", Host: os.Getenv("STORAGE_EMULATOR_HOST")}
		forgetful := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(emulator)
			query := r.Out.URL.Query()
			query.Del("ifGenerationMatch")
			r.Out.URL.RawQuery = query.Encode()
		}})
		defer forgetful.Close()
		t.Setenv("STORAGE_EMULATOR_HOST", forgetful.Listener.Addr().String())
		unconditional(t, open(t, config), "created twice")
	})
	t.Run("refuses", func(t *testing.T) {
		t.Parallel()
		config := buckettest.S3(t)
		behind, n := between(t, config)
		refuse := func(w http.ResponseWriter, r *http.Request, forward func(http.ResponseWriter)) {
			if r.Header.Get("If-None-Match")+r.Header.Get("If-Match") != "" {
				answers(501, "NotImplemented")(w, r, forward)
				return
			}
			forward(w)
		}
		n.set(http.MethodPut, slices.Repeat([]fault{refuse}, 100)...)
		unconditional(t, open(t, behind), "NotImplemented")
	})
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		b := bucket.Mem()
		b.Mode = bucket.CASNone
		unconditional(t, b, "created twice")
	})
	t.Run("unreachable", func(t *testing.T) {
		t.Parallel()
		b := buckettest.FailNth(bucket.Mem(), 1, false)
		if warning, err := bucket.Probe(t.Context(), b); warning != "" || !errors.Is(err, buckettest.ErrInjected) {
			t.Errorf("probe = %q, %v", warning, err)
		}
	})
}

func unconditional(t *testing.T, b bucket.Bucket, fault string) {
	t.Helper()
	var account bucket.Account
	warning, err := bucket.Probe(t.Context(), bucket.Counting(b, &account))
	if err != nil || !strings.Contains(warning, fault) || !strings.Contains(warning, "one compactor") {
		t.Errorf("probe = %q, %v", warning, err)
	}
	if b.CAS() != bucket.CASNone {
		t.Errorf("CAS is %v", b.CAS())
	}
	first, err := b.Replace(t.Context(), "k", []byte("1"), "")
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.Replace(t.Context(), "k", []byte("2"), "")
	if err != nil || second == first || second == "" {
		t.Errorf("replace again: version %q after %q, %v", second, first, err)
	}
	if _, err := b.Replace(t.Context(), "k", []byte("3"), first); err != nil {
		t.Errorf("replace a version long gone: %v", err)
	}
	if err := b.Create(t.Context(), "k", strings.NewReader("4"), 1); err != nil {
		t.Errorf("create what is there: %v", err)
	}
	if data, _, err := b.Get(t.Context(), "k"); string(data) != "4" || err != nil {
		t.Errorf("k holds %q, %v", data, err)
	}
}

// A server without lifecycle rules says so, and what a server takes it keeps.
func TestSetLifecycleOfServers(t *testing.T) {
	l := bucket.Lifecycle{Rules: []bucket.Rule{{Prefix: "v1/l0/", After: 7 * 24 * time.Hour}}, AbortUploadsAfter: 24 * time.Hour}
	t.Run("versitygw", func(t *testing.T) {
		b, err := bucket.Open(t.Context(), buckettest.S3(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := bucket.SetLifecycle(t.Context(), b, l); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%v, want that it is not supported", err)
		}
	})
	t.Run("fake-gcs-server", func(t *testing.T) {
		b, err := bucket.Open(t.Context(), buckettest.GCS(t))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := bucket.SetLifecycle(t.Context(), b, l); err != nil {
				t.Errorf("%v", err)
			}
		}
	})
}

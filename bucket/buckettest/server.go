package buckettest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Secret is every S3 server's here, for tests that need a wrong one.
const Secret = "testsecret"

// S3 starts a real S3 server, versitygw, for as long as the test runs, and returns the
// configuration of an empty bucket in it.
//
// As all servers of this package it listens on a free port of 127.0.0.1, keeps its
// objects in memory or in the test's directory, and has its log shown if the test fails. Without its
// binary the test is skipped, or fails where the environment sets CI.
func S3(t testing.TB) []byte {
	return s3(t, "http")
}

// S3TLS is [S3] over TLS, with a certificate that the configuration names.
func S3TLS(t testing.TB) []byte {
	cert, key := certificate(t)
	return append(s3(t, "https", "--cert", cert, "--key", key),
		"  http_config:\n    tls_config:\n      ca_file: "+cert+"\n"...)
}

// S3WriteOnly starts versitygw as [S3] does, and returns two configurations of one bucket:
// the owner's, and that of a user who may do nothing but put objects below a prefix.
func S3WriteOnly(t testing.TB, prefix string) (owner, writer []byte) {
	const user = "writer"
	owner = s3(t, "http", "--iam-dir", t.TempDir())
	address := regexp.MustCompile(`endpoint: (\S+)`).FindSubmatch(owner)[1]
	create := exec.CommandContext(t.Context(), find(t, "versitygw"), "admin", "--access", "test", "--secret", Secret,
		"--endpoint-url", "http://"+string(address), "create-user", "--access", user, "--secret", Secret, "--role", "user")
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("create user: %v\n%s", err, out)
	}
	client, err := minio.New(string(address), &minio.Options{Creds: credentials.NewStaticV4("test", Secret, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	policy := fmt.Sprintf(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": [%q]},
		"Action": ["s3:PutObject"], "Resource": ["arn:aws:s3:::profiles/%s*"]}]}`, user, prefix)
	if err := client.SetBucketPolicy(t.Context(), "profiles", policy); err != nil {
		t.Fatalf("set the bucket's policy: %v", err)
	}
	return owner, bytes.Replace(owner, []byte("access_key: test"), []byte("access_key: "+user), 1)
}

func s3(t testing.TB, scheme string, args ...string) []byte {
	binary := find(t, "versitygw")
	data := t.TempDir()
	if err := os.Mkdir(filepath.Join(data, "profiles"), 0o755); err != nil {
		t.Fatal(err)
	}
	address := start(t, scheme, "/health", func(ctx context.Context, address string) *exec.Cmd {
		args := append([]string{
			"--access", "test", "--secret", Secret,
			"--port", address, "--health", "/health", "--quiet",
		}, args...)
		return exec.CommandContext(ctx, binary, append(args, "posix", data)...)
	})
	return fmt.Appendf(nil, `type: S3
config:
  bucket: profiles
  endpoint: %s
  region: us-east-1
  access_key: test
  secret_key: %s
  insecure: %v
`, address, Secret, scheme == "http")
}

// GCS starts fake-gcs-server and returns the configuration of an empty bucket in it, as
// [S3] does. It sets STORAGE_EMULATOR_HOST, which Google's client goes by, for this
// process and those it starts; so the test cannot be parallel.
func GCS(t testing.TB) []byte {
	binary := find(t, "fake-gcs-server")
	address := start(t, "http", "/_internal/healthcheck", func(ctx context.Context, address string) *exec.Cmd {
		_, port, _ := net.SplitHostPort(address)
		return exec.CommandContext(ctx, binary, "-scheme", "http", "-host", "127.0.0.1", "-port", port,
			"-backend", "memory", "-public-host", address, "-external-url", "http://"+address)
	})
	create, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		"http://"+address+"/storage/v1/b", strings.NewReader(`{"name": "profiles"}`))
	if err != nil {
		t.Fatal(err)
	}
	created, err := http.DefaultClient.Do(create)
	if err != nil || created.StatusCode != http.StatusOK {
		t.Fatalf("create bucket: %v, %v", created, err)
	}
	created.Body.Close()
	t.Setenv("STORAGE_EMULATOR_HOST", address)
	return fmt.Appendf(nil, `type: GCS
config:
  bucket: profiles
  service_account: |
    %s
`, serviceAccount(t))
}

// serviceAccount makes the key of an account, and a server that gives it tokens.
// Google's client wants one even if it talks to an emulator.
func serviceAccount(t testing.TB) []byte {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token": "test", "token_type": "Bearer", "expires_in": 3600}`)
	}))
	t.Cleanup(tokens.Close)
	account, err := json.Marshal(map[string]string{
		"type":         "service_account",
		"client_email": "test@test.invalid",
		"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
		"token_uri":    tokens.URL,
	})
	if err != nil {
		t.Fatal(err)
	}
	return account
}

// Azure starts azurite and returns the configuration of an empty bucket in it, as [S3] does.
func Azure(t testing.TB) []byte {
	node, script := find(t, "node"), find(t, "azurite/node_modules/.bin/azurite-blob")
	data := t.TempDir()
	address := start(t, "http", "/", func(ctx context.Context, address string) *exec.Cmd {
		_, port, _ := net.SplitHostPort(address)
		return exec.CommandContext(ctx, node, script, "--silent", "--disableTelemetry", "--skipApiVersionCheck",
			"--location", data, "--blobHost", "127.0.0.1", "--blobPort", port)
	})
	// The account and the key are azurite's own, the same everywhere.
	return fmt.Appendf(nil, `type: AZURE
config:
  container: profiles
  storage_connection_string: DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;BlobEndpoint=http://%s/devstoreaccount1;
`, address)
}

// find looks for a server's binary in the repository's .bin, then in PATH.
func find(t testing.TB, name string) string {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; root != "/"; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
			continue
		}
		path := filepath.Join(root, ".bin", name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
		break
	}
	if path, err := exec.LookPath(filepath.Base(name)); err == nil {
		return path
	}
	missing := t.Skipf
	if os.Getenv("CI") != "" {
		missing = t.Fatalf
	}
	missing("%s is neither in .bin nor in PATH: make tools", name)
	return ""
}

// start runs a server until the test ends and returns its address once it answers.
// Another process may take the port between its choice and its use, so there are
// three tries.
func start(t testing.TB, scheme, ready string, command func(ctx context.Context, address string) *exec.Cmd) string {
	t.Helper()
	var err error
	for range 3 {
		var s *server
		// The test's context ends before its cleanups, which may need the server.
		if s, err = run(context.WithoutCancel(t.Context()), freeAddress(t), command); err != nil {
			break
		}
		if err = s.wait(t.Context(), scheme, ready); err == nil {
			t.Cleanup(func() {
				s.end()
				if t.Failed() {
					t.Logf("%s said:\n%s", s.cmd, s.log.tail())
				}
			})
			return s.address
		}
		s.end()
		err = fmt.Errorf("%w\n%s", err, s.log.tail())
	}
	t.Fatalf("start server: %v", err)
	return ""
}

func freeAddress(t testing.TB) string {
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// A server is a running process.
type server struct {
	address string
	cmd     *exec.Cmd
	log     *logBuffer
	exited  chan struct{}
}

func run(ctx context.Context, address string, command func(ctx context.Context, address string) *exec.Cmd) (*server, error) {
	s := &server{address: address, cmd: command(ctx, address), log: &logBuffer{}, exited: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	// It dies with the thread that started it, even if the test panics.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			_ = s.cmd.Wait() // its log tells more
			close(s.exited)
		}
	}()
	return s, <-started
}

// wait waits until the server answers at all, by whatever status.
func (s *server) wait(ctx context.Context, scheme, path string) error {
	client := &http.Client{
		Timeout:   time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
	}
	deadline := time.After(30 * time.Second)
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+s.address+path, nil)
		if err != nil {
			return err
		}
		answer, err := client.Do(request)
		if err == nil {
			return answer.Body.Close()
		}
		select {
		case <-s.exited:
			return fmt.Errorf("%s ended: %v", s.cmd.Path, s.cmd.ProcessState)
		case <-deadline:
			return fmt.Errorf("%s does not answer: %w", s.cmd.Path, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// end asks the process to end, and ends it if it does not.
func (s *server) end() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(2 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
}

// logBuffer keeps what a process says.
type logBuffer struct {
	mu  sync.Mutex
	log bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.Write(p)
}

// tail is the end of the log.
func (l *logBuffer) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := strings.Split(l.log.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-50):], "\n")
}

// certificate makes a certificate of 127.0.0.1 and returns the paths of it and its key.
func certificate(t testing.TB) (cert, key string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "coldframe test"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	certDER, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: certDER},
		key:  {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

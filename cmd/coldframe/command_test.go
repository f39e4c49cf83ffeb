package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"
)

// asCommand makes the test binary behave as coldframe itself, so that tests can
// start real processes, and kill them.
const asCommand = "COLDFRAME_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

// command runs coldframe in this process.
func command(t testing.TB, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, &out, &errs)
	return status, out.String(), errs.String()
}

// must runs coldframe, which must succeed.
func must(t testing.TB, args ...string) (stdout string) {
	t.Helper()
	status, stdout, stderr := command(t, args...)
	if status != 0 {
		t.Fatalf("coldframe %s: exit status %d\n%s%s", strings.Join(args, " "), status, stdout, stderr)
	}
	return stdout
}

// spawned is a coldframe process.
type spawned struct {
	*exec.Cmd
	stderr *bytes.Buffer
	done   chan error
}

// spawn starts coldframe as a process of its own, which the test's end kills.
func spawn(t testing.TB, args ...string) *spawned {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	return watch(t, cmd)
}

// watch starts a command that the test's end kills.
func watch(t testing.TB, cmd *exec.Cmd) *spawned {
	t.Helper()
	p := &spawned{Cmd: cmd, stderr: new(bytes.Buffer), done: make(chan error, 1)}
	p.Stdout, p.Stderr = p.stderr, p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.Wait() }()
	t.Cleanup(p.kill)
	return p
}

// kill ends the process as a crash does, and returns when it is gone.
func (p *spawned) kill() {
	_ = p.Process.Kill()
	err := <-p.done
	p.done <- err
}

// ready waits until the process answers.
func (p *spawned) ready(t testing.TB, url string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if status, _, err := fetch(t, url+"/-/ready"); err == nil && status == http.StatusOK {
			return
		}
	}
	t.Fatalf("not ready after 20 s:\n%s", p.stderr)
}

func fetch(t testing.TB, url string) (status int, body []byte, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// freeAddress is a port that nothing listened on a moment ago.
func freeAddress(t testing.TB) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return address
}

// folder is the configuration of an empty folder.
func folder(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("{type: FILESYSTEM, config: {directory: %q}}", t.TempDir())
}

// write puts a file into a folder of the test.
func write(t testing.TB, dir, name string, body []byte) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// get asks for a pprof of all times.
func get(t testing.TB, bucketConfig string, args ...string) *pprof.Profile {
	t.Helper()
	out := must(t, append([]string{"get", "--bucket-config", bucketConfig, "--from", "0", "--to", "now+1h", "--strict", "--format", "pprof"}, args...)...)
	p, err := pprof.ParseData([]byte(out))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

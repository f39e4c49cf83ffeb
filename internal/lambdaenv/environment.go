package lambdaenv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// environment is one process and the Runtime API that it speaks to.
type environment struct {
	cmd    *exec.Cmd
	tmp    string // what /tmp is for it
	api    *httptest.Server
	asked  chan struct{}    // the process has asked for an event, and is done with the last
	next   chan *invocation // the answer to that
	exited chan struct{}    // closed when it has ended

	mu     sync.Mutex
	at     *invocation // being handled
	status error       // how it ended
}

type invocation struct {
	id        string
	trace     string
	payload   []byte
	deadline  time.Time // that the process is told
	killAfter time.Duration
	deliver   func(contentType string, answer io.Reader) error
	done      chan error // the process has answered
}

// launch starts a process and waits until it asks for its first event.
func (f *Function) launch(ctx context.Context) (*environment, time.Duration, error) {
	tmp, err := f.takeTmp()
	if err != nil {
		return nil, 0, err
	}
	e := &environment{tmp: tmp, asked: make(chan struct{}, 1), next: make(chan *invocation), exited: make(chan struct{})}
	e.api = httptest.NewServer(e.runtimeAPI())
	address := e.api.Listener.Addr().String()
	e.cmd = exec.Command(f.cfg.Binary) //nolint:noctx // its life is not that of the request that started it
	e.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + tmp, "TMPDIR=" + tmp, "TZ=:UTC", "AWS_XRAY_DAEMON_ADDRESS=" + f.daemon.LocalAddr().String(),
		"AWS_LAMBDA_RUNTIME_API=" + address, "_HANDLER=bootstrap", "AWS_REGION=eu-central-1", "AWS_LAMBDA_FUNCTION_NAME=coldframe",
		"AWS_LAMBDA_FUNCTION_VERSION=7", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=" + strconv.Itoa(f.cfg.MemoryMB),
		"AWS_ACCESS_KEY_ID=ASIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=example", "AWS_SESSION_TOKEN=example", "AWS_ENDPOINT_URL_LAMBDA=" + f.Endpoint,
	}, f.cfg.Env...)
	e.cmd.Stdout, e.cmd.Stderr = f.cfg.Log, f.cfg.Log
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := e.cmd.Start(); err != nil {
		e.api.Close()
		return nil, 0, errors.Join(err, os.Remove(tmp))
	}
	go func() {
		err := e.cmd.Wait()
		f.ended(e.cmd.ProcessState, e.tmp)
		e.mu.Lock()
		e.status = err
		e.mu.Unlock()
		close(e.exited)
	}()
	select {
	case <-e.asked:
		took := time.Since(began)
		e.freeze()
		return e, took, nil
	case <-e.exited:
		e.api.Close()
		return nil, 0, &Error{"Runtime.ExitError", fmt.Sprintf("RequestId: none Error: Runtime exited: %v", e.status)}
	case <-time.After(maxInit):
		e.kill()
		return nil, 0, &Error{"Sandbox.Timedout", fmt.Sprintf("Task timed out after %s", maxInit)}
	case <-ctx.Done():
		e.kill()
		return nil, 0, ctx.Err()
	}
}

// handle gives the process an event and waits until it has answered and asks for another.
func (e *environment) handle(i *invocation) error {
	e.mu.Lock()
	e.at = i
	e.mu.Unlock()
	e.thaw()
	timeout := time.NewTimer(i.killAfter)
	defer timeout.Stop()
	select {
	case e.next <- i:
	case <-e.exited:
		return e.crashed(i)
	}
	var answered error
	select {
	case answered = <-i.done:
	case <-e.exited:
		return e.crashed(i)
	case <-timeout.C:
		return e.timedOut(i)
	}
	select { // what it does after its answer belongs to the invocation as well
	case <-e.asked:
		e.freeze()
	case <-e.exited:
	case <-timeout.C:
		return errors.Join(answered, e.timedOut(i))
	}
	return answered
}

func (e *environment) crashed(i *invocation) error {
	return &Error{"Runtime.ExitError", fmt.Sprintf("RequestId: %s Error: Runtime exited: %v", i.id, e.status)}
}

func (e *environment) timedOut(i *invocation) error {
	e.kill()
	return &Error{"Sandbox.Timedout", fmt.Sprintf("RequestId: %s Error: Task timed out", i.id)}
}

// freeze and thaw: an environment without an event has no CPU.
func (e *environment) freeze() {
	_ = syscall.Kill(-e.cmd.Process.Pid, syscall.SIGSTOP)
}

// ended counts the CPU that a process has used. The next one finds what it left in /tmp.
func (f *Function) ended(state *os.ProcessState, tmp string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tmps = append(f.tmps, tmp)
	f.spent.CPU += state.UserTime() + state.SystemTime()
}

// takeTmp is the /tmp of a process that has ended, or a new one.
func (f *Function) takeTmp() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.tmps); n > 0 {
		tmp := f.tmps[n-1]
		f.tmps = f.tmps[:n-1]
		return tmp, nil
	}
	return os.MkdirTemp("", "lambdaenv-")
}

// peakBytes is the most memory that a process has had, of which it is asked while it lives:
// what the kernel tells of an ended one counts that of the process that started it as well,
// whose memory it shared until it was another program.
func peakBytes(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "\nVmHWM:")
	kib, _, _ := strings.Cut(strings.TrimSpace(after), " ")
	n, err := strconv.ParseInt(kib, 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}

func (e *environment) thaw() {
	_ = syscall.Kill(-e.cmd.Process.Pid, syscall.SIGCONT)
}

func (e *environment) kill() {
	_ = syscall.Kill(-e.cmd.Process.Pid, syscall.SIGKILL)
	<-e.exited
	e.api.CloseClientConnections()
	e.api.Close()
}

func (e *environment) dead() bool {
	select {
	case <-e.exited:
		return true
	default:
		return false
	}
}

// runtimeAPI is what a process asks for events and gives its answers to.
func (e *environment) runtimeAPI() http.Handler {
	const root = "/2018-06-01/runtime/"
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+root+"invocation/next", e.serveNext)
	mux.HandleFunc("POST "+root+"invocation/{id}/response", e.serveResponse)
	mux.HandleFunc("POST "+root+"invocation/{id}/error", e.serveError)
	mux.HandleFunc("POST "+root+"init/error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	return mux
}

func (e *environment) serveNext(w http.ResponseWriter, r *http.Request) {
	e.asked <- struct{}{}
	select {
	case i := <-e.next:
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Lambda-Runtime-Aws-Request-Id", i.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(i.deadline.UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-central-1:123456789012:function:coldframe:7")
		h.Set("Lambda-Runtime-Trace-Id", i.trace)
		_, _ = w.Write(i.payload)
	case <-r.Context().Done():
	}
}

// answering is the invocation that a request of the process is about.
func (e *environment) answering(w http.ResponseWriter, r *http.Request) *invocation {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := e.at
	if i == nil || i.id != r.PathValue("id") {
		http.Error(w, `{"errorType":"InvalidRequestID"}`, http.StatusBadRequest)
		return nil
	}
	e.at = nil
	return i
}

func (e *environment) serveResponse(w http.ResponseWriter, r *http.Request) {
	i := e.answering(w, r)
	if i == nil {
		return
	}
	err := i.deliver(r.Header.Get("Content-Type"), r.Body)
	status := http.StatusAccepted
	if fault := (*Error)(nil); errors.As(err, &fault) && fault.Type == "Function.ResponseSizeTooLarge" {
		status = http.StatusRequestEntityTooLarge
	}
	i.done <- err
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"status":"OK"}`)
}

func (e *environment) serveError(w http.ResponseWriter, r *http.Request) {
	i := e.answering(w, r)
	if i == nil {
		return
	}
	fault := &Error{Type: "Unhandled"}
	text, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.NewDecoder(bytes.NewReader(text)).Decode(fault)
	}
	if err != nil {
		fault.Message = err.Error()
	}
	i.done <- fault
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`)
}

// Package lambdaenv runs a function's binary as AWS Lambda does: it speaks the Runtime API
// with it, turns requests to a URL into events and answers into responses, and has an
// Invoke API by which functions call each other.
//
// It has those of Lambda's limits that a program can run into: 6 MB of an event and of an
// answer that is not streamed, one event at a time in each environment, so many
// environments and not more, a deadline at which the process is killed, no CPU between
// events, and a fresh process after a crash, which finds /tmp as the last has left it. It takes
// what is told to X-Ray. It knows nothing of rights, and starts processes at the speed of this
// machine. It is for tests.
package lambdaenv

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Lambda's limits.
const (
	MaxPayload      = 6 << 20 // of a synchronous event, and of an answer in one piece
	MaxAsyncPayload = 1 << 20 // of an event that is not waited for
	MaxStream       = 200 << 20
	maxInit         = 10 * time.Second
)

// Config is a function's. Zero fields mean the defaults named here.
type Config struct {
	Binary      string        // the bootstrap; required
	Env         []string      // beside Lambda's own; NAME=VALUE
	Timeout     time.Duration // of an invocation; 3 s
	KillAfter   time.Duration // kill already then, though the process is told Timeout; 0: at Timeout
	MemoryMB    int           // what the function is told; nothing is enforced. 512
	Concurrency int           // environments at most; 10
	Buffered    bool          // the URL has the mode BUFFERED, or is an API Gateway's
	Traced      bool          // X-Ray samples every invocation; else none
	Log         io.Writer     // what the processes write; nil: nothing
}

// Function is a deployed function.
type Function struct {
	cfg Config
	// URL is the function's, and Endpoint that of the API that invokes it.
	URL, Endpoint string

	servers []*httptest.Server
	slots   chan struct{}

	mu          sync.Mutex
	idle        []*environment // the latest used last
	all         map[*environment]bool
	coldStarts  []time.Duration
	started     int
	spent       Spent
	tmps        []string // of processes that have ended
	segments    []Segment
	badSegments []error
	async       sync.WaitGroup

	daemon *daemon
}

// Deploy makes a function. No process is started before the first event. Close ends all. It
// panics where nothing can be listened to, as [httptest.NewServer] does.
func Deploy(cfg Config) *Function {
	if cfg.Timeout == 0 {
		cfg.Timeout = 3 * time.Second
	}
	if cfg.KillAfter == 0 {
		cfg.KillAfter = cfg.Timeout
	}
	if cfg.MemoryMB == 0 {
		cfg.MemoryMB = 512
	}
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 10
	}
	if cfg.Log == nil {
		cfg.Log = io.Discard
	}
	f := &Function{cfg: cfg, slots: make(chan struct{}, cfg.Concurrency), all: map[*environment]bool{}}
	var err error
	if f.daemon, err = listen(f.take); err != nil {
		panic(fmt.Sprintf("lambdaenv: listen for segments: %v", err))
	}
	url := httptest.NewServer(http.HandlerFunc(f.serveURL))
	mux := http.NewServeMux()
	mux.HandleFunc("POST /2015-03-31/functions/{name}/invocations", f.serveInvoke)
	api := httptest.NewServer(mux)
	f.servers = []*httptest.Server{url, api}
	f.URL, f.Endpoint = url.URL, api.URL
	return f
}

// Close waits for invocations that nobody waits for and ends all environments.
func (f *Function) Close() {
	f.async.Wait()
	f.mu.Lock()
	all := f.all
	f.all, f.idle = map[*environment]bool{}, nil
	f.mu.Unlock()
	for e := range all {
		e.kill()
	}
	for _, s := range f.servers {
		s.Close()
	}
	_ = f.daemon.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, tmp := range f.tmps {
		_ = os.RemoveAll(tmp)
	}
	f.tmps = nil
}

// Crash ends the processes that have no event, as if they had failed between two.
func (f *Function) Crash() {
	f.mu.Lock()
	idle := f.idle
	f.idle = nil
	for _, e := range idle {
		delete(f.all, e)
	}
	f.mu.Unlock()
	for _, e := range idle {
		e.kill()
	}
}

// Tmp is how many bytes lie in what is /tmp for the processes that have ended.
func (f *Function) Tmp() (sizeBytes int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, tmp := range f.tmps {
		err = errors.Join(err, filepath.WalkDir(tmp, func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err == nil {
				sizeBytes += info.Size()
			}
			return err
		}))
	}
	return sizeBytes, err
}

// ColdStarts are the times from the start of each process to its first request for an event.
func (f *Function) ColdStarts() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Duration(nil), f.coldStarts...)
}

// Spent is what processes have used up.
type Spent struct {
	CPU         time.Duration // of all
	MemoryBytes int64         // the most that one of them had at a time, while it answered
}

// Spent tells the CPU of the processes that have ended, so of all after Close.
func (f *Function) Spent() Spent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.spent
}

// Processes is how many were started.
func (f *Function) Processes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.started
}

// Error is what Lambda says of an invocation that failed.
type Error struct {
	Type    string `json:"errorType"`
	Message string `json:"errorMessage"`
}

func (e *Error) Error() string { return e.Type + ": " + e.Message }

var errThrottled = errors.New("all environments are busy")

// Invoke has an event handled and returns the answer. An [*Error] says that the
// function failed.
func (f *Function) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	return f.invokeBelow(ctx, payload, "")
}

// invokeBelow is Invoke of who has told its place in a trace.
func (f *Function) invokeBelow(ctx context.Context, payload []byte, trace string) ([]byte, error) {
	var body bytes.Buffer
	err := f.invoke(ctx, payload, trace, func(contentType string, answer io.Reader) error {
		_, err := io.Copy(&body, io.LimitReader(answer, MaxPayload+1))
		if err != nil {
			return err
		}
		return checkSize(body.Len())
	})
	return body.Bytes(), err
}

func checkSize(n int) error {
	if n > MaxPayload {
		return &Error{"Function.ResponseSizeTooLarge", fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", MaxPayload)}
	}
	return nil
}

// invoke finds an environment for an event. deliver gets the answer while it is sent.
func (f *Function) invoke(ctx context.Context, payload []byte, trace string, deliver func(contentType string, answer io.Reader) error) error {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	default:
		return errThrottled
	}
	e, err := f.environment(ctx)
	if err != nil {
		return err
	}
	id := requestID()
	err = e.handle(&invocation{id: id, trace: f.traced(id, trace), payload: payload, deliver: deliver, done: make(chan error, 1), deadline: time.Now().Add(f.cfg.Timeout), killAfter: f.cfg.KillAfter})
	peak := peakBytes(e.cmd.Process.Pid)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spent.MemoryBytes = max(f.spent.MemoryBytes, peak)
	if e.dead() {
		delete(f.all, e)
	} else {
		f.idle = append(f.idle, e)
	}
	return err
}

// environment is an idle one, or a new one.
func (f *Function) environment(ctx context.Context) (*environment, error) {
	f.mu.Lock()
	for len(f.idle) > 0 {
		e := f.idle[len(f.idle)-1]
		f.idle = f.idle[:len(f.idle)-1]
		if !e.dead() {
			f.mu.Unlock()
			return e, nil
		}
		delete(f.all, e)
	}
	f.started++
	f.mu.Unlock()
	e, took, err := f.launch(ctx)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all[e] = true
	f.coldStarts = append(f.coldStarts, took)
	return e, nil
}

func requestID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id)
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// invokeLater handles an event that nobody waits for, when an environment is free.
func (f *Function) invokeLater(ctx context.Context, payload []byte, trace string) {
	for {
		if _, err := f.invokeBelow(ctx, payload, trace); !errors.Is(err, errThrottled) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Settle waits until no event is waiting or being handled that nobody waits for.
func (f *Function) Settle() { f.async.Wait() }

// serveInvoke is the Invoke API.
func (f *Function) serveInvoke(w http.ResponseWriter, r *http.Request) {
	payload, err := io.ReadAll(io.LimitReader(r.Body, MaxPayload+1))
	async, trace := r.Header.Get("X-Amz-Invocation-Type") == "Event", r.Header.Get("X-Amzn-Trace-Id")
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	case len(payload) > MaxPayload || async && len(payload) > MaxAsyncPayload:
		http.Error(w, `{"Type":"User","message":"Request must be smaller than the limit for the InvokeFunction operation"}`, http.StatusRequestEntityTooLarge)
		return
	case r.Header.Get("Authorization") == "":
		http.Error(w, `{"message":"Missing Authentication Token"}`, http.StatusForbidden)
		return
	case async:
		f.async.Go(func() { f.invokeLater(context.WithoutCancel(r.Context()), payload, trace) })
		w.WriteHeader(http.StatusAccepted)
		return
	}
	answer, err := f.invokeBelow(r.Context(), payload, trace)
	var fault *Error
	switch {
	case errors.Is(err, errThrottled):
		http.Error(w, `{"Type":"User","message":"Rate Exceeded."}`, http.StatusTooManyRequests)
		return
	case errors.As(err, &fault):
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
		answer, _ = json.Marshal(fault)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(answer)
}

// Package lambdaenv runs a function's binary as AWS Lambda does: it speaks the Runtime API
// with it, turns requests to a URL into events and answers into responses, and has an
// Invoke API by which functions call each other.
//
// It has those of Lambda's limits that a program can run into: 6 MB of an event and of an
// answer that is not streamed, one event at a time in each environment, so many
// environments and not more, a deadline at which the process is killed, no CPU between
// events, and a fresh process after a crash. It knows nothing of rights, and starts
// processes at the speed of this machine. It is for tests.
package lambdaenv

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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
	Log         io.Writer     // what the processes write; nil: nothing
}

// Function is a deployed function.
type Function struct {
	cfg Config
	// URL is the function's, and Endpoint that of the API that invokes it.
	URL, Endpoint string

	servers []*httptest.Server
	slots   chan struct{}

	mu         sync.Mutex
	idle       []*environment // the latest used last
	all        map[*environment]bool
	coldStarts []time.Duration
	started    int
	spent      Spent
	async      sync.WaitGroup
}

// Deploy makes a function. No process is started before the first event. Close ends all.
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
	MemoryBytes int64         // the most that one of them had at a time
}

// Spent tells of the processes that have ended, so of all after Close.
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
	var body bytes.Buffer
	err := f.invoke(ctx, payload, func(contentType string, answer io.Reader) error {
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
func (f *Function) invoke(ctx context.Context, payload []byte, deliver func(contentType string, answer io.Reader) error) error {
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
	err = e.handle(&invocation{id: requestID(), payload: payload, deliver: deliver, done: make(chan error, 1), deadline: time.Now().Add(f.cfg.Timeout), killAfter: f.cfg.KillAfter})
	f.mu.Lock()
	defer f.mu.Unlock()
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
func (f *Function) invokeLater(ctx context.Context, payload []byte) {
	for {
		if _, err := f.Invoke(ctx, payload); !errors.Is(err, errThrottled) {
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
	async := r.Header.Get("X-Amz-Invocation-Type") == "Event"
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
		f.async.Go(func() { f.invokeLater(context.WithoutCancel(r.Context()), payload) })
		w.WriteHeader(http.StatusAccepted)
		return
	}
	answer, err := f.Invoke(r.Context(), payload)
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

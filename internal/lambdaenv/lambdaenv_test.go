package lambdaenv_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdaurl"

	"github.com/coldframe/coldframe/internal/lambdaenv"
)

// TestMain is the function as well, when it finds itself in an environment.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		os.Exit(m.Run())
	}
	if os.Getenv("DO") == "web" {
		lambdaurl.Start(http.HandlerFunc(serveSlowly))
		return
	}
	var ticks atomic.Int64
	go func() {
		for range time.Tick(10 * time.Millisecond) {
			ticks.Add(1)
		}
	}()
	lambda.Start(func(ctx context.Context, e struct {
		Do string
		N  int
	},
	) (any, error) {
		switch e.Do {
		case "big":
			return strings.Repeat("x", e.N), nil
		case "crash":
			os.Exit(e.N)
		case "fail":
			return nil, errors.New("failed as asked")
		case "sleep":
			time.Sleep(time.Duration(e.N) * time.Millisecond)
		case "hold":
			held := bytes.Repeat([]byte{1}, e.N)
			return map[string]int{"held": len(held)}, nil
		case "keep":
			path := filepath.Join(os.TempDir(), "kept")
			before, _ := os.ReadFile(path)
			return map[string]int{"found": len(before)}, os.WriteFile(path, make([]byte, e.N), 0o600)
		case "deadline":
			deadline, _ := ctx.Deadline()
			return time.Until(deadline).Milliseconds(), nil
		}
		return map[string]int64{"pid": int64(os.Getpid()), "ticks": ticks.Load()}, nil
	})
}

func serveSlowly(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Path", r.URL.Path)
	for i := range 3 {
		fmt.Fprintf(w, "%d\n", i)
		time.Sleep(200 * time.Millisecond)
	}
}

func deploy(t *testing.T, cfg lambdaenv.Config) *lambdaenv.Function {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Binary = binary
	f := lambdaenv.Deploy(cfg)
	t.Cleanup(f.Close)
	return f
}

func do(t *testing.T, f *lambdaenv.Function, what string, n int) (map[string]int64, error) {
	t.Helper()
	payload, err := json.Marshal(map[string]any{"Do": what, "N": n})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := f.Invoke(t.Context(), payload)
	if err != nil {
		return nil, err
	}
	var values map[string]int64
	_ = json.Unmarshal(answer, &values)
	return values, nil
}

func wantError(t *testing.T, err error, typ string) {
	t.Helper()
	var fault *lambdaenv.Error
	if !errors.As(err, &fault) || fault.Type != typ {
		t.Errorf("got %v, want an error of type %s", err, typ)
	}
}

// An answer in one piece has at most 6 MB, and an event as well.
func TestPayloads(t *testing.T) {
	f := deploy(t, lambdaenv.Config{})
	if _, err := do(t, f, "big", lambdaenv.MaxPayload-2); err != nil { // and two quotes
		t.Error(err)
	}
	_, err := do(t, f, "big", lambdaenv.MaxPayload)
	wantError(t, err, "Function.ResponseSizeTooLarge")
	for how, n := range map[string]int{"RequestResponse": lambdaenv.MaxPayload + 1, "Event": lambdaenv.MaxAsyncPayload + 1} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.Endpoint+"/2015-03-31/functions/x/invocations", bytes.NewReader(make([]byte, n)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Invocation-Type", how)
		req.Header.Set("Authorization", "any")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s of %d bytes: %s", how, n, resp.Status)
		}
	}
}

// An environment handles one event at a time, and there are no more of them than allowed.
func TestOneEventAnEnvironment(t *testing.T) {
	f := deploy(t, lambdaenv.Config{Concurrency: 2})
	var mu sync.Mutex
	pids, throttled := map[int64]bool{}, 0
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			values, err := do(t, f, "sleep", 500)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				throttled++
				return
			}
			pids[values["pid"]] = true
		})
	}
	all.Wait()
	if len(pids) != 2 || throttled != 1 {
		t.Errorf("%d processes, %d throttled, want 2 and 1", len(pids), throttled)
	}
	if _, err := do(t, f, "", 0); err != nil || f.Processes() != 2 {
		t.Errorf("%v, %d processes: an idle environment is used again", err, f.Processes())
	}
}

// A process that does not answer in time is killed, and the next event has another.
func TestDeadline(t *testing.T) {
	f := deploy(t, lambdaenv.Config{Timeout: 500 * time.Millisecond})
	before, err := do(t, f, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err = do(t, f, "sleep", 60_000)
	wantError(t, err, "Sandbox.Timedout")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("killed after %s", took)
	}
	after, err := do(t, f, "", 0)
	if err != nil || after["pid"] == before["pid"] {
		t.Errorf("%v, process %d, before %d", err, after["pid"], before["pid"])
	}
}

// After a crash there is a fresh process; after an error the same.
func TestCrash(t *testing.T) {
	f := deploy(t, lambdaenv.Config{})
	before, err := do(t, f, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = do(t, f, "fail", 0)
	wantError(t, err, "errorString")
	same, err := do(t, f, "", 0)
	if err != nil || same["pid"] != before["pid"] {
		t.Errorf("%v, process %d, before %d", err, same["pid"], before["pid"])
	}
	_, err = do(t, f, "crash", 3)
	wantError(t, err, "Runtime.ExitError")
	after, err := do(t, f, "", 0)
	if err != nil || after["pid"] == before["pid"] {
		t.Errorf("%v, process %d, before %d", err, after["pid"], before["pid"])
	}
}

// Between two events nothing runs.
func TestFreeze(t *testing.T) {
	f := deploy(t, lambdaenv.Config{})
	before, err := do(t, f, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	after, err := do(t, f, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if ticked := after["ticks"] - before["ticks"]; ticked > 10 {
		t.Errorf("%d ticks of 10 ms in 500 ms without an event", ticked)
	}
}

// A stream arrives as it is sent, and not where answers come in one piece.
func TestStream(t *testing.T) {
	f := deploy(t, lambdaenv.Config{Env: []string{"DO=web"}})
	began := time.Now()
	resp, err := get(t, f.URL+"/a/b?c=d")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 2)
	if _, err := io.ReadFull(resp.Body, first); err != nil {
		t.Fatal(err)
	}
	early := time.Since(began)
	rest, err := io.ReadAll(resp.Body)
	if err != nil || string(first)+string(rest) != "0\n1\n2\n" || resp.Header.Get("X-Path") != "/a/b" {
		t.Errorf("%q%q, %v, %v", first, rest, resp.Header, err)
	}
	if whole := time.Since(began); whole-early < 300*time.Millisecond {
		t.Errorf("the first line came after %s, the last after %s", early, whole)
	}

	buffered := deploy(t, lambdaenv.Config{Env: []string{"DO=web"}, Buffered: true})
	refused, err := get(t, buffered.URL)
	if err != nil {
		t.Fatal(err)
	}
	refused.Body.Close()
	if refused.StatusCode != http.StatusBadGateway {
		t.Errorf("a stream in one piece: %s", refused.Status)
	}
}

func get(t *testing.T, url string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return http.DefaultClient.Do(req)
}

// What a process has used is its own, not that of this one, which started it.
func TestSpent(t *testing.T) {
	ballast := bytes.Repeat([]byte{1}, 300<<20)
	f := deploy(t, lambdaenv.Config{})
	if _, err := do(t, f, "hold", 64<<20); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if spent := f.Spent(); spent.MemoryBytes < 64<<20 || spent.MemoryBytes > 200<<20 || spent.CPU == 0 {
		t.Errorf("spent %+v, want a little more than 64 MiB", spent)
	}
	runtime.KeepAlive(ballast)
}

// A process finds in /tmp what the one before it, which has crashed, left there.
func TestTmp(t *testing.T) {
	f := deploy(t, lambdaenv.Config{})
	if got, err := do(t, f, "keep", 5); err != nil || got["found"] != 0 {
		t.Fatal(got, err)
	}
	f.Crash()
	if size, err := f.Tmp(); err != nil || size != 5 {
		t.Errorf("%d bytes in /tmp, %v", size, err)
	}
	if got, err := do(t, f, "keep", 5); err != nil || got["found"] != 5 || f.Processes() != 2 {
		t.Error(got, err, f.Processes())
	}
}

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/bucket/buckettest"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/compactor"
	"github.com/coldframe/coldframe/internal/corpus"
	"github.com/coldframe/coldframe/internal/lambdaenv"
	"github.com/coldframe/coldframe/internal/truth"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/upload"
)

// buildTags are those that the Makefile builds the function with; one test compares.
const buildTags = "lambda,lambda.norpc,stdlibjson,arrow_json_stdlib"

// bootstrap and ingestBootstrap are the real binaries, built once.
var (
	bootstrap       = sync.OnceValues(func() (string, error) { return build(buildTags) })
	ingestBootstrap = sync.OnceValues(func() (string, error) { return build(buildTags + ",ingest") })
)

func build(tags string) (string, error) {
	dir, err := os.MkdirTemp("", "coldframe-lambda-")
	if err != nil {
		return "", err
	}
	built = append(built, dir)
	binary := filepath.Join(dir, "bootstrap")
	build := exec.CommandContext(context.Background(), "go", "build", "-tags", tags, "-trimpath", "-ldflags", "-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return binary, nil
}

var built []string // where they lie

func TestMain(m *testing.M) {
	status := m.Run()
	for _, dir := range built {
		_ = os.RemoveAll(dir)
	}
	os.Exit(status)
}

// What is tested is what is built for users.
func TestBuildTags(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(makefile), "\nLAMBDA_TAGS := "+buildTags+"\n") {
		t.Errorf("the Makefile's LAMBDA_TAGS are not %s", buildTags)
	}
}

// cloud is a bucket of a real S3 server, and functions that work on it.
type cloud struct {
	config []byte
	bkt    bucket.Bucket
	log    *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newCloud(t testing.TB) *cloud {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the function and runs it")
	}
	c := &cloud{config: buckettest.S3(t), log: &lockedBuffer{}}
	var err error
	if c.bkt, err = bucket.Open(t.Context(), c.config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the function's log:\n%.8000s", c.log)
		}
	})
	return c
}

func (c *cloud) deploy(t testing.TB, cfg lambdaenv.Config) *lambdaenv.Function {
	t.Helper()
	binary := bootstrap
	if slices.ContainsFunc(cfg.Env, func(v string) bool { return strings.HasPrefix(v, "COLDFRAME_ROLES=") && strings.Contains(v, "ingest") }) {
		binary = ingestBootstrap
	}
	var err error
	if cfg.Binary, err = binary(); err != nil {
		t.Fatal(err)
	}
	cfg.Env = append([]string{"COLDFRAME_BUCKET_CONFIG=" + string(c.config)}, cfg.Env...)
	cfg.Log = c.log
	f := lambdaenv.Deploy(cfg)
	t.Cleanup(f.Close)
	return f
}

// metric is the sum of what the functions have told of a metric.
func (c *cloud) metric(t testing.TB, name string) (sum float64) {
	t.Helper()
	for line := range strings.SplitSeq(c.log.String(), "\n") {
		var told map[string]any
		if json.Unmarshal([]byte(line), &told) == nil && told["_aws"] != nil {
			v, _ := told[name].(float64)
			sum += v
		}
	}
	return sum
}

// earlier is the bucket as it was some minutes ago, by its own clock: what is uploaded
// to it lies in a minute that has ended.
type earlier struct{ bucket.Bucket }

func (e earlier) Now(ctx context.Context) (time.Time, error) {
	now, err := e.Bucket.Now(ctx)
	return now.Add(-5 * time.Minute), err
}

// fill uploads profiles as so many agents of so many shards, each in a block of its own,
// and returns what google/pprof makes of those of each name.
func (c *cloud) fill(t *testing.T, profiles []corpus.Profile, shards int) map[string]map[string][]int64 {
	t.Helper()
	parsed := map[string][]*pprof.Profile{}
	uploaders := make([]*upload.Uploader, shards)
	for i := range uploaders {
		var err error
		if uploaders[i], err = upload.New(earlier{c.bkt}, upload.Config{Agent: agentOf(i, shards), Shards: shards}); err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range profiles {
		one, err := pprof.ParseData(p.Body)
		if err != nil {
			t.Fatal(err)
		}
		parsed[p.Name] = append(parsed[p.Name], one)
		err = uploaders[i%shards].Push(t.Context(), profile.DefaultTenant, upload.Profile{Name: p.Name, Labels: p.Labels, Body: p.Body})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, u := range uploaders {
		if err := u.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]map[string][]int64{}
	for name, all := range parsed {
		merged, err := pprof.Merge(all)
		if err != nil {
			t.Fatal(err)
		}
		want[name] = truth.Samples(merged)
	}
	return want
}

// push uploads profiles in one block of an agent's.
func (c *cloud) push(t testing.TB, agent string, profiles ...upload.Profile) {
	t.Helper()
	up, err := upload.New(earlier{c.bkt}, upload.Config{Agent: agent})
	if err == nil {
		err = up.Push(t.Context(), profile.DefaultTenant, profiles...)
	}
	if err == nil {
		err = up.Close(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// agentOf is a name whose shard is i.
func agentOf(i, shards int) string {
	for n := 0; ; n++ {
		if name := fmt.Sprint("agent-", n); int(block.ShardOf(name, shards)) == i {
			return name
		}
	}
}

const wholeRange = "from=2020-01-01T00:00:00Z&to=now%2B1h"

func fetch(t testing.TB, f *lambdaenv.Function, method, path string, body []byte, headers ...string) (int, []byte, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, f.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer, resp.Header
}

// checkSums asks for all profiles and compares each stack, label set and value.
func (c *cloud) checkSums(t *testing.T, f *lambdaenv.Function, when string, want map[string]map[string][]int64) {
	t.Helper()
	for name, samples := range want {
		status, body, header := fetch(t, f, http.MethodGet, "/api/v1/pprof?type="+name+"&"+wholeRange, nil)
		if status != http.StatusOK {
			t.Fatalf("%s, %s: %d %s", when, name, status, body)
		}
		got, err := pprof.ParseData(body)
		if err != nil {
			t.Fatalf("%s, %s: %v", when, name, err)
		}
		if difference := truth.Difference(truth.Samples(got), samples); difference != "" {
			t.Errorf("%s, %s: %s\n%s", when, name, header.Get("Coldframe-Stats"), difference)
		}
	}
}

var corpusOf = sync.OnceValue(corpus.FiveMinutes)

// What is pushed to a function's URL is answered by another's, before and after a third
// has compacted it; streamed and in one piece.
func TestPushCompactQuery(t *testing.T) {
	c := newCloud(t)
	ingest := c.deploy(t, lambdaenv.Config{Env: []string{"COLDFRAME_ROLES=ingest"}})
	profiles := corpusOf()[:60]
	var parsed []*pprof.Profile
	for _, p := range profiles {
		if p.Name != profiles[0].Name {
			continue
		}
		status, body, _ := fetch(t, ingest, http.MethodPost, "/api/v1/push?job=test&type_name="+p.Name, p.Body)
		if status != http.StatusOK || strings.TrimSpace(string(body)) != `{"profiles":1}` {
			t.Fatalf("push: %d %s", status, body)
		}
		one, err := pprof.ParseData(p.Body)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, one)
	}
	merged, err := pprof.Merge(parsed)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string][]int64{profiles[0].Name: truth.Samples(merged)}
	if status, body, _ := fetch(t, ingest, http.MethodPost, "/v1development/profiles", []byte(`{"resourceProfiles":[]}`), "Content-Type", "application/json"); status != http.StatusOK {
		t.Errorf("OpenTelemetry's profiles: %d %s", status, body)
	}
	stream := c.deploy(t, lambdaenv.Config{Env: []string{"COLDFRAME_ROLES=query"}})
	whole := c.deploy(t, lambdaenv.Config{Env: []string{"COLDFRAME_ROLES=query"}, Buffered: true})
	c.checkSums(t, stream, "before compaction, streamed", want)
	c.checkSums(t, whole, "before compaction, in one piece", want)

	cat := catalog.New(c.bkt, catalog.Config{})
	if err := compactor.New(cat, c.bkt, compactor.Config{SealNow: true}).RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.checkSums(t, stream, "after compaction", want)

	if c.metric(t, "PushedProfiles") != float64(len(parsed)) || c.metric(t, "Queries") != 3 || c.metric(t, "ColdStarts") != 3 {
		t.Errorf("metrics: %v pushed, %v queries, %v cold starts, want %d, 3, 3", c.metric(t, "PushedProfiles"), c.metric(t, "Queries"), c.metric(t, "ColdStarts"), len(parsed))
	}
	if log := c.log.String(); !strings.Contains(log, `"request_id":"`) || !strings.Contains(log, `"trace_id":"Root=`) {
		t.Error("the log names no invocation")
	}
}

// Without one of the tokens there is no answer, with one there is.
func TestTokens(t *testing.T) {
	c := newCloud(t)
	f := c.deploy(t, lambdaenv.Config{Env: []string{fmt.Sprintf("COLDFRAME_TOKENS_SHA256=%x, %x", sha256.Sum256([]byte("old")), sha256.Sum256([]byte("new")))}})
	for _, one := range []struct {
		header string
		status int
	}{
		{"", http.StatusUnauthorized},
		{"Bearer wrong", http.StatusUnauthorized},
		{"Bearer ", http.StatusUnauthorized},
		{"Bearer old", http.StatusOK},
		{"Bearer new", http.StatusOK},
		{"Basic YW55Ym9keTpuZXc=", http.StatusOK}, // anybody:new
		{"Basic YW55Ym9keTpuZXcx", http.StatusUnauthorized},
	} {
		if status, body, _ := fetch(t, f, http.MethodGet, "/api/v1/types", nil, "Authorization", one.header); status != one.status {
			t.Errorf("%q: %d %s, want %d", one.header, status, body, one.status)
		}
	}
}

// Answers of 1 MiB and of 50 MiB stream; in one piece the large one is refused with what to do.
func TestLargeAnswers(t *testing.T) {
	c := newCloud(t)
	up, err := upload.New(c.bkt, upload.Config{Agent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	for name, stacks := range map[string]int{"small": 4_000, "large": 150_000} {
		var body bytes.Buffer
		if err := manyStacks(stacks).Write(&body); err != nil {
			t.Fatal(err)
		}
		if err := up.Push(t.Context(), profile.DefaultTenant, upload.Profile{Name: name, Body: body.Bytes()}); err != nil {
			t.Fatal(err)
		}
	}
	stream := c.deploy(t, lambdaenv.Config{MemoryMB: 2048, Timeout: time.Minute})
	whole := c.deploy(t, lambdaenv.Config{MemoryMB: 2048, Timeout: time.Minute, Buffered: true})
	here := query.New(catalog.New(c.bkt, catalog.Config{}), c.bkt, query.Config{})
	for _, one := range []struct {
		path  string
		least int
		fits  bool
	}{
		{"/api/v1/flamegraph?format=folded&type=small", 1 << 20, true},
		{"/api/v1/flamegraph?format=folded&type=large", 50 << 20, false},
	} {
		want := answerOf(t, here.Handler(), one.path+"&"+wholeRange)
		status, got, _ := fetch(t, stream, http.MethodGet, one.path+"&"+wholeRange, nil, "Accept-Encoding", "identity")
		if status != http.StatusOK || len(got) < one.least || !bytes.Equal(got, want) {
			t.Errorf("%s: %d, %d bytes, want at least %d, the same as here: %t", one.path, status, len(got), one.least, bytes.Equal(got, want))
		}
		status, got, _ = fetch(t, whole, http.MethodGet, one.path+"&"+wholeRange, nil, "Accept-Encoding", "identity")
		switch {
		case one.fits && (status != http.StatusOK || !bytes.Equal(got, want)):
			t.Errorf("%s in one piece: %d, %d bytes", one.path, status, len(got))
		case !one.fits && (status != http.StatusRequestEntityTooLarge || !strings.Contains(string(got), "max_nodes")):
			t.Errorf("%s in one piece: %d %.300s", one.path, status, got)
		}
	}
}

// manyStacks is a profile of n distinct stacks of 20 functions with long names.
func manyStacks(n int) *pprof.Profile {
	p := &pprof.Profile{
		SampleType: []*pprof.ValueType{{Type: "cpu", Unit: "nanoseconds"}}, PeriodType: &pprof.ValueType{Type: "cpu", Unit: "nanoseconds"},
		TimeNanos: time.Now().UnixNano(), DurationNanos: 1e9,
	}
	for i := range 400 {
		f := &pprof.Function{ID: uint64(i + 1), Name: fmt.Sprintf("package.function%04d", i)}
		p.Function = append(p.Function, f)
		p.Location = append(p.Location, &pprof.Location{ID: uint64(i + 1), Line: []pprof.Line{{Function: f}}})
	}
	for i := range n {
		s := &pprof.Sample{Value: []int64{int64(1 + i)}}
		s.Location = append(s.Location, p.Location[i%400], p.Location[i/400%400], p.Location[i/160_000])
		for len(s.Location) < 20 {
			s.Location = append(s.Location, p.Location[len(s.Location)])
		}
		p.Sample = append(p.Sample, s)
	}
	return p
}

func answerOf(t *testing.T, h http.Handler, path string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &recorder{header: http.Header{}}
	h.ServeHTTP(w, req)
	return w.body.Bytes()
}

type recorder struct {
	header http.Header
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(int)             {}
func (w *recorder) Write(p []byte) (int, error) { return w.body.Write(p) }

const compactAll = `{"version":"0","id":"53dc4d37","detail-type":"Scheduled Event","source":"aws.events","detail":{}}`

// Invocations that compact are killed at any moment and run two at a time, and after each
// of them every sample counts once.
func TestCompactionIsKilled(t *testing.T) {
	c := newCloud(t)
	want := c.fill(t, corpusOf()[:100], 1)
	reader := c.deploy(t, lambdaenv.Config{Timeout: 30 * time.Second})
	c.checkSums(t, reader, "before", want)
	for _, after := range []time.Duration{30, 60, 100, 200} {
		killed := c.deploy(t, lambdaenv.Config{Timeout: 30 * time.Second, KillAfter: after * time.Millisecond, Concurrency: 2})
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() { _, _ = killed.Invoke(t.Context(), []byte(compactAll)) })
		}
		both.Wait()
		c.checkSums(t, reader, fmt.Sprintf("killed after %d ms", after), want)
	}
	two := c.deploy(t, lambdaenv.Config{Timeout: time.Minute, Concurrency: 2})
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if answer, err := two.Invoke(t.Context(), []byte(compactAll)); err != nil {
				t.Errorf("compaction: %s %v", answer, err)
			}
		})
	}
	both.Wait()
	c.checkSums(t, reader, "compacted by two at once", want)
	if c.metric(t, "Commits") == 0 {
		t.Error("nothing was committed")
	}
	var left int
	for o, err := range c.bkt.List(t.Context(), "v1/man/") {
		if err != nil || strings.Contains(o.Key, "/arch/") {
			t.Error(o, err)
		}
		left++
	}
	if left != 1 {
		t.Errorf("%d registers, want 1", left)
	}
}

// An invocation whose time is nearly up stops, which is no error, and tells so.
func TestCompactionStopsBeforeItsDeadline(t *testing.T) {
	c := newCloud(t)
	want := c.fill(t, corpusOf()[:120], 1)
	f := c.deploy(t, lambdaenv.Config{Timeout: 350 * time.Millisecond})
	answer, err := f.Invoke(t.Context(), []byte(`{"compact":{}}`))
	if err != nil || !strings.Contains(string(answer), `"stopped":true`) {
		t.Errorf("got %s, %v", answer, err)
	}
	if c.metric(t, "StoppedCompactions") != 1 {
		t.Error("no metric says that it stopped")
	}
	c.checkSums(t, c.deploy(t, lambdaenv.Config{Timeout: 30 * time.Second}), "stopped", want)
}

// With several shards each is compacted by an invocation of its own; a query of all of them
// is answered by ten environments as by one process.
func TestFanOut(t *testing.T) {
	const shards = 40
	c := newCloud(t)
	want := c.fill(t, corpusOf()[:120], shards)
	compact := c.deploy(t, lambdaenv.Config{Timeout: time.Minute, Concurrency: 4})
	answer, err := compact.Invoke(t.Context(), []byte(compactAll))
	if err != nil || string(answer) != fmt.Sprintf(`{"shards":0,"invoked":%d}`, shards) {
		t.Fatalf("got %s, %v", answer, err)
	}
	compact.Settle()
	if n := c.metric(t, "Commits"); n < shards {
		t.Fatalf("%v commits, want %d", n, shards)
	}
	// One environment coordinates, nine work.
	f := c.deploy(t, lambdaenv.Config{Timeout: time.Minute, Concurrency: 10, Env: []string{"COLDFRAME_SHARE_BLOCKS=1", "COLDFRAME_WORKERS=9"}})
	c.checkSums(t, f, "by ten environments", want)
	if f.Processes() != 10 || c.metric(t, "WorkerFailures") != 0 {
		t.Errorf("%d environments, %v failures", f.Processes(), c.metric(t, "WorkerFailures"))
	}
	here := query.New(catalog.New(c.bkt, catalog.Config{}), c.bkt, query.Config{})
	for name := range want {
		path := "/api/v1/flamegraph?format=folded&type=" + name + "&" + wholeRange
		_, got, _ := fetch(t, f, http.MethodGet, path, nil)
		if !bytes.Equal(got, answerOf(t, here.Handler(), path)) {
			t.Errorf("%s: ten environments and one process differ", name)
		}
	}
	// With fewer environments than workers, what cannot be invoked is computed here.
	few := c.deploy(t, lambdaenv.Config{Timeout: time.Minute, Concurrency: 3, Env: []string{"COLDFRAME_SHARE_BLOCKS=1", "COLDFRAME_WORKERS=9"}})
	c.checkSums(t, few, "with too few environments", want)
	if c.metric(t, "WorkerFailures") == 0 {
		t.Error("no failure was told")
	}
}

// What has to be loaded before a function can answer is small.
func TestSize(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the function")
	}
	binary, err := bootstrap()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() >= 20_000_000 {
		t.Errorf("the binary has %d bytes, want fewer than 20 MB", info.Size())
	}
}

// Other events than a function's roles are for are errors that say so.
func TestEventsOfOtherRoles(t *testing.T) {
	c := newCloud(t)
	f := c.deploy(t, lambdaenv.Config{Env: []string{"COLDFRAME_ROLES=ingest"}})
	for _, payload := range []string{compactAll, `{"compact":{}}`, `{"part":{"v":1}}`, `{}`, `{"Records":[]}`} {
		if answer, err := f.Invoke(t.Context(), []byte(payload)); err == nil || !strings.Contains(err.Error(), "not what this function is for") {
			t.Errorf("%s: %s, %v", payload, answer, err)
		}
	}
}

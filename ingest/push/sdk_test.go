package push_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	pyroscope "github.com/grafana/pyroscope-go"
)

//go:noinline
func burnGo(until time.Time) (n int) {
	for time.Now().Before(until) {
		for i := range 1000 {
			n += i
		}
	}
	return n
}

// errors of the SDK's logger fail the test.
type sdkLog struct{ t *testing.T }

func (l sdkLog) Infof(string, ...any)                {}
func (l sdkLog) Debugf(string, ...any)               {}
func (l sdkLog) Errorf(format string, values ...any) { l.t.Errorf("SDK: "+format, values...) }

// Pyroscope's SDK for Go pushes CPU, heap, goroutine, mutex and block profiles, with the
// labels that it gives to samples.
func TestPyroscopeGo(t *testing.T) {
	if testing.Short() {
		t.Skip("profiles itself for seconds")
	}
	s := newServer(t)
	profiler, err := pyroscope.Start(pyroscope.Config{
		ApplicationName: "shop", ServerAddress: s.URL, TenantID: "team", Tags: map[string]string{"region": "eu"},
		Logger: sdkLog{t}, UploadRate: time.Second,
		ProfileTypes: []pyroscope.ProfileType{
			pyroscope.ProfileCPU, pyroscope.ProfileAllocObjects, pyroscope.ProfileAllocSpace, pyroscope.ProfileInuseObjects,
			pyroscope.ProfileInuseSpace, pyroscope.ProfileGoroutines, pyroscope.ProfileMutexCount, pyroscope.ProfileMutexDuration,
			pyroscope.ProfileBlockCount, pyroscope.ProfileBlockDuration,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	pprof.Do(t.Context(), pprof.Labels("handler", "cart"), func(context.Context) { burnGo(time.Now().Add(1500 * time.Millisecond)) })
	profiler.Flush(true)
	if err := profiler.Stop(); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, p := range s.stored(t, "team") {
		found[p.types()] = true
		if p.Labels.Get("pyroscope_spy") != "gospy" || p.Labels.Get("region") != "eu" || p.Labels.Get("service_name") != "shop" {
			t.Errorf("%s has labels %s", p.Name, p.Labels)
		}
		if p.Name == "process_cpu" && !strings.Contains(p.folded(), "burnGo {handler=cart}") && p.Samples > 20 {
			t.Errorf("burnGo is not in the CPU profile with its label:\n%s", p.folded())
		}
	}
	for _, want := range []string{
		"process_cpu: samples:count cpu:nanoseconds",
		"memory: alloc_objects:count alloc_space:bytes inuse_objects:count inuse_space:bytes",
		"goroutine: goroutine:count",
	} {
		if !found[want] {
			t.Errorf("no %s among %v", want, found)
		}
	}
}

var installNode = sync.OnceValue(func() error {
	if _, err := os.Stat(filepath.Join("testdata", "node", "node_modules", ".package-lock.json")); err == nil {
		return nil
	}
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = filepath.Join("testdata", "node")
	cmd.Stderr = os.Stderr
	return cmd.Run()
})

// Pyroscope's SDK for Node pushes wall and heap profiles of its own kinds, which are
// stored as the usual ones.
func TestPyroscopeNode(t *testing.T) {
	if testing.Short() {
		t.Skip("profiles Node for seconds")
	}
	node, err := exec.LookPath("node")
	if err == nil {
		err = installNode()
	}
	if err != nil {
		skip(t, err)
	}
	s := newServer(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "push.js", s.URL)
	cmd.Dir = filepath.Join("testdata", "node")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	found := map[string]int{}
	burned := false
	for _, p := range s.stored(t, "default") {
		found[p.types()]++
		if p.Labels.Get("service_name") != "node-shop" || p.Labels.Get("region") != "eu" {
			t.Errorf("%s has labels %s", p.Name, p.Labels)
		}
		burned = burned || strings.Contains(p.folded(), "burnNode")
	}
	t.Logf("%v %s", found, &out)
	if !burned || found["memory: inuse_objects:count inuse_space:bytes"] == 0 {
		t.Errorf("stored %v, burnNode among it: %v", found, burned)
	}
}

// Curl pushes as docs/push.md shows: a pprof with its labels, and folded stacks.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		skip(t, err)
	}
	s, dir := newServer(t), t.TempDir()
	for _, c := range []struct{ file, body, query string }{
		{"cpu.pb.gz", string(samplePprof(t, noon())), "/api/v1/push?service_name=shop&region=eu"},
		{"out.folded", "main;work 3\nmain 1\n", fmt.Sprintf("/ingest?name=folded%%7Bregion%%3Deu%%7D&sampleRate=99&from=%d&until=%d", time.Now().Unix()-30, time.Now().Unix())},
	} {
		if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.body), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), curl, "--silent", "--show-error", "--fail-with-body", "--data-binary", "@"+c.file, s.URL+c.query)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", c.query, err, out)
		}
	}
	all := s.stored(t, "default")
	if len(all) != 2 || all[0].Labels.String()+all[0].folded() != `{region="eu", service_name="folded"}main 1 10101010`+"\nmain;work 3 30303030" ||
		all[1].Labels.String()+all[1].folded() != `{region="eu", service_name="shop"}`+sampleFolded {
		t.Errorf("stored %d:\n%s%s\n%s%s", len(all), all[0].Labels, all[0].folded(), all[1].Labels, all[1].folded())
	}
}

// skip skips a test whose program is not there, but not where all must be.
func skip(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(err)
	}
	t.Skip(err)
}

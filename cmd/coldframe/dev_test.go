package main

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	httppprof "net/http/pprof"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What README promises of make dev: within 30 s go tool pprof names functions of
// coldframe, and within two minutes the folder holds Arrow blocks.
func TestDev(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", httppprof.Index)
	target := httptest.NewServer(mux)
	defer target.Close()
	config := write(t, t.TempDir(), "parca.yaml", fmt.Appendf(nil, `
scrape_configs:
  - job_name: other
    scrape_interval: 1s
    static_configs: [{targets: [%q]}]
    profiling_config: {pprof_config: {process_cpu: {enabled: false}}}
`, strings.TrimPrefix(target.URL, "http://")))

	data, address := t.TempDir(), freeAddress(t)
	url := "http://" + address
	dev := spawn(t, "dev", "--data", data, "--http-address", address, "--config-path", config)
	dev.ready(t, url)
	began := time.Now()

	top := eventually(t, 30*time.Second, func() (string, bool) {
		out, err := exec.CommandContext(t.Context(), "go", "tool", "pprof", "-top", url+`/api/v1/pprof?query={job="coldframe"}&type=process_cpu&from=now-5m`).CombinedOutput()
		return string(out), err == nil && strings.Contains(string(out), "github.com/coldframe/coldframe/")
	})
	t.Logf("after %s:\n%.1500s", time.Since(began).Round(time.Second), top)

	eventually(t, 30*time.Second, func() (string, bool) {
		_, body, err := fetch(t, url+"/api/v1/label/job/values?from=now-5m")
		return string(body), err == nil && strings.Contains(string(body), `"other"`)
	})
	if status, body, err := fetch(t, url+"/metrics"); err != nil || status != http.StatusOK ||
		!strings.Contains(string(body), "coldframe_upload_written_profiles_total") || !strings.Contains(string(body), `coldframe_scrapes_total{health="up",job="other"`) {
		t.Errorf("/metrics: %d, %v\n%s", status, err, body)
	}
	if testing.Short() {
		return
	}

	eventually(t, 2*time.Minute-time.Since(began), func() (string, bool) {
		arrow := 0
		_ = filepath.WalkDir(filepath.Join(data, "v1", "b1"), func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".arrow.zip") {
				arrow++
			}
			return nil
		})
		return fmt.Sprintf("%d Arrow blocks", arrow), arrow > 0
	})
	ls := must(t, "block", "ls", "--bucket-config", fmt.Sprintf("{type: FILESYSTEM, config: {directory: %q}}", data))
	if !strings.Contains(ls, ".arrow.zip") {
		t.Errorf("block ls lists no Arrow block:\n%s", ls)
	}
	if !strings.Contains(dev.stderr.String(), "self-test passed") {
		t.Errorf("dev did not say that its self-test passed:\n%s", dev.stderr)
	}
}

// eventually asks until it gets what it waits for.
func eventually(t *testing.T, patience time.Duration, ask func() (last string, ok bool)) string {
	t.Helper()
	var last string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		var ok bool
		if last, ok = ask(); ok {
			return last
		}
	}
	t.Fatalf("not within %s; last seen:\n%s", patience.Round(time.Second), last)
	return ""
}

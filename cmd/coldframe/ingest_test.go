package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	httppprof "net/http/pprof"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// --check-config tells what a file means, or what is wrong with it and where.
func TestCheckConfig(t *testing.T) {
	dir := t.TempDir()
	good := write(t, dir, "good.yaml", []byte(`
scrape_configs:
  - job_name: api
    static_configs: [{targets: ["localhost:6060"]}]
    kubernetes_sd_configs: [{role: pod}]
`))
	out := must(t, "ingest", "--check-config", good)
	for _, want := range []string{"job api: every 10s, timeout 13s", "profile process_cpu: /debug/pprof/profile for 10s", `target http://localhost:6060 {instance="localhost:6060", job="api"}`, "targets from kubernetes_sd_configs", "1 jobs, 1 static targets"} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in:\n%s", want, out)
		}
	}
	bad := write(t, dir, "bad.yaml", []byte("scrape_configs:\n  - job_name: api\n    relabel_configs:\n      - {regex: \"(\", target_label: x}\n"))
	status, _, stderr := command(t, "ingest", "--check-config", bad)
	if status != exitUsage || !strings.Contains(stderr, bad+":4: scrape_configs[0].relabel_configs[0]: error parsing regexp") {
		t.Errorf("exit status %d\n%s", status, stderr)
	}
}

// A changed file is applied by itself, and a bad one changes nothing, is told in the
// log and shown as a metric; SIGHUP reads it again at once.
func TestReload(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", httppprof.Index)
	target := httptest.NewServer(mux)
	defer target.Close()
	file := t.TempDir() + "/parca.yaml"
	put := func(format string, args ...any) {
		t.Helper()
		if err := os.WriteFile(file, fmt.Appendf(nil, format, args...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := func(job string) string {
		return fmt.Sprintf(`
object_storage: {bucket: {type: FILESYSTEM, config: {directory: /nonexistent}}}
scrape_configs:
  - job_name: %s
    scrape_interval: 100ms
    scrape_timeout: 5s
    static_configs: [{targets: [%q]}]
    profiling_config: {pprof_config: {process_cpu: {enabled: false}}}
`, job, strings.TrimPrefix(target.URL, "http://"))
	}
	put("%s", config("one"))
	address := freeAddress(t)
	url := "http://" + address
	p := spawn(t, "ingest", "--bucket-config", folder(t), "--config-path", file, "--http-address", address, "--external-label", "region=eu")
	p.ready(t, url)
	metric := func(lines ...string) {
		t.Helper()
		eventually(t, 20*time.Second, func() (string, bool) {
			_, body, err := fetch(t, url+"/metrics")
			for _, line := range lines {
				if err != nil || !bytes.Contains(body, []byte(line+"\n")) && !bytes.Contains(body, []byte(line+" ")) {
					return "no line " + line + " in\n" + string(body), false
				}
			}
			return "", true
		})
	}
	metric(`coldframe_scrape_targets{job="one",state="active"} 4`, `coldframe_scrapes_total{health="up",job="one",profile="memory"}`,
		`coldframe_config_last_reload_successful{config="scrape"} 1`, "prometheus_sd_discovered_targets")

	put("scrape_configs: [{job_nam: x}]")
	metric(`coldframe_config_last_reload_successful{config="scrape"} 0`, `coldframe_scrape_targets{job="one",state="active"} 4`)
	put("%s", config("two"))
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	metric(`coldframe_config_last_reload_successful{config="scrape"} 1`, `coldframe_scrape_targets{job="two",state="active"} 4`)
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := <-p.done
	p.done <- err
	log := p.stderr.String()
	if err != nil || !strings.Contains(log, `unknown key \"job_nam\"`) || !strings.Contains(log, "object_storage of the configuration is ignored") {
		t.Errorf("%v\n%s", err, log)
	}
}

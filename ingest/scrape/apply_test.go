package scrape

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

// only turns the default profiles off and leaves one of a job's own.
const only = `profiling_config: {pprof_config: {custom: {path: /custom}, memory: {enabled: false}, block: {enabled: false}, mutex: {enabled: false}, goroutine: {enabled: false}, process_cpu: {enabled: false}}}`

// counting is a Sink that counts.
type counting struct{ n atomic.Int64 }

func (c *counting) Add(_ context.Context, _ profile.Tenant, profiles ...upload.Profile) error {
	c.n.Add(int64(len(profiles)))
	return nil
}

// program answers every request by h and tells its address.
func program(t testing.TB, h http.HandlerFunc) (address string) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// until waits for something to become true.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 15 s: %s", what)
		}
	}
}

func active(s *Scraper) (urls []string) {
	for _, st := range s.Targets() {
		if st.State == Active {
			urls = append(urls, st.URL)
		}
	}
	return urls
}

// Targets are found in files and by HTTP, relabelled by what was found, and gone when
// they are no longer listed.
func TestDiscovery(t *testing.T) {
	type group struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	listed := program(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode([]group{{[]string{"c:1"}, map[string]string{"__meta_team": "x"}}})
	})
	dir := t.TempDir()
	file := filepath.Join(dir, "targets.json")
	put := func(targets ...string) {
		t.Helper()
		b, err := json.Marshal([]group{{Targets: targets}})
		if err == nil {
			err = os.WriteFile(file+".new", b, 0o600)
		}
		if err == nil {
			err = os.Rename(file+".new", file)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put("a:1", "b:1")
	config := fmt.Sprintf(`
scrape_configs:
  - job_name: j
    %s
    file_sd_configs: [{files: [targets.json], refresh_interval: 1s}]
    http_sd_configs: [{url: "http://%s/"}]
    relabel_configs:
      - {source_labels: [__meta_team], target_label: team}
      - {source_labels: [__address__], regex: "b:1", action: drop}
`, only, listed)
	c, err := ParseConfig(filepath.Join(dir, "parca.yaml"), []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	s := start(t, &counting{}, Settings{Metrics: metrics}, c)
	until(t, "both ways find their targets", func() bool {
		return slices.Equal(active(s), []string{"http://a:1/custom", "http://c:1/custom"})
	})
	states := map[State]int{}
	for _, st := range s.Targets() {
		states[st.State]++
		if st.URL == "http://c:1/custom" && st.Labels.Get("team") != "x" {
			t.Errorf("labels %s", st.Labels)
		}
		if st.State == Dropped && st.Discovered.Get("__address__") != "b:1" {
			t.Errorf("dropped: %s", st.Discovered)
		}
	}
	if states[Dropped] != 1 {
		t.Errorf("states %v, want one dropped target", states)
	}
	put("d:1")
	until(t, "the file's targets are others", func() bool {
		return slices.Equal(active(s), []string{"http://c:1/custom", "http://d:1/custom"})
	})
	if n, err := metrics.Gather(); err != nil || len(n) == 0 {
		t.Errorf("discovery counts nothing: %v", err)
	}
}

// Another configuration stops what is no longer wanted and leaves alone what is the
// same; one whose client cannot be made changes nothing.
func TestApply(t *testing.T) {
	asked := make(chan string, 100)
	address := program(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Query().Get("job")
		fmt.Fprint(w, "x")
	})
	job := func(name, more string) string {
		return fmt.Sprintf(`{job_name: %s, scrape_interval: 1h, params: {job: [%s]}, static_configs: [{targets: [%q]}], %s%s}`, name, name, address, only, more)
	}
	var mu sync.Mutex
	gone := map[string]int{}
	s := start(t, &counting{}, Settings{Observer: Observer{Gone: func(st Status) {
		mu.Lock()
		defer mu.Unlock()
		gone[st.Job]++
	}}}, parse(t, "scrape_configs: [%s, %s]", job("a", ""), job("b", "")))
	first := map[string]int{<-asked: 1}
	first[<-asked]++
	if first["a"] != 1 || first["b"] != 1 {
		t.Fatalf("asked %v", first)
	}
	if err := s.Apply(parse(t, "scrape_configs: [%s, %s]", job("a", ", scheme: http"), job("c", ", tls_config: {ca_file: /nonexistent}"))); err == nil || !strings.Contains(err.Error(), `"c"`) {
		t.Errorf("a certificate that is not there: %v", err)
	}
	if err := s.Apply(parse(t, "scrape_configs: [%s, %s]", job("a", ""), job("c", ""))); err != nil {
		t.Fatal(err)
	}
	if again := <-asked; again != "c" {
		t.Errorf("%s was asked, want only c: a is the same as before", again)
	}
	until(t, "b is gone", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return gone["b"] == 1 && gone["a"] == 0
	})
	if got := active(s); len(got) != 2 {
		t.Errorf("targets %v", got)
	}
}

// Targets that hang for as long as they may cost the others nothing.
func TestTargetsThatHang(t *testing.T) {
	slow := program(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write([]byte("x"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	fine := program(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "x") })
	var targets []string
	for i := range 200 {
		targets = append(targets, fmt.Sprintf("{targets: [%q], labels: {n: %q}}", slow, fmt.Sprint(i)))
	}
	sink := &counting{}
	start(t, sink, Settings{Together: 1}, parse(t, "scrape_configs: [{job_name: slow, static_configs: [%s], %s}, {job_name: fine, scrape_interval: 20ms, scrape_timeout: 5s, static_configs: [{targets: [%q]}], %s}]",
		strings.Join(targets, ", "), only, fine, only))
	until(t, "the other target is scraped 20 times", func() bool { return sink.n.Load() >= 20 })
}

// More targets than there may be are left out, and said; an answer for which there is
// no memory fails, and gives back what it took.
func TestLimits(t *testing.T) {
	body := strings.Repeat("x", 1000)
	address := program(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
	synced := make(chan Sync, 10)
	c := parse(t, "scrape_configs: [{job_name: j, static_configs: [{targets: [%q, a, b]}], %s}]", address, only)
	s := start(t, &counting{}, Settings{MaxTargets: 2, Observer: Observer{Synced: func(s Sync) { synced <- s }}}, c)
	if got := <-synced; got.Active != 2 || got.Out != 1 || got.Err == nil || !strings.Contains(got.Err.Error(), "limit of 2 targets") {
		t.Errorf("%+v", got)
	}
	if len(active(s)) != 2 {
		t.Errorf("%d targets", len(active(s)))
	}

	told := make(chan Status, 10)
	c = parse(t, "scrape_configs: [{job_name: j, scrape_interval: 100ms, scrape_timeout: 2s, static_configs: [{targets: [%q]}], %s}]", address, only)
	small := start(t, &counting{}, Settings{MemoryBytes: 999, Observer: Observer{Scraped: func(st Status, _ bool) { told <- st }}}, c)
	for range 3 {
		if st := <-told; st.Health != Down || !strings.Contains(fmt.Sprint(st.Err), errBusy.Error()) {
			t.Errorf("%v: %v", st.Health, st.Err)
		}
	}
	until(t, "memory is given back", func() bool { return small.budget.Load() == 0 })
}

// Each scrape says who it is, as the job says.
func TestClient(t *testing.T) {
	type request struct {
		user, password, header, agent, encoding string
	}
	got := make(chan request, 10)
	address := program(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/custom" {
			http.Redirect(w, r, "/moved", http.StatusFound)
			return
		}
		user, password, _ := r.BasicAuth()
		got <- request{user, password, r.Header.Get("X-Who"), r.UserAgent(), r.Header.Get("Accept-Encoding")}
		fmt.Fprint(w, "x")
	})
	c := parse(t, "scrape_configs: [{job_name: j, static_configs: [{targets: [%q]}], basic_auth: {username: u, password: p}, http_headers: {X-Who: {values: [me]}}, %s}]", address, only)
	start(t, &counting{}, Settings{}, c)
	want := request{"u", "p", "me", "coldframe", ""}
	if r := <-got; r != want {
		t.Errorf("got %+v, want %+v", r, want)
	}
}

// A target is asked through the proxy of its job, except where the job says not to.
func TestProxy(t *testing.T) {
	asked := make(chan string, 10)
	proxy := program(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Host
		fmt.Fprint(w, "x")
	})
	direct := program(t, func(w http.ResponseWriter, _ *http.Request) {
		asked <- "direct"
		fmt.Fprint(w, "x")
	})
	for config, want := range map[string]string{
		fmt.Sprintf("proxy_url: http://%s, static_configs: [{targets: [%q]}]", proxy, "shop.invalid:6060"):         "shop.invalid:6060",
		fmt.Sprintf("proxy_url: http://%s, no_proxy: 127.0.0.1, static_configs: [{targets: [%q]}]", proxy, direct): "direct",
	} {
		start(t, &counting{}, Settings{}, parse(t, "scrape_configs: [{job_name: j, scrape_interval: 1h, %s, %s}]", config, only))
		if got := <-asked; got != want {
			t.Errorf("%s: asked %s, want %s", config, got, want)
		}
	}
}

// A target behind TLS is scraped by its authority's certificate, and not without it.
func TestTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "x") }))
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for config, want := range map[string]Health{"{}": Down, "{ca_file: " + ca + "}": Up, "{insecure_skip_verify: true}": Up} {
		told := make(chan Status, 10)
		c := parse(t, "scrape_configs: [{job_name: j, scheme: https, tls_config: %s, static_configs: [{targets: [%q]}], %s}]", config, strings.TrimPrefix(server.URL, "https://"), only)
		start(t, &counting{}, Settings{Observer: Observer{Scraped: func(st Status, _ bool) { told <- st }}}, c)
		if st := <-told; st.Health != want {
			t.Errorf("tls_config %s: %s: %v", config, st.Health, st.Err)
		}
	}
}

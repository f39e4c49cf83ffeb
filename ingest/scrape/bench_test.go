package scrape

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/internal/corpus"
	"github.com/coldframe/coldframe/upload"
)

// targetEnv makes the test binary the targets, so that what they cost is not counted.
const targetEnv = "COLDFRAME_TEST_SCRAPE_TARGETS"

func TestMain(m *testing.M) {
	if os.Getenv(targetEnv) != "" {
		fmt.Fprintln(os.Stderr, answerScrapes())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// answerScrapes answers every request at once with a profile of about 18 KB.
func answerScrapes() error {
	var bodies [][]byte
	for _, p := range corpus.FiveMinutes() {
		if 12_000 <= len(p.Body) && len(p.Body) < 24_000 {
			bodies = append(bodies, p.Body)
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	var n atomic.Int64
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(bodies[int(n.Add(1))%len(bodies)])
	})}
	return s.Serve(l)
}

// pairsEnv is how many profiles of addresses are scraped, and pairsInterval how often; `make
// bench-scrape` asks for 10,000 every 15 s.
const (
	pairsEnv      = "COLDFRAME_BENCH_PAIRS"
	pairsInterval = 15 * time.Second
)

// Five profiles of each of many targets, every 15 s, into a folder that is synced. An operation is an
// interval; what is told of it are the cores that it took, the profiles that came too late to
// be in it, in percent, and the most memory that the process has had.
func BenchmarkScrape(b *testing.B) {
	pairs, err := strconv.Atoi(os.Getenv(pairsEnv))
	if err != nil {
		b.Skip("takes intervals of 15 s: make bench-scrape")
	}
	bkt, err := bucket.Open(b.Context(), fmt.Appendf(nil, "type: FILESYSTEM\nconfig:\n  directory: %s\n", filepath.Join(b.TempDir(), "bucket")))
	if err != nil {
		b.Fatal(err)
	}
	up, err := upload.New(bkt, upload.Config{Agent: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = up.Close(context.WithoutCancel(b.Context())) })
	address := startTargets(b)
	var config strings.Builder
	fmt.Fprintf(&config, "scrape_configs:\n- job_name: bench\n  scrape_interval: %s\n  static_configs:\n", pairsInterval)
	for n := range pairs / 5 {
		fmt.Fprintf(&config, "  - {targets: [%q], labels: {pod: pod-%d}}\n", address, n)
	}
	c, err := ParseConfig("parca.yaml", []byte(config.String()))
	if err != nil {
		b.Fatal(err)
	}
	var good, down atomic.Int64
	start(b, up, Settings{Observer: Observer{Scraped: func(s Status, _ bool) {
		if s.Health == Up {
			good.Add(1)
		} else {
			down.Add(1)
		}
	}}}, c)
	time.Sleep(pairsInterval + 3*time.Second) // all have begun, and discovery has said what there is
	began, before, cpu := time.Now(), good.Load(), corpus.CPUTime()
	for b.Loop() {
		time.Sleep(pairsInterval)
	}
	used, scraped := corpus.CPUTime()-cpu, good.Load()-before
	wanted := float64(pairs) * time.Since(began).Seconds() / pairsInterval.Seconds()
	b.ReportMetric(used.Seconds()/time.Since(began).Seconds(), "cores")
	b.ReportMetric(used.Seconds()*1e3/float64(scraped), "cpu-ms/profile")
	b.ReportMetric(max(0, 100*(1-float64(scraped)/wanted)), "%-late")
	b.ReportMetric(peakMiB(b), "MiB-peak")
	if down.Load() > 0 {
		b.Errorf("%d scrapes failed", down.Load())
	}
}

func startTargets(b *testing.B) (address string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), targetEnv+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// peakMiB is the most memory that this process has had, with what it shares.
func peakMiB(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		b.Fatal("no VmHWM")
	}
	kb, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return kb / 1024
}

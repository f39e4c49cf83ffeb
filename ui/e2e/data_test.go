package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"
)

// seeds are recordings of real programs, which the whole project tests with.
const seeds = "../../internal/corpus/testdata/seeds"

// pushHour sends what a small fleet would have sent in the last hour, up to end: of each
// recording a profile every five minutes from two pods, each time another part of its samples.
func pushHour(t testing.TB, server string, end time.Time) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(seeds, "*.pb.gz"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings in %s: %v", seeds, err)
	}
	for _, file := range files {
		service, rest, _ := strings.Cut(filepath.Base(file), ".")
		name := map[string]string{"cpu": "process_cpu", "heap": "memory"}[strings.TrimSuffix(rest, ".pb.gz")]
		if name == "" {
			name = strings.TrimSuffix(rest, ".pb.gz")
		}
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := pprof.ParseData(body)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 12 {
			for _, pod := range []string{"a", "b"} {
				at := end.Add(-time.Hour + time.Duration(5*i+2)*time.Minute)
				push(t, server, part(p, at, uint64(i)+uint64(pod[0])<<8), url.Values{
					"service_name": {service}, "pod": {service + "-" + pod}, "zone": {"eu-" + pod}, "type_name": {name},
				})
			}
		}
	}
}

// part is a profile of its own time that holds a part of the samples of another.
func part(p *pprof.Profile, at time.Time, seed uint64) *pprof.Profile {
	rng := rand.New(rand.NewPCG(seed, 1))
	q := p.Copy()
	q.TimeNanos, q.DurationNanos = at.UnixNano(), int64(10*time.Second)
	share := 0.2 + 0.4*rng.Float64()
	kept := q.Sample[:0]
	for _, s := range q.Sample {
		if rng.Float64() < share {
			kept = append(kept, s)
		}
	}
	q.Sample = kept
	return q.Compact()
}

func push(t testing.TB, server string, p *pprof.Profile, labels url.Values) {
	t.Helper()
	var body bytes.Buffer
	if err := p.Write(&body); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server+"/api/v1/push?"+labels.Encode(), &body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var text bytes.Buffer
		_, _ = text.ReadFrom(resp.Body)
		t.Fatal(fmt.Errorf("push: %s: %s", resp.Status, text.String()))
	}
}

// TestFill fills the server that COLDFRAME_FILL names, for looking at the page by hand.
func TestFill(t *testing.T) {
	server := os.Getenv("COLDFRAME_FILL")
	if server == "" {
		t.Skip("COLDFRAME_FILL names no server")
	}
	pushHour(t, server, time.Now())
}

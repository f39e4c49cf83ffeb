package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/bucket/buckettest"
	"github.com/coldframe/coldframe/internal/corpus"
	"github.com/coldframe/coldframe/internal/truth"
)

// queryMember is a coldframe query in a cluster.
type queryMember struct {
	*spawned
	url string
}

// members knows how many members are believed to live, and how many of them are asked.
func (m *queryMember) members(t *testing.T) int {
	t.Helper()
	_, body, err := fetch(t, m.url+"/api/v1/cluster")
	if err != nil {
		return 0
	}
	var answer struct {
		Members []struct {
			Name, Refused string
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return len(answer.Members)
}

// metric is the sum of a metric's samples.
func (m *queryMember) metric(t *testing.T, name string) (sum float64) {
	t.Helper()
	_, body, err := fetch(t, m.url+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(body), "\n") {
		if strings.HasPrefix(line, name) {
			value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += value
		}
	}
	return sum
}

// Three processes share queries. While one is frozen, while it is dead, and when it is
// back, every query is answered, and answered right.
func TestCluster(t *testing.T) {
	bkt := string(buckettest.S3(t))
	want := fillForCluster(t, bkt)
	key := write(t, t.TempDir(), "key", []byte(base64.StdEncoding.EncodeToString([]byte("sixteen bytes ok"))+"\n"))

	seed := freeAddress(t)
	begin := func(gossip string) *queryMember {
		address := freeAddress(t)
		m := &queryMember{url: "http://" + address, spawned: spawn(t, "query", "--bucket-config", bkt, "--http-address", address,
			"--cluster-bind-address", gossip, "--cluster-join", seed, "--cluster-key-file", key, "--cluster-share-blocks", "1")}
		m.ready(t, m.url)
		return m
	}
	all := []*queryMember{begin(seed), begin("127.0.0.1:0"), begin("127.0.0.1:0")}
	wait := func(n int, of ...*queryMember) {
		t.Helper()
		eventually(t, time.Minute, func() (string, bool) {
			for _, m := range of {
				if got := m.members(t); got != n {
					return m.url + " knows " + strconv.Itoa(got) + " members, want " + strconv.Itoa(n), false
				}
			}
			return "", true
		})
	}
	wait(3, all...)

	ask := func(when string, times int) {
		t.Helper()
		var took []time.Duration
		for i := range times {
			m, job := all[i%2], corpusJobs(want)[i%len(want)]
			began := time.Now()
			status, body, err := fetch(t, m.url+"/api/v1/pprof?from=0&to=now%2B1h&strict=1&type=process_cpu&query="+url.QueryEscape(`{job="`+job+`"}`))
			took = append(took, time.Since(began))
			if err != nil || status != http.StatusOK {
				t.Fatalf("%s: query %d: status %d, %v: %s", when, i, status, err, body)
			}
			p, err := pprof.ParseData(body)
			if err != nil {
				t.Fatal(err)
			}
			if difference := truth.Difference(truth.Samples(p), want[job]); difference != "" {
				t.Fatalf("%s: query %d of %s:\n%s", when, i, job, difference)
			}
		}
		slices.Sort(took)
		t.Logf("%s: %d queries, median %s, 95th percentile %s, slowest %s; %v parts asked for, %v hedged", when, times,
			took[times/2], took[times*95/100], took[times-1],
			all[0].metric(t, "coldframe_cluster_parts_total")+all[1].metric(t, "coldframe_cluster_parts_total"),
			all[0].metric(t, "coldframe_cluster_hedges_total")+all[1].metric(t, "coldframe_cluster_hedges_total"))
	}
	ask("healthy", 60)
	if all[0].metric(t, `coldframe_cluster_parts_total{outcome="ok"}`) == 0 {
		t.Error("no part was shared")
	}

	go func() {
		time.Sleep(50 * time.Millisecond) // in the middle of a query
		_ = all[2].Process.Signal(syscall.SIGSTOP)
	}()
	ask("one frozen", 60)
	if err := all[2].Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	wait(3, all...)
	ask("healed", 30)

	go func() {
		time.Sleep(50 * time.Millisecond)
		_ = all[2].Process.Kill()
	}()
	ask("one killed", 60)
	all[2].kill()
	all[2] = begin("127.0.0.1:0")
	wait(3, all[2])
	ask("one new", 30)
}

// fillForCluster makes a dozen blocks and tells what google/pprof makes of each job's
// CPU profiles.
func fillForCluster(t *testing.T, bkt string) map[string]map[string][]int64 {
	t.Helper()
	dir := t.TempDir()
	byJob := map[string][]*pprof.Profile{}
	profiles := corpus.FiveMinutes()
	for round := range 12 {
		for _, p := range profiles[round*12 : (round+1)*12] {
			if p.Name != "process_cpu" {
				continue
			}
			job := p.Labels.Service()
			parsed, err := pprof.ParseData(p.Body)
			if err != nil {
				t.Fatal(err)
			}
			byJob[job] = append(byJob[job], parsed)
			file := write(t, dir, "p"+strconv.Itoa(len(byJob[job]))+job, p.Body)
			must(t, "push", "--bucket-config", bkt, "--label", "job="+job, "--type-name", "process_cpu", file)
		}
		must(t, "compact", "--bucket-config", bkt, "--once", "--seal-now")
	}
	want := map[string]map[string][]int64{}
	for job, of := range byJob {
		merged, err := pprof.Merge(of)
		if err != nil {
			t.Fatal(err)
		}
		want[job] = truth.Samples(merged)
	}
	return want
}

func corpusJobs(want map[string]map[string][]int64) []string {
	jobs := make([]string, 0, len(want))
	for job := range want {
		jobs = append(jobs, job)
	}
	slices.Sort(jobs)
	return jobs
}

package query

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/coldframe/coldframe/internal/corpus"
)

// fleetHouse holds five minutes of a fleet, 800 profiles: in one Arrow block, in one for each minute, or
// as they were uploaded.
func fleetHouse(b testing.TB, layout string) *house {
	b.Helper()
	h := newHouse()
	var all []sent
	for _, p := range corpus.FiveMinutes() {
		all = append(all, sent{p.Name, p.Labels, p.Time, p.Body})
	}
	h.now = all[0].time.Add(5 * time.Minute)
	byMinute := map[time.Time][]sent{}
	for _, s := range all {
		byMinute[s.time.Truncate(time.Minute)] = append(byMinute[s.time.Truncate(time.Minute)], s)
	}
	switch layout {
	case "one block":
		h.putArrow(b, all...)
	case "five blocks":
		for _, minute := range byMinute {
			h.putArrow(b, minute...)
		}
	case "uploads": // of ten agents, a block a minute each
		for _, minute := range byMinute {
			for i := range 10 {
				var mine []sent
				for j, s := range minute {
					if j%10 == i {
						mine = append(mine, s)
					}
				}
				h.putL0(b, mine...)
			}
		}
	}
	return h
}

// BenchmarkFlamegraph answers with JSON for one service, the largest, and for all, and for the last
// quarter of the five minutes. cold has no caches, warm has the indexes.
func BenchmarkFlamegraph(b *testing.B) {
	first := corpus.FiveMinutes()[0].Time
	service := largestService()
	for _, layout := range []string{"one block", "five blocks", "uploads"} {
		h := fleetHouse(b, layout)
		for _, c := range []struct {
			what, selector string
			from           time.Time
		}{
			{"one service", fmt.Sprintf("{service_name=%q}", service), first},
			{"all services", "{}", first},
			{"last quarter", "{}", first.Add(5 * time.Minute * 3 / 4)},
		} {
			for caches, cfg := range map[string]Config{"cold": {SnapshotTTL: -1, IndexCacheBytes: -1, RangeCacheBytes: -1, SumCacheBytes: -1, TailCacheBytes: -1}, "warm": {RangeCacheBytes: -1}} {
				b.Run(fmt.Sprintf("%s/%s/%s", layout, c.what, caches), func(b *testing.B) {
					q := h.querier(h.bkt, cfg)
					req := request(b, c.selector, "process_cpu", c.from, first.Add(time.Hour))
					run := func() Stats {
						tree, err := q.Tree(b.Context(), TreeRequest{Request: req})
						if err != nil {
							b.Fatal(err)
						}
						tree.Prune(defaultMaxNodes, 0)
						if err := tree.WriteJSON(io.Discard); err != nil {
							b.Fatal(err)
						}
						return tree.Stats
					}
					run()
					before := corpus.CPUTime()
					var s Stats
					for b.Loop() {
						s = run()
					}
					b.ReportMetric(float64((corpus.CPUTime()-before).Microseconds())/1e3/float64(b.N), "cpu-ms/op")
					b.ReportMetric(float64(s.Requests), "requests/op")
					b.ReportMetric(float64(s.Bytes), "bytes-read/op")
					b.ReportMetric(float64(s.Profiles), "profiles")
				})
			}
		}
	}
}

// largestService is the one with most CPU profiles.
func largestService() string {
	count := map[string]int{}
	best := ""
	for _, p := range corpus.FiveMinutes() {
		if service := p.Labels.Service(); p.Name == "process_cpu" {
			if count[service]++; best == "" || count[service] > count[best] {
				best = service
			}
		}
	}
	return best
}

package corpus_test

import (
	"cmp"
	"maps"
	"slices"
	"testing"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/internal/corpus"
)

// BenchmarkPprof is what google/pprof takes to read the corpus, and to merge what
// belongs to one service, minute and profile type: the peer of other benchmarks.
func BenchmarkPprof(b *testing.B) {
	for stacks, profiles := range corpus.Sets() {
		b.Run(stacks, func(b *testing.B) {
			all := profiles()
			b.Run("parse", func(b *testing.B) {
				defer corpus.ReportCPU(b, len(all))()
				for b.Loop() {
					for _, p := range all {
						if _, err := pprof.ParseData(p.Body); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
			b.Run("merge", func(b *testing.B) {
				groups := minutes(b, all)
				defer corpus.ReportCPU(b, len(all))()
				for b.Loop() {
					for _, g := range groups {
						if _, err := pprof.Merge(g); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
			b.Run("ask one service", func(b *testing.B) { ask(b, all, largestService(all)) })
			b.Run("ask all services", func(b *testing.B) { ask(b, all, "") })
			b.Run("parse one CPU profile", func(b *testing.B) { parseOne(b, all, "process_cpu") })
			b.Run("parse one heap profile", func(b *testing.B) { parseOne(b, all, "memory") })
		})
	}
}

// minutes groups the profiles by service, minute and name.
func minutes(b *testing.B, all []corpus.Profile) map[string][]*pprof.Profile {
	b.Helper()
	groups := map[string][]*pprof.Profile{}
	for _, p := range all {
		decoded, err := pprof.ParseData(p.Body)
		if err != nil {
			b.Fatal(err)
		}
		key := p.Labels.Service() + p.Time.Format(" 15:04 ") + p.Name
		groups[key] = append(groups[key], decoded)
	}
	return groups
}

// parseOne reads 40 profiles of one name.
func parseOne(b *testing.B, all []corpus.Profile, name string) {
	var bodies [][]byte
	for _, p := range all {
		if p.Name == name && len(bodies) < 40 {
			bodies = append(bodies, p.Body)
		}
	}
	defer corpus.ReportCPU(b, len(bodies))()
	for b.Loop() {
		for _, body := range bodies {
			if _, err := pprof.ParseData(body); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// ask reads and merges the CPU profiles of a service, or of all, as whoever has
// them as files must before a flame graph can be drawn.
func ask(b *testing.B, all []corpus.Profile, service string) {
	before := corpus.CPUTime()
	for b.Loop() {
		var decoded []*pprof.Profile
		for _, p := range all {
			if p.Name != "process_cpu" || service != "" && p.Labels.Service() != service {
				continue
			}
			one, err := pprof.ParseData(p.Body)
			if err != nil {
				b.Fatal(err)
			}
			decoded = append(decoded, one)
		}
		if _, err := pprof.Merge(decoded); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((corpus.CPUTime()-before).Seconds()*1e3/float64(b.N), "cpu-ms/op")
}

// largestService is the one with most CPU profiles, the first by name of several.
func largestService(all []corpus.Profile) string {
	count := map[string]int{}
	for _, p := range all {
		if p.Name == "process_cpu" {
			count[p.Labels.Service()]++
		}
	}
	return slices.MaxFunc(slices.Sorted(maps.Keys(count)), func(a, b string) int { return cmp.Compare(count[a], count[b]) })
}

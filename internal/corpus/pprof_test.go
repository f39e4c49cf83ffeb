package corpus_test

import (
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

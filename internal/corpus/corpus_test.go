package corpus_test

import (
	"slices"
	"testing"

	"github.com/coldframe/coldframe/internal/corpus"
)

// Every profile is one that google/pprof reads and finds valid, and the figures
// that docs/benchmarks.md publishes are those of what is generated.
func TestFiveMinutes(t *testing.T) {
	for name, set := range corpus.Sets() {
		t.Run(name, func(t *testing.T) {
			s, err := corpus.Measure(slices.Values(set()))
			if err != nil {
				t.Fatal(err)
			}
			if s.Profiles != 800 || s.Services != 14 {
				t.Errorf("%d profiles of %d services, want 800 of 14", s.Profiles, s.Services)
			}
			t.Logf("%+v; %.0f rows a profile, mean depth %.1f", s, s.RowsPerProfile(), s.MeanDepth())
		})
	}
}

package compactor

import (
	"bytes"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/pprofblock"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/internal/corpus"
	"github.com/coldframe/coldframe/profile"
)

// BenchmarkL0ToL1 seals the corpus, uploaded as agents do: a pprof block for each
// instance and minute. Beside it stands what google/pprof takes only to read the same
// profiles and merge those of a service, minute and name, and to write what comes out.
func BenchmarkL0ToL1(b *testing.B) {
	for stacks, profiles := range corpus.Sets() {
		b.Run(stacks, func(b *testing.B) {
			all := profiles()
			b.Run("coldframe", func(b *testing.B) { sealCorpus(b, all) })
			b.Run("pprof", func(b *testing.B) { mergeWithPprof(b, all) })
		})
	}
}

func sealCorpus(b *testing.B, all []corpus.Profile) {
	mem, l0s := uploadCorpus(b, all)
	c := New(catalog.New(mem, catalog.Config{}), mem, Config{Jobs: 1})
	var job Job
	b.SetBytes(corpus.Bytes(all))
	report := corpus.ReportCPU(b, len(all))
	for b.Loop() {
		job = Job{}
		out, err := c.merge(b.Context(), shard{tenant: tenant}, &job, l0s)
		if err != nil {
			b.Fatal(err)
		}
		for _, m := range out {
			if err := mem.Delete(b.Context(), m.Key(tenant, 0)); err != nil {
				b.Fatal(err)
			}
		}
	}
	report()
	if job.Profiles != len(all) || job.Rejected > 0 {
		b.Fatalf("%+v of %d profiles", job, len(all))
	}
	b.ReportMetric(float64(job.BytesOut)/float64(len(all)), "B-out/profile")
}

// uploadCorpus makes a pprof block of the profiles of each instance and minute.
func uploadCorpus(b *testing.B, all []corpus.Profile) (*bucket.Memory, []catalog.L0) {
	b.Helper()
	mem := bucket.Mem()
	mem.Clock = func() time.Time { return all[len(all)-1].Time } // the day is not closed
	builders := map[string]*pprofblock.Builder{}
	for _, p := range all {
		minute := p.Time.Truncate(time.Minute)
		agent := p.Labels.Get("instance") + minute.String()
		if builders[agent] == nil {
			builders[agent] = pprofblock.NewBuilder(block.NewID(minute), agent, minute)
		}
		if err := builders[agent].Add(corpusEntry(b, p), p.Body); err != nil {
			b.Fatal(err)
		}
	}
	var l0s []catalog.L0
	for _, builder := range builders {
		data := builder.Bytes()
		l0 := catalog.L0{L0Key: builder.Key(tenant, 0, noon), Size: int64(len(data))}
		if err := mem.Create(b.Context(), l0.String(), bytes.NewReader(data), l0.Size); err != nil {
			b.Fatal(err)
		}
		l0s = append(l0s, l0)
	}
	return mem, l0s
}

func corpusEntry(b *testing.B, p corpus.Profile) pprofblock.Entry {
	b.Helper()
	decoded, err := pprof.ParseData(p.Body)
	if err != nil {
		b.Fatal(err)
	}
	e := pprofblock.Entry{
		Name: p.Name, Labels: p.Labels, Samples: int64(len(decoded.Sample)),
		MinTime: p.Time, MaxTime: p.Time.Add(time.Duration(decoded.DurationNanos)),
	}
	for _, t := range decoded.SampleType {
		e.SampleTypes = append(e.SampleTypes, profile.ValueType{Type: t.Type, Unit: t.Unit})
	}
	if t := decoded.PeriodType; t != nil {
		e.PeriodType = profile.ValueType{Type: t.Type, Unit: t.Unit}
	}
	return e
}

// mergeWithPprof is the peer: parse the same profiles, merge those of one service,
// minute and name. What comes of it is written once, outside the measurement, to
// compare sizes.
func mergeWithPprof(b *testing.B, all []corpus.Profile) {
	b.SetBytes(corpus.Bytes(all))
	report := corpus.ReportCPU(b, len(all))
	var merged []*pprof.Profile
	for b.Loop() {
		groups := map[string][]*pprof.Profile{}
		for _, p := range all {
			decoded, err := pprof.ParseData(p.Body)
			if err != nil {
				b.Fatal(err)
			}
			key := p.Labels.Service() + p.Time.Format(" 15:04 ") + p.Name
			groups[key] = append(groups[key], decoded)
		}
		merged = merged[:0]
		for _, g := range groups {
			m, err := pprof.Merge(g)
			if err != nil {
				b.Fatal(err)
			}
			merged = append(merged, m)
		}
	}
	report()
	var out bytes.Buffer
	for _, m := range merged {
		if err := m.Write(&out); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(out.Len())/float64(len(all)), "B-out/profile")
}

package arrowblock

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"
)

// manyRows is a profile of so many samples, of which each value is one of few.
func manyRows(r *rand.Rand, samples, types int, value func() int64) *pprof.Profile {
	p := &pprof.Profile{PeriodType: &pprof.ValueType{}, TimeNanos: day.UnixNano() + r.Int64N(24*3600*1e9)}
	for k := range types {
		p.SampleType = append(p.SampleType, &pprof.ValueType{Type: fmt.Sprint("t", k), Unit: "count"})
	}
	for i := range 70 {
		p.Location = append(p.Location, &pprof.Location{ID: uint64(i + 1), Address: uint64(i)})
	}
	for range samples {
		s := &pprof.Sample{NumLabel: map[string][]int64{}}
		for range 1 + r.IntN(4) {
			s.Location = append(s.Location, p.Location[r.IntN(len(p.Location))])
		}
		if n := r.Int64N(4); n > 0 {
			s.NumLabel["bytes"] = []int64{n << 4}
		}
		for range types {
			s.Value = append(s.Value, value())
		}
		p.Sample = append(p.Sample, s)
	}
	return p
}

// Rows come back whatever their values are: the largest and smallest that there are and
// sums that overflow, few that differ and many, one sample type and several, in a block that is
// compressed and in one that is not, built and merged.
func TestRowsOfAnyValuesComeBack(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	extreme := []int64{0, 1, -1, 255, 256, 1 << 16, 1 << 32, -1 << 32, math.MaxInt64, math.MinInt64, math.MinInt64 + 1}
	few := func() int64 { return r.Int64N(3) }
	any := func() int64 { return int64(r.Uint64()) >> r.IntN(64) }
	some := func() int64 { return extreme[r.IntN(len(extreme))] }
	for _, tt := range []struct {
		name    string
		types   int
		samples int
		value   func() int64
		table   bool // of tuples, in a compressed block
	}{
		{"few", 1, 3000, few, true},
		{"few of each type", 4, 20000, few, true},
		{"more than 256", 2, 40000, some, true},
		{"any", 2, 3000, any, false},
		{"few rows", 2, 200, few, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var profiles []*pprof.Profile
			whole, plain := newBuilder(t), newBuilder(t)
			plain.cfg.Uncompressed = true
			var parts [2]*Builder
			for i := range parts {
				parts[i] = newBuilder(t)
			}
			for i := range 4 {
				p := manyRows(r, tt.samples/4, tt.types, tt.value)
				body := encode(t, p)
				key := Key{Name: "x", Labels: labels(t, "job", fmt.Sprint(i%2)), Time: day.Add(time.Duration(i) * time.Hour)}
				for _, b := range []*Builder{whole, plain, parts[i%2]} {
					add(t, b, key, body)
				}
				profiles = append(profiles, p)
			}
			want := wantSamples(t, profiles...)
			built, data := finish(t, whole)
			if got := built.raw[0].chunks[0].tuples != nil; got != tt.table {
				t.Errorf("rows have a table of tuples: %v, want %v", got, tt.table)
			}
			uncompressed, _ := finish(t, plain)
			if uncompressed.raw[0].chunks[0].tuples != nil {
				t.Error("uncompressed rows have a table of tuples")
			}
			var blocks []*Block
			for _, b := range parts {
				part, _ := finish(t, b)
				blocks = append(blocks, part)
			}
			merged, _ := mergeOf(t, blocks...)
			if !bytes.Equal(merged, data) {
				t.Error("merged rows differ from built ones")
			}
			again, _ := mergeOf(t, uncompressed)
			if !bytes.Equal(again, data) {
				t.Error("rows that were not compressed give others when merged")
			}
			for _, b := range []*Block{built, uncompressed} {
				compareSamples(t, gotSamples(t, b, 0), want)
				if err := b.Verify(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// FuzzRows builds a block of rows of any values, and asks for what it was built of.
func FuzzRows(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 0}, uint8(2), uint16(3000))
	f.Add([]byte{0, 0, 1, 255, 128}, uint8(4), uint16(9000))
	f.Fuzz(func(t *testing.T, data []byte, types uint8, samples uint16) {
		if len(data) == 0 {
			return
		}
		r := rand.New(rand.NewPCG(uint64(len(data)), uint64(samples)))
		at := 0
		p := manyRows(r, int(samples)%20000, 1+int(types)%5, func() int64 {
			at++
			v := int64(data[at%len(data)])
			return v << (data[(at/len(data))%len(data)] % 64)
		})
		b := newBuilder(t)
		if _, err := b.AddPprof(Key{Name: "x", Time: day}, encode(t, p)); err != nil {
			t.Fatal(err)
		}
		opened, data := finish(t, b)
		compareSamples(t, gotSamples(t, opened, 0), wantSamples(t, p))
		if merged, _ := mergeOf(t, openBytes(t, data)); !bytes.Equal(merged, data) {
			t.Error("a merge of one block gives another")
		}
	})
}

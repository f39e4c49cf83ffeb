package profile_test

import (
	"bytes"
	"testing"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/internal/corpus"
	"github.com/coldframe/coldframe/profile"
)

// BenchmarkDecode reads the 800 profiles of the corpus; google/pprof reads the same
// beside it.
func BenchmarkDecode(b *testing.B) {
	for stacks, profiles := range corpus.Sets() {
		b.Run(stacks, func(b *testing.B) {
			all := profiles()
			raws := make([][]byte, len(all))
			for i, p := range all {
				var d profile.Decoder
				raw, err := d.Uncompress(p.Body)
				if err != nil {
					b.Fatal(err)
				}
				raws[i] = bytes.Clone(raw)
			}
			b.Run("bare", func(b *testing.B) {
				var d profile.Decoder
				each(b, len(all), func(i int) error { _, err := d.DecodeUncompressed(raws[i]); return err })
			})
			b.Run("bare_google", func(b *testing.B) {
				each(b, len(all), func(i int) error { _, err := pprof.ParseUncompressed(raws[i]); return err })
			})
			b.Run("gzip", func(b *testing.B) {
				var d profile.Decoder
				each(b, len(all), func(i int) error { _, err := d.Decode(all[i].Body); return err })
			})
			b.Run("gzip_google", func(b *testing.B) {
				each(b, len(all), func(i int) error { _, err := pprof.Parse(bytes.NewReader(all[i].Body)); return err })
			})
		})
	}
}

func each(b *testing.B, n int, read func(i int) error) {
	b.ReportAllocs()
	defer corpus.ReportCPU(b, n)()
	for b.Loop() {
		for i := range n {
			if err := read(i); err != nil {
				b.Fatal(err)
			}
		}
	}
}

package profile

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// FuzzRefs: eight bytes at once gives what byte by byte gives.
func FuzzRefs(f *testing.F) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for size := range 200 {
		// Of all mixtures: hardly any long numbers, half of them, nearly all.
		for _, long := range []float64{0, 0.01, 0.3, 0.5, 0.9, 1} {
			b := make([]byte, size)
			for i := range b {
				b[i] = byte(rnd.IntN(0x80))
				if rnd.Float64() < long {
					b[i] |= 0x80
				}
			}
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const before = 3
		b := slices.Concat(make([]byte, before), data, zeros[:])
		read := func(by func([]uint32, []byte, int, int, uint64) (int, int, uint64)) (refs []uint32, next int, top uint64) {
			refs = make([]uint32, len(data)+refRoom)
			n, next, top := by(refs, b, before, before+len(data), 5)
			return refs[:n], next, top
		}
		refs, next, top := read(usualRefs)
		wantRefs, wantNext, wantTop := read(refsByByte)
		if !slices.Equal(refs, wantRefs) || next != wantNext || top != wantTop {
			t.Errorf("%x: %d, then byte %d, largest %d\nwant %d, then byte %d, largest %d", data, refs, next, top, wantRefs, wantNext, wantTop)
		}
	})
}

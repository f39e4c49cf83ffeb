package bpf

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/coldframe/coldframe/bpf/ehframe"
)

// Each rule becomes the eight bytes that c/unwind.h reads; what does not fit is unsupported.
func TestPackRow(t *testing.T) {
	unsupported := kernelRow{Rule: uint8(kernelCfaCFA_UNSUPPORTED)}
	saved := func(r ehframe.Row) ehframe.Row { r.RAOffset = -8; return r }
	for name, c := range map[string]struct {
		row  ehframe.Row
		want kernelRow
	}{
		"no rule":             {ehframe.Row{}, kernelRow{}},
		"outermost":           {ehframe.Row{CFA: ehframe.Outermost}, kernelRow{Rule: uint8(kernelCfaCFA_OUTERMOST)}},
		"signal":              {ehframe.Row{CFA: ehframe.Signal}, kernelRow{Rule: uint8(kernelCfaCFA_SIGNAL)}},
		"after a push":        {saved(ehframe.Row{CFA: ehframe.FromSP, Offset: 16, FP: ehframe.FPSaved, FPOffset: -16}), kernelRow{Rule: 1, Off: 2, Fp: -2}},
		"frame pointer":       {saved(ehframe.Row{CFA: ehframe.FromFP, Offset: 16, FP: ehframe.FPSaved, FPOffset: -16}), kernelRow{Rule: 2, Off: 2, Fp: -2}},
		"linkage table":       {saved(ehframe.Row{CFA: ehframe.PLT, Offset: 11}), kernelRow{Rule: 3, Off: 11}},
		"aligned stack":       {saved(ehframe.Row{CFA: ehframe.DerefFP, Offset: -8, FP: ehframe.FPAtFP}), kernelRow{Rule: 5, Off: -32, Fp: 2}},
		"dereferenced, added": {saved(ehframe.Row{CFA: ehframe.DerefSP, Offset: 64, Add: 8}), kernelRow{Rule: 4, Off: 8<<5 | 1}},
		"register":            {saved(ehframe.Row{CFA: ehframe.FromReg, Reg: 11, Offset: 16}), kernelRow{Rule: uint8(kernelCfaCFA_REGISTER), Off: 2<<2 | 3}},
		"odd offset":          {saved(ehframe.Row{CFA: ehframe.FromSP, Offset: 12}), unsupported},
		"far offset":          {saved(ehframe.Row{CFA: ehframe.FromSP, Offset: 8 << 16}), unsupported},
		"far frame pointer":   {saved(ehframe.Row{CFA: ehframe.FromSP, Offset: 8 << 10, FP: ehframe.FPSaved, FPOffset: -4096}), kernelRow{Rule: 1, Off: 1 << 10, Fp: 1}},
		"arm64 leaf":          {ehframe.Row{CFA: ehframe.FromSP, RA: ehframe.RAInLR}, kernelRow{Rule: 0x21}},
		"arm64 pair":          {ehframe.Row{CFA: ehframe.FromSP, Offset: 48, FP: ehframe.FPSaved, FPOffset: -48, RAOffset: -40}, kernelRow{Rule: 0x11, Off: 6, Fp: -6}},
		"arm64 alone":         {ehframe.Row{CFA: ehframe.FromSP, Offset: 32, RAOffset: -32}, kernelRow{Rule: 0x31, Off: 4, Fp: -4}},
		"arm64 large frame":   {ehframe.Row{CFA: ehframe.FromSP, Offset: 3216, FP: ehframe.FPSaved, FPOffset: -3200, RAOffset: -3192}, kernelRow{Rule: 0x41, Off: 402, Fp: 2}},
		"elsewhere":           {ehframe.Row{CFA: ehframe.FromSP, Offset: 32, FP: ehframe.FPSaved, FPOffset: -32, RAOffset: -12}, unsupported},
		"unsupported":         {ehframe.Row{CFA: ehframe.Unsupported}, unsupported},
	} {
		if got := packRow(c.row); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

// Rows that say the same once packed are one.
func TestPack(t *testing.T) {
	p := pack(slices.Values([]ehframe.Row{
		{PC: 0x401010, CFA: ehframe.FromSP, Offset: 8, RAOffset: -8},
		{PC: 0x401020, CFA: ehframe.Unsupported},
		{PC: 0x401030, CFA: ehframe.FromSP, Offset: 12, RAOffset: -8},
		{PC: 0x401040},
	}))
	if p.base != 0x401000 || p.n != 3 {
		t.Fatalf("base %#x and %d rows, want 0x401000 and 3", p.base, p.n)
	}
	if pc := p.blocks[0][1].Pc; pc != 0x20 {
		t.Errorf("second row at %#x, want 0x20", pc)
	}
}

// Whatever is taken and given back, free extents are sorted, apart, and all rows are either free or used.
func TestAllocate(t *testing.T) {
	const rows = 1000
	tab := &Tables{free: []extent{{0, rows}}}
	r := rand.New(rand.NewPCG(1, 1))
	var held []extent
	for range 20_000 {
		if r.IntN(2) == 0 {
			if e, ok := tab.allocate(1 + r.Uint32N(60)); ok {
				held = append(held, e)
			}
		} else if len(held) > 0 {
			i := r.IntN(len(held))
			tab.release(held[i])
			held = slices.Delete(held, i, i+1)
		}
		sum := uint32(0)
		for i, f := range tab.free {
			sum += f.n
			if i > 0 && tab.free[i-1].first+tab.free[i-1].n >= f.first {
				t.Fatalf("free extents %v touch", tab.free)
			}
		}
		for _, h := range held {
			sum += h.n
		}
		if sum != rows {
			t.Fatalf("%d of %d rows are accounted for", sum, rows)
		}
	}
}

// The tables fill up, say so, and have room again some time after a removal.
func TestTablesFull(t *testing.T) {
	s := open(t, Config{TableBytes: 10 * rowBytes})
	rows := func(n int) func(func(ehframe.Row) bool) {
		return func(yield func(ehframe.Row) bool) {
			for i := range n {
				if !yield(ehframe.Row{PC: uint64(0x1000 + i), CFA: ehframe.FromSP, Offset: int64(8 * i), RAOffset: -8}) {
					return
				}
			}
		}
	}
	id, err := s.Tables().Add(rows(8))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tables().Add(rows(3)); err == nil {
		t.Error("3 rows were taken where 2 are free")
	}
	if err := s.Tables().SetProcess(1<<22, 0, make([]Mapping, 100)); err != nil {
		t.Fatal(err)
	}
	if err := s.Tables().SetProcess(1<<22, 0, []Mapping{{Start: 1, End: 2, Table: id}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Tables().RemoveProcess(1 << 22); err != nil {
		t.Fatal(err)
	}
	if err := s.Tables().Remove(id); err != nil {
		t.Fatal(err)
	}
	if n := s.Tables().Rows(); n != 0 {
		t.Errorf("%d rows in use, want 0", n)
	}
}

// Whatever lies in the rings, it is an error or a sample with all its frames.
func FuzzDecode(f *testing.F) {
	f.Add(make([]byte, 200))
	long := make([]byte, recordBytes+8*4)
	binary.LittleEndian.PutUint16(long[recordBytes-40:], 2)
	f.Add(long)
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeSample(b); err == nil {
			if need := recordBytes + 8*(len(s.Kernel)+len(s.User)+2*len(s.Python)); need > len(b) {
				t.Fatalf("%d bytes hold a sample of %d", len(b), need)
			}
		}
		if e, ok := decodeEvent(b); ok && e.Kind == Mapped && e.Start >= e.End {
			t.Fatalf("mapping [%#x, %#x)", e.Start, e.End)
		}
	})
}

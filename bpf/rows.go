package bpf

import (
	"iter"
	"math"
	"slices"

	"github.com/coldframe/coldframe/bpf/ehframe"
)

// blockRows is how many rows are written to the kernel at a time: 32 KiB of them.
const blockRows = 4096

// packed are rows as struct row of c/maps.h, with addresses from base. They are kept in blocks
// because a large library has a million, of which growing slices would make several copies.
type packed struct {
	base   uint64
	n      uint32
	blocks [][]kernelRow // full but for the last
}

func pack(rows iter.Seq[ehframe.Row]) packed {
	var p packed
	var last kernelRow
	for r := range rows {
		if p.n == 0 {
			p.base = r.PC &^ 0xfff
		}
		if r.PC-p.base > math.MaxUint32 {
			break // nobody has seen a binary of 4 GiB of code; its end would be walked by its last rule
		}
		k := packRow(r)
		k.Pc = uint32(r.PC - p.base)
		if p.n > 0 && k.Rule == last.Rule && k.Fp == last.Fp && k.Off == last.Off {
			continue
		}
		last = k
		p.add(k)
	}
	return p
}

func (p *packed) add(k kernelRow) {
	if p.n%blockRows == 0 {
		// The first block is small: most binaries are.
		p.blocks = append(p.blocks, make([]kernelRow, 0, min(blockRows, 256+p.n)))
	}
	end := &p.blocks[len(p.blocks)-1]
	*end = append(*end, k)
	p.n++
}

// packRow squeezes a rule into four bytes; what does not fit becomes unsupported.
func packRow(r ehframe.Row) kernelRow {
	k, ok := packCFA(r)
	if !ok {
		return kernelRow{Rule: uint8(kernelCfaCFA_UNSUPPORTED)}
	}
	switch r.CFA {
	case ehframe.NoRule, ehframe.Signal, ehframe.Outermost:
		return k
	}
	switch r.FP {
	case ehframe.FPLost:
		k.Fp = int8(kernelFpRuleFP_LOST)
	case ehframe.FPAtFP:
		k.Fp = int8(kernelFpRuleFP_AT_FP)
	case ehframe.FPSaved:
		k.Fp = int8(kernelFpRuleFP_LOST)
		if r.FPOffset%8 == 0 && r.FPOffset < 0 && r.FPOffset >= 8*math.MinInt8 {
			k.Fp = int8(r.FPOffset / 8)
		}
	}
	ra, ok := packRA(r, &k)
	if !ok {
		return kernelRow{Rule: uint8(kernelCfaCFA_UNSUPPORTED)}
	}
	k.Rule |= uint8(ra)
	return k
}

// leafRegisters are those of CFA_REGISTER, in its order, by DWARF's numbers: rax, r9, r10, r11.
var leafRegisters = [4]uint8{0, 9, 10, 11}

func packCFA(r ehframe.Row) (kernelRow, bool) {
	fits := r.Offset%8 == 0 && r.Offset/8 >= math.MinInt16 && r.Offset/8 <= math.MaxInt16
	deref := r.Offset%8 == 0 && r.Offset/8 >= -1024 && r.Offset/8 < 1024 && r.Add%8 == 0 && r.Add >= 0 && r.Add/8 < 32
	switch r.CFA {
	case ehframe.NoRule:
		return kernelRow{Rule: uint8(kernelCfaCFA_FP_WALK)}, true
	case ehframe.FromSP:
		return kernelRow{Rule: uint8(kernelCfaCFA_SP), Off: int16(r.Offset / 8)}, fits
	case ehframe.FromFP:
		return kernelRow{Rule: uint8(kernelCfaCFA_FP), Off: int16(r.Offset / 8)}, fits
	case ehframe.FromReg:
		at := slices.Index(leafRegisters[:], r.Reg)
		return kernelRow{Rule: uint8(kernelCfaCFA_REGISTER), Off: int16(r.Offset/8<<2) | int16(at)}, at >= 0 && fits && r.Offset/8 >= -8192 && r.Offset/8 < 8192
	case ehframe.PLT:
		return kernelRow{Rule: uint8(kernelCfaCFA_PLT), Off: int16(r.Offset)}, r.Offset >= 0 && r.Offset < 16
	case ehframe.DerefSP:
		return kernelRow{Rule: uint8(kernelCfaCFA_DEREF_SP), Off: int16(r.Offset/8<<5 | r.Add/8)}, deref
	case ehframe.DerefFP:
		return kernelRow{Rule: uint8(kernelCfaCFA_DEREF_FP), Off: int16(r.Offset/8<<5 | r.Add/8)}, deref
	case ehframe.Signal:
		return kernelRow{Rule: uint8(kernelCfaCFA_SIGNAL)}, true
	case ehframe.Outermost:
		return kernelRow{Rule: uint8(kernelCfaCFA_OUTERMOST)}, true
	}
	return kernelRow{}, false
}

// packRA fits the return address into what is left: the common case of amd64, and four of arm64.
func packRA(r ehframe.Row, k *kernelRow) (kernelRa, bool) {
	switch {
	case r.RA == ehframe.RAInLR:
		return kernelRaRA_IN_LR, true
	case r.RAOffset == -8:
		return kernelRaRA_AT_CFA, true
	case k.Fp < 0 && r.RAOffset == r.FPOffset+8:
		return kernelRaRA_NEXT_TO_FP, true
	case r.FP == ehframe.FPSaved && r.RAOffset == r.FPOffset+8 && (r.CFA == ehframe.FromSP || r.CFA == ehframe.FromFP) &&
		r.FPOffset%8 == 0 && r.Offset+r.FPOffset >= 0 && r.Offset+r.FPOffset <= 8*math.MaxInt8:
		k.Fp = int8((r.Offset + r.FPOffset) / 8)
		return kernelRaRA_AT_BASE, true
	case r.FP == ehframe.FPSame && r.RAOffset%8 == 0 && r.RAOffset < 0 && r.RAOffset >= 8*math.MinInt8:
		k.Fp = int8(r.RAOffset / 8)
		return kernelRaRA_ALONE, true
	}
	return 0, false
}

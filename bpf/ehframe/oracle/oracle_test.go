// Package oracle compares ehframe with delve's reader of call frame information. It is
// a module of its own so that delve stays out of coldframe's.
package oracle

import (
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/go-delve/delve/pkg/dwarf/frame"

	"github.com/coldframe/coldframe/bpf/ehframe"
)

// TestAgreesWithDelve looks at every address of every function of every binary that
// COLDFRAME_ELF names (globs, separated by ':'), by default some large ones of the machine.
func TestAgreesWithDelve(t *testing.T) {
	globs := os.Getenv("COLDFRAME_ELF")
	if globs == "" {
		globs = "/lib/*-linux-gnu/libc.so.6:/lib/*-linux-gnu/libcrypto.so.3:/usr/lib/*-linux-gnu/libstdc++.so.6:/bin/bash:/usr/bin/python3.*:/usr/bin/git:/usr/aarch64-linux-gnu/lib/lib*.so.*"
	}
	var total, files int
	seen := map[string]bool{}
	for glob := range strings.SplitSeq(globs, ":") {
		paths, _ := filepath.Glob(glob)
		for _, path := range paths {
			if path, _ = filepath.EvalSymlinks(path); seen[path] {
				continue
			}
			seen[path] = true
			n := compare(t, path)
			if n > 0 {
				files++
			}
			total += n
		}
	}
	if total == 0 {
		t.Skip("no ELF file here")
	}
	t.Logf("%d addresses of %d files were compared", total, files)
	const enough = 5_000_000
	if os.Getenv("CI") != "" && total < enough {
		t.Errorf("%d addresses were compared, want %d", total, enough)
	}
}

func compare(t *testing.T, path string) int {
	f, err := elf.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	section := f.Section(".eh_frame")
	if section == nil || section.Type == elf.SHT_NOBITS {
		return 0
	}
	b, err := section.Data()
	if err != nil {
		t.Fatal(err)
	}
	table, err := ehframe.Parse(b, section.Addr, f.Machine)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return 0
	}
	var rows []ehframe.Row
	for r := range table.Rows() {
		if len(rows) > 0 && r.PC <= rows[len(rows)-1].PC {
			t.Fatalf("%s: row at %#x after %#x", path, r.PC, rows[len(rows)-1].PC)
		}
		rows = append(rows, r)
	}
	entries, err := frame.Parse(b, binary.LittleEndian, 0, 8, section.Addr)
	if err != nil {
		t.Fatalf("%s: delve: %v", path, err)
	}
	n, wrong := 0, 0
	for _, fde := range entries {
		if fde.Begin() == 0 || fde.End() <= fde.Begin() {
			continue
		}
		i := sort.Search(len(rows), func(i int) bool { return rows[i].PC > fde.Begin() }) - 1
		for pc := fde.Begin(); pc < fde.End(); pc++ {
			for i+1 < len(rows) && rows[i+1].PC <= pc {
				i++
			}
			want, err := fde.EstablishFrame(pc)
			if err != nil {
				continue
			}
			n++
			if i < 0 || !same(rows[i], want, fde.CIE, f.Machine) {
				if wrong++; wrong <= 5 {
					t.Errorf("%s at %#x: got %+v, delve says CFA %+v, registers %+v", path, pc, rows[max(i, 0)], want.CFA, want.Regs)
				}
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%s: %d of %d addresses differ", path, wrong, n)
	}
	return n
}

func same(got ehframe.Row, want *frame.FrameContext, cie *frame.CommonInformationEntry, machine elf.Machine) bool {
	sp, fp, ra := uint64(7), uint64(6), uint64(16)
	if machine == elf.EM_AARCH64 {
		sp, fp, ra = 31, 29, 30
	}
	raRule, raKnown := want.Regs[ra]
	switch got.CFA {
	case ehframe.Signal:
		return strings.Contains(cie.Augmentation, "S")
	case ehframe.Outermost:
		return raKnown && raRule.Rule == frame.RuleUndefined
	case ehframe.Unsupported:
		strange := raKnown && raRule.Rule != frame.RuleOffset && raRule.Rule != frame.RuleSameVal
		return strange || want.CFA.Rule != frame.RuleCFA || want.CFA.Reg != sp && want.CFA.Reg != fp
	case ehframe.PLT, ehframe.DerefSP, ehframe.DerefFP:
		return want.CFA.Rule == frame.RuleExpression
	case ehframe.FromSP:
		if want.CFA.Rule != frame.RuleCFA || want.CFA.Reg != sp || want.CFA.Offset != got.Offset {
			return false
		}
	case ehframe.FromReg:
		if want.CFA.Rule != frame.RuleCFA || want.CFA.Reg != uint64(got.Reg) || want.CFA.Offset != got.Offset {
			return false
		}
	case ehframe.FromFP:
		if want.CFA.Rule != frame.RuleCFA || want.CFA.Reg != fp || want.CFA.Offset != got.Offset {
			return false
		}
	default:
		return false
	}
	if got.RA == ehframe.RASaved && (raRule.Rule != frame.RuleOffset || raRule.Offset != got.RAOffset) {
		return false
	}
	if got.RA == ehframe.RAInLR && raKnown && raRule.Rule != frame.RuleSameVal && raRule.Rule != frame.RuleUndefined {
		return false
	}
	fpRule, known := want.Regs[fp]
	switch got.FP {
	case ehframe.FPSame:
		// A register that is restored to what the common entry does not mention becomes delve's zero rule.
		return !known || fpRule.Rule == frame.RuleSameVal || fpRule.Rule == frame.RuleUndefined
	case ehframe.FPSaved:
		return known && fpRule.Rule == frame.RuleOffset && fpRule.Offset == got.FPOffset
	case ehframe.FPAtFP:
		return known && fpRule.Rule == frame.RuleExpression
	default:
		return known && fpRule.Rule != frame.RuleOffset && fpRule.Rule != frame.RuleSameVal
	}
}

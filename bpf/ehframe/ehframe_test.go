package ehframe

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// section returns the .eh_frame of a file and its address.
func section(t testing.TB, path string) ([]byte, uint64) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Skip(err)
	}
	defer func() { _ = f.Close() }() // it was only read
	s := f.Section(".eh_frame")
	if s == nil {
		t.Skipf("%s has no .eh_frame", path)
	}
	b, err := s.Data()
	if err != nil {
		t.Fatal(err)
	}
	return b, s.Addr
}

func compile(t testing.TB, source, name string, flags ...string) string {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	in, out := filepath.Join(dir, name), filepath.Join(dir, "out")
	if err := os.WriteFile(in, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := exec.CommandContext(t.Context(), gcc, append(flags, "-nostdlib", "-o", out, in)...).CombinedOutput(); err != nil {
		t.Skipf("gcc: %v\n%s", err, b)
	}
	return out
}

// Each directive of the assembler gives the row that it describes.
func TestDirectives(t *testing.T) {
	const source = `
.text
.globl _start
_start:
	.cfi_startproc
	.cfi_undefined rip
	nop
	.cfi_endproc
	.fill 64, 1, 0x90
f:	.cfi_startproc
	push %rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbp, 0
	mov %rsp, %rbp
	.cfi_def_cfa_register rbp
	nop
	.cfi_remember_state
	pop %rbp
	.cfi_def_cfa rsp, 8
	.cfi_restore rbp
	ret
	.cfi_restore_state
	nop
	.cfi_def_cfa r10, 0
	nop
	.cfi_escape 0x0f,0x03,0x76,0x78,0x06
	.cfi_escape 0x10,0x06,0x02,0x76,0x00
	nop
	.cfi_register rip, rax
	nop
	.cfi_endproc
s:	.cfi_startproc
	.cfi_signal_frame
	nop
	.cfi_endproc
`
	b, addr := section(t, compile(t, source, "d.s", "-static"))
	table, err := Parse(b, addr, elf.EM_X86_64)
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Collect(table.Rows())
	want := []Row{
		{CFA: Outermost},
		{CFA: NoRule},
		{CFA: FromSP, Offset: 8, RAOffset: -8},
		{CFA: FromSP, Offset: 16, RAOffset: -8, FP: FPSaved, FPOffset: -16},
		{CFA: FromFP, Offset: 16, RAOffset: -8, FP: FPSaved, FPOffset: -16},
		{CFA: FromSP, Offset: 8, RAOffset: -8},
		{CFA: FromFP, Offset: 16, RAOffset: -8, FP: FPSaved, FPOffset: -16},
		{CFA: FromReg, Reg: 10, RAOffset: -8, FP: FPSaved, FPOffset: -16},
		{CFA: DerefFP, Offset: -8, RAOffset: -8, FP: FPAtFP},
		{CFA: Unsupported},
		{CFA: Signal},
		{CFA: NoRule},
	}
	for i := range got {
		got[i].PC = 0
	}
	if !slices.Equal(got, want) {
		t.Errorf("rows:\ngot  %+v\nwant %+v", got, want)
	}
}

func TestUnknownMachine(t *testing.T) {
	if _, err := Parse(nil, 0, elf.EM_SPARC); err == nil {
		t.Error("SPARC was accepted")
	}
}

func TestLengthBeyondSection(t *testing.T) {
	if _, err := Parse([]byte{0xff, 0, 0, 0, 0, 0, 0, 0}, 0, elf.EM_X86_64); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
}

// Whatever the bytes, rows ascend strictly and neighbours differ.
func FuzzParse(f *testing.F) {
	for _, path := range []string{"/bin/true", "/lib/x86_64-linux-gnu/libdl.so.2", "/lib64/ld-linux-x86-64.so.2"} {
		file, err := elf.Open(path)
		if err != nil {
			continue
		}
		if s := file.Section(".eh_frame"); s != nil {
			if b, err := s.Data(); err == nil {
				f.Add(b[:min(len(b), 4096)], s.Addr, true)
			}
		}
		_ = file.Close() // it was only read
	}
	f.Add([]byte{}, uint64(0), false)
	f.Fuzz(func(t *testing.T, b []byte, addr uint64, amd64 bool) {
		machine := elf.EM_AARCH64
		if amd64 {
			machine = elf.EM_X86_64
		}
		before := bytes.Clone(b)
		table, err := Parse(b, addr, machine)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%v is not ErrCorrupt", err)
			}
			return
		}
		var last Row
		n := 0
		for r := range table.Rows() {
			if n > 0 && (r.PC <= last.PC || r.sameRule(last)) {
				t.Fatalf("row %+v follows %+v", r, last)
			}
			last = r
			n++
		}
		if !bytes.Equal(b, before) {
			t.Fatal("the section was written to")
		}
	})
}

func BenchmarkRows(b *testing.B) {
	bytes, addr := section(b, "/lib/x86_64-linux-gnu/libc.so.6")
	b.SetBytes(int64(len(bytes)))
	b.ReportAllocs()
	for b.Loop() {
		table, err := Parse(bytes, addr, elf.EM_X86_64)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for range table.Rows() {
			n++
		}
		b.ReportMetric(float64(n), "rows")
	}
}

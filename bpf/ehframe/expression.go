package ehframe

// The DWARF operations that appear in the expressions of real binaries: DWARF 5, table 7.9.
const (
	opDeref      = 0x06
	opPlusUconst = 0x23
	opBreg0      = 0x70 // + the register's number
)

// frameAddress recognises the few expressions for a canonical frame address that
// compilers and linkers write; all others are Unsupported.
func (regs registers) frameAddress(expr []byte) (kind CFA, off, add int64) {
	if lit, ok := pltLiteral(expr); ok {
		return PLT, lit, 0
	}
	if len(expr) < 3 {
		return Unsupported, 0, 0
	}
	switch uint64(expr[0]) - opBreg0 {
	case regs.sp:
		kind = DerefSP
	case regs.fp:
		kind = DerefFP
	default:
		return Unsupported, 0, 0
	}
	r := &reader{b: expr, at: 1}
	off = r.sleb()
	if r.u8() != opDeref {
		return Unsupported, 0, 0
	}
	if r.more() {
		if r.u8() != opPlusUconst {
			return Unsupported, 0, 0
		}
		add = int64(r.uleb())
	}
	if r.failed || r.more() {
		return Unsupported, 0, 0
	}
	return kind, off, add
}

// pltLiteral recognises what linkers write for amd64's procedure linkage table, whose
// entries push one word at their 11th byte, or so:
//
//	breg7 (rsp) 8; breg16 (rip) 0; lit15; and; litN; ge; lit3; shl; plus
func pltLiteral(expr []byte) (int64, bool) {
	const lit0 = 0x30
	if len(expr) != 11 || expr[6] < lit0 || expr[6] > lit0+15 {
		return 0, false
	}
	lit := expr[6]
	want := [11]byte{0x77, 8, 0x80, 0, lit0 + 15, 0x1a, lit, 0x2a, lit0 + 3, 0x24, 0x22}
	return int64(lit - lit0), [11]byte(expr) == want
}

// isFramePointer says whether expr is "breg(frame pointer) 0": functions that align
// their stack save the caller's frame pointer where their own points.
func (regs registers) isFramePointer(expr []byte) bool {
	return len(expr) == 2 && uint64(expr[0]) == opBreg0+regs.fp && expr[1] == 0
}

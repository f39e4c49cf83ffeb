package ehframe

// rules are what a program of call frame instructions has established so far.
type rules struct {
	cfa      CFA // FromSP stands for any register
	reg      uint64
	off, add int64
	fp       FP
	fpOff    int64
	ra       RA
	raOff    int64
	raLost   bool // in another register or an expression
	noCaller bool
}

// machine runs the program of one function.
type machine struct {
	regs  registers
	cie   *cie
	loc   uint64
	now   rules
	saved []rules
	rows  []Row
}

// maxSaved bounds DW_CFA_remember_state: compilers nest it once or twice.
const maxSaved = 64

// start runs the program of a common entry, once for all functions that share it:
// what it establishes is where each begins and what "restore" goes back to.
func (c *cie) start(regs registers, program []byte) bool {
	m := machine{regs: regs, cie: c}
	if regs.link {
		m.now.ra = RAInLR
	}
	ok := m.execute(&reader{b: program})
	c.initial = m.now
	return ok
}

// run appends the rows of a function, in order of address unless the program is malformed.
func (t *Table) run(f function, rows []Row) []Row {
	m := machine{regs: t.regs, cie: f.cie, loc: f.lo, now: f.cie.initial, rows: rows}
	if !m.execute(&reader{b: t.section[f.from:f.to]}) {
		m.now = rules{cfa: Unsupported}
	}
	m.emit()
	return m.rows
}

// emit notes the present rules for the present address.
func (m *machine) emit() { m.rows = append(m.rows, m.row()) }

func (m *machine) row() Row {
	n := &m.now
	switch {
	case m.cie.signal:
		return Row{PC: m.loc, CFA: Signal}
	case n.noCaller:
		return Row{PC: m.loc, CFA: Outermost}
	case n.raLost, n.cfa == Unsupported:
		return Row{PC: m.loc, CFA: Unsupported}
	}
	r := Row{PC: m.loc, CFA: n.cfa, Offset: n.off, Add: n.add, FP: n.fp, FPOffset: n.fpOff, RA: n.ra, RAOffset: n.raOff}
	if n.cfa == FromSP {
		switch n.reg {
		case m.regs.sp:
		case m.regs.fp:
			r.CFA = FromFP
		default:
			if !m.regs.scratch(n.reg) {
				return Row{PC: m.loc, CFA: Unsupported}
			}
			r.CFA, r.Reg = FromReg, uint8(n.reg)
		}
	}
	return r
}

// The call frame instructions: DWARF 5, table 7.29, and GNU's own.
const (
	cfaAdvanceLoc      = 0x40 // high two bits; the low six are the operand
	cfaOffset          = 0x80
	cfaRestore         = 0xc0
	cfaNop             = 0x00
	cfaSetLoc          = 0x01
	cfaAdvanceLoc1     = 0x02
	cfaAdvanceLoc2     = 0x03
	cfaAdvanceLoc4     = 0x04
	cfaOffsetExtended  = 0x05
	cfaRestoreExtended = 0x06
	cfaUndefined       = 0x07
	cfaSameValue       = 0x08
	cfaRegister        = 0x09
	cfaRememberState   = 0x0a
	cfaRestoreState    = 0x0b
	cfaDefCFA          = 0x0c
	cfaDefCFARegister  = 0x0d
	cfaDefCFAOffset    = 0x0e
	cfaDefCFAExpr      = 0x0f
	cfaExpression      = 0x10
	cfaOffsetSF        = 0x11
	cfaDefCFASF        = 0x12
	cfaDefCFAOffsetSF  = 0x13
	cfaValOffset       = 0x14
	cfaValOffsetSF     = 0x15
	cfaValExpression   = 0x16
	cfaNegateRAState   = 0x2d // arm64: the return address is signed from here on, or no more
	cfaGNUArgsSize     = 0x2e
)

// execute runs a program; false when it is malformed.
func (m *machine) execute(r *reader) bool {
	for r.more() {
		op := r.u8()
		operand := uint64(op & 0x3f)
		switch op & 0xc0 {
		case cfaAdvanceLoc:
			m.advance(operand)
			continue
		case cfaOffset:
			m.savedAt(operand, int64(r.uleb())*m.cie.dataAlign)
			continue
		case cfaRestore:
			m.restore(operand)
			continue
		}
		if !m.extended(op, r) {
			return false
		}
	}
	return !r.failed
}

func (m *machine) extended(op byte, r *reader) bool {
	n := &m.now
	switch op {
	case cfaNop, cfaNegateRAState:
	case cfaGNUArgsSize:
		r.uleb()
	case cfaSetLoc:
		m.emit()
		m.loc = r.pointer(m.cie.encoding &^ pePCRel)
		return m.cie.encoding&peBase == 0
	case cfaAdvanceLoc1:
		m.advance(uint64(r.u8()))
	case cfaAdvanceLoc2:
		m.advance(uint64(r.u16()))
	case cfaAdvanceLoc4:
		m.advance(uint64(r.u32()))
	case cfaOffsetExtended:
		m.savedAt(r.uleb(), int64(r.uleb())*m.cie.dataAlign)
	case cfaOffsetSF:
		m.savedAt(r.uleb(), r.sleb()*m.cie.dataAlign)
	case cfaRestoreExtended:
		m.restore(r.uleb())
	case cfaUndefined:
		switch r.uleb() {
		case m.cie.ra:
			n.noCaller = true
		case m.regs.fp:
			n.fp, n.fpOff = FPLost, 0
		}
	case cfaSameValue:
		m.same(r.uleb())
	case cfaRegister:
		m.lost(r.uleb())
		r.uleb()
	case cfaValOffset, cfaValOffsetSF:
		m.lost(r.uleb())
		r.uleb()
	case cfaRememberState:
		m.saved = append(m.saved, m.now)
		return len(m.saved) <= maxSaved
	case cfaRestoreState:
		if len(m.saved) == 0 {
			return false
		}
		m.now = m.saved[len(m.saved)-1]
		m.saved = m.saved[:len(m.saved)-1]
	case cfaDefCFA:
		n.cfa, n.reg, n.off, n.add = FromSP, r.uleb(), int64(r.uleb()), 0
	case cfaDefCFASF:
		n.cfa, n.reg, n.off, n.add = FromSP, r.uleb(), r.sleb()*m.cie.dataAlign, 0
	case cfaDefCFARegister:
		n.cfa, n.reg = FromSP, r.uleb()
	case cfaDefCFAOffset:
		n.off = int64(r.uleb())
	case cfaDefCFAOffsetSF:
		n.off = r.sleb() * m.cie.dataAlign
	case cfaDefCFAExpr:
		n.cfa, n.off, n.add = m.regs.frameAddress(r.take(r.uleb()))
	case cfaExpression:
		reg, expr := r.uleb(), r.take(r.uleb())
		if reg == m.regs.fp && m.regs.isFramePointer(expr) {
			n.fp, n.fpOff = FPAtFP, 0
		} else {
			m.lost(reg)
		}
	case cfaValExpression:
		m.lost(r.uleb())
		r.skip(r.uleb())
	default:
		return false
	}
	return true
}

func (m *machine) advance(units uint64) {
	m.emit()
	m.loc += units * m.cie.codeAlign
}

func (m *machine) savedAt(reg uint64, off int64) {
	switch reg {
	case m.regs.fp:
		m.now.fp, m.now.fpOff = FPSaved, off
	case m.cie.ra:
		m.now.ra, m.now.raOff, m.now.raLost, m.now.noCaller = RASaved, off, false, false
	}
}

func (m *machine) restore(reg uint64) {
	switch reg {
	case m.regs.fp:
		m.now.fp, m.now.fpOff = m.cie.initial.fp, m.cie.initial.fpOff
	case m.cie.ra:
		i := &m.cie.initial
		m.now.ra, m.now.raOff, m.now.raLost, m.now.noCaller = i.ra, i.raOff, i.raLost, i.noCaller
	}
}

func (m *machine) same(reg uint64) {
	switch reg {
	case m.regs.fp:
		m.now.fp, m.now.fpOff = FPSame, 0
	case m.cie.ra:
		m.now.ra, m.now.raOff, m.now.raLost = RAInLR, 0, false
	}
}

func (m *machine) lost(reg uint64) {
	switch reg {
	case m.regs.fp:
		m.now.fp, m.now.fpOff = FPLost, 0
	case m.cie.ra:
		m.now.raLost = true
	}
}

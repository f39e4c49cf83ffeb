package ehframe

import "encoding/binary"

// reader reads numbers in the order of the section. Reading past the end gives zeros
// and sets failed.
type reader struct {
	b      []byte
	at     int
	addr   uint64 // where b[0] is loaded
	failed bool
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)-r.at) {
		r.failed = true
		r.at = len(r.b)
		return nil
	}
	b := r.b[r.at : r.at+int(n)]
	r.at += int(n)
	return b
}

func (r *reader) skip(n uint64) { r.take(n) }

func (r *reader) more() bool { return r.at < len(r.b) && !r.failed }

func (r *reader) u8() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *reader) uleb() uint64 {
	var v uint64
	for shift := uint(0); ; shift += 7 {
		b := r.u8()
		if shift < 64 {
			v |= uint64(b&0x7f) << shift
		}
		if b&0x80 == 0 {
			return v
		}
	}
}

func (r *reader) sleb() int64 {
	var v int64
	for shift := uint(0); ; {
		b := r.u8()
		if shift < 64 {
			v |= int64(b&0x7f) << shift
		}
		shift += 7
		if b&0x80 == 0 {
			if shift < 64 && b&0x40 != 0 {
				v |= -1 << shift
			}
			return v
		}
	}
}

func (r *reader) text() string {
	from := r.at
	for r.u8() != 0 {
	}
	return string(r.b[from:max(from, r.at-1)])
}

// How an encoded pointer is written: DW_EH_PE_ in the Linux Standard Base.
const (
	peFormat = 0x0f
	peBase   = 0x70
	pePCRel  = 0x10
	peOmit   = 0xff
)

func (r *reader) pointer(encoding byte) uint64 {
	if encoding == peOmit {
		return 0
	}
	here := r.addr + uint64(r.at)
	var v uint64
	switch encoding & peFormat {
	case 0x00, 0x04, 0x0c:
		v = r.u64()
	case 0x01:
		v = r.uleb()
	case 0x02:
		v = uint64(r.u16())
	case 0x03:
		v = uint64(r.u32())
	case 0x09:
		v = uint64(r.sleb())
	case 0x0a:
		v = uint64(int64(int16(r.u16())))
	case 0x0b:
		v = uint64(int64(int32(r.u32())))
	default:
		r.failed = true
	}
	switch encoding & peBase {
	case 0:
	case pePCRel:
		v += here
	default:
		r.failed = true // relative to text, data or function: no compiler for these machines writes it
	}
	return v
}

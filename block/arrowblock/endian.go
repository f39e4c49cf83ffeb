//go:build armbe || arm64be || m68k || mips || mips64 || mips64p32 || ppc || ppc64 || s390 || s390x || shbe || sparc || sparc64

package arrowblock

// Arrow's buffers are little-endian, and columns are used where they lie. On a
// big-endian machine this package does not compile, rather than read other numbers.
const _ uint = -1 // Arrow blocks need a little-endian machine

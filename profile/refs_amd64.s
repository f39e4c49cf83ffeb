#include "textflag.h"

// Each byte of 127, and the weights of the bytes of a number: 1 and 128.
DATA bits7<>+0(SB)/8, $0x7f7f7f7f7f7f7f7f
DATA bits7<>+8(SB)/8, $0x7f7f7f7f7f7f7f7f
GLOBL bits7<>(SB), RODATA|NOPTR, $16
DATA weights<>+0(SB)/8, $0x8001800180018001
DATA weights<>+8(SB)/8, $0x8001800180018001
GLOBL weights<>(SB), RODATA|NOPTR, $16

// MORE16 says in BX which of the 16 bytes at offset(SI) have their highest bit set.
#define MORE16(offset) \
	MOVOU    offset(SI), X0 \
	PMOVMSKB X0, BX

// func refsByEight(refs *uint32, b *byte, size int, table *[256]eight) (n, read int, largest uint16)
TEXT ·refsByEight(SB), NOSPLIT, $0-50
	MOVQ    refs+0(FP), DI
	MOVQ    b+8(FP), SI
	MOVQ    size+16(FP), R9
	MOVQ    table+24(FP), R8
	MOVQ    DI, R10
	MOVQ    SI, R11
	ADDQ    SI, R9               // the end
	MOVOU   bits7<>(SB), X5
	MOVOU   weights<>(SB), X6
	PCMPEQW X7, X7               // -1 each
	PXOR    X4, X4               // the largest numbers

window: // of 64 bytes: DX tells which of them are followed by more of their varint
	MOVQ R9, CX
	SUBQ SI, CX
	JLE  done
	MORE16(0)
	MOVQ BX, DX
	MORE16(16)
	SHLQ $16, BX
	ORQ  BX, DX
	MORE16(32)
	SHLQ $32, BX
	ORQ  BX, DX
	MORE16(48)
	SHLQ $48, BX
	ORQ  BX, DX
	LEAQ 56(SI), R12             // up to here the window has eight bytes
	CMPQ CX, $64
	JGE  eight
	MOVQ $-1, BX                 // what lies behind the end is never whole
	SHLQ CX, BX
	ORQ  BX, DX

eight:
	MOVBLZX DX, BX
	SHLQ    $5, BX
	MOVQ    24(R8)(BX*1), CX     // read
	SARQ    CX, DX
	TESTQ   CX, CX
	JEQ     done

	// Gather the bytes of each number, join their bits, subtract 1, keep the largest,
	// and write them in 32 bits each.
	MOVQ      (SI), X0
	MOVOU     (R8)(BX*1), X1
	PSHUFB    X1, X0
	PAND      X5, X0
	MOVO      X6, X1
	PMADDUBSW X0, X1
	PADDW     X7, X1
	PMAXUW    X1, X4
	PMOVSXWD  X1, X2
	MOVOU     X2, (DI)
	PSRLO     $8, X1
	PMOVSXWD  X1, X2
	MOVOU     X2, 16(DI)

	ADDQ CX, SI
	MOVQ 16(R8)(BX*1), BX        // n
	LEAQ (DI)(BX*4), DI
	CMPQ SI, R12
	JLE  eight
	JMP  window

done:
	SUBQ R10, DI
	SHRQ $2, DI
	MOVQ DI, n+32(FP)
	SUBQ R11, SI
	MOVQ SI, read+40(FP)

	// The largest of eight.
	MOVO   X4, X1
	PSRLO  $8, X1
	PMAXUW X1, X4
	MOVO   X4, X1
	PSRLO  $4, X1
	PMAXUW X1, X4
	MOVO   X4, X1
	PSRLO  $2, X1
	PMAXUW X1, X4
	MOVQ   X4, AX
	MOVW   AX, largest+48(FP)
	RET

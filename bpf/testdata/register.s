# A leaf that keeps its frame address in r11 for all of its time, as OpenSSL's do.
	.globl main
	.type main, @function
main:
	.cfi_startproc
	push %rbx
	.cfi_def_cfa_offset 16
1:	call busy
	jmp 1b
	.cfi_endproc
	.size main, .-main
	.type busy, @function
busy:
	.cfi_startproc
	mov %rsp, %r11
	.cfi_def_cfa r11, 8
	sub $256, %rsp
	mov $1000000, %rcx
2:	dec %rcx
	jnz 2b
	mov %r11, %rsp
	.cfi_def_cfa rsp, 8
	ret
	.cfi_endproc
	.size busy, .-busy
	.section .note.GNU-stack,"",@progbits

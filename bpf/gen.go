package bpf

// Debian's clang and llvm (14) make these; nothing else is needed, for the
// programs include no header but their own.
//
//go:generate go tool bpf2go -go-package bpf -target amd64,arm64 -cc clang -strip llvm-strip -cflags "-O2 -g -Wall -Werror" -type record -type row -type table -type mapping -type chunk -type chunk_key -type python_process kernel c/profile.bpf.c

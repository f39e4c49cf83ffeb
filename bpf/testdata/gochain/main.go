// Gochain spends its time in frameless leaves below inlined calls, or with an argument in
// system calls.
package main

import (
	"os"
	"time"
)

var (
	sink    uint64
	mode    int
	zero, _ = os.Open("/dev/zero")
	buf     = make([]byte, 1<<16)
)

//go:noinline
func leaf(n uint64) uint64 {
	for range 200000 {
		n = n*2862933555777941757 + 3037000493
	}
	sink += n
	return n
}

func inlined(n uint64) uint64 { return leaf(n) + 1 }

//go:noinline
func g3(n uint64) uint64 { return inlined(n) + 1 }

//go:noinline
func g2(n uint64) uint64 { return g3(n) + 1 }

//go:noinline
func g1(n uint64) uint64 {
	if mode == 1 {
		return calls()
	}
	return g2(n) + 1
}

//go:noinline
func calls() uint64 {
	n, _ := zero.Read(buf)
	return uint64(n) + uint64(time.Now().Nanosecond())
}

func main() {
	if len(os.Args) > 1 {
		mode = 1
	}
	for i := uint64(0); ; i++ {
		g1(i)
	}
}

// Command example is a Go program that can be profiled: it burns CPU, allocates, blocks
// and contends for a lock, and offers all of that over HTTP.
//
//	go run . -http-address 127.0.0.1:6060
package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof" // registers GET /debug/pprof/
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/felixge/fgprof"
)

func main() {
	address := flag.String("http-address", "127.0.0.1:6060", "where to offer profiles")
	flag.Parse()
	runtime.SetBlockProfileRate(10_000)  // one sample for each 10 µs of blocking
	runtime.SetMutexProfileFraction(100) // one of 100 contentions
	http.Handle("GET /debug/pprof/fgprof", fgprof.Handler())

	listener, err := net.Listen("tcp", *address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr())
	var mu sync.Mutex
	for range 2 {
		go work(&mu)
	}
	fmt.Fprintln(os.Stderr, http.Serve(listener, nil))
}

// work does a bit of everything, with pauses.
func work(mu *sync.Mutex) {
	for kept := [][]byte{}; ; {
		kept = append(kept[max(0, len(kept)-100):], burn(2*time.Millisecond))
		mu.Lock()
		wait(3 * time.Millisecond)
		mu.Unlock()
	}
}

// burn is what a CPU profile shows.
func burn(d time.Duration) []byte {
	sum := make([]byte, 64<<10)
	for end := time.Now().Add(d); time.Now().Before(end); {
		h := sha256.Sum256(sum)
		copy(sum, h[:])
	}
	return sum
}

// wait is what only fgprof and the block profile show.
func wait(d time.Duration) { <-time.After(d) }

// Package machine decides whether a test may sample the whole machine.
//
// Such tests take minutes, need root, and measure what other tests disturb: they run
// by make test-bpf alone, one package after the other. It is for tests only.
package machine

import (
	"os"
	"testing"
)

// variable is set by make test-bpf.
const variable = "COLDFRAME_TEST_BPF"

// Sampled skips a test unless it was asked to sample this machine and the machine lets
// itself be sampled: refused is bpf.Inspect's.
func Sampled(t testing.TB, refused error) {
	t.Helper()
	if os.Getenv(variable) == "" {
		t.Skip("samples the whole machine; run it by: make test-bpf")
	}
	if refused != nil {
		t.Skipf("this machine cannot be sampled: %v", refused)
	}
}

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
// itself be sampled: refused is bpf.Inspect's. Where CI is set, a machine that does not is a
// failure.
func Sampled(t testing.TB, refused error) {
	t.Helper()
	if os.Getenv(variable) == "" {
		t.Skip("samples the whole machine; run it by: make test-bpf")
	}
	if refused == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("this machine cannot be sampled, and CI has promised that it can: %v", refused)
	}
	t.Skipf("this machine cannot be sampled: %v", refused)
}

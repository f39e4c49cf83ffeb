package corpus

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// CPUTime is how long this process has used CPUs, all of them together, since it
// began: user and system time of every thread, and so of the garbage collector too.
func CPUTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(fmt.Sprintf("corpus: getrusage: %v", err)) // fails only for arguments that do not exist
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// ReportCPU makes a benchmark report cpu-ms/profile, the CPU time of the whole
// process for each of the profiles that one iteration handles. Time on the clock
// would leave out what the garbage collector does on another CPU. Use it around
// the loop:
//
//	defer corpus.ReportCPU(b, len(profiles))()
//	for b.Loop() {
func ReportCPU(b *testing.B, profiles int) func() {
	before := CPUTime()
	return func() {
		used := CPUTime() - before
		b.ReportMetric(used.Seconds()*1e3/float64(b.N)/float64(profiles), "cpu-ms/profile")
	}
}

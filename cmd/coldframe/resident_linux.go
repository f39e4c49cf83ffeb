package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// limitMemory keeps the agent small on hosts that run for others. Beyond what may wait in memory
// it has some tens of megabytes in use, and reading a large binary needs as much for a moment;
// without a limit the heap would stay at twice the most that was ever in use. GOMEMLIMIT wins.
func limitMemory(waiting int64) {
	const own = 64 << 20
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(own + waiting)
	}
}

// shedStart lets go of the parts of the binary that only starting up has touched, some 70 MiB.
// They are clean pages of a file: what is needed again is mapped again, without being read again.
func shedStart() error {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("give back what the start used: %w", err)
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("give back what the start used: %w", err)
	}
	var errs []error
	for line := range strings.Lines(string(maps)) {
		var start, end uintptr
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &start, &end, &mode); err != nil || !strings.HasSuffix(strings.TrimSpace(line), exe) || mode[1] == 'w' {
			continue
		}
		if _, _, e := unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTNEED); e != 0 {
			errs = append(errs, fmt.Errorf("give back [%#x, %#x) of %s: %w", start, end, exe, e))
		}
	}
	return errors.Join(errs...)
}

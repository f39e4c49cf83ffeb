package query

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// cpuMeter shares the process' CPU time out among the queries that run: what is used
// while n of them run is charged to each by an n-th. A query that runs alone is charged
// exactly what the process used, garbage collection included.
type cpuMeter struct {
	mu      sync.Mutex
	running int
	seen    time.Duration // the process' CPU time at the last change
	share   time.Duration // charged to one that has been running all the time
}

// start begins to charge a query; the returned func tells what it was charged, and
// stops. It must be called once.
func (m *cpuMeter) start() (stop func() time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance()
	m.running++
	before := m.share
	return func() time.Duration {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.advance()
		m.running--
		return m.share - before
	}
}

func (m *cpuMeter) advance() {
	now := processCPU()
	if m.running > 0 {
		m.share += (now - m.seen) / time.Duration(m.running)
	}
	m.seen = now
}

// processCPU is the CPU time that the process has used, 0 where it cannot be told.
func processCPU() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

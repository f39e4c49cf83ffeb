package sim

import (
	"flag"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
)

var (
	seed = flag.Uint64("seed", 0, "run this seed alone, and tell its story")
	runs = flag.Int("runs", 50, "how many runs the simulation makes")
)

// Runs make much garbage and keep little: it is taken away when there is much of it.
func TestMain(m *testing.M) {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(512 << 20)
	os.Exit(m.Run())
}

// Nothing counts twice and nothing is lost, whatever happens.
func TestSimulation(t *testing.T) {
	if *seed != 0 {
		o := Run(t, *seed)
		t.Logf("seed %d: trace %016x, %+v", *seed, o.Trace, o.Counts)
		if o.Broken != nil {
			t.Fatalf("%s\n%v", o.Story, o.Broken)
		}
		return
	}
	if testing.Short() {
		*runs = min(*runs, 20)
	}
	var mu sync.Mutex
	var total Counts
	each(t, *runs, func(t *testing.T, seed uint64) bool {
		o := Run(t, seed)
		mu.Lock()
		defer mu.Unlock()
		total.add(o.Counts)
		if o.Broken != nil {
			t.Errorf("-seed %d: %v", seed, o.Broken)
		}
		return o.Broken == nil
	})
	average := total.over(*runs)
	t.Logf("%d runs, of each on average: %+v", *runs, average)
	if *runs >= 1000 && (average.Commits < 150 || average.Uploads < 70) {
		t.Errorf("%d commits and %d uploads a run are too few to show anything: want 150 and 70", average.Commits, average.Uploads)
	}
}

// each calls run with the seeds 1 to n on all CPUs, until it returns false.
func each(t *testing.T, n int, run func(t *testing.T, seed uint64) bool) {
	workers := runtime.GOMAXPROCS(0)
	t.Run("", func(t *testing.T) {
		for worker := range workers {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for seed := 1 + worker; seed <= n; seed += workers {
					if !run(t, uint64(seed)) {
						return
					}
				}
			})
		}
	})
}

func (c *Counts) add(o Counts) {
	c.Requests += o.Requests
	c.Uploads += o.Uploads
	c.Commits += o.Commits
	c.Sweeps += o.Sweeps
	c.Merges += o.Merges
	c.Abandoned += o.Abandoned
	c.Reads += o.Reads
	c.Deletes += o.Deletes
	c.Stragglers += o.Stragglers
	c.GivenUp += o.GivenUp
	c.TooLate += o.TooLate
	c.TriedAgain += o.TriedAgain
	c.Quarantined += o.Quarantined
	c.Blind += o.Blind
	c.Expired += o.Expired
}

func (c Counts) over(n int) Counts {
	for _, field := range []*int{&c.Requests, &c.Uploads, &c.Commits, &c.Sweeps, &c.Merges, &c.Abandoned, &c.Reads, &c.Deletes, &c.Stragglers, &c.GivenUp, &c.TooLate, &c.TriedAgain, &c.Quarantined, &c.Blind, &c.Expired} {
		*field /= n
	}
	return c
}

// The same seed gives the same run.
func TestRunsReplay(t *testing.T) {
	for seed := range uint64(5) {
		a, b := Run(t, 1000+seed), Run(t, 1000+seed)
		if a.Trace != b.Trace || a.Counts != b.Counts {
			t.Errorf("seed %d: trace %016x with %+v, then %016x with %+v", seed, a.Trace, a.Counts, b.Trace, b.Counts)
		}
	}
}

// Package agent profiles everything that runs on a host: it samples with eBPF, tells
// processes apart, names addresses, attaches labels and hands out one pprof for each
// label set and window.
//
// Data flows one way. Each cycle, samples and process events are read from the kernel
// and merged by time (order.go), so that a sample is always seen with the mappings its
// process had at that instant, even when the process is gone by now. Events keep the
// table of processes (process.go), whose binaries are opened in the background
// (binary.go) and whose unwind tables go back into the kernel. Samples become stacks of
// the current window (window.go); when it ends, addresses get names and profiles are
// written (pprof.go) to the [Sink].
//
// Nothing of it fails for good: what cannot be read is counted and left without a name.
package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coldframe/coldframe/bpf"
	"github.com/coldframe/coldframe/profile"
)

// Unwind says how stacks of code without frame pointers are walked.
type Unwind string

// The ways to unwind.
const (
	// UnwindAuto walks by the tables that compilers write for exceptions, and by frame
	// pointers where there are none. See docs/decisions/0020-unwind-tables.md.
	UnwindAuto Unwind = "auto"
	// UnwindFP walks by frame pointers alone.
	UnwindFP Unwind = "fp"
)

// Config says what to profile. Its zero fields mean the defaults.
type Config struct {
	Node     string         // the label node; required
	Window   time.Duration  // what one profile covers; 0 means 10 s. Shorter is seen sooner and costs more bytes
	Unwind   Unwind         // "" means auto
	Sampler  bpf.Config     // how often, how much memory, off-CPU
	External profile.Labels // added to all series
	Root     string         // the host's root folder when the agent sees it elsewhere; "" means /
	Observer Observer

	// IncludeEnv are environment variables of processes that become labels, in lower case.
	IncludeEnv []string

	// Container tells labels of a container, by its ID of 64 hexadecimal digits; of them,
	// those that begin with "__" are for Relabel alone. It must not wait: false means that
	// nothing is known yet, and it is asked again some seconds later. nil: nobody knows.
	Container func(id string) (labels map[string]string, ok bool)

	// Every Interval it is drawn whether the whole host is sampled until the next: Threshold
	// of a hundred times. 0 and 100 mean always, and draw nothing. What is written is not scaled
	// up: of many hosts each is sampled for its share of the time.
	Interval  time.Duration // 0 means a minute
	Threshold int

	// Relabel changes a process' labels when it is first sampled. What it does not keep, the
	// kernel drops from then on. nil keeps all. [Agent.SetRelabel] changes it later.
	Relabel Relabel

	// Labels of single samples. Each makes more distinct samples, and profiles larger.
	Thread bool // thread_id and thread_name
	CPU    bool // cpu
	PID    bool // pid
}

// Observer hears what is worth a log line. Its zero value hears nothing.
type Observer struct {
	// Failed reports what went wrong and was survived: a binary that cannot be read, a
	// profile that the sink refused.
	Failed func(error)
}

func (o Observer) failed(err error) {
	if o.Failed != nil && err != nil {
		o.Failed(err)
	}
}

// Profile is what the agent writes: a gzip-compressed pprof of one label set and window.
type Profile struct {
	Name    string // "process_cpu" or "off_cpu"
	Labels  profile.Labels
	Range   profile.TimeRange
	Samples int // distinct stacks
	Pprof   []byte
}

// Sink takes finished profiles. The agent calls it from one goroutine, a window at a time.
type Sink interface {
	// Write takes a profile. An error means that it is lost; the agent goes on.
	Write(ctx context.Context, p Profile) error
}

// Stats are sums since the agent began.
type Stats struct {
	Kernel         bpf.Counters
	Sampling       bool   // now; false in an interval that was not drawn
	Samples        uint64 // on-CPU samples seen
	Complete       uint64 // of them, those whose stack is whole
	Kernels        uint64 // of them, those of kernel threads
	ByStop         map[string]uint64
	Dropped        uint64 // by relabelling, before the kernel knew
	EventsLost     uint64 // process events; mappings are read again after each loss
	UnknownLeaf    uint64 // samples whose topmost user address is in no mapping
	PythonMerged   uint64 // samples whose Python stack fits its native one
	PythonUnmerged uint64
	Waits          uint64 // off-CPU waits attributed
	WaitsForgotten uint64
	Profiles       uint64
	ProfilesLost   uint64 // refused by the sink
	Processes      int
	Binaries       int
	TableRows      int
	Tables         int
	TablesRefused  uint64 // binaries that found no room and are walked by frame pointers
}

const (
	// cycle is how often the rings are read.
	cycle = 50 * time.Millisecond
	// margin is how far behind the present the merge of samples and events stays, so that
	// what other CPUs are just writing is in its place.
	margin = 5 * time.Millisecond
	// leftover is how often processes that ended unnoticed are looked for.
	leftover = 30 * time.Second
)

// Agent profiles the host between New and the end of Run.
type Agent struct {
	config    Config
	sampler   *bpf.Sampler
	order     order
	processes *processes
	window    *window
	waits     waits
	writer    *writer
	stats     Stats
	calls     chan func() // what others ask of the agent's goroutine
	running   atomic.Bool
}

// New loads the kernel half and reads what runs now. Sampling begins; Run must follow soon.
func New(config Config, sink Sink) (*Agent, error) {
	switch config.Unwind {
	case "":
		config.Unwind = UnwindAuto
	case UnwindAuto, UnwindFP:
	default:
		return nil, fmt.Errorf("unwind %q: want auto or fp: %w", config.Unwind, profile.ErrInvalid)
	}
	if config.Node == "" {
		return nil, fmt.Errorf("the agent needs the node's name: %w", profile.ErrInvalid)
	}
	if config.Window == 0 {
		config.Window = 10 * time.Second
	}
	if config.Interval == 0 {
		config.Interval = time.Minute
	}
	if config.Threshold < 0 || config.Threshold > 100 || config.Interval < 0 {
		return nil, fmt.Errorf("sampling %d of 100 intervals of %s: not in [0, 100], or no time: %w", config.Threshold, config.Interval, profile.ErrInvalid)
	}
	sampler, err := bpf.Open(config.Sampler)
	if err != nil {
		return nil, fmt.Errorf("open the sampler: %w", err)
	}
	a := &Agent{config: config, sampler: sampler, calls: make(chan func()), waits: waits{}}
	a.stats.ByStop, a.stats.Sampling = map[string]uint64{}, true
	a.processes = newProcesses(config, sampler.Tables())
	a.processes.seed()
	a.window = newWindow(time.Now())
	a.writer = newWriter(config, sampler.Period(), a.processes.binaries, sink)
	return a, nil
}

// Run profiles until ctx is done, then writes what the last window holds and releases the
// kernel half. It returns nil after a clean stop.
func (a *Agent) Run(ctx context.Context) error {
	if !a.running.CompareAndSwap(false, true) {
		return errors.New("agent runs already")
	}
	stop := a.processes.binaries.start()
	defer stop()
	a.writer.start(ctx)
	err := a.loop(ctx)
	a.writer.finish(a.window.seal(time.Now()))
	return errors.Join(err, a.sampler.Close())
}

func (a *Agent) loop(ctx context.Context) error {
	tick := time.NewTicker(cycle)
	defer tick.Stop()
	flush := time.NewTicker(a.config.Window)
	defer flush.Stop()
	sweep := time.NewTicker(leftover)
	defer sweep.Stop()
	var drawn <-chan time.Time
	if t := a.config.Threshold; t > 0 && t < 100 {
		draw := time.NewTicker(a.config.Interval)
		defer draw.Stop()
		drawn = draw.C
		a.draw()
	}
	for {
		select {
		case <-ctx.Done():
			return a.turn(0)
		case <-tick.C:
			if err := a.turn(margin); err != nil {
				return err
			}
		case <-flush.C:
			if now := time.Now(); a.writer.offer(a.window.seal(now)) {
				a.window = newWindow(now)
			}
		case <-sweep.C:
			a.config.Observer.failed(a.sampler.FollowCPUs())
			a.processes.sweep()
		case <-drawn:
			a.draw()
		case l := <-a.processes.binaries.loaded:
			a.processes.loaded(l)
		case call := <-a.calls:
			call()
		}
	}
}

// draw decides whether the host is sampled until it is drawn again.
func (a *Agent) draw() {
	a.stats.Sampling = rand.IntN(100) < a.config.Threshold
	if a.stats.Sampling {
		a.config.Observer.failed(a.sampler.Resume())
	} else {
		a.config.Observer.failed(a.sampler.Pause())
	}
}

// turn reads the rings and applies, in order of time, what is older than behind.
func (a *Agent) turn(behind time.Duration) error {
	cut := monotonic() - uint64(behind)
	if err := a.sampler.ReadEvents(a.order.addEvent); err != nil {
		return fmt.Errorf("read process events: %w", err)
	}
	if err := a.sampler.ReadSamples(a.order.addSample); err != nil {
		return fmt.Errorf("read samples: %w", err)
	}
	a.order.until(cut, a.event, a.sample)
	a.processes.publish()
	return nil
}

func (a *Agent) event(e bpf.Event) {
	if e.Kind == bpf.Missed {
		a.stats.EventsLost += e.Missed
	}
	if e.Kind == bpf.Exited {
		delete(a.waits, e.TID)
	}
	a.processes.apply(e)
}

func (a *Agent) sample(s *bpf.Sample) {
	if s.Kind == bpf.Woken {
		a.woken(s)
		return
	}
	p := a.processes.of(s)
	to := a.processes.seriesOf(p)
	if to == nil {
		a.stats.Dropped++
		return
	}
	st := a.stackOf(p, s)
	if s.Kind == bpf.Blocked {
		a.blocked(s, to, st)
		return
	}
	a.stats.Samples++
	p.samples++
	a.stats.ByStop[s.Stop.String()]++
	if s.Stop == bpf.NoUser {
		a.stats.Kernels++
	}
	if s.Stop.Complete() {
		a.stats.Complete++
		p.complete++
	}
	a.window.add(onCPU, to, st, 1, int64(a.sampler.Period()))
}

// Stats asks a running agent. It waits for one to run until ctx is done.
func (a *Agent) Stats(ctx context.Context) (s Stats, err error) {
	err = a.call(ctx, func() { s = a.snapshot() })
	return s, err
}

// SetRelabel changes the labels of a running agent's processes from the next sample on.
func (a *Agent) SetRelabel(ctx context.Context, r Relabel) error {
	return a.call(ctx, func() {
		a.config.Relabel = r
		a.processes.relabel(r)
	})
}

// call runs f in the agent's goroutine and waits for it.
func (a *Agent) call(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case a.calls <- func() { f(); close(done) }:
		<-done
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ProcessInfo is what the agent knows of a process that runs.
type ProcessInfo struct {
	PID      uint32         `json:"pid"`
	Parent   uint32         `json:"parent"`
	Comm     string         `json:"comm"`
	Exe      string         `json:"exe"`
	Labels   profile.Labels `json:"labels"` // of its series; none until it is sampled
	Samples  uint64         `json:"samples"`
	Complete uint64         `json:"complete"` // of them, those whose stack is whole
	Dropped  bool           `json:"dropped"`  // by relabelling
	Python   bool           `json:"python"`   // its Python stack is walked
	Mappings int            `json:"mappings"` // executable ones
}

// Processes asks a running agent for all processes, by ID.
func (a *Agent) Processes(ctx context.Context) (all []ProcessInfo, err error) {
	err = a.call(ctx, func() {
		for _, p := range a.processes.byPID {
			all = append(all, p.info())
		}
	})
	slices.SortFunc(all, func(x, y ProcessInfo) int { return cmp.Compare(x.PID, y.PID) })
	return all, err
}

func (a *Agent) snapshot() Stats {
	s := a.stats
	s.ByStop = map[string]uint64{}
	for k, v := range a.stats.ByStop {
		s.ByStop[k] = v
	}
	var err error
	s.Kernel, err = a.sampler.Counters()
	a.config.Observer.failed(err)
	s.Processes = len(a.processes.byPID)
	s.Binaries = len(a.processes.binaries.byID)
	s.TableRows = a.sampler.Tables().Rows()
	s.Tables = a.processes.binaries.tables()
	s.TablesRefused = a.processes.binaries.refused
	s.Profiles, s.ProfilesLost = a.writer.written.Load(), a.writer.lost.Load()
	return s
}

// monotonic is the clock that samples and events are stamped with.
func monotonic() uint64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(fmt.Sprintf("clock_gettime: %v", err)) // CLOCK_MONOTONIC always exists
	}
	return uint64(t.Nano())
}

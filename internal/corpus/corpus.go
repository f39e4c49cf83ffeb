// Package corpus makes profiles for tests and benchmarks: thousands of CPU and
// heap profiles of a fleet, drawn from real stacks.
//
// The stacks were recorded from named programs (see README.md) and are committed
// as [Seeds]. [All] binds the services of an imagined fleet to those programs and
// draws profiles as the Go runtime would have sampled them, so that stacks repeat
// as they do in life: much within an instance, less between instances of a
// service, and between services hardly outside the standard library. With
// [Config].AllDistinct none repeats, which is the worst that stacks can do.
//
// The same Config gives the same bytes. The package is for tests and benchmarks
// alone; nothing that ships imports it.
package corpus

import (
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/coldframe/coldframe/profile"
)

// Profile is one profile as a client sends it.
type Profile struct {
	Name   string         // "process_cpu" or "memory"
	Labels profile.Labels // of its series: service_name, namespace, pod, node, instance
	Time   time.Time      // the same as in Body
	Body   []byte         // pprof in gzip, laid out as runtime/pprof does it. Shared: not to be changed
}

// Config says what fleet to imagine. A zero field means its default.
type Config struct {
	Services  int           // 14
	Instances int           // of all services together; 80. Some services have many, most have few
	Interval  time.Duration // from one profile of an instance and name to the next; 1 min
	Window    time.Duration // how long to go on; 5 min
	Start     time.Time     // 2026-01-05 10:00 UTC, a Monday

	// Samples is how often the CPU was sampled during a profile, on average; 570, which
	// is 57 % of one CPU during 10 s at Go's 100 Hz, or half of one during 60 s at 19 Hz.
	Samples int

	// Seed chooses another fleet of the same shape.
	Seed uint64

	// AllDistinct gives every sample a stack that no other sample has: a call site
	// (address and line) at a random depth that occurs once. All frames above it toward
	// the leaf are then new to a tree of stacks too.
	AllDistinct bool
}

func (c Config) withDefaults() Config {
	setDefault(&c.Services, 14)
	setDefault(&c.Instances, 80)
	setDefault(&c.Interval, time.Minute)
	setDefault(&c.Window, 5*time.Minute)
	setDefault(&c.Samples, 570)
	if c.Start.IsZero() {
		c.Start = time.Date(2026, time.January, 5, 10, 0, 0, 0, time.UTC)
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// All yields the fleet's profiles in the order of their times: of every instance
// two an Interval. A Go program is asked for a CPU and a heap profile; a program
// without heap profiles (compiled from C) is sampled for two CPU profiles.
//
// It works on all CPUs and holds one Interval's profiles at a time; 800 take a
// second or two.
func All(c Config) iter.Seq[Profile] {
	c = c.withDefaults()
	fleet := newFleet(c)
	return func(yield func(Profile) bool) {
		instances := fleet.start()
		for from := time.Duration(0); from < c.Window; from += c.Interval {
			for _, p := range scrape(instances, c.Start.Add(from)) {
				if p.Time.Before(c.Start.Add(c.Window)) && !yield(p) {
					return
				}
			}
		}
	}
}

// FiveMinutes is what 80 instances of 14 services send in five minutes: 800
// profiles. They are made once a process.
func FiveMinutes() []Profile { return fiveMinutes() }

// FiveMinutesDistinct is the same fleet with all stacks distinct.
func FiveMinutesDistinct() []Profile { return fiveMinutesDistinct() }

var (
	fiveMinutes         = sync.OnceValue(func() []Profile { return slices.Collect(All(Config{})) })
	fiveMinutesDistinct = sync.OnceValue(func() []Profile { return slices.Collect(All(Config{AllDistinct: true})) })
)

// Sets are the two corpora that every benchmark runs on, by the name of the
// sub-benchmark.
func Sets() iter.Seq2[string, func() []Profile] {
	return func(yield func(string, func() []Profile) bool) {
		_ = yield("repeating", FiveMinutes) && yield("distinct", FiveMinutesDistinct)
	}
}

// Bytes is how many bytes the profiles' bodies have.
func Bytes(profiles []Profile) int64 {
	var n int64
	for _, p := range profiles {
		n += int64(len(p.Body))
	}
	return n
}

// String is for a test's failure: which profile is meant.
func (p Profile) String() string {
	return fmt.Sprintf("%s%s at %s", p.Name, p.Labels, p.Time.UTC().Format(time.RFC3339Nano))
}

package corpus

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/profile"
)

// fleet is what a Config imagines, before any instance has run.
type fleet struct {
	config   Config
	services []*service
}

// service is a program that many instances run under the same kind of load.
type service struct {
	name, namespace string
	cpu             *workload
	heap            *workload // nil when the program has no heap profiles
	endpoints       bool      // labels its CPU samples as pprof.Do does
}

// workload is how a service uses the stacks of a seed. What is at position i
// belongs to sample i of the seed.
type workload struct {
	binary  *binary
	weights []float64 // how likely a sample has the stack; 0 for what the service never does
}

// binary is a seed's program as a service built it.
//
// The first service of a program runs it as recorded. The others stand for other
// programs of one house: the standard library and the dependencies keep their
// names, the program's own packages get the service's, and the build ID and all
// addresses are others.
type binary struct {
	seed    *pprof.Profile
	names   []string // of seed.Function
	files   []string
	buildID string // of the program's mapping; "" as recorded
	shift   uint64 // of its addresses
}

// serviceNames are used in this order; more services than names get a number.
var serviceNames = [...]string{
	"checkout", "search", "cart", "ledger", "catalog", "sessions", "pricing",
	"shipping", "mailer", "images", "recommend", "gateway", "fraud", "reports",
}

func newFleet(c Config) *fleet {
	type program struct{ cpu, heap *Seed }
	all, err := Seeds()
	if err != nil {
		panic(fmt.Sprintf("corpus: %v", err)) // the seeds are part of this package
	}
	var programs []program
	for i, s := range all {
		if i == 0 || s.Program != all[i-1].Program {
			programs = append(programs, program{})
		}
		switch last := &programs[len(programs)-1]; s.Kind {
		case "cpu":
			last.cpu = &all[i]
		case "heap":
			last.heap = &all[i]
		}
	}
	programs = slices.DeleteFunc(programs, func(p program) bool { return p.cpu == nil })

	f := &fleet{config: c}
	for i := range c.Services {
		p := programs[i%len(programs)]
		s := &service{
			name:      serviceNames[i%len(serviceNames)],
			namespace: [...]string{"shop", "data", "edge"}[i%3],
			endpoints: i%3 == 0,
		}
		if i >= len(serviceNames) {
			s.name = fmt.Sprintf("%s-%d", s.name, i/len(serviceNames)+1)
		}
		s.cpu = newWorkload(c, p.cpu, s.name, i >= len(programs), timesSampled)
		if p.heap != nil {
			s.heap = newWorkload(c, p.heap, s.name, i >= len(programs), timesAllocated)
		}
		f.services = append(f.services, s)
	}
	return f
}

// newWorkload lets a service use a seed's stacks in proportions of its own: what
// lies below one caller becomes more or less likely together, and a fifth of the
// callers are never called.
func newWorkload(c Config, seed *Seed, service string, ownBuild bool, weigh func(*pprof.Sample) float64) *workload {
	const (
		spread = 1.0 // standard deviation of the logarithm of a weight's factor
		never  = 0.2
	)
	w := &workload{
		binary:  newBinary(seed, service, ownBuild),
		weights: make([]float64, len(seed.Profile.Sample)),
	}
	for i, s := range seed.Profile.Sample {
		if len(s.Location) == 0 {
			continue
		}
		outer := randFor(c.Seed, service, "outer", callerID(s, 1, 3))
		inner := randFor(c.Seed, service, "inner", callerID(s, 2, 3))
		if inner.Float64() >= never {
			w.weights[i] = weigh(s) * math.Exp(spread*outer.NormFloat64())
		}
	}
	return w
}

// callerID names the location that lies num/den of the way from the root to the leaf.
func callerID(s *pprof.Sample, num, den int) uint64 {
	last := len(s.Location) - 1
	return s.Location[last-last*num/den].ID
}

// timesSampled is the weight of a CPU sample.
func timesSampled(s *pprof.Sample) float64 { return float64(s.Value[0]) }

// timesAllocated is the weight of a heap sample: how many of its allocations the
// runtime would have sampled.
func timesAllocated(s *pprof.Sample) float64 {
	return float64(s.Value[0]) * allocSampled(blockSize(s))
}

// heapRate is Go's default runtime.MemProfileRate.
const heapRate = 512 << 10

// allocSampled is the probability that the runtime samples an allocation.
func allocSampled(sizeBytes int64) float64 { return 1 - math.Exp(-float64(sizeBytes)/heapRate) }

// blockSize is the bytes of each allocation of a heap sample, at least 1.
func blockSize(s *pprof.Sample) int64 {
	if sizes := s.NumLabel["bytes"]; len(sizes) == 1 {
		return max(1, sizes[0])
	}
	return max(1, s.Value[1]/max(1, s.Value[0]))
}

func newBinary(seed *Seed, service string, own bool) *binary {
	p := seed.Profile
	b := &binary{seed: p, names: make([]string, len(p.Function)), files: make([]string, len(p.Function))}
	rename := func(s string) string { return s }
	if own {
		id := xxhash.Sum64String(service + "/" + seed.Program)
		b.shift = 4096 * (1 + id%512)
		b.buildID = hex.EncodeToString(fmt.Appendf(nil, "%016x%4.4s", id, service))
		if seed.Module != "" {
			rename = func(s string) string { return strings.ReplaceAll(s, seed.Module, "example.com/"+service) }
		}
	}
	for i, f := range p.Function {
		b.names[i], b.files[i] = rename(f.Name), rename(f.Filename)
	}
	return b
}

// instance is a running process.
type instance struct {
	config  Config
	service *service
	labels  profile.Labels
	offset  time.Duration // of its first profile from the start
	load    float64       // how busy it is; 1 is the fleet's mean
	rand    *rand.Rand
	encoder encoder

	cpu, heap lottery
	allocated []int64 // how often the runtime has sampled an allocation at each stack of heap

	// Call sites made for AllDistinct are numbered; those of instance i are i modulo step.
	nextSite, step uint64
}

// start starts the fleet's instances: the first services have many, the last few.
func (f *fleet) start() []*instance {
	var all []*instance
	for i, n := range shares(f.config.Instances, len(f.services)) {
		for k := range n {
			all = append(all, f.newInstance(f.services[i], k, len(all)))
		}
	}
	return all
}

// shares divides n into parts that fall as 1/(i+3), each at least 1.
func shares(n, parts int) []int {
	var sum float64
	for i := range parts {
		sum += 1 / float64(i+3)
	}
	counts := make([]int, parts)
	rest := n
	for i := range counts {
		counts[i] = max(1, int(float64(n)/sum/float64(i+3)))
		rest -= counts[i]
	}
	for i := 0; rest > 0; i, rest = (i+1)%parts, rest-1 {
		counts[i]++
	}
	return counts
}

func (f *fleet) newInstance(s *service, k, ordinal int) *instance {
	pod := fmt.Sprintf("%s-%08x-%d", s.name, uint32(xxhash.Sum64String(s.name)), k)
	labels, err := profile.NewLabels(
		profile.Label{Name: "service_name", Value: s.name},
		profile.Label{Name: "namespace", Value: s.namespace},
		profile.Label{Name: "pod", Value: pod},
		profile.Label{Name: "node", Value: fmt.Sprintf("node-%02d", ordinal%12)},
		profile.Label{Name: "instance", Value: fmt.Sprintf("10.0.%d.%d:6060", ordinal>>8, ordinal&255)},
	)
	if err != nil {
		panic(fmt.Sprintf("corpus: labels of %s: %v", pod, err))
	}
	r := randFor(f.config.Seed, pod, "instance", 0)
	in := &instance{
		config:   f.config,
		service:  s,
		labels:   labels,
		offset:   time.Duration(r.Int64N(int64(f.config.Interval / 2))).Truncate(time.Millisecond),
		load:     0.4 + 1.2*r.Float64(),
		rand:     r,
		cpu:      newLottery(f.config.Seed, pod, s.cpu),
		nextSite: uint64(ordinal) + 1,
		step:     uint64(f.config.Instances + len(f.services)),
	}
	if s.heap != nil {
		in.heap = newLottery(f.config.Seed, pod, s.heap)
		in.allocated = make([]int64, len(s.heap.weights))
		in.allocate(in.age())
	}
	return in
}

// age is how many allocations were sampled before the first profile: between
// 256 MiB and 4 GiB at the default rate, more often nearer to the lower end.
func (in *instance) age() int {
	const gib = 1 << 30 / heapRate
	return int(gib * math.Exp2(4*in.rand.Float64()-2))
}

// lottery draws positions in proportion to weights.
type lottery struct{ sums []float64 }

// newLottery takes a service's weights as one of its instances has them.
func newLottery(seed uint64, pod string, w *workload) lottery {
	const spread = 0.3
	l := lottery{sums: make([]float64, len(w.weights))}
	var sum float64
	for i, weight := range w.weights {
		if weight > 0 {
			z := randFor(seed, pod, "caller", callerID(w.binary.seed.Sample[i], 1, 3)).NormFloat64()
			sum += weight * math.Exp(spread*z)
		}
		l.sums[i] = sum
	}
	return l
}

func (l lottery) draw(r *rand.Rand) int {
	x := r.Float64() * l.sums[len(l.sums)-1]
	i, equal := slices.BinarySearch(l.sums, x)
	for equal && i+1 < len(l.sums) && l.sums[i] == x { // a weight of 0 is never drawn
		i++
	}
	return i
}

// randFor is a source of randomness that belongs to what is named and to nothing else.
func randFor(seed uint64, who, what string, id uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, xxhash.Sum64String(who+"/"+what)^id*0x9e3779b97f4a7c15))
}

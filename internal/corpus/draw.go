package corpus

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"time"
)

// row is a sample of a profile that is about to be written.
type row struct {
	sample   int    // in the seed
	endpoint string // string label, if not empty
	bytes    int64  // numeric label, if not 0
	values   [4]int64

	site  uint64 // if not 0, the location at position depth is this call site instead
	depth int
}

// scrape takes every instance's profiles of the Interval that begins at from,
// ordered by time.
func scrape(instances []*instance, from time.Time) []Profile {
	taken := make([][2]Profile, len(instances))
	var (
		next    = make(chan int)
		workers sync.WaitGroup
	)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := range next {
				taken[i] = instances[i].scrape(from)
			}
		})
	}
	for i := range instances {
		next <- i
	}
	close(next)
	workers.Wait()

	all := make([]Profile, 0, 2*len(taken))
	for _, two := range taken {
		all = append(all, two[:]...)
	}
	slices.SortStableFunc(all, func(a, b Profile) int { return a.Time.Compare(b.Time) })
	return all
}

func (in *instance) scrape(from time.Time) [2]Profile {
	t := from.Add(in.offset)
	later := t.Add(in.config.Interval / 2)
	if in.service.heap == nil {
		return [2]Profile{in.cpuProfile(t), in.cpuProfile(later)}
	}
	return [2]Profile{in.cpuProfile(t), in.heapProfile(later)}
}

// cpuDuration and cpuPeriod are those of net/http/pprof's profile?seconds=10.
const (
	cpuDuration = 10 * time.Second
	cpuPeriod   = 10 * time.Millisecond
)

func (in *instance) cpuProfile(t time.Time) Profile {
	jitter := 0.85 + 0.3*in.rand.Float64()
	samples := max(1, int(math.Round(float64(in.config.Samples)*in.load*jitter)))
	type key struct {
		sample   int
		endpoint string
	}
	seen := make(map[key]int, samples)
	rows := make([]row, 0, samples)
	for range samples {
		k := key{in.cpu.draw(in.rand), in.endpoint()}
		i, ok := seen[k]
		if !ok || in.config.AllDistinct {
			i = len(rows)
			seen[k] = i
			rows = append(rows, in.row(k.sample, in.service.cpu))
			rows[i].endpoint = k.endpoint
		}
		rows[i].values[0]++
		rows[i].values[1] += int64(cpuPeriod)
	}
	return Profile{"process_cpu", in.labels, t, in.encoder.cpu(in.service.cpu.binary, t, rows)}
}

// endpoint is the label of a CPU sample, "" for the 30 % that belong to no
// request and in services that use no labels.
func (in *instance) endpoint() string {
	if !in.service.endpoints || in.rand.Float64() < 0.3 {
		return ""
	}
	paths := [...]string{"/", "/v1/items", "/v1/items/{id}", "/v1/orders", "/v1/users/{id}", "/search", "/admin/reports", "/healthz"}
	x := in.rand.Float64()
	return paths[int(float64(len(paths))*x*x*x)]
}

// heapProfile is everything allocated since the process began, as in life: the
// stacks of one profile are nearly those of the one before.
func (in *instance) heapProfile(t time.Time) Profile {
	in.allocate(int(500 * in.load))
	var rows []row
	for i, n := range in.allocated {
		if n == 0 {
			continue
		}
		r := in.row(i, in.service.heap)
		s := in.service.heap.binary.seed.Sample[i]
		r.bytes = blockSize(s)
		r.values[0], r.values[1] = scaled(n, r.bytes)
		if inUse := in.inUse(s.Value[0], s.Value[2], n); inUse > 0 {
			r.values[2], r.values[3] = scaled(inUse, r.bytes)
		}
		rows = append(rows, r)
	}
	return Profile{"memory", in.labels, t, in.encoder.heap(in.service.heap.binary, t, rows)}
}

// allocate lets the runtime sample n more allocations.
func (in *instance) allocate(n int) {
	for range n {
		in.allocated[in.heap.draw(in.rand)]++
	}
}

// inUse is how many of n sampled allocations were not freed, when in the seed it
// was live of allocated objects.
func (in *instance) inUse(allocated, live, n int64) int64 {
	share := float64(live) / float64(max(1, allocated)) * (0.8 + 0.2*in.rand.Float64())
	return min(n, int64(share*float64(n)+in.rand.Float64()))
}

// scaled is the objects and bytes for which n sampled allocations of the same
// size stand, as the runtime estimates them.
func scaled(n, sizeBytes int64) (objects, bytes int64) {
	estimate := float64(n) / allocSampled(sizeBytes)
	return int64(estimate), int64(estimate * float64(sizeBytes))
}

func (in *instance) row(sample int, w *workload) row {
	r := row{sample: sample}
	if in.config.AllDistinct {
		r.depth = in.rand.IntN(len(w.binary.seed.Sample[sample].Location))
		r.site = in.nextSite
		in.nextSite += in.step
	}
	return r
}

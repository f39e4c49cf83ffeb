package corpus

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sync/errgroup"

	pprof "github.com/google/pprof/profile"
)

// Stats are the figures that a benchmark's result depends on.
type Stats struct {
	Profiles, Services, Series int

	Samples int64 // ticks of CPU and sampled allocations, before equal ones were counted together
	Rows    int64 // pprof's samples: distinct pairs of stack and labels of one profile

	Stacks int   // distinct (service, stack) of all profiles, by frames
	Nodes  int   // of a tree of these stacks: distinct (service, frames from the root on)
	Frames int64 // of all rows' stacks
	Depth  int   // of the deepest stack, in frames

	GzipBytes, RawBytes int64
}

// RowsPerProfile is the mean number of rows.
func (s Stats) RowsPerProfile() float64 { return float64(s.Rows) / float64(s.Profiles) }

// MeanDepth is the mean number of frames of a row's stack.
func (s Stats) MeanDepth() float64 { return float64(s.Frames) / float64(s.Rows) }

// Measure reads every profile with google/pprof, checks it, and counts. It works
// on all CPUs; 800 profiles take some seconds.
//
// A frame is a function, file and line, or a build ID and address when there is
// no function; an inlined function is a frame of its own.
func Measure(profiles []Profile) (Stats, error) {
	var (
		s        Stats
		services = map[string]bool{}
		series   = map[string]bool{}
		stacks   = map[uint64]bool{}
		nodes    = map[uint64]bool{}
	)
	// One chunk at a time, so that not all is decoded at once.
	for chunk := range slices.Chunk(profiles, 8*runtime.GOMAXPROCS(0)) {
		measured := make([]measurement, len(chunk))
		var g errgroup.Group
		g.SetLimit(runtime.GOMAXPROCS(0))
		for i := range chunk {
			g.Go(func() (err error) {
				measured[i], err = measure(chunk[i])
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return Stats{}, err
		}
		for i, m := range measured {
			services[chunk[i].Labels.Service()] = true
			series[chunk[i].Name+chunk[i].Labels.String()] = true
			for _, h := range m.stacks {
				stacks[h] = true
			}
			for _, h := range m.nodes {
				nodes[h] = true
			}
			s.add(m.Stats)
		}
	}
	s.Services, s.Series, s.Stacks, s.Nodes = len(services), len(series), len(stacks), len(nodes)
	return s, nil
}

func (s *Stats) add(one Stats) {
	s.Profiles += one.Profiles
	s.Samples += one.Samples
	s.Rows += one.Rows
	s.Frames += one.Frames
	s.Depth = max(s.Depth, one.Depth)
	s.GzipBytes += one.GzipBytes
	s.RawBytes += one.RawBytes
}

// measurement is what one profile adds: figures, and hashes of which the distinct
// ones count.
type measurement struct {
	Stats
	stacks, nodes []uint64
}

func measure(p Profile) (measurement, error) {
	decoded, rawBytes, err := decode(p.Body)
	if err != nil {
		return measurement{}, fmt.Errorf("%s: %w", p, err)
	}
	m := measureDecoded(decoded, p.Labels.Service())
	m.GzipBytes, m.RawBytes = int64(len(p.Body)), rawBytes
	return m, nil
}

func measureDecoded(p *pprof.Profile, service string) measurement {
	m := measurement{Stats: Stats{Profiles: 1, Rows: int64(len(p.Sample))}}
	root := xxhash.Sum64String(service)
	frames := framesByLocation(p)
	for _, sample := range p.Sample {
		node, depth := root, 0
		for _, l := range slices.Backward(sample.Location) {
			for _, frame := range frames[l.ID] {
				node = (node^frame)*0x9e3779b97f4a7c15 + 1
				node ^= node >> 29
				m.nodes = append(m.nodes, node)
				depth++
			}
		}
		m.stacks = append(m.stacks, node)
		m.Samples += timesDrawn(sample)
		m.Frames += int64(depth)
		m.Depth = max(m.Depth, depth)
	}
	slices.Sort(m.nodes)
	m.nodes = slices.Compact(m.nodes)
	return m
}

func decode(body []byte) (p *pprof.Profile, rawBytes int64, err error) {
	zr, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	raw, err := io.ReadAll(zr)
	if err != nil {
		return nil, 0, err
	}
	if p, err = pprof.ParseUncompressed(raw); err != nil {
		return nil, 0, err
	}
	return p, int64(len(raw)), p.CheckValid()
}

// timesDrawn is for how many samples of the runtime a row stands.
func timesDrawn(s *pprof.Sample) int64 {
	if len(s.Value) == 4 { // heap
		return int64(timesAllocated(s) + 0.5)
	}
	return s.Value[0]
}

// framesByLocation are hashes of each location's frames, outermost first.
func framesByLocation(p *pprof.Profile) map[uint64][]uint64 {
	frames := make(map[uint64][]uint64, len(p.Location))
	for _, l := range p.Location {
		var hashes []uint64
		for _, line := range slices.Backward(l.Line) {
			hashes = append(hashes, xxhash.Sum64String(line.Function.Name+"\x00"+line.Function.Filename+"\x00"+strconv.FormatInt(line.Line, 10)))
		}
		if len(hashes) == 0 {
			hashes = []uint64{xxhash.Sum64String(l.Mapping.BuildID + "\x00" + strconv.FormatUint(l.Address, 16))}
		}
		frames[l.ID] = hashes
	}
	return frames
}

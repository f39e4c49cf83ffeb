package corpus

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"strconv"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/gzip"

	pprof "github.com/google/pprof/profile"
)

// Stats are the figures that a benchmark's result depends on.
type Stats struct {
	Profiles, Services, Series int

	Samples int64 // CPU samples and sampled allocations, before equal ones were counted together
	Rows    int64 // pprof's samples: distinct pairs of stack and labels of one profile

	Stacks int // distinct (service, stack) of all profiles, by frames
	Nodes  int // of a tree of these stacks: distinct (service, frames from the root on)
	Frames int64
	Depth  int // of the deepest stack, in frames

	GzipBytes, RawBytes int64
}

// RowsPerProfile is the mean number of rows.
func (s Stats) RowsPerProfile() float64 { return float64(s.Rows) / float64(s.Profiles) }

// MeanDepth is the mean number of frames of a row's stack.
func (s Stats) MeanDepth() float64 { return float64(s.Frames) / float64(s.Rows) }

// Measure reads every profile with google/pprof, checks it, and counts.
//
// A frame is a function, file and line, or a build ID and address when there is
// no function; an inlined function is a frame of its own.
func Measure(profiles iter.Seq[Profile]) (Stats, error) {
	var (
		s        Stats
		services = map[string]bool{}
		series   = map[string]bool{}
		stacks   = map[uint64]bool{}
		nodes    = map[uint64]bool{}
	)
	for p := range profiles {
		decoded, rawBytes, err := decode(p.Body)
		if err != nil {
			return Stats{}, fmt.Errorf("%s: %w", p, err)
		}
		s.Profiles++
		s.GzipBytes += int64(len(p.Body))
		s.RawBytes += rawBytes
		s.Rows += int64(len(decoded.Sample))
		service := p.Labels.Service()
		services[service] = true
		series[p.Name+p.Labels.String()] = true

		f := newFrames(decoded)
		for _, sample := range decoded.Sample {
			s.Samples += timesDrawn(sample)
			node := xxhash.Sum64String(service)
			depth := 0
			for i := len(sample.Location) - 1; i >= 0; i-- {
				for _, frame := range f.of[sample.Location[i].ID] {
					node = (node^frame)*0x9e3779b97f4a7c15 + 1
					node ^= node >> 29
					nodes[node] = true
					depth++
				}
			}
			stacks[node] = true
			s.Frames += int64(depth)
			s.Depth = max(s.Depth, depth)
		}
	}
	s.Services, s.Series, s.Stacks, s.Nodes = len(services), len(series), len(stacks), len(nodes)
	return s, nil
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
	if len(s.Value) == 2 {
		return s.Value[0]
	}
	return int64(float64(s.Value[0])*allocSampled(blockSize(s)) + 0.5)
}

// frames are the hashes of each location's frames, outermost first, by location ID.
type frames struct{ of map[uint64][]uint64 }

func newFrames(p *pprof.Profile) frames {
	f := frames{of: make(map[uint64][]uint64, len(p.Location))}
	for _, l := range p.Location {
		var hashes []uint64
		for i := len(l.Line) - 1; i >= 0; i-- {
			fn := l.Line[i].Function
			hashes = append(hashes, xxhash.Sum64String(fn.Name+"\x00"+fn.Filename+"\x00"+strconv.FormatInt(l.Line[i].Line, 10)))
		}
		if len(hashes) == 0 {
			hashes = []uint64{xxhash.Sum64String(l.Mapping.BuildID + "\x00" + strconv.FormatUint(l.Address, 16))}
		}
		f.of[l.ID] = hashes
	}
	return f
}

package corpus

import (
	"bytes"
	"embed"
	"fmt"
	"slices"
	"strings"

	pprof "github.com/google/pprof/profile"
)

// Seed is what was recorded of one program.
type Seed struct {
	Program string // "prometheus"
	Version string // "v0.314.0"
	Module  string // import path that the program's own packages begin with; "" when not Go
	Command string // what was run
	Kind    string // "cpu", "heap", "goroutine", "mutex" or "block"
	Body    []byte // pprof in gzip

	// Profile is Body decoded by google/pprof.
	Profile *pprof.Profile
}

//go:embed testdata/seeds
var files embed.FS

// Seeds returns what was recorded, ordered by program and kind. It is read anew each time: kept, its half a
// million objects would be looked at by every garbage collection of a benchmark.
func Seeds() ([]Seed, error) {
	const folder = "testdata/seeds"
	entries, err := files.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var all []Seed
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".pb.gz")
		dot := strings.LastIndexByte(name, '.')
		if name == e.Name() || dot < 0 {
			return nil, fmt.Errorf("seed %s: want PROGRAM.KIND.pb.gz", e.Name())
		}
		body, err := files.ReadFile(folder + "/" + e.Name())
		if err != nil {
			return nil, err
		}
		p, err := pprof.Parse(bytes.NewReader(body))
		if err != nil {
			return nil, fmt.Errorf("seed %s: %w", e.Name(), err)
		}
		all = append(all, Seed{
			Program: name[:dot],
			Version: comment(p, "version"),
			Module:  comment(p, "module"),
			Command: comment(p, "command"),
			Kind:    name[dot+1:],
			Body:    body,
			Profile: p,
		})
	}
	return all, nil
}

// comment finds what seal.go wrote as "key: value".
func comment(p *pprof.Profile, key string) string {
	for _, c := range p.Comments {
		if value, ok := strings.CutPrefix(c, key+": "); ok {
			return value
		}
	}
	return ""
}

// Stats are the figures of the seed's own stacks, as [Measure] counts them.
func (s Seed) Stats() Stats {
	m := measureDecoded(s.Profile, s.Program)
	slices.Sort(m.stacks)
	m.Stacks = len(slices.Compact(m.stacks))
	m.Nodes = len(m.nodes)
	m.GzipBytes = int64(len(s.Body))
	return m.Stats
}

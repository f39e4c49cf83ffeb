//go:build ignore

// Seal merges recordings of one program into a seed and says in its comments
// where they come from:
//
//	go run seal.go -program prometheus -version v0.314.0 -module github.com/prometheus/prometheus \
//		-kind cpu -command "prometheus under 4 queries/s" -out testdata/seeds RECORDING…
//
// It keeps the heaviest stacks when there are more than -stacks of them, and
// removes -trim, the folder the recording was made in, from every path.
package main

import (
	"cmp"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	pprof "github.com/google/pprof/profile"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "seal:", err)
		os.Exit(1)
	}
}

func run() error {
	var (
		program = flag.String("program", "", "name of the recorded program")
		version = flag.String("version", "", "its version")
		module  = flag.String("module", "", "import path that its own packages begin with")
		kind    = flag.String("kind", "", "cpu, heap, goroutine, mutex or block")
		command = flag.String("command", "", "what was run, for people")
		trim    = flag.String("trim", "", "folder to remove from paths")
		stacks  = flag.Int("stacks", 4000, "stacks to keep, the heaviest")
		out     = flag.String("out", "testdata/seeds", "folder to write PROGRAM.KIND.pb.gz to")
	)
	flag.Parse()
	if *program == "" || *version == "" || *kind == "" || flag.NArg() == 0 {
		return errors.New("-program, -version, -kind and at least one recording must be given")
	}
	p, err := merge(flag.Args())
	if err != nil {
		return err
	}
	keepHeaviest(p, *stacks)
	trimPaths(p, *trim)
	p.TimeNanos = 0
	p.Comments = []string{
		"program: " + *program,
		"version: " + *version,
		"module: " + *module,
		"command: " + *command,
	}
	if p = p.Compact(); len(p.Sample) == 0 {
		return errors.New("the recordings hold no sample")
	}
	return write(p, filepath.Join(*out, *program+"."+*kind+".pb.gz"))
}

// merge reads the recordings as one profile. Those without a sample are passed over.
func merge(names []string) (*pprof.Profile, error) {
	var all []*pprof.Profile
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		p, err := pprof.Parse(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if len(p.Sample) == 0 {
			continue
		}
		p.Comments = nil
		all = append(all, p)
	}
	return pprof.Merge(all)
}

func keepHeaviest(p *pprof.Profile, n int) {
	slices.SortStableFunc(p.Sample, func(a, b *pprof.Sample) int { return cmp.Compare(b.Value[0], a.Value[0]) })
	p.Sample = p.Sample[:min(n, len(p.Sample))]
}

func trimPaths(p *pprof.Profile, folder string) {
	if folder == "" {
		return
	}
	folder = strings.TrimSuffix(folder, "/") + "/"
	for _, f := range p.Function {
		f.Filename = strings.ReplaceAll(f.Filename, folder, "")
	}
	for _, m := range p.Mapping {
		m.File = strings.ReplaceAll(m.File, folder, "")
	}
}

func write(p *pprof.Profile, name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	zw, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err != nil {
		return err
	}
	if err := p.WriteUncompressed(zw); err != nil {
		return err
	}
	if err := zw.Close(); err != nil {
		return err
	}
	return f.Close()
}

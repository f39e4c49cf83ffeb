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

// seal merges recordings of one program into a seed and says in its comments
// where they come from.
func seal(args []string) error {
	var (
		flags   = flag.NewFlagSet("seal", flag.ExitOnError)
		program = flags.String("program", "", "name of the recorded program")
		version = flags.String("version", "", "its version")
		module  = flags.String("module", "", "import path that its own packages begin with")
		kind    = flags.String("kind", "", "cpu, heap, goroutine, mutex or block")
		command = flags.String("command", "", "what was run, for people")
		trim    = flags.String("trim", "", "folders to remove from the beginning of paths, by ':'")
		stacks  = flags.Int("stacks", 8000, "stacks to keep, the heaviest")
		out     = flags.String("out", "internal/corpus/testdata/seeds", "folder to write PROGRAM.KIND.pb.gz to")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *program == "" || *version == "" || *kind == "" || flags.NArg() == 0 {
		return errors.New("-program, -version, -kind and at least one recording must be given")
	}
	p, err := merge(flags.Args())
	if err != nil {
		return err
	}
	keepHeaviest(p, *stacks)
	trimPaths(p, *program, filepath.SplitList(*trim))
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

// merge reads the recordings as one profile. Those without a sample, of a program
// that was done before the first tick, are passed over.
func merge(names []string) (*pprof.Profile, error) {
	var all []*pprof.Profile
	for _, name := range names {
		p, err := read(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if len(p.Sample) > 0 {
			all = append(all, p)
		}
	}
	return pprof.Merge(all)
}

func read(name string) (*pprof.Profile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return pprof.Parse(f)
}

func keepHeaviest(p *pprof.Profile, n int) {
	slices.SortStableFunc(p.Sample, func(a, b *pprof.Sample) int { return cmp.Compare(b.Value[0], a.Value[0]) })
	p.Sample = p.Sample[:min(n, len(p.Sample))]
}

// trimPaths removes the folders of the machine that recorded. The program is said
// to lie in /usr/bin.
func trimPaths(p *pprof.Profile, program string, folders []string) {
	for _, f := range p.Function {
		for _, folder := range folders {
			f.Filename = strings.TrimPrefix(f.Filename, strings.TrimSuffix(folder, "/")+"/")
		}
	}
	for _, m := range p.Mapping {
		if filepath.Base(m.File) == program {
			m.File = "/usr/bin/" + program
		}
	}
	// pprof expects the program itself before its libraries.
	slices.SortStableFunc(p.Mapping, func(a, b *pprof.Mapping) int {
		return cmp.Compare(strings.Count(b.File, "/usr/bin/"), strings.Count(a.File, "/usr/bin/"))
	})
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

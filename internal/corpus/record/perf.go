package main

import (
	"bufio"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	pprof "github.com/google/pprof/profile"
)

// perf turns the text of
//
//	perf script -F pid,ip,dso --no-inline
//
// into a CPU profile without symbols: addresses as the binaries have them, and
// each binary's build ID. This is what an agent sends that resolves nothing.
func perf(args []string) error {
	flags := flag.NewFlagSet("perf", flag.ExitOnError)
	hertz := flags.Int64("hertz", 99, "frequency that perf sampled with")
	out := flags.String("out", "", "file to write")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *out == "" {
		return errors.New("-out must be given")
	}
	s := script{
		profile: &pprof.Profile{
			SampleType: []*pprof.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
			PeriodType: &pprof.ValueType{Type: "cpu", Unit: "nanoseconds"},
			Period:     1e9 / *hertz,
		},
		mappings:  map[string]*pprof.Mapping{},
		locations: map[string]*pprof.Location{},
	}
	if err := s.read(os.Stdin); err != nil {
		return err
	}
	merged, err := pprof.Merge([]*pprof.Profile{s.profile}) // counts equal stacks together
	if err != nil {
		return err
	}
	return write(merged, *out)
}

// script reads perf script's text into a profile.
type script struct {
	profile   *pprof.Profile
	mappings  map[string]*pprof.Mapping  // by file
	locations map[string]*pprof.Location // by file and address as perf writes them
	stack     []*pprof.Location
}

func (s *script) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		switch fields := strings.Fields(line); {
		case len(fields) == 0:
			s.endSample()
		case line[0] == '\t' || line[0] == ' ' && len(fields) > 1:
			if err := s.frame(fields[0], strings.Trim(strings.Join(fields[1:], " "), "()")); err != nil {
				return fmt.Errorf("line %q: %w", line, err)
			}
		}
	}
	s.endSample()
	return lines.Err()
}

func (s *script) endSample() {
	if len(s.stack) > 0 {
		s.profile.Sample = append(s.profile.Sample, &pprof.Sample{Location: s.stack, Value: []int64{1, s.profile.Period}})
	}
	s.stack = nil
}

// frame adds a location to the stack, leaf first as perf has it. What is in no
// file (code made at run time, frames that perf could not place) is left out.
func (s *script) frame(address, file string) error {
	if !strings.HasPrefix(file, "/") || strings.HasPrefix(file, "//") {
		return nil
	}
	l := s.locations[file+address]
	if l == nil {
		at, err := strconv.ParseUint(address, 16, 64)
		if err != nil {
			return err
		}
		m, err := s.mapping(file)
		if err != nil {
			return err
		}
		l = &pprof.Location{ID: uint64(len(s.profile.Location) + 1), Mapping: m, Address: m.Start + at}
		s.locations[file+address] = l
		s.profile.Location = append(s.profile.Location, l)
	}
	s.stack = append(s.stack, l)
	return nil
}

// mapping places each file at an address of its own, so that addresses differ
// between files as in a process.
func (s *script) mapping(file string) (*pprof.Mapping, error) {
	if m := s.mappings[file]; m != nil {
		return m, nil
	}
	id, err := buildID(file)
	if err != nil {
		return nil, err
	}
	n := uint64(len(s.mappings) + 1)
	m := &pprof.Mapping{ID: n, Start: n << 32, Limit: n<<32 + 1<<28, File: file, BuildID: id}
	s.mappings[file] = m
	s.profile.Mapping = append(s.profile.Mapping, m)
	return m, nil
}

// buildID reads a binary's GNU build ID in hex, "" when it has none.
func buildID(file string) (string, error) {
	opened, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer opened.Close()
	f, err := elf.NewFile(opened)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	section := f.Section(".note.gnu.build-id")
	if section == nil {
		return "", nil
	}
	note, err := section.Data()
	if err != nil {
		return "", err
	}
	const header = 12 // length of the name, of the ID, and the note's type
	if len(note) < header {
		return "", fmt.Errorf("%s: build ID note of %d bytes", file, len(note))
	}
	id := header + (uint64(binary.LittleEndian.Uint32(note))+3)&^3
	end := id + uint64(binary.LittleEndian.Uint32(note[4:]))
	if end > uint64(len(note)) {
		return "", fmt.Errorf("%s: build ID note says %d bytes, has %d", file, end, len(note))
	}
	return hex.EncodeToString(note[id:end]), nil
}

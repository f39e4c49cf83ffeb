// Package perf turns what Linux' perf has recorded into pprof: perf.data files, and the
// text of perf script.
//
// Each event and program becomes a profile with the label comm. Its values are the
// samples, and the sum of their periods: what perf report calls samples and event count.
// Stacks are those that the kernel walked; of a recording with --call-graph dwarf, whose
// stacks perf walks itself when it reports, the text of perf script has them.
//
// Addresses keep their mappings and build IDs, so that they can be named later, and are
// named at once where the recording's binaries are on this machine, unchanged. What is
// malformed is profile.ErrInvalid.
package perf

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/coldframe/coldframe/agent/symbols"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/profile/draft"
)

// Options are what a recording does not tell itself. Zero fields are allowed.
type Options struct {
	// Ended is when the last sample was taken; a recording with clock data tells it itself.
	// Zero is not known.
	Ended time.Time
	// Open opens a binary of this machine. nil names no addresses.
	Open func(path string) (File, error)
	// Kernel gives the symbols of the kernel with a build ID, nil if it is another's.
	Kernel func(buildID string) *symbols.Kernel
}

// File is a binary. Size is its length in bytes.
type File interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Magic begins every perf.data file of the last fifteen years.
var Magic = []byte("PERFILE2")

// IsRecording says whether data begins as a perf.data file does.
func IsRecording(data []byte) bool { return bytes.HasPrefix(data, Magic) }

// Decode turns a perf.data file into profiles, which have the label comm.
func Decode(data []byte, o Options) ([]draft.Profile, error) {
	f, err := open(data)
	if err != nil {
		return nil, fmt.Errorf("perf.data: %w", err)
	}
	records, err := f.records()
	if err != nil {
		return nil, fmt.Errorf("perf.data: %w", err)
	}
	m := newMaker(f, o)
	for _, r := range records {
		if err := m.record(r); err != nil {
			return nil, fmt.Errorf("perf.data: record at byte %d: %w", r.at, err)
		}
	}
	made, err := m.finish()
	if err != nil {
		return nil, fmt.Errorf("perf.data: %w", err)
	}
	return made, nil
}

func invalidf(format string, values ...any) error {
	return fmt.Errorf(format+": %w", append(values, profile.ErrInvalid)...)
}

// Package pprofblock is level 0: profiles as clients sent them, in a ZIP that unzip
// and go tool pprof open.
//
// A block is made once, by a [Builder], and read from memory, by a [Reader]. Its
// members are stored without further compression: manifest.json first, then 0.pb.gz,
// 1.pb.gz and so on. The manifest tells of each profile what a query needs to decide
// whether to decode it, and a checksum of its own, so that damage to one profile
// costs that profile alone. FORMAT.md, in the folder above, gives every byte.
//
// Reading never trusts: sizes are checked before they are believed, damage is
// block.ErrCorrupt, and data that is returned is what was written. The package does
// not look into the profiles; it only sees to it that each is gzip.
package pprofblock

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

// Manifest says what is in a block.
type Manifest struct {
	ID       block.ID
	Agent    string    // who made the block
	Created  time.Time // by the agent's clock, to the nanosecond
	Profiles []Entry
}

// Entry is what the manifest says of one profile.
type Entry struct {
	Name   string         // "process_cpu": the first word of its profile types
	Labels profile.Labels // of its series

	SampleTypes []profile.ValueType // one or more, in the order of the pprof
	PeriodType  profile.ValueType   // empty when the pprof does not say

	// MinTime is the profile's time: that of the pprof, or when it was received if the
	// pprof has none or one that cannot be. It, not the pprof, decides where the profile
	// belongs. MaxTime is later by the profile's duration. Both are kept to the nanosecond.
	MinTime time.Time
	MaxTime time.Time

	Samples int64

	// Set by the Builder.
	File string // the profile's name in the ZIP
	Size int64  // of the file, in bytes
	CRC  uint32 // CRC32C of the file
}

// Types are the profile types of a profile, one for each sample type. They are
// delta types when the profile has a duration.
func (e Entry) Types() []profile.Type {
	types := make([]profile.Type, len(e.SampleTypes))
	for i, sample := range e.SampleTypes {
		types[i] = profile.Type{Name: e.Name, Sample: sample, Period: e.PeriodType, Delta: e.MaxTime.After(e.MinTime)}
	}
	return types
}

const (
	// MaxProfiles is how many profiles fit into a block: what a ZIP without
	// extensions can count, less the manifest.
	MaxProfiles = 1<<16 - 3
	// MaxSize bounds a block, in bytes.
	MaxSize = 1 << 31

	maxWord        = 1 << 10 // bytes of a name, of an agent's, of a sample type
	maxSampleTypes = 1 << 8

	// maxNanos is the last whole second that nanoseconds since 1970 reach, in 2262.
	maxNanos = (1<<63 - 1) / int64(time.Second) * int64(time.Second)
)

// check refuses what a manifest cannot say.
func (e *Entry) check() error {
	if e.Name == "" || strings.Contains(e.Name, ":") {
		return fmt.Errorf("profile name %.100q is empty or has a colon", e.Name)
	}
	if n := len(e.SampleTypes); n < 1 || n > maxSampleTypes {
		return fmt.Errorf("%d sample types, want 1 to %d", n, maxSampleTypes)
	}
	words := []string{e.Name, e.PeriodType.Type, e.PeriodType.Unit}
	for _, t := range e.SampleTypes {
		if t.Type == "" {
			return fmt.Errorf("sample type %q is empty", t)
		}
		words = append(words, t.Type, t.Unit)
	}
	for i, word := range words {
		if err := checkWord(word); err != nil {
			return err
		}
		if i > 0 && strings.Contains(word, ":") {
			return fmt.Errorf("%.100q, of a sample or period type, has a colon", word)
		}
	}
	if _, err := profile.NewLabels(e.Labels...); err != nil {
		return err
	}
	if e.MinTime.Unix() < 0 || e.MaxTime.Unix() >= maxNanos/int64(time.Second) || e.MaxTime.Before(e.MinTime) {
		return fmt.Errorf("times [%s, %s] are reversed or not between 1970 and 2262", e.MinTime, e.MaxTime)
	}
	if e.Samples < 0 {
		return fmt.Errorf("%d samples", e.Samples)
	}
	return nil
}

func checkWord(s string) error {
	if len(s) > maxWord || !utf8.ValidString(s) {
		return fmt.Errorf("%.100q is longer than %d bytes or not UTF-8", s, maxWord)
	}
	return nil
}

// fileName names a profile in the ZIP by its position in the manifest.
func fileName(i int) string { return fmt.Sprintf("%d.pb.gz", i) }

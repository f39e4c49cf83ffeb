// Package jfr turns Java Flight Recorder's recordings into pprof: those of the JVM itself
// and those of async-profiler.
//
// A recording is a row of chunks, each of which tells its own types, constants and
// times, so each becomes profiles of its own: process_cpu, wall, memory, mutex and block,
// as far as the chunk has events of them. What an event was is kept as the sample label
// jfr_event where several kinds of event become one type.
//
// The format is read as the chunk's own metadata describes it, within bounds, and what
// is malformed is profile.ErrInvalid. A recording that was cut off, as one is whose JVM
// was killed, gives the chunks that are whole.
package jfr

import (
	"bytes"
	"fmt"
	"time"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/profile/draft"
)

// Options are what a recording does not tell itself.
type Options struct {
	// Period is the time that a sample of a CPU or of the wall clock stands for. 0 takes the
	// recording's own setting.
	Period time.Duration
	// Contexts are labels for the context IDs in async-profiler's events; see [ParseContexts].
	Contexts Contexts
}

// Magic begins every recording.
var Magic = []byte("FLR\x00")

// IsRecording says whether data begins as a recording does.
func IsRecording(data []byte) bool { return bytes.HasPrefix(data, Magic) }

// maxBytes bounds a recording, uncompressed.
const maxBytes = 256 << 20

// Decode turns a recording, which may be in gzip, into profiles without labels.
func Decode(data []byte, o Options) ([]draft.Profile, error) {
	u := profile.Decoder{Limits: profile.Limits{MaxBytes: maxBytes}}
	data, err := u.Uncompress(data)
	if err != nil {
		return nil, err
	}
	if len(data) > maxBytes {
		return nil, fmt.Errorf("jfr: %d bytes, at most %d are allowed: %w", len(data), maxBytes, profile.ErrInvalid)
	}
	if !IsRecording(data) {
		return nil, fmt.Errorf("jfr: it does not begin with %q: %w", Magic, profile.ErrInvalid)
	}
	var made []draft.Profile
	for at := 0; at < len(data); {
		c, err := openChunk(data[at:])
		if err == nil {
			var profiles []draft.Profile
			profiles, err = c.profiles(o)
			made = append(made, profiles...)
		}
		if err != nil {
			if at > 0 && c.cut {
				return made, nil
			}
			return nil, fmt.Errorf("jfr: chunk at byte %d: %w", at, err)
		}
		at += len(c.data)
	}
	return made, nil
}

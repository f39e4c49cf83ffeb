// Package profile is the vocabulary: what a profile is, who owns it, which
// series it belongs to and how people ask for it.
//
// Everything else in coldframe speaks in these words, so they are few and follow
// the field: profile.proto for what is inside a profile, Prometheus for labels
// and selectors, Parca for the written form of a profile type.
//
// The package also holds the pprof decoder. It reads the protobuf wire straight
// into flat arrays that are used again for the next profile, because reading
// pprof is most of what ingesting, compacting and querying cost.
//
// It refuses to know about buckets, blocks or time of day.
package profile

import (
	"errors"
	"fmt"
)

// ErrInvalid marks what the caller got wrong: a malformed selector, a label with
// no name, a profile over a limit. Errors that wrap it say which and where.
var ErrInvalid = errors.New("invalid")

func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// Package parca turns the Arrow records that Parca's agent sends into pprof.
//
// There are two schemas. In v2, which today's agent sends by WriteArrow and writes into
// its files, a record holds samples and their stacks. In v1 samples name their stacks by
// ID, and the stacks come in a second record, which the server asks for ([Samples.Missing]).
//
// A row is one sample with a time, labels and a type of its own. The rows of one series
// become one profile that covers them: what can be added is added, and only states of
// a program, such as its heap, stay apart by their times. Labels of a thread or a CPU
// become labels of samples, because a series for each would be as good as none.
//
// Outside bytes are read by Arrow's reader within bounds of memory; what it cannot read,
// even where that makes it panic, is profile.ErrInvalid.
package parca

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/profile/draft"
)

// Bounds of one request.
const (
	maxMemory = 256 << 20 // of Arrow's buffers, uncompressed
	maxRefs   = 32 << 20  // rows, locations in the stacks of all rows, and lines, together
	maxGroups = 16 << 10  // profiles
)

// versionKey is where a schema says its version.
const versionKey = "parca_write_schema_version"

// Decode turns IPC streams into profiles. Each stream holds records of one schema:
// samples of v2, samples of v1, or locations of v1; several may follow each other in data.
func Decode(streams ...[]byte) ([]draft.Profile, error) {
	s := NewSamples()
	for i, data := range streams {
		if err := s.Add(data); err != nil {
			return nil, fmt.Errorf("IPC stream %d of %d: %w", i+1, len(streams), err)
		}
	}
	return s.Profiles()
}

// Samples gathers records until all that belongs together is there.
type Samples struct {
	groups groups
	stacks map[string][]location // of v1, by ID
	asked  map[string]bool       // IDs of v1 that samples name
	order  []string              // of asked
	held   []heldRow             // of v1
	refs   int
	memory int64
}

// NewSamples begins to gather.
func NewSamples() *Samples {
	return &Samples{groups: newGroups(), stacks: map[string][]location{}, asked: map[string]bool{}}
}

// Add reads the records of one or several IPC streams.
func (s *Samples) Add(data []byte) error {
	r := bytes.NewReader(data)
	for first := true; first || r.Len() > 0; first = false {
		if err := verifyStream(data[len(data)-r.Len():]); err != nil {
			return err
		}
		if err := s.addStream(r); err != nil {
			return err
		}
	}
	return nil
}

// addStream reads one IPC stream. Arrow's reader and arrays panic at some of what is
// malformed, so this is where such a panic ends.
func (s *Samples) addStream(r *bytes.Reader) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("malformed record: %v: %w", p, profile.ErrInvalid)
		}
	}()
	alloc := &boundedAllocator{left: maxMemory - s.memory, Allocator: memory.NewGoAllocator()}
	defer func() { s.memory = maxMemory - alloc.left }()
	size := int64(r.Len()) + 1
	messages := ipc.NewMessageReader(r, ipc.WithAllocator(alloc), ipc.WithMetadataSizeLimit(size), ipc.WithBodySizeLimit(size))
	reader, err := ipc.NewReaderFromMessageReader(messages, ipc.WithAllocator(alloc))
	if err != nil {
		return fmt.Errorf("%w: %w", err, profile.ErrInvalid)
	}
	defer reader.Release()
	add, err := s.adder(reader.Schema())
	if err != nil {
		return err
	}
	for reader.Next() {
		if err := add(reader.RecordBatch()); err != nil {
			return err
		}
	}
	if err := reader.Err(); err != nil {
		return fmt.Errorf("%w: %w", err, profile.ErrInvalid)
	}
	return nil
}

// adder tells what kind of records a schema is of.
func (s *Samples) adder(schema *arrow.Schema) (func(arrow.RecordBatch) error, error) {
	version, ok := schema.Metadata().GetValue(versionKey)
	switch {
	case schema.HasField("locations"):
		return s.addLocations, nil
	case !schema.HasField("value"):
		return nil, fmt.Errorf(`missing column "value" or "locations": %w`, profile.ErrInvalid)
	case !ok:
		return nil, fmt.Errorf("the schema's metadata has no %s: %w", versionKey, profile.ErrInvalid)
	case version == "v1":
		return s.addSamples, nil
	case version == "v2":
		return s.addSamplesV2, nil
	}
	return nil, fmt.Errorf("%s is %.20q: want v1 or v2: %w", versionKey, version, profile.ErrInvalid)
}

// Profiles gives what the records so far become. Samples of v1 whose stack was not sent
// keep their values and have an empty stack.
func (s *Samples) Profiles() (made []draft.Profile, err error) {
	for _, h := range s.held {
		if err := s.charge(len(s.stacks[h.stack])); err != nil {
			return nil, err
		}
		if err := h.group.add(s.stacks[h.stack], h.row); err != nil {
			return nil, err
		}
	}
	s.held = nil
	return s.groups.finish()
}

// boundedAllocator is Arrow's memory, of which there is only so much: a compressed
// record may claim any size.
type boundedAllocator struct {
	memory.Allocator
	left int64
}

var errMemory = errors.New("the records take too much memory")

func (a *boundedAllocator) take(n int) {
	if int64(n) > a.left || n < 0 {
		panic(errMemory) // becomes the reader's error
	}
	a.left -= int64(n)
}

// Allocate implements [memory.Allocator].
func (a *boundedAllocator) Allocate(size int) []byte {
	a.take(size)
	return a.Allocator.Allocate(size)
}

// Reallocate implements [memory.Allocator].
func (a *boundedAllocator) Reallocate(size int, b []byte) []byte {
	a.take(max(size-len(b), 0))
	return a.Allocator.Reallocate(size, b)
}

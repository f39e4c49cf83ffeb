package bucket

import (
	"errors"
	"fmt"
	"io"
)

// pageSize is how many keys a server tells in one answer to a listing.
const pageSize = 1000

// A condition restricts a write. The zero condition does not.
type condition struct {
	absent bool    // only if there is no object; else ErrExist
	match  Version // only if the object is at this version; else ErrConflict
}

// ifStill is the condition of a Replace.
func ifStill(old Version) condition {
	return condition{absent: old == "", match: old}
}

// conflictIfExists turns the refusal of a Create into that of a Replace.
func conflictIfExists(err error) error {
	if errors.Is(err, ErrExist) {
		return ErrConflict
	}
	return err
}

// A span is what GetRange is asked for.
type span struct{ off, n int64 }

// check refuses spans that no object has.
func (s span) check() error {
	if s.n < 0 || s.off > 0 && s.off+s.n < s.off {
		return fmt.Errorf("range of %d bytes from %d", s.n, s.off)
	}
	return nil
}

// tail reports that the span is an object's last n bytes, however long it is.
func (s span) tail() bool { return s.n > 0 && s.off == -s.n }

// within gives the half-open range of an object of size bytes.
func (s span) within(size int64) (from, to int64, err error) {
	if err := s.check(); err != nil {
		return 0, 0, err
	}
	from = s.off
	if from < 0 {
		from += size
	}
	if from < 0 && s.tail() {
		return 0, size, nil
	}
	if from < 0 || s.n > size-from {
		return 0, 0, fmt.Errorf("range of %d bytes from %d in an object of %d", s.n, s.off, size)
	}
	return from, from + s.n, nil
}

// readBody reads size bytes of r.
func readBody(r io.Reader, size int64) ([]byte, error) {
	if size < 0 {
		return nil, fmt.Errorf("size %d", size)
	}
	data := make([]byte, size)
	if n, err := io.ReadFull(r, data); err != nil {
		return nil, fmt.Errorf("body ends after %d of %d bytes: %w", n, size, err)
	}
	return data, nil
}

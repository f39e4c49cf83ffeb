package bucket

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
)

// A condition restricts a write. The zero condition does not.
type condition struct {
	absent bool    // only if there is no object; else ErrExist
	match  Version // only if the object is at this version; else ErrConflict
}

// ifStill is the condition of a Replace.
func ifStill(old Version) condition {
	return condition{absent: old == "", match: old}
}

// asConflict turns the refusal of a Create into that of a Replace.
func asConflict(err error) error {
	if errors.Is(err, ErrExist) {
		return ErrConflict
	}
	return err
}

// A body is what a write stores. It can be read again from its start.
type body struct {
	io.ReadSeeker
	size int64
}

func bodyOf(data []byte) *body {
	return &body{bytes.NewReader(data), int64(len(data))}
}

// newBody takes the next size bytes of r. What cannot be read from any place, as a file
// can, is read into memory.
func newBody(r io.Reader, size int64) (*body, error) {
	if file, ok := r.(interface {
		io.ReaderAt
		io.Seeker
	}); ok {
		// A pipe says that it can and then cannot.
		if off, err := file.Seek(0, io.SeekCurrent); err == nil && size >= 0 {
			return &body{io.NewSectionReader(file, off, size), size}, nil
		}
	}
	data, err := readBody(r, size)
	if err != nil {
		return nil, err
	}
	return bodyOf(data), nil
}

// md5 reads the body once. Servers compare the sum with what arrived, so that neither
// a flipped bit nor a file that shrinks under our eyes becomes an object.
func (b *body) md5() ([]byte, error) {
	if err := b.rewind(); err != nil {
		return nil, err
	}
	sum := md5.New()
	if n, err := io.Copy(sum, b); err != nil || n != b.size {
		return nil, shortBody(n, b.size, err)
	}
	return sum.Sum(nil), b.rewind()
}

func (b *body) rewind() error {
	_, err := b.Seek(0, io.SeekStart)
	return err
}

// maxInMemory is how many bytes are read into memory at once, whatever a server says that
// there are. Larger objects are read by ranges, and written from files.
const maxInMemory = 1 << 30

// readBody reads size bytes of r.
func readBody(r io.Reader, size int64) ([]byte, error) {
	if size < 0 || size > maxInMemory {
		return nil, fmt.Errorf("%d bytes at once, not in [0, %d]", size, maxInMemory)
	}
	data := make([]byte, size)
	if n, err := io.ReadFull(r, data); err != nil {
		return nil, shortBody(int64(n), size, err)
	}
	return data, nil
}

func shortBody(n, size int64, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("body ends after %d of %d bytes: %w", n, size, err)
}

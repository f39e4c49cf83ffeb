package compactor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// spool keeps what is written to it: in memory up to a limit, and beyond it all in a
// temporary file.
type spool struct {
	dir   string // of the file
	limit int    // in bytes

	memory bytes.Buffer
	file   *os.File // nil while all is in memory
	size   int64
}

// Write implements [io.Writer].
func (s *spool) Write(p []byte) (n int, err error) {
	if s.file == nil && s.memory.Len()+len(p) > s.limit {
		if err := s.moveToFile(); err != nil {
			return 0, fmt.Errorf("keep a block of more than %d bytes: %w", s.limit, err)
		}
	}
	if s.file == nil {
		n, err = s.memory.Write(p)
	} else {
		n, err = s.file.Write(p)
	}
	s.size += int64(n)
	return n, err
}

func (s *spool) moveToFile() (err error) {
	if s.file, err = os.CreateTemp(s.dir, "coldframe-block-*"); err != nil {
		return err
	}
	_, err = s.file.Write(s.memory.Bytes())
	s.memory = bytes.Buffer{}
	return err
}

// reader reads everything from the beginning.
func (s *spool) reader() (io.ReadSeeker, error) {
	if s.file == nil {
		return bytes.NewReader(s.memory.Bytes()), nil
	}
	_, err := s.file.Seek(0, io.SeekStart)
	return s.file, err
}

// close removes the file.
func (s *spool) close() error {
	if s.file == nil {
		return nil
	}
	return errors.Join(s.file.Close(), os.Remove(s.file.Name()))
}

package bucket

import (
	"fmt"
	"math"
)

// A span is what GetRange is asked for: n bytes from offset off, which counts from the
// end if it is negative.
type span struct{ off, n int64 }

// check refuses what no server can be asked for.
func (s span) check() error {
	if s.n < 0 || s.off < 0 && s.n > -s.off || s.off > math.MaxInt64-s.n {
		return fmt.Errorf("%v", s)
	}
	return nil
}

// tail reports that the span is an object's last n bytes, of as many as there are.
func (s span) tail() bool { return s.off < 0 && s.off == -s.n }

// within gives the half-open range that the span has in an object of size bytes.
func (s span) within(size int64) (from, to int64, err error) {
	from = s.off
	if from < 0 {
		from += size
	}
	if from < 0 && s.tail() {
		return 0, size, nil
	}
	if from < 0 || s.n < 0 || s.n > size-from {
		return 0, 0, fmt.Errorf("%v does not lie in an object of %d bytes", s, size)
	}
	return from, from + s.n, nil
}

func (s span) String() string { return fmt.Sprintf("range of %d bytes from %d", s.n, s.off) }

// header is the span as an HTTP Range.
func (s span) header() string {
	if s.off < 0 {
		return fmt.Sprintf("bytes=%d", s.off)
	}
	return fmt.Sprintf("bytes=%d-%d", s.off, s.off+s.n-1)
}

// contentRange reads the answer to a Range: "bytes 0-9/100".
func contentRange(header string) (off, total int64, err error) {
	var last int64
	if _, err := fmt.Sscanf(header, "bytes %d-%d/%d", &off, &last, &total); err != nil {
		return 0, 0, fmt.Errorf("Content-Range %q: %w", header, err)
	}
	return off, total, nil
}

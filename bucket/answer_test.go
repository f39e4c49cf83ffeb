package bucket

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// A scriptedCloud answers listings as a server with a page of two keys would that fails
// where it is told to. Its other methods are none.
type scriptedCloud struct {
	cloud
	keys   []string
	faults []int // before which key each listing fails; none beyond
	afters []string
}

func (c *scriptedCloud) list(_ context.Context, prefix, after string, _ bool, yield func(Object) bool) error {
	c.afters = append(c.afters, after)
	fault := len(c.keys)
	if len(c.faults) > 0 {
		fault, c.faults = c.faults[0], c.faults[1:]
	}
	for i, key := range c.keys {
		if i == fault {
			return errors.New("connection reset")
		}
		if strings.HasPrefix(key, prefix) && !yield(Object{Key: key}) {
			return nil
		}
	}
	return nil
}

func (c *scriptedCloud) refusal(error) refusal { return refusal{} }

func TestListResumes(t *testing.T) {
	keys := []string{"p/a", "p/b", "p/b/", "p/c", "p/d"}
	tests := []struct {
		name   string
		keys   []string
		faults []int
		want   []string
		afters []string
		err    string
	}{
		{"no fault", keys, nil, []string{"a", "b", "c", "d"}, []string{""}, ""},
		{"at once", keys, []int{0}, []string{"a", "b", "c", "d"}, []string{"", ""}, ""},
		{"on its way, twice", keys, []int{2, 4}, []string{"a", "b", "c", "d"}, []string{"", "p/b", "p/c"}, ""},
		{"for good", keys, []int{1, 1, 1, 1}, []string{"a"}, []string{"", "p/a", "p/a", "p/a"}, "4 attempts: connection reset"},
		{"out of order", []string{"p/b", "p/a"}, nil, []string{"b"}, []string{""}, `key "a" comes after "b"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := &scriptedCloud{keys: tt.keys, faults: tt.faults}
			var got []string
			var failed error
			for o, err := range newRemote(c, "test", "b", "p", &serverClock{}).List(t.Context(), "") {
				if failed = err; err == nil {
					got = append(got, o.Key)
				}
			}
			if !slices.Equal(got, tt.want) || !slices.Equal(c.afters, tt.afters) {
				t.Errorf("got %q by listings after %q; want %q, %q", got, c.afters, tt.want, tt.afters)
			}
			if (failed == nil) != (tt.err == "") || failed != nil && !strings.Contains(failed.Error(), tt.err) {
				t.Errorf("got error %v, want %q", failed, tt.err)
			}
		})
	}
}

// An answeringCloud answers a get as a server would that says whatever it wants.
type answeringCloud struct {
	cloud
	header string
	length int64
	body   []byte
}

func (c *answeringCloud) get(context.Context, string, *span) (*content, error) {
	off, total, err := contentRange(c.header)
	return &content{body: io.NopCloser(bytes.NewReader(c.body)), off: off, size: c.length, total: total}, err
}

func (c *answeringCloud) refusal(error) refusal { return refusal{status: 400} }

// Whatever a server answers, a range has the length that was asked for, or is a tail
// that is no longer.
func FuzzRangeAnswer(f *testing.F) {
	f.Add("bytes 0-9/10", int64(10), []byte("0123456789"), int64(0), int64(10))
	f.Add("bytes 6-9/10", int64(4), []byte("6789"), int64(-4), int64(4))
	f.Add("bytes 0-9/10", int64(10), []byte("0123456789"), int64(-20), int64(20))
	f.Add("bytes -5-9/-10", int64(-1), []byte{}, int64(-1<<63), int64(1<<63-1))
	f.Add("bytes 0-9/9223372036854775807", int64(1<<63-1), []byte{}, int64(0), int64(1<<62))
	f.Add("bytes */10", int64(0), []byte{}, int64(20), int64(1))
	f.Fuzz(func(t *testing.T, header string, length int64, body []byte, off, n int64) {
		if n == 0 {
			return // asks for the size instead
		}
		c := &answeringCloud{header: header, length: length, body: body}
		data, err := newRemote(c, "test", "b", "", &serverClock{}).GetRange(t.Context(), "k", off, n)
		tail := off == -n && int64(len(data)) <= n
		if err == nil && int64(len(data)) != n && !tail {
			t.Errorf("range of %d bytes from %d has %d", n, off, len(data))
		}
		if err != nil && len(data) != 0 {
			t.Errorf("%d bytes and error %v", len(data), err)
		}
	})
}

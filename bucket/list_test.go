package bucket

import (
	"context"
	"errors"
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

package folded_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/coldframe/coldframe/ingest/push/folded"
	"github.com/coldframe/coldframe/profile"
)

// encoded writes nodes as Pyroscope's clients do: name, value, number of children.
func encoded(nodes ...any) []byte {
	var b []byte
	for i := 0; i < len(nodes); i += 3 {
		name := nodes[i].(string)
		b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
		b = binary.AppendUvarint(b, uint64(nodes[i+1].(int)))
		b = binary.AppendUvarint(b, uint64(nodes[i+2].(int)))
	}
	return b
}

func read(format folded.Format, data []byte) (string, error) {
	var got []string
	err := folded.Read(format, data, func(stack []byte, n int64) error {
		got = append(got, fmt.Sprintf("%s %d", stack, n))
		return nil
	})
	return strings.Join(got, ", "), err
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name   string
		format folded.Format
		data   []byte
		want   string
	}{
		{"groups", "groups", []byte("main;a b;c 3\n\nmain 4\r\nx 0"), "main;a b;c 3, main 4, x 0"},
		{"lines", "lines", []byte("main;a b\nmain\nmain\n"), "main;a b 1, main 1, main 1"},
		{"trie", "trie", encoded("", 0, 2, "main;", 0, 2, "ab", 3, 0, "b", 4, 0, "other", 5, 0), "main;ab 3, main;b 4, other 5"},
		{"trie with values inside", "trie", encoded("", 0, 1, "ma", 1, 1, "in", 2, 0), "ma 1, main 2"},
		{"tree", "tree", encoded("", 0, 2, "main", 1, 1, "work", 2, 0, "idle", 7, 0), "main 1, main;work 2, idle 7"},
		{"empty tree", "tree", encoded("", 0, 0), ""},
		{"nothing", "trie", nil, ""},
	} {
		if got, err := read(c.format, c.data); err != nil || got != c.want {
			t.Errorf("%s: got %s, %v, want %s", c.name, got, err, c.want)
		}
	}
}

func TestMalformed(t *testing.T) {
	deep := encoded("", 0, 1)
	for range 40 {
		deep = append(deep, encoded(strings.Repeat("x", 1<<15), 0, 1)...)
	}
	for _, c := range []struct {
		name   string
		format folded.Format
		data   []byte
		say    string
	}{
		{"no count", "groups", []byte("main;a 1\nmain\n"), "line 2"},
		{"count is no number", "groups", []byte("main x"), "count"},
		{"negative count", "groups", []byte("main -1"), "count"},
		{"long line", "lines", []byte(strings.Repeat("x", 1<<20+1)), "at most"},
		{"format", "speed", nil, "want groups"},
		{"ends within", "tree", encoded("", 0, 2, "main", 1, 0), "ends within"},
		{"name longer than input", "trie", []byte{200, 1, 'x'}, "a name of 200 bytes"},
		{"no varint", "trie", []byte{0xff}, "varint"},
		{"too many children", "tree", encoded("", 0, 1<<20), "children"},
		{"second root", "tree", encoded("", 0, 0, "x", 0, 0), "more follows"},
		{"stack too long", "trie", deep, "a stack has more"},
		{"value too large", "tree", binary.AppendUvarint(binary.AppendUvarint(append(binary.AppendUvarint(nil, 1), 'x'), math.MaxUint64), 0), "too large"},
	} {
		_, err := read(c.format, c.data)
		if !errors.Is(err, profile.ErrInvalid) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, want ErrInvalid that says %q", c.name, err, c.say)
		}
	}
}

// Whatever comes, the reader ends with stacks or ErrInvalid, and what add says ends it.
func FuzzRead(f *testing.F) {
	formats := []folded.Format{"groups", "lines", "trie", "tree"}
	f.Add(uint8(0), []byte("main;a 1\nb 2"))
	f.Add(uint8(1), []byte("main;a\nb"))
	f.Add(uint8(2), encoded("", 0, 2, "main;", 0, 2, "ab", 3, 0, "b", 4, 0, "other", 5, 0))
	f.Add(uint8(3), encoded("", 0, 2, "main", 1, 1, "work", 2, 0, "idle", 7, 0))
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		format := formats[int(which)%len(formats)]
		stop := errors.New("stop")
		n := 0
		err := folded.Read(format, data, func(_ []byte, v int64) error {
			if n++; v < 0 {
				t.Fatalf("value %d", v)
			}
			return nil
		})
		if err != nil && !errors.Is(err, profile.ErrInvalid) {
			t.Fatalf("%v is not ErrInvalid", err)
		}
		if n > 0 {
			if err := folded.Read(format, data, func([]byte, int64) error { return stop }); !errors.Is(err, stop) {
				t.Fatalf("add failed, and Read says %v", err)
			}
		}
	})
}

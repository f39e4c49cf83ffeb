package buckettest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/coldframe/coldframe/bucket"
)

// Each write of a protocol fails in its turn, lost or landed, and the loop ends when
// there are no more writes to fail.
func TestFailNth(t *testing.T) {
	writes := []func(context.Context, bucket.Bucket) error{
		func(ctx context.Context, b bucket.Bucket) error {
			return b.Create(ctx, "created", strings.NewReader("1"), 1)
		},
		func(ctx context.Context, b bucket.Bucket) error {
			_, err := b.Replace(ctx, "replaced", []byte("2"), "")
			return err
		},
		func(ctx context.Context, b bucket.Bucket) error { return b.Put(ctx, "put", []byte("3")) },
		func(ctx context.Context, b bucket.Bucket) error { return b.Delete(ctx, "deleted") },
	}
	keys := []string{"created", "replaced", "put", "deleted"}
	n := 1
	for ; ; n++ {
		exhausted := false
		for _, landed := range []bool{false, true} {
			mem := bucket.Mem()
			if err := mem.Put(t.Context(), "deleted", nil); err != nil {
				t.Fatal(err)
			}
			f := FailNth(mem, n, landed)
			for i, write := range writes {
				err := write(t.Context(), f)
				if failed := i+1 == n; errors.Is(err, ErrInjected) != failed || !failed && err != nil {
					t.Errorf("n=%d landed=%v: write %d: %v", n, landed, i+1, err)
				}
				_, _, err = mem.Get(t.Context(), keys[i])
				if done := (err == nil) != (keys[i] == "deleted"); done != (landed || i+1 != n) {
					t.Errorf("n=%d landed=%v: write %d done is %v", n, landed, i+1, done)
				}
			}
			exhausted = !f.Failed()
		}
		if exhausted {
			break
		}
	}
	if n != len(writes)+1 {
		t.Errorf("loop ended at n=%d, want %d", n, len(writes)+1)
	}
}

func TestCorrupt(t *testing.T) {
	mem := bucket.Mem()
	for _, key := range []string{"sound", "broken"} {
		if err := mem.Put(t.Context(), key, []byte("abcd")); err != nil {
			t.Fatal(err)
		}
	}
	broken := func(key string) bool { return key == "broken" }
	tests := []struct {
		name        string
		damage      Damage
		whole, tail string
	}{
		{"truncated", Truncated(3), "abc", "bc"},
		{"bit flipped", BitFlipped(3*8 + 1), "abcf", "cf"},
		{"foreign", Foreign([]byte("other")), "other", "er"},
		{"unreadable", Unreadable, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := Corrupt(mem, broken, tt.damage)
			whole, _, err := b.Get(t.Context(), "broken")
			if string(whole) != tt.whole || errors.Is(err, ErrInjected) != (tt.whole == "") {
				t.Errorf("Get = %q, %v; want %q", whole, err, tt.whole)
			}
			tail, err := b.GetRange(t.Context(), "broken", -2, 2)
			if string(tail) != tt.tail || errors.Is(err, ErrInjected) != (tt.whole == "") {
				t.Errorf("GetRange = %q, %v; want %q", tail, err, tt.tail)
			}
			if sound, _, err := b.Get(t.Context(), "sound"); string(sound) != "abcd" || err != nil {
				t.Errorf("Get of a sound object = %q, %v", sound, err)
			}
		})
	}
	if whole, _, err := mem.Get(t.Context(), "broken"); string(whole) != "abcd" || err != nil {
		t.Errorf("the object itself is %q, %v", whole, err)
	}
}

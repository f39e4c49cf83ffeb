package bucket

import (
	"path"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// An accepted key is a path that stays below its root and has one spelling only.
func FuzzKey(f *testing.F) {
	for _, key := range []string{
		"v1/man/default/00/HEAD", "a", "a/b", "", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "..a", "a/...", "\x00", "\xff", `a\b`,
		"ünï/日本", strings.Repeat("k", maxKey), strings.Repeat("k", maxKey+1),
	} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		err := checkKey(key)
		if err == nil && (!filepath.IsLocal(key) || path.Clean(key) != key || !utf8.ValidString(key) || len(key) > maxKey) {
			t.Errorf("accepts %q", key)
		}
		if err == nil {
			for i := range key {
				if err := checkPrefix(key[:i]); err != nil {
					t.Errorf("accepts %q but not its beginning: %v", key, err)
				}
			}
		}
		if folder, rest := splitPrefix(key); folder+rest != key || strings.Contains(rest, "/") {
			t.Errorf("%q is split into %q and %q", key, folder, rest)
		}
	})
}

// What within accepts lies in the object and has the length that was asked for.
func FuzzSpan(f *testing.F) {
	f.Add(int64(0), int64(10), int64(10))
	f.Add(int64(-10), int64(10), int64(5))
	f.Add(int64(-1<<63), int64(1<<63-1), int64(5))
	f.Add(int64(1<<63-1), int64(1<<63-1), int64(1<<63-1))
	f.Fuzz(func(t *testing.T, off, n, size int64) {
		if size < 0 {
			return
		}
		s := span{off, n}
		from, to, err := s.within(size)
		if err != nil {
			return
		}
		if from < 0 || to < from || to > size {
			t.Errorf("%v of %d bytes is [%d, %d)", s, size, from, to)
		}
		if to-from != n && !(s.tail() && from == 0 && to == size && size < n) {
			t.Errorf("%v of %d bytes is [%d, %d)", s, size, from, to)
		}
		if s.check() != nil {
			t.Errorf("%v lies in %d bytes but must not be asked for", s, size)
		}
	})
}

package compactor

import (
	"bytes"
	"io"
	"os"
	"testing"
)

// What was written is read, as often as one likes, from memory or from a file, which is
// gone in the end.
func TestSpool(t *testing.T) {
	for _, size := range []int{0, 1, 99, 100, 101, 5000} {
		dir := t.TempDir()
		s := spool{dir: dir, limit: 100}
		var want []byte
		for len(want) < size {
			piece := bytes.Repeat([]byte{byte(len(want))}, min(33, size-len(want)))
			if n, err := s.Write(piece); n != len(piece) || err != nil {
				t.Fatal(n, err)
			}
			want = append(want, piece...)
		}
		files, err := os.ReadDir(dir)
		if inFile := size > 100; err != nil || inFile != (len(files) == 1) {
			t.Errorf("%d bytes: files %v, %v", size, files, err)
		}
		for range 2 {
			r, err := s.reader()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) || s.size != int64(size) {
				t.Errorf("%d bytes: read %d, %v, size %d", size, len(got), err, s.size)
			}
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
			t.Errorf("%d bytes: left behind %v, %v", size, files, err)
		}
	}
}

func TestSpoolWithoutRoom(t *testing.T) {
	s := spool{dir: t.TempDir() + "/none", limit: 1}
	if _, err := s.Write([]byte("ab")); err == nil {
		t.Error("no error")
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

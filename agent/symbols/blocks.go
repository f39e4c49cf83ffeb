package symbols

import "io"

const (
	blockBytes = 16 << 10
	maxBlocks  = 256 // 4 MiB of one file at a time
)

// blocks reads a file in blocks that it keeps, because searches come back to the same
// places with many small reads. What is larger than a block is read directly.
type blocks struct {
	r    io.ReaderAt
	kept map[int64][]byte
}

func newBlocks(r io.ReaderAt) *blocks { return &blocks{r: r, kept: map[int64][]byte{}} }

// ReadAt implements [io.ReaderAt].
func (b *blocks) ReadAt(p []byte, at int64) (int, error) {
	if len(p) > blockBytes || at < 0 {
		return b.r.ReadAt(p, at)
	}
	n := 0
	for n < len(p) {
		number, from := (at+int64(n))/blockBytes, (at+int64(n))%blockBytes
		block, err := b.block(number)
		if int64(len(block)) <= from {
			if err == nil {
				err = io.EOF
			}
			return n, err
		}
		n += copy(p[n:], block[from:])
	}
	return n, nil
}

func (b *blocks) block(number int64) ([]byte, error) {
	if kept, ok := b.kept[number]; ok {
		return kept, nil
	}
	block := make([]byte, blockBytes)
	n, err := b.r.ReadAt(block, number*blockBytes)
	if n == 0 {
		return nil, err
	}
	if len(b.kept) >= maxBlocks {
		clear(b.kept)
	}
	b.kept[number] = block[:n]
	return block[:n], nil
}

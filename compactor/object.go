package compactor

import (
	"context"
	"errors"
	"fmt"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
)

// object is a block in the bucket as a [block.Source].
type object struct {
	bkt  bucket.Bucket
	key  string
	size int64 // as the catalog says
}

// Size implements [block.Source].
func (o object) Size() int64 { return o.size }

// ReadRange implements [block.Source]. An object of another size than the catalog
// says is block.ErrCorrupt.
func (o object) ReadRange(ctx context.Context, off, n int64) ([]byte, error) {
	data, err := o.bkt.GetRange(ctx, o.key, off, n)
	if err == nil || errors.Is(err, bucket.ErrNotExist) {
		return data, err
	}
	stat, statErr := o.bkt.Stat(ctx, o.key)
	switch {
	case statErr != nil:
		return nil, fmt.Errorf("%w; and %w", err, statErr)
	case stat.Size != o.size:
		return nil, fmt.Errorf("%s has %d bytes instead of %d: %w", o.key, stat.Size, o.size, block.ErrCorrupt)
	}
	return nil, err
}

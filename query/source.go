package query

import (
	"context"

	"github.com/coldframe/coldframe/block"
)

// objectRange names bytes of an object. Objects never change, so the bytes do not.
type objectRange struct {
	key    string
	off, n int64 // n < 0: the whole object
}

// read returns a range of an object, from the cache or the bucket. The bytes are
// shared and must not be changed.
func (q *Querier) read(ctx context.Context, r objectRange) ([]byte, error) {
	if data, ok := q.ranges.get(r); ok {
		countHit(ctx, int64(len(data)))
		return data, nil
	}
	if err := q.requests.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer q.requests.Release(1)
	var data []byte
	var err error
	if r.n < 0 {
		data, _, err = q.bkt.Get(ctx, r.key)
	} else {
		data, err = q.bkt.GetRange(ctx, r.key, r.off, r.n)
	}
	if err != nil {
		return nil, err
	}
	q.ranges.put(r, data, int64(len(data)))
	return data, nil
}

// source is an Arrow block's bytes, as [block.Source].
type source struct {
	q    *Querier
	key  string
	size int64
}

// wholeBelow is up to which size an object is read whole: the gap between any two
// ranges of it is shorter than what a second request costs.
const wholeBelow = 256 << 10

// Size implements [block.Source].
func (s source) Size() int64 { return s.size }

// ReadRange implements [block.Source].
func (s source) ReadRange(ctx context.Context, off, n int64) ([]byte, error) {
	if s.size > wholeBelow {
		return s.q.read(ctx, objectRange{s.key, off, n})
	}
	data, err := s.q.read(ctx, objectRange{s.key, 0, s.size})
	if err != nil {
		return nil, err
	}
	return block.Bytes(data).ReadRange(ctx, off, n)
}

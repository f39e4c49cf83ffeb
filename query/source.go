package query

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
)

// objectRange names bytes of an object. Objects never change, so the bytes do not.
type objectRange struct {
	key    string
	off, n int64 // n < 0: the whole object
}

const (
	// Ranges longer than splitAbove are read in pieces of splitInto over several connections,
	// each of which gives some 90 MB/s.
	splitAbove = 16 << 20
	splitInto  = 8 << 20
)

// read returns a range of an object, from memory, the disk or the bucket. The bytes are
// shared and must not be changed.
func (q *Querier) read(ctx context.Context, r objectRange) ([]byte, error) {
	if data, ok := q.ranges.get(r); ok {
		countHit(ctx, int64(len(data)))
		return data, nil
	}
	if data, ok := q.disk.get(r); ok {
		countHit(ctx, int64(len(data)))
		q.ranges.put(r, data, int64(len(data)))
		return data, nil
	}
	data, err := q.fetch(ctx, r)
	if err != nil {
		return nil, err
	}
	q.ranges.put(r, data, int64(len(data)))
	q.disk.put(r, data)
	return data, nil
}

// fetch reads a range from the bucket, a long one in pieces.
func (q *Querier) fetch(ctx context.Context, r objectRange) ([]byte, error) {
	if r.n <= splitAbove {
		return q.fetchPiece(ctx, r)
	}
	whole := make([]byte, r.n)
	g, ctx := errgroup.WithContext(ctx)
	for at := int64(0); at < r.n; at += splitInto {
		g.Go(func() error {
			n := min(splitInto, r.n-at)
			piece, err := q.fetchPiece(ctx, objectRange{r.key, r.off + at, n})
			if err == nil && int64(len(piece)) != n {
				err = fmt.Errorf("read %s [%d, %d): %d bytes: %w", r.key, r.off+at, r.off+at+n, len(piece), block.ErrCorrupt)
			}
			copy(whole[at:], piece)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return whole, nil
}

// fetchPiece reads a range in one request, or in a second one where the first takes longer than
// most do: whichever is answered first counts.
func (q *Querier) fetchPiece(ctx context.Context, r objectRange) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx) // the one that comes second
	defer cancel()
	answers := make(chan fetched, 2)
	ask := func() { answers <- q.request(ctx, r) }
	go ask()
	again := time.NewTimer(q.hedges.wait(r.n))
	defer again.Stop()
	for asked := 1; ; {
		select {
		case a := <-answers:
			asked--
			if a.err == nil {
				q.hedges.took(r.n, a.took)
			}
			if a.err == nil || asked == 0 || errors.Is(a.err, bucket.ErrNotExist) || ctx.Err() != nil {
				return a.data, a.err
			}
		case <-again.C:
			if q.hedges.may() {
				asked++
				go ask()
			}
		}
	}
}

// fetched is the answer to a request.
type fetched struct {
	data []byte
	took time.Duration // from when it was sent
	err  error
}

// request makes one request when it is the query's turn.
func (q *Querier) request(ctx context.Context, r objectRange) fetched {
	if err := q.requests.take(ctx, ctx.Value(accountKey{})); err != nil {
		return fetched{err: err}
	}
	defer q.requests.give()
	began := time.Now()
	var a fetched
	if r.n < 0 {
		a.data, _, a.err = q.bkt.Get(ctx, r.key)
	} else {
		a.data, a.err = q.bkt.GetRange(ctx, r.key, r.off, r.n)
	}
	a.took = time.Since(began)
	return a
}

// source is an Arrow block's bytes, as [block.Source]. Whatever lies in the block's end is
// read with all of it.
type source struct {
	q    *Querier
	key  string
	size int64
	end  *ending
}

// ending is the last bytes of a block, which one query reads once.
type ending struct {
	from int64 // in the object
	keep bool  // for the query; else the cache of ranges may
	mu   sync.Mutex
	data []byte // once read
}

const (
	// wholeBelow is up to which size an object is read whole: the gap between any two
	// ranges of it is shorter than what a second request costs.
	wholeBelow = 256 << 10
	// beforeTail is how much is read with a block's tail: the sums over services of the longest
	// windows and, of a minute's block, the profiles, and often their rows. That takes a millisecond;
	// a request of their own would take as long as all that a query does.
	beforeTail = 48 << 10
)

// sourceOf is a block's bytes as a query reads them.
func (r *run) sourceOf(p *part) source {
	n := p.meta.Tail + beforeTail
	if n > p.meta.Size || p.meta.Size <= wholeBelow {
		n = p.meta.Size
	}
	e := &ending{from: p.meta.Size - n}
	if r.memory.Add(n) <= r.cfg.MemoryBytes/4 {
		e.keep = true
	} else {
		r.memory.Add(-n)
	}
	return source{r.Querier, p.key, p.meta.Size, e}
}

// forever is the source without what one query keeps of it.
func (s source) forever() source {
	s.end = &ending{from: s.end.from}
	return s
}

// Size implements [block.Source].
func (s source) Size() int64 { return s.size }

// ReadRange implements [block.Source].
func (s source) ReadRange(ctx context.Context, off, n int64) ([]byte, error) {
	if off < s.end.from {
		return s.q.read(ctx, objectRange{s.key, off, n})
	}
	data, err := s.readEnd(ctx)
	if err != nil {
		return nil, err
	}
	return block.Bytes(data).ReadRange(ctx, off-s.end.from, n)
}

func (s source) readEnd(ctx context.Context) ([]byte, error) {
	e := s.end
	if e.keep {
		e.mu.Lock() // who comes second waits for what the first one reads
		defer e.mu.Unlock()
		if e.data != nil {
			return e.data, nil
		}
	}
	data, err := s.q.read(ctx, objectRange{s.key, e.from, s.size - e.from})
	if err == nil && e.keep {
		e.data = data
	}
	return data, err
}

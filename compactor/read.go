package compactor

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/coldframe/coldframe/block/pprofblock"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// reading is what a job reads: pprof blocks, ahead of their use, and their profiles,
// several decoded at a time. What it yields comes in the order of the pprof blocks.
type reading struct {
	bkt         bucket.Bucket
	readers     int   // pprof blocks requested at a time
	decoders    int   // profiles decoded at a time
	aheadBytes  int64 // of pprof blocks held, unless a single one has more
	decodeBytes int64 // of uncompressed profiles held, unless a single one has more
	mostBytes   int64 // of a pprof block that is read at all
}

// delivery is a profile, or the end of a pprof block.
type delivery struct {
	l0      *catalog.L0
	entry   *pprofblock.Entry // nil at the end of the pprof block
	profile *profile.Profile  // valid until the next delivery
	hash    uint64            // of the uncompressed pprof
	err     error             // why the profile cannot be used, or at the end the whole pprof block
}

// pending is a delivery that is being decoded.
type pending struct {
	ready chan delivery // has room for one
	done  func()        // to be called when the delivery was used
}

// deliveries yields the profiles of l0s. The error, which ends the walk, is one of
// reading the bucket: nothing is known of the pprof block. One that is gone is
// [catalog.ErrConflict]: somebody has gathered it, and long since deleted it.
func (r reading) deliveries(ctx context.Context, l0s []catalog.L0) iter.Seq2[delivery, error] {
	return func(yield func(delivery, error) bool) {
		var running sync.WaitGroup
		ctx, cancel := context.WithCancelCause(ctx)
		defer running.Wait()
		defer cancel(nil)

		bodies := make(chan fetch, r.readers)
		running.Go(func() {
			defer close(bodies)
			r.fetchAll(ctx, &running, l0s, bodies)
		})
		queue := make(chan pending, r.decoders)
		running.Go(func() {
			defer close(queue)
			if err := r.decodeAll(ctx, &running, bodies, queue); err != nil {
				cancel(err)
			}
		})
		for p := range queue {
			if !yield(<-p.ready, nil) {
				return
			}
			p.done()
		}
		if err := context.Cause(ctx); err != nil {
			yield(delivery{}, err)
		}
	}
}

// fetch is a pprof block on its way.
type fetch struct {
	l0   *catalog.L0
	body chan fetched // has room for one
	done func()       // gives its memory back
}

type fetched struct {
	body []byte
	err  error
}

// fetchAll requests pprof blocks while there is memory for them and room in bodies.
func (r reading) fetchAll(ctx context.Context, running *sync.WaitGroup, l0s []catalog.L0, bodies chan<- fetch) {
	memory := semaphore.NewWeighted(r.aheadBytes)
	for i := range l0s {
		f := fetch{l0: &l0s[i], body: make(chan fetched, 1), done: func() {}}
		if f.l0.Size > r.mostBytes {
			f.body <- fetched{err: tooLarge(f.l0.Size, r.mostBytes)}
		} else {
			share := min(f.l0.Size, r.aheadBytes)
			if memory.Acquire(ctx, share) != nil {
				return
			}
			f.done = func() { memory.Release(share) }
			running.Go(func() {
				body, _, err := r.bkt.Get(ctx, f.l0.String())
				f.body <- fetched{body, err}
			})
		}
		select {
		case bodies <- f:
		case <-ctx.Done():
			return
		}
	}
}

// tooLarge is the error of a pprof block that no memory is spent on.
func tooLarge(size, most int64) error {
	return fmt.Errorf("%d bytes are more than the %d that memory allows: %w", size, most, profile.ErrInvalid)
}

// decodeAll decodes the profiles of the bodies, each as soon as there is a decoder
// and memory for it.
func (r reading) decodeAll(ctx context.Context, running *sync.WaitGroup, bodies <-chan fetch, queue chan<- pending) error {
	decoders := newDecoders(r.decoders, r.decodeBytes)
	for f := range bodies {
		got := <-f.body
		if errors.Is(got.err, bucket.ErrNotExist) {
			return fmt.Errorf("%w: %w", got.err, catalog.ErrConflict)
		}
		if got.err != nil && !errors.Is(got.err, profile.ErrInvalid) {
			return got.err
		}
		opened, err := open(got)
		for i := 0; err == nil && i < opened.Len(); i++ {
			p, err := decoders.start(ctx, running, f.l0, opened, i)
			if err == nil {
				err = send(ctx, queue, p)
			}
			if err != nil {
				return err
			}
		}
		end := pending{make(chan delivery, 1), f.done}
		end.ready <- delivery{l0: f.l0, err: err}
		if err := send(ctx, queue, end); err != nil {
			return err
		}
	}
	return nil
}

func send(ctx context.Context, queue chan<- pending, p pending) error {
	select {
	case queue <- p:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func open(got fetched) (*pprofblock.Reader, error) {
	if got.err != nil {
		return nil, got.err
	}
	return pprofblock.Open(got.body, pprofblock.Limits{})
}

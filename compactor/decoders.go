package compactor

import (
	"context"
	"encoding/binary"
	"sync"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sync/semaphore"

	"github.com/coldframe/coldframe/block/pprofblock"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// decoders work on a profile each. Together they hold only so many uncompressed bytes,
// unless a single profile has more; that one is then decoded alone.
type decoders struct {
	free   chan *profile.Decoder
	most   int64 // bytes
	memory *semaphore.Weighted
}

func newDecoders(n int, mostBytes int64) *decoders {
	ds := &decoders{free: make(chan *profile.Decoder, n), most: mostBytes, memory: semaphore.NewWeighted(mostBytes)}
	for range n {
		ds.free <- &profile.Decoder{}
	}
	return ds
}

// start decodes profile i of a pprof block in the background, as soon as a decoder
// is free and the memory that it will take. The error is ctx's.
func (ds *decoders) start(ctx context.Context, running *sync.WaitGroup, l0 *catalog.L0, r *pprofblock.Reader, i int) (pending, error) {
	p := pending{ready: make(chan delivery, 1), done: func() {}}
	out := delivery{l0: l0, entry: &r.Manifest().Profiles[i]}
	body, err := r.Profile(i)
	if err != nil {
		out.err = err
		p.ready <- out
		return p, nil
	}
	share := min(uncompressedBytes(body), ds.most)
	if err := ds.memory.Acquire(ctx, share); err != nil {
		return p, err
	}
	select {
	case d := <-ds.free:
		p.done = func() { ds.giveBack(d, share) }
		running.Go(func() {
			out.profile, out.hash, out.err = decode(d, body)
			p.ready <- out
		})
		return p, nil
	case <-ctx.Done():
		return p, ctx.Err()
	}
}

// giveBack ends a decoder's work on a profile. One that has grown large is not used again.
func (ds *decoders) giveBack(d *profile.Decoder, share int64) {
	if share > ds.most/int64(4*cap(ds.free)) {
		d = &profile.Decoder{}
	}
	ds.memory.Release(share)
	ds.free <- d
}

// decode returns a profile and the hash of its uncompressed bytes.
func decode(d *profile.Decoder, body []byte) (*profile.Profile, uint64, error) {
	raw, err := d.Uncompress(body)
	if err != nil {
		return nil, 0, err
	}
	hash := xxhash.Sum64(raw)
	p, err := d.DecodeUncompressed(raw)
	return p, hash, err
}

// uncompressedBytes is what gzip says in its last four bytes, and at least body's own
// length. Who lies there gains little: the decoder has limits of its own.
func uncompressedBytes(body []byte) int64 {
	if len(body) < 4 {
		return int64(len(body))
	}
	return max(int64(len(body)), int64(binary.LittleEndian.Uint32(body[len(body)-4:])))
}

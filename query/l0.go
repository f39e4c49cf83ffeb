package query

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/block/pprofblock"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// eachL0 reads pprof blocks and calls f with each, several at a time. f must note
// itself what it cannot use of one. eachL0 returns for how many f did not fail.
func (r *run) eachL0(ctx context.Context, l0s []catalog.L0, f func(ctx context.Context, key string, rd *pprofblock.Reader) error) (sound int, err error) {
	good, err := each(ctx, r.ledger, r.cfg.Concurrency, l0s, catalog.L0.String, func(ctx context.Context, l0 catalog.L0) error {
		defer progressOf(ctx).finish(1)
		if err := r.reserve(l0.Size, "the pprof blocks of the last minutes"); err != nil {
			return err
		}
		data, err := r.read(ctx, objectRange{l0.String(), 0, -1})
		if err != nil {
			return err
		}
		rd, err := pprofblock.Open(data, pprofblock.Limits{})
		if err != nil {
			return err
		}
		return f(ctx, l0.String(), rd)
	})
	return len(good), err
}

// wants says whether a profile of a pprof block is asked for, or may be: samples says
// that its samples may have the labels which it lacks.
func (r *run) wants(e *pprofblock.Entry, samples bool) bool {
	ms := e.MinTime.UnixMilli()
	if ms < ceilMillis(r.within.From) || ms >= ceilMillis(r.within.To) || !slices.ContainsFunc(e.Types(), r.req.Selector.Type.Matches) {
		return false
	}
	for _, m := range r.req.Selector.Matchers {
		v := e.Labels.Get(m.Name)
		if !m.Matches(v) && (v != "" || !samples || isServiceLabel(m.Name)) {
			return false
		}
	}
	return true
}

// decoder turns pprof profiles into Arrow blocks in memory.
type decoder struct {
	*run
	builders  map[int64]*arrowblock.Builder // by window of time
	blocks    []*arrowblock.Block
	sizeBytes int64 // of blocks

	types []profile.Type // of all profiles, sorted
	lossy bool           // a profile that was asked for is not in blocks
}

// learn notes types that there are.
func (d *decoder) learn(types []profile.Type) {
	for _, t := range types {
		if i, known := slices.BinarySearchFunc(d.types, t, profile.Type.Compare); !known {
			d.types = slices.Insert(d.types, i, t)
		}
	}
}

const (
	// windowLength is of times that one block in memory covers: well within the 49 days
	// that its milliseconds reach.
	windowLength = 28 * 24 * time.Hour
	// fullBytes is the size at which a block in memory is finished and another begun.
	fullBytes = 64 << 20
)

// add decodes what is asked for of a pprof block. A profile that is broken is missing
// from the answer; the others are not.
func (d *decoder) add(ctx context.Context, key string, rd *pprofblock.Reader) error {
	for i := range rd.Manifest().Profiles {
		if err := ctx.Err(); err != nil {
			return err
		}
		e := &rd.Manifest().Profiles[i]
		if !d.wants(e, true) {
			continue
		}
		body, err := rd.Profile(i)
		if err == nil {
			err = d.addProfile(ctx, e, body)
		}
		if err != nil {
			d.lossy = true
			if err = d.lose(ctx, key, fmt.Errorf("%s: %w", e.File, err)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *decoder) addProfile(ctx context.Context, e *pprofblock.Entry, body []byte) error {
	window := e.MinTime.Unix() / int64(windowLength/time.Second) // no profile is older than 1970
	b := d.builders[window]
	if b == nil {
		from := time.Unix(window*int64(windowLength/time.Second), 0)
		var err error
		if b, err = arrowblock.NewBuilder(arrowblock.Config{
			Range:        profile.TimeRange{From: from, To: from.Add(windowLength)},
			Uncompressed: true,
		}); err != nil {
			return err
		}
		if d.builders == nil {
			d.builders = map[int64]*arrowblock.Builder{}
		}
		d.builders[window] = b
	}
	before := b.SizeBytes()
	if _, err := b.AddPprof(arrowblock.Key{Name: e.Name, Labels: e.Labels, Time: e.MinTime}, body); err != nil {
		return err
	}
	if err := d.reserve(b.SizeBytes()-before, "the profiles of the last minutes"); err != nil {
		return err
	}
	if b.SizeBytes() > fullBytes {
		return d.finish(ctx, window)
	}
	return nil
}

// finish makes a block of a builder's profiles.
func (d *decoder) finish(ctx context.Context, window int64) error {
	var b bytes.Buffer
	if _, err := d.builders[window].Finish(&b); err != nil {
		return err
	}
	delete(d.builders, window)
	blk, err := arrowblock.Open(ctx, block.Bytes(b.Bytes()), arrowblock.Tail{})
	if err != nil {
		return err
	}
	d.blocks = append(d.blocks, blk)
	d.sizeBytes += int64(b.Len()) + blk.SizeBytes()
	return d.reserve(int64(b.Len()), "the profiles of the last minutes")
}

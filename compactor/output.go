package compactor

import (
	"context"
	"errors"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/bucket"
)

// output is a block of a level on its way into the bucket, and the r4 block of its rollups,
// which level 4 alone has.
type output struct {
	level          block.Level
	block, rollups spool
}

// newOutput keeps both in memory up to limit bytes each, and beyond it in files of dir.
func newOutput(level block.Level, dir string, limit int64) *output {
	return &output{
		level:   level,
		block:   spool{dir: dir, limit: int(limit)},
		rollups: spool{dir: dir, limit: int(limit)},
	}
}

// to is where arrowblock writes, and which rollups.
func (o *output) to() arrowblock.Output {
	to := arrowblock.Output{Block: &o.block, Rollups: rollupsOf[o.level]}
	if o.level == block.L4 {
		to.RollupsAlone = &o.rollups
	}
	return to
}

func (o *output) bytes() int64 { return o.block.size + o.rollups.size }

func (o *output) close() error { return errors.Join(o.block.close(), o.rollups.close()) }

// put gives what was written its IDs and puts it into the bucket: the rollups first, which
// are nobody's as long as no block names them.
func (c *Compactor) put(ctx context.Context, s shard, o *output, meta *block.Meta) error {
	now, err := c.bkt.Now(ctx)
	if err != nil {
		return err
	}
	meta.ID, meta.Level = c.cfg.NewID(now), o.level
	if meta.R4 != nil {
		meta.R4.ID = c.cfg.NewID(now)
		if err := c.create(ctx, meta.RollupKey(s.tenant, s.Shard), &o.rollups); err != nil {
			return err
		}
	}
	return c.create(ctx, meta.Key(s.tenant, s.Shard), &o.block)
}

func (c *Compactor) create(ctx context.Context, key string, from *spool) error {
	content, err := from.reader()
	if err != nil {
		return err
	}
	// Nobody else makes this ID: what exists is what an earlier attempt has put there.
	if err := c.bkt.Create(ctx, key, content, from.size); err != nil && !errors.Is(err, bucket.ErrExist) {
		return err
	}
	return nil
}

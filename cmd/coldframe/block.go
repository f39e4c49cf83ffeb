package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/block/pprofblock"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

type blockCmd struct {
	Ls      blockLsCmd      `cmd:"" help:"List live Arrow blocks and the pprof blocks that wait for compaction."`
	Inspect blockInspectCmd `cmd:"" help:"Describe a block: what it holds, section by section."`
	Cat     blockCatCmd     `cmd:"" help:"Print a block's rows as text."`
	Verify  blockVerifyCmd  `cmd:"" help:"Read a block whole and check every checksum."`
}

type blockLsCmd struct {
	From string `default:"now-7d" help:"Start of the range."`
	To   string `default:"now+1h" help:"End of the range."`

	bucketFlag
}

// Run is the command.
func (c *blockLsCmd) Run(ctx context.Context, g *globals) error {
	r, err := parseRange(c.From, c.To)
	if err != nil {
		return err
	}
	bkt, err := c.open(ctx, g)
	if err != nil {
		return err
	}
	snapshot, err := catalog.New(bkt, catalog.Config{}).Snapshot(ctx, g.tenant)
	if err != nil {
		return err
	}
	blocks, err := snapshot.Blocks(ctx, r)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(g.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "LEVEL\tFROM\tTO\tPROFILES\tROWS\tSIZE\tKEY")
	for _, b := range blocks {
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%d\t%d\t%s\n", b.Level, stamp(time.UnixMilli(b.MinTime)), stamp(time.UnixMilli(b.MaxTime)), b.Profiles, b.Rows, b.Size, b.Key(g.tenant, b.Shard))
	}
	for _, l0 := range snapshot.L0(r, profile.Selector{}) {
		fmt.Fprintf(w, "0\t%s\t%s\t\t\t%d\t%s\n", stamp(l0.MinTime), stamp(l0.MaxTime()), l0.Size, l0.String())
	}
	return w.Flush()
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func parseRange(from, to string) (profile.TimeRange, error) {
	now := time.Now()
	var r profile.TimeRange
	var err error
	if r.From, err = profile.ParseTime(from, now); err != nil {
		return r, usage(fmt.Errorf("--from: %w", err))
	}
	if r.To, err = profile.ParseTime(to, now); err != nil {
		return r, usage(fmt.Errorf("--to: %w", err))
	}
	return r, usage(r.Validate())
}

// blockArg names a block by its key.
type blockArg struct {
	Key string `arg:"" help:"Key of the block, as block ls prints it."`

	bucketFlag
}

// opened is a block of either format.
type opened struct {
	arrow *arrowblock.Block
	pprof *pprofblock.Reader
}

func (c blockArg) openBlock(ctx context.Context, g *globals) (opened, error) {
	bkt, err := c.open(ctx, g)
	if err != nil {
		return opened{}, err
	}
	data, _, err := bkt.Get(ctx, c.Key)
	if errors.Is(err, bucket.ErrNotExist) {
		return opened{}, fmt.Errorf("%s: no such object in %s", c.Key, bkt.Name())
	} else if err != nil {
		return opened{}, err
	}
	var o opened
	switch {
	case strings.HasSuffix(c.Key, ".pprof.zip"):
		o.pprof, err = pprofblock.Open(data, pprofblock.Limits{})
	case strings.HasSuffix(c.Key, ".arrow.zip"):
		o.arrow, err = arrowblock.Open(ctx, block.Bytes(data), arrowblock.Tail{})
	default:
		return opened{}, usage(fmt.Errorf("%s is no block: its key ends neither in .pprof.zip nor in .arrow.zip", c.Key))
	}
	return o, err
}

type blockInspectCmd struct{ blockArg }

// Run is the command.
func (c *blockInspectCmd) Run(ctx context.Context, g *globals) error {
	o, err := c.openBlock(ctx, g)
	if err != nil {
		return c.damaged(err)
	}
	if o.pprof != nil {
		return pprofblock.Print(g.out, o.pprof)
	}
	return c.damaged(arrowblock.Print(ctx, g.out, o.arrow))
}

type blockCatCmd struct {
	Name  string `help:"Only profiles of this name."`
	Limit int    `default:"100" help:"How many rows at most; -1: all."`

	blockArg
}

// Run is the command.
func (c *blockCatCmd) Run(ctx context.Context, g *globals) error {
	o, err := c.openBlock(ctx, g)
	if err != nil {
		return c.damaged(err)
	}
	if o.pprof != nil {
		return usage(errors.New("a pprof block is a ZIP of pprof files: unzip it and use go tool pprof"))
	}
	return c.damaged(arrowblock.Dump(ctx, g.out, o.arrow, arrowblock.DumpConfig{Group: c.Name, Limit: c.Limit}))
}

type blockVerifyCmd struct{ blockArg }

// Run is the command.
func (c *blockVerifyCmd) Run(ctx context.Context, g *globals) error {
	o, err := c.openBlock(ctx, g)
	switch {
	case err != nil:
	case o.pprof != nil:
		err = o.pprof.Verify()
	default:
		err = o.arrow.Verify(ctx)
	}
	if err != nil {
		return c.damaged(err)
	}
	fmt.Fprintf(g.out, "%s: whole\n", c.Key)
	return nil
}

// damaged makes damage exit with status 3, and says which object it is in.
func (c blockArg) damaged(err error) error {
	if errors.Is(err, block.ErrCorrupt) {
		return as(errPartial, fmt.Errorf("%s: %w", c.Key, err))
	}
	return err
}

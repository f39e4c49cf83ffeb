package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
)

type lifecycleCmd struct {
	Print lifecyclePrintCmd `cmd:"" help:"Print the rules by which the bucket deletes what is old, as S3, GCS or Terraform take them."`
	Apply lifecycleApplyCmd `cmd:"" help:"Give the bucket these rules. Rules that others have set stay."`
}

// retentionFlags say how long a bucket keeps anything.
type retentionFlags struct {
	Retention       catalog.Retention `placeholder:"30d" help:"How long profiles live, whosever they are, as 30d or 1y. For good when left out."`
	RollupRetention catalog.Retention `placeholder:"1y" help:"How long rollups of a day live, which answer long ranges when its profiles are gone. As long as these when left out."`
}

func (f retentionFlags) lifecycle() (catalog.Retentions, bucket.Lifecycle, error) {
	r := catalog.Retentions{Raw: f.Retention, Rollups: f.RollupRetention}
	if r.Rollups > 0 && (r.Raw == 0 || r.Rollups < r.Raw) {
		return r, bucket.Lifecycle{}, usage(errors.New("--rollup-retention is for longer than --retention"))
	}
	return r, catalog.Lifecycle(r), nil
}

type lifecyclePrintCmd struct {
	Format string `default:"text" enum:"text,json,s3,s3-xml,gcs" help:"text, json (for tools that compare), s3 (aws s3api put-bucket-lifecycle-configuration), s3-xml, gcs (gcloud storage buckets update --lifecycle-file)."`
	Prefix string `help:"The prefix of the bucket configuration, below which all keys lie."`

	retentionFlags
}

// Run is the command.
func (c *lifecyclePrintCmd) Run(g *globals) error {
	_, l, err := c.lifecycle()
	if err != nil {
		return err
	}
	l = l.Below(c.Prefix)
	var text []byte
	switch c.Format {
	case "json":
		text, err = json.MarshalIndent(l, "", "  ")
	case "s3":
		text, err = l.S3JSON()
	case "s3-xml":
		text, err = l.S3XML()
	case "gcs":
		text, err = l.GCSJSON()
	default:
		for _, r := range l.Rules {
			fmt.Fprintf(g.out, "%-14s %d days\n", r.Prefix, r.Days())
		}
		if c.Retention == 0 {
			fmt.Fprintln(g.out, "v1/b4/, v1/r4/ for good: --retention is not given")
		}
		return nil
	}
	if err == nil {
		fmt.Fprintf(g.out, "%s\n", text)
	}
	return err
}

type lifecycleApplyCmd struct {
	retentionFlags
	bucketFlag
}

// Run is the command.
func (c *lifecycleApplyCmd) Run(ctx context.Context, g *globals) error {
	retentions, l, err := c.lifecycle()
	if err != nil {
		return err
	}
	bkt, err := c.open(ctx, g)
	if err != nil {
		return err
	}
	if err := catalog.New(bkt, catalog.Config{}).SetDefaults(ctx, retentions); err != nil {
		return err
	}
	if bucket.IsFolder(bkt) {
		fmt.Fprintf(g.out, "%s is a folder: compact and dev play %d rules\n", bkt.Name(), len(l.Rules))
		return nil
	}
	err = bucket.SetLifecycle(ctx, bkt, l)
	if errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("%w; the retention is set for coldframe all the same: run compact with --lifecycle=play, which deletes by the same rules", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(g.out, "%s deletes by %d rules\n", bkt.Name(), len(l.Rules))
	return nil
}

// playEvery is how often rules are played. Servers do it about daily.
const playEvery = time.Hour

// playLifecycle deletes by the bucket's rules where no server does it.
func (p *process) playLifecycle() error {
	for {
		defaults, err := p.cat.Defaults(p.ctx)
		var played bucket.Played
		if err == nil {
			played, err = bucket.PlayLifecycle(p.ctx, p.bkt, catalog.Lifecycle(defaults.Retentions()))
		}
		switch {
		case p.ctx.Err() != nil:
			return nil
		case err != nil:
			p.g.log.Error("the lifecycle was played in part, will be tried again", "err", err)
		}
		if played.Objects > 0 {
			p.g.log.Info("deleted what the lifecycle lets expire", slog.Int("objects", played.Objects), slog.Int64("bytes", played.Bytes))
		}
		select {
		case <-p.ctx.Done():
			return nil
		case <-time.After(playEvery):
		}
	}
}

// addLifecycle plays the lifecycle if how asks for it: auto does where the bucket is a folder.
func (p *process) addLifecycle(how string) {
	if how == "play" || how == "auto" && bucket.IsFolder(p.bkt) {
		p.roles.Go(p.playLifecycle)
	}
}

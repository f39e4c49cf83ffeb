package main

import (
	"context"
	"errors"
	"time"

	"github.com/coldframe/coldframe/upload"
)

type ingestCmd struct {
	ConfigPath  string        `placeholder:"FILE" help:"Targets to scrape: a parca.yaml, read again when it changes and on SIGHUP. Its object_storage is used when --bucket-config is not given."`
	HTTPAddress string        `default:":7070" name:"http-address" placeholder:"HOST:PORT" help:"Where to receive pushes."`
	Window      time.Duration `default:"60s" help:"How long scrapes are gathered into one block. Shorter: seen earlier, and more requests to pay for."`
	Shards      int           `placeholder:"N" help:"How many shards the tenants have, if not as many as --tenant's settings say, else 1. One for about 300 hosts."`
	SpoolDir    string        `placeholder:"DIR" help:"Keep blocks here while the bucket is away; they survive a restart."`
	SpoolBytes  int64         `default:"1073741824" help:"How many bytes the spool may take."`
	MemoryBytes int64         `default:"268435456" help:"How many bytes of profiles may be in memory, gathered or waiting for the bucket. Pushes over it are told to come back."`
	CheckConfig string        `placeholder:"FILE" help:"Check this parca.yaml, print its jobs and targets, and exit."`

	ExternalLabel map[string]string `placeholder:"NAME=VALUE" help:"Label of every scraped series that has none of that name. May be repeated."`
	MaxTargets    int               `default:"100000" help:"How many targets may be scraped, each profile of an address counted."`

	webFlags
	limitsFlag
	bucketFlag
}

// Run is the command.
func (c *ingestCmd) Run(ctx context.Context, g *globals) error {
	if c.CheckConfig != "" {
		cfg, err := readScrapeConfig(c.CheckConfig)
		if err == nil {
			cfg.Describe(g.out)
		}
		return err
	}
	cfg, err := readScrapeConfig(c.ConfigPath)
	if err != nil {
		return err
	}
	if cfg.ObjectStorage != nil {
		if c.BucketConfig == "" {
			c.BucketConfig = string(cfg.ObjectStorage)
		} else {
			g.log.Warn("--bucket-config is used; object_storage of the configuration is ignored", "file", c.ConfigPath)
		}
	}
	bkt, err := c.open(ctx, g)
	if err != nil {
		return err
	}
	p, err := g.start(ctx, c.HTTPAddress, c.webFlags, bkt)
	if err != nil {
		return err
	}
	shards, err := shardsOf(ctx, p.cat, g.tenant, c.Shards)
	if err != nil {
		return errors.Join(err, p.close())
	}
	limits, err := p.addLimits(c.limitsFlag)
	if err != nil {
		return errors.Join(err, p.close())
	}
	up, err := p.addUpload(upload.Config{
		Agent: agentID("ingest"), Window: c.Window, Shards: shards, SpoolDir: c.SpoolDir, SpoolBytes: c.SpoolBytes, MemoryBytes: c.MemoryBytes, MaxAge: limits.age(maxAgeOf(ctx, p.cat)),
	})
	if err != nil {
		return err
	}
	p.addPush(up, limits)
	if err := p.addScrape(up, scraping{file: c.ConfigPath, config: cfg, external: c.ExternalLabel, maxTargets: c.MaxTargets}); err != nil {
		return errors.Join(err, p.close())
	}
	g.log.Info("listening", "address", p.server.Addr().String(), "bucket", bkt.Name(), "jobs", len(cfg.Jobs))
	return p.wait()
}

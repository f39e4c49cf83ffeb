package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/compactor"
	"github.com/coldframe/coldframe/ingest/scrape"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/upload"
)

type devCmd struct {
	Data        string        `default:"./data" placeholder:"DIR" help:"Folder that plays the bucket."`
	HTTPAddress string        `default:":7070" name:"http-address" placeholder:"HOST:PORT" help:"Where to listen."`
	ConfigPath  string        `placeholder:"FILE" help:"Targets to scrape beside this process itself: the scrape_configs of a parca.yaml."`
	Agent       string        `default:"auto" enum:"auto,on,off" help:"Profile the whole machine too: auto, when this process may; on, or fail; off."`
	Tick        time.Duration `default:"10s" help:"How often to compact."`

	queryFlags
	apiFlags
}

// devWindow is how long dev gathers scrapes: short, because somebody is watching.
const devWindow = 2 * time.Second

// Run is the command.
func (c *devCmd) Run(ctx context.Context, g *globals) error {
	cfg, err := readScrapeConfig(c.ConfigPath)
	if err != nil {
		return err
	}
	if cfg.ObjectStorage != nil {
		g.log.Warn("dev keeps its data in a folder; object_storage of the configuration is ignored", "file", c.ConfigPath, "folder", c.Data)
	}
	if c.Tick <= 0 {
		return usage(fmt.Errorf("--tick %s: want more than 0", c.Tick))
	}
	folder, err := folderConfig(c.Data)
	if err != nil {
		return err
	}
	bkt, err := openBucket(ctx, folder, "--data")
	if err != nil {
		return err
	}
	p, err := g.start(ctx, c.HTTPAddress, webFlags{}, bkt)
	if err != nil {
		return err
	}
	up, err := p.addUpload(upload.Config{Agent: agentID("dev"), Window: devWindow, MaxAge: maxAgeOf(ctx, p.cat)})
	if err != nil {
		return err
	}
	p.addPush(up, new(limits))
	q, err := p.addQuery(c.queryFlags, &clusterFlags{}, new(limits))
	if err != nil {
		return errors.Join(err, p.close())
	}
	p.addAPIs(q, c.apiFlags)
	p.addCompact(compactor.Config{Every: c.Tick})
	p.addLifecycle("auto")
	p.roles.Go(func() error { return watchSelf(p, q, c.Tick) })
	self := selfAddress(p.server.Addr())
	err = p.addScrape(up, scraping{file: c.ConfigPath, config: cfg, also: []scrape.Job{scrape.Self(self)}})
	if err == nil {
		err = c.addMachine(p, up)
	}
	if err != nil {
		return errors.Join(err, p.close())
	}
	p.roles.Go(func() error { return runSelfTest(p) })
	c.printWhatToTry(g, "http://"+self)
	return p.wait()
}

// addMachine profiles the whole machine beside dev's own scrapes, when it may.
func (c *devCmd) addMachine(p *process, up *upload.Uploader) error {
	if c.Agent == "off" {
		return nil
	}
	err := p.addMachine(up)
	switch {
	case err == nil:
		p.g.log.Info("profiling this whole machine", "query", `{comm="NAME"}`)
	case c.Agent == "on":
		return err
	default:
		p.g.log.Info("only what is scraped is profiled", "why", err)
	}
	return nil
}

// runSelfTest ends dev when this machine does not give back what went in.
func runSelfTest(p *process) error {
	began := time.Now()
	err := selfTest(p.ctx)
	if p.ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	p.g.log.Info("self-test passed: what went in was found again, before and after compaction", "profiles", selfTestProfiles, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// folderConfig is the bucket configuration of a local folder, which is made.
func folderConfig(dir string) ([]byte, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	return yaml.Marshal(map[string]any{"type": "FILESYSTEM", "config": map[string]string{"directory": dir}})
}

// selfAddress is where this process reaches itself.
func selfAddress(listening net.Addr) string {
	host, port, err := net.SplitHostPort(listening.String())
	if err != nil {
		return listening.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// watchSelf asks every tick for what this process has scraped of itself, the whole
// way from the endpoint through the bucket to the answer. It says when that can be
// asked for the first time, and when it no longer can.
func watchSelf(p *process, q *query.Querier, tick time.Duration) error {
	cpu, err := profile.ParseSelector(`{__name__="process_cpu/cpu", job="coldframe"}`)
	if err != nil {
		return err
	}
	began := time.Now()
	found := false
	for {
		select {
		case <-p.ctx.Done():
			return nil
		case <-time.After(min(tick, time.Since(began)/2+time.Second)):
		}
		now := time.Now()
		tree, err := q.Tree(p.ctx, query.TreeRequest{Request: query.Request{
			Tenant: p.g.tenant, Selector: cpu, Fresh: true,
			Range: profile.TimeRange{From: now.Add(-selfRange), To: now},
		}})
		switch {
		case p.ctx.Err() != nil:
			return nil
		case err == nil && tree.Stats.Profiles > 0:
			if !found {
				p.g.log.Info("profiles can be queried", "after", time.Since(began).Round(100*time.Millisecond))
			}
			found = true
		case found || time.Since(began) > selfRange:
			p.g.log.Warn("the profiles of this process cannot be found", "range", selfRange, "err", err)
		}
	}
}

// selfRange is so long that a scrape that fails once is no alarm.
const selfRange = time.Minute

func (c *devCmd) printWhatToTry(g *globals, url string) {
	fmt.Fprintf(g.out, `coldframe listens on %[1]s and keeps its data in %[2]s.
It profiles itself; in a few seconds, try

  go tool pprof -top '%[1]s/api/v1/pprof?query={job="coldframe"}&type=process_cpu&from=now-5m'
  coldframe get --server %[1]s --type process_cpu --format tree
  coldframe push --server %[1]s --label service_name=mine cpu.pb.gz
  coldframe block ls --bucket-config '{type: FILESYSTEM, config: {directory: %[2]s}}'

Targets of your own: --config-path parca.yaml
`, url, c.Data)
}

type compactCmd struct {
	Once        bool          `help:"Every full minute and a sweep, then exit."`
	SealNow     bool          `help:"With --once: the current minute too. What is pushed into it later appears at the next sweep."`
	Every       time.Duration `default:"30s" help:"How often to look for work."`
	MemoryBytes int64         `default:"536870912" help:"How much memory merging may take; with less, more and smaller blocks are written."`
	Only        []string      `placeholder:"TENANT,…" help:"Compact these tenants, instead of all that the bucket has."`
	Delete      bool          `help:"Delete what is of no use any more an hour after it was superseded, and what is past its tenant's retention, instead of leaving all deletion to the bucket's lifecycle."`
	Claim       time.Duration `default:"3m" placeholder:"TIME" help:"How long to let other compactors know that this one looks after a shard, so that they leave it alone. It only saves work; 0: not at all."`
	Lifecycle   string        `default:"auto" enum:"auto,play,off" help:"Delete by the rules of coldframe lifecycle: auto, where the bucket is a folder; play, in a bucket that has no rules of its own; off."`
	HTTPAddress string        `default:":7071" name:"http-address" placeholder:"HOST:PORT" help:"Where metrics and health are served."`

	webFlags
	bucketFlag
}

// Run is the command.
func (c *compactCmd) Run(ctx context.Context, g *globals) error {
	if c.SealNow && !c.Once {
		return usage(errors.New("--seal-now goes with --once"))
	}
	bkt, err := c.openProbed(ctx, g)
	if err != nil {
		return err
	}
	cfg := compactor.Config{Every: c.Every, MemoryBytes: c.MemoryBytes, SealNow: c.SealNow, Delete: c.Delete}
	for _, name := range c.Only {
		tenant, err := profile.ParseTenant(name)
		if err != nil {
			return usage(fmt.Errorf("--only: %w", err))
		}
		cfg.Tenants = append(cfg.Tenants, tenant)
	}
	if c.Delete && bkt.CAS() == bucket.CASNone {
		g.log.Warn("--delete is ignored: an older HEAD may come back in a bucket without conditional writes, and name what was deleted", "bucket", bkt.Name())
	}
	if c.Once {
		return g.compactOnce(ctx, bkt, cfg)
	}
	p, err := g.start(ctx, c.HTTPAddress, c.webFlags, bkt)
	if err != nil {
		return err
	}
	cfg.Claim = c.Claim
	p.addCompact(cfg)
	p.addLifecycle(c.Lifecycle)
	g.log.Info("compacting", "bucket", bkt.Name(), "metrics", "http://"+strings.Replace(p.server.Addr().String(), "[::]", "localhost", 1)+"/metrics")
	return p.wait()
}

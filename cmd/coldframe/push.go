package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

type pushCmd struct {
	Files    []string          `arg:"" type:"existingfile" help:"Profiles: pprof; perf.data, and the text of perf script; JFR recordings; files of Parca's agent (.padata). Gzip or not, told by what they begin with."`
	Label    map[string]string `placeholder:"NAME=VALUE" help:"Label of the series that the profiles join. May be repeated."`
	TypeName string            `help:"Name of the profiles (process_cpu, memory, …); follows from what they measure when left out."`
	Shards   int               `placeholder:"N" help:"How many shards the tenant has, if not as many as its settings say, else 1."`

	place
}

// pushesInFlight is how many files are read and sent at a time. Their blocks are
// shared: what arrives while a block is being written goes into the next.
const pushesInFlight = 16

// Run is the command.
func (c *pushCmd) Run(ctx context.Context, g *globals) error {
	if _, err := profile.LabelsFromMap(c.Label); err != nil {
		return usage(fmt.Errorf("--label: %w", err))
	}
	if err := c.authorize(g); err != nil {
		return err
	}
	push, finish, err := c.sender(ctx, g)
	if err != nil {
		return err
	}
	outcomes := make([]pushed, len(c.Files))
	var group errgroup.Group
	group.SetLimit(pushesInFlight)
	for i, file := range c.Files {
		group.Go(func() error {
			outcomes[i] = c.pushFile(ctx, file, push)
			return nil
		})
	}
	_ = group.Wait() // failures are gathered by file
	stored, all, cut := 0, 0, 0
	for i, o := range outcomes {
		stored, all = stored+o.stored, all+o.profiles
		if o.err != nil {
			g.log.Error("not stored", "err", fmt.Errorf("%s: %w", c.Files[i], o.err))
		}
		if !o.whole && o.err == nil {
			cut++
			g.log.Warn("the file ends within a batch; what is before it is stored", "file", c.Files[i])
		}
	}
	if err := finish(); err != nil {
		return err
	}
	fmt.Fprintf(g.out, "stored %d of %d profiles\n", stored, all)
	switch {
	case stored == all && cut == 0:
		return nil
	case stored == 0:
		return errors.New("no profile was stored")
	}
	return fmt.Errorf("%d of %d profiles were not stored, %d files are cut off: %w", all-stored, all, cut, errPartial)
}

// pushed is what became of a file. One that cannot be read counts as one profile.
type pushed struct {
	profiles, stored int
	whole            bool
	err              error
}

// sendFunc stores profiles durably and says how many it has stored before it failed.
type sendFunc func(context.Context, []upload.Profile) (stored int, err error)

func (c *pushCmd) pushFile(ctx context.Context, file string, send sendFunc) pushed {
	profiles, whole, err := c.readProfiles(file)
	if err != nil {
		return pushed{profiles: 1, err: err}
	}
	stored, err := send(ctx, profiles)
	return pushed{len(profiles), stored, whole, err}
}

// sender gives what stores a file's profiles, through the server or straight into the bucket.
func (c *pushCmd) sender(ctx context.Context, g *globals) (send sendFunc, finish func() error, err error) {
	if c.Server != "" {
		return c.throughServer(g), func() error { return nil }, nil
	}
	bkt, err := c.open(ctx, g)
	if err != nil {
		return nil, nil, err
	}
	cat := catalog.New(bkt, catalog.Config{})
	shards, err := shardsOf(ctx, cat, g.tenant, c.Shards)
	if err != nil {
		return nil, nil, err
	}
	up, err := upload.New(bkt, upload.Config{Agent: agentID("push"), Shards: shards, MaxAge: maxAgeOf(ctx, cat)})
	if err != nil {
		return nil, nil, err
	}
	send = func(ctx context.Context, profiles []upload.Profile) (int, error) {
		if err := up.Push(ctx, g.tenant, profiles...); err != nil {
			return 0, err
		}
		return len(profiles), nil
	}
	return send, func() error { return up.Close(context.WithoutCancel(ctx)) }, nil
}

func (c *pushCmd) throughServer(g *globals) sendFunc {
	return func(ctx context.Context, profiles []upload.Profile) (int, error) {
		for i, p := range profiles {
			params := url.Values{}
			for _, l := range p.Labels {
				params.Set(l.Name, l.Value)
			}
			if p.Name != "" {
				params.Set("type_name", p.Name)
			}
			target := strings.TrimSuffix(c.Server, "/") + "/api/v1/push?" + params.Encode()
			header := http.Header{}
			if !p.Time.IsZero() { // of a profile that says none itself
				header.Set("Date", p.Time.UTC().Format(http.TimeFormat))
			}
			resp, err := do(ctx, g, http.DefaultClient, http.MethodPost, target, header, bytes.NewReader(p.Body))
			if err != nil {
				return i, err
			}
			if err := resp.Body.Close(); err != nil {
				return i, err
			}
		}
		return len(profiles), nil
	}
}

// agentID names this process among those that upload: it chooses the shard, and
// people find it in manifests.
func agentID(role string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return role + "@" + host
}

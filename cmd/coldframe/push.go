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
	Files    []string          `arg:"" type:"existingfile" help:"Profiles: pprof, gzip or not."`
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
	labels, err := profile.LabelsFromMap(c.Label)
	if err != nil {
		return usage(fmt.Errorf("--label: %w", err))
	}
	if err := c.authorize(g); err != nil {
		return err
	}
	push, finish, err := c.sender(ctx, g, labels)
	if err != nil {
		return err
	}
	failures := make([]error, len(c.Files))
	var group errgroup.Group
	group.SetLimit(pushesInFlight)
	for i, file := range c.Files {
		group.Go(func() error {
			body, err := os.ReadFile(file)
			if err == nil {
				err = push(ctx, body)
			}
			if err != nil {
				failures[i] = fmt.Errorf("%s: %w", file, err)
			}
			return nil
		})
	}
	_ = group.Wait() // failures are gathered by file
	failed := 0
	for _, err := range failures {
		if err != nil {
			failed++
			g.log.Error("not stored", "err", err)
		}
	}
	if err := finish(); err != nil {
		return err
	}
	fmt.Fprintf(g.out, "stored %d of %d profiles\n", len(c.Files)-failed, len(c.Files))
	switch {
	case failed == 0:
		return nil
	case failed == len(c.Files):
		return errors.New("no profile was stored")
	}
	return fmt.Errorf("%d of %d profiles were not stored: %w", failed, len(c.Files), errPartial)
}

// sender gives what stores one profile durably, through the server or straight into the bucket.
func (c *pushCmd) sender(ctx context.Context, g *globals, labels profile.Labels) (push func(context.Context, []byte) error, finish func() error, err error) {
	if c.Server != "" {
		return c.throughServer(g, labels), func() error { return nil }, nil
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
	push = func(ctx context.Context, body []byte) error {
		return up.Push(ctx, g.tenant, upload.Profile{Name: c.TypeName, Labels: labels, Body: body})
	}
	return push, func() error { return up.Close(context.WithoutCancel(ctx)) }, nil
}

func (c *pushCmd) throughServer(g *globals, labels profile.Labels) func(context.Context, []byte) error {
	params := url.Values{}
	for _, l := range labels {
		params.Set(l.Name, l.Value)
	}
	if c.TypeName != "" {
		params.Set("type_name", c.TypeName)
	}
	target := strings.TrimSuffix(c.Server, "/") + "/api/v1/push?" + params.Encode()
	return func(ctx context.Context, body []byte) error {
		resp, err := do(ctx, g, http.DefaultClient, http.MethodPost, target, bytes.NewReader(body))
		if err != nil {
			return err
		}
		return resp.Body.Close()
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

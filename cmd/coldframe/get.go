package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/serve"
)

type getCmd struct {
	Selector string   `arg:"" optional:"" help:"Which series, as in Prometheus: {service_name=\"api\"}. Everything when left out."`
	From     string   `default:"now-1h" help:"Start of the range: RFC 3339, unix seconds, or now-1h."`
	To       string   `default:"now" help:"End of the range, which does not belong to it."`
	Type     string   `help:"Profile type: NAME, NAME/SAMPLE_TYPE or Parca's whole form. May be left out when only one matches."`
	Format   string   `default:"top" enum:"pprof,top,tree,json,folded,series" help:"pprof, top (table), tree (indented), json (flame graph), folded (for flamegraph.pl), series (CSV over time)."`
	Output   string   `short:"o" help:"Write to this file instead of standard output."`
	Limit    int      `default:"30" help:"Rows of --format top; 0: all."`
	Step     string   `help:"Step of --format series, as 30s or 5m; chosen by the range when left out."`
	By       []string `help:"Labels that split --format series."`
	Strict   bool     `help:"Fail if anything that should be part of the answer cannot be read."`

	place
}

// endpoints says which request of the HTTP API gives a format. The command line
// asks as any client does, of a server or of the same handler in this process.
func (c *getCmd) endpoint() (path string, params url.Values) {
	params = url.Values{"query": {c.Selector}, "from": {c.From}, "to": {c.To}}
	if c.Type != "" {
		params.Set("type", c.Type)
	}
	if c.Strict {
		params.Set("strict", "1")
	}
	switch c.Format {
	case "pprof":
		return "/api/v1/pprof", params
	case "top":
		params.Set("format", "text")
		params.Set("limit", fmt.Sprint(c.Limit))
		return "/api/v1/top", params
	case "series":
		params.Set("format", "csv")
		if c.Step != "" {
			params.Set("step", c.Step)
		}
		if len(c.By) > 0 {
			params.Set("by", strings.Join(c.By, ","))
		}
		return "/api/v1/series", params
	}
	params.Set("format", c.Format)
	return "/api/v1/flamegraph", params
}

// Run is the command.
func (c *getCmd) Run(ctx context.Context, g *globals) error {
	if _, err := profile.ParseSelector(c.Selector); err != nil {
		return usage(err)
	}
	client, base, err := c.client(ctx, g)
	if err != nil {
		return err
	}
	path, params := c.endpoint()
	resp, err := do(ctx, g, client, http.MethodGet, base+path+"?"+params.Encode(), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := c.write(g.out, resp.Body); err != nil {
		return err
	}
	return reportStats(g, resp.Header.Get("Coldframe-Stats"))
}

// client gives what answers: the server, or the query handler on the bucket.
func (c *getCmd) client(ctx context.Context, g *globals) (client *http.Client, base string, err error) {
	if c.Server != "" {
		return http.DefaultClient, strings.TrimSuffix(c.Server, "/"), nil
	}
	bkt, err := c.open(ctx, g)
	if err != nil {
		return nil, "", err
	}
	cat := catalog.New(bkt, catalog.Config{})
	handler := query.New(cat, bkt, query.Config{Timeout: time.Hour, Retention: retentionOf(cat)}).Handler()
	return &http.Client{Transport: inProcess{handler}}, "http://" + inProcessHost, nil
}

func (c *getCmd) write(stdout io.Writer, body io.Reader) error {
	if c.Output == "" {
		_, err := io.Copy(stdout, body)
		return err
	}
	f, err := os.Create(c.Output)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	return errors.Join(err, f.Close())
}

// reportStats tells what the answer cost, and fails with errPartial when it lacks something.
func reportStats(g *globals, header string) error {
	var stats struct {
		Blocks, OK, Requests, Bytes int64
		Missing                     []struct{ Key, Reason string }
		Reason                      string
	}
	if err := json.Unmarshal([]byte(header), &stats); err != nil {
		return nil //nolint:nilerr // a server of another version says it differently; the answer stands
	}
	g.log.Debug("answered", "blocks", stats.Blocks, "ok", stats.OK, "requests", stats.Requests, "bytes", stats.Bytes)
	if len(stats.Missing) == 0 {
		return nil
	}
	for _, m := range stats.Missing {
		g.log.Warn("missing from the answer", "object", m.Key, "reason", m.Reason)
	}
	return fmt.Errorf("%d of %d objects are missing from the answer: %w", stats.Blocks-stats.OK, stats.Blocks, errPartial)
}

// do sends a request of the HTTP API, and turns an error answer into its message.
func do(ctx context.Context, g *globals, client *http.Client, method, rawURL string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, rawURL, body)
	if err != nil {
		return nil, usage(fmt.Errorf("--server: %w", err))
	}
	req.Header.Set(serve.TenantHeader, string(g.tenant))
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, apiError(resp)
}

func apiError(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%s: %w", resp.Status, err)
	}
	var body struct {
		Error struct{ Message string }
	}
	message := strings.TrimSpace(string(text))
	if json.Unmarshal(text, &body) == nil && body.Error.Message != "" {
		message = body.Error.Message
	}
	err = errors.New(message)
	if resp.Request != nil && resp.Request.URL.Host != inProcessHost {
		err = fmt.Errorf("%s: %s: %w", resp.Request.URL.Host, resp.Status, err)
	}
	if resp.StatusCode == http.StatusBadRequest {
		return usage(err)
	}
	return err
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
)

type getCmd struct {
	Selector  string   `arg:"" optional:"" help:"Which series, as in Prometheus: {service_name=\"api\"}. Everything when left out."`
	Base      string   `arg:"" optional:"" help:"A second selector, to compare with: see --diff."`
	From      string   `default:"now-1h" help:"Start of the range: RFC 3339, unix seconds, or now-1h."`
	To        string   `default:"now" help:"End of the range, which does not belong to it."`
	Type      string   `help:"Profile type: NAME, NAME/SAMPLE_TYPE or Parca's whole form. May be left out when only one matches."`
	Format    string   `default:"top" enum:"top,tree,pprof,folded,speedscope,svg,json,arrow,series" help:"top (table), tree (indented), pprof, folded (for flamegraph.pl), speedscope (for speedscope.app), svg (flame graph), json or arrow (flame graph as data), series (CSV over time)."`
	Output    string   `short:"o" help:"Write to this file instead of standard output."`
	Limit     int      `default:"30" help:"Rows of --format top; 0: all."`
	Order     string   `default:"auto" enum:"auto,self,total,diff" help:"Order of --format top: self, total, or diff; auto is diff in a comparison, else self."`
	Step      string   `help:"Step of --format series, as 30s or 5m; chosen by the range when left out."`
	By        []string `help:"Labels that split --format series; the same as --group-by."`
	Aggregate string   `default:"sum" enum:"sum,last,difference" help:"What a series' profiles become: sum; last, for levels as memory in use; difference, for what is counted since a program began, as allocations and contentions. Not for --format pprof."`
	Strict    bool     `help:"Fail if anything that should be part of the answer cannot be read."`
	Explain   bool     `help:"Tell what would be read, and what that would cost, as JSON; read nothing."`

	Filter      []string `sep:"none" placeholder:"FIELD=VALUE" help:"Only stacks with such a frame; may be repeated. FIELD is function, system, binary, file, address or line; = equals, *= contains, ^= starts with, and !=, !*=, !^= all frames do not; conditions are joined by ' && '."`
	FrameFilter []string `sep:"none" placeholder:"FIELD=VALUE" help:"Only such frames of the stacks."`
	GroupBy     []string `placeholder:"WORD,…" help:"Labels whose values come first in the tree; function, file, binary, address and line make frames of these."`
	Sandwich    string   `placeholder:"FUNCTION" help:"What the function called; with --invert, who called it."`
	Invert      bool     `help:"Callers below callees."`

	Diff         bool   `help:"Compare: with the second selector, with --diff-from and --diff-to, or else with the same length of time before."`
	DiffFrom     string `placeholder:"T" help:"Compare with the range that starts here."`
	DiffTo       string `placeholder:"T" help:"Compare with the range that ends here."`
	DiffAbsolute bool   `help:"Compare values as they are. Else both sides are scaled to one total."`

	place
}

// treeFormats are those of which a tree is made, that is those that can be filtered by
// stacks, grouped, turned and compared.
var treeFormats = map[string]bool{"top": true, "tree": true, "folded": true, "speedscope": true, "svg": true, "json": true, "arrow": true}

func (c *getCmd) compares() bool { return c.Diff || c.Base != "" || c.DiffFrom != "" || c.DiffTo != "" }

// validate refuses what would be left unsaid otherwise.
func (c *getCmd) validate() error {
	for _, selector := range []string{c.Selector, c.Base} {
		if _, err := profile.ParseSelector(selector); err != nil {
			return usage(err)
		}
	}
	if treeFormats[c.Format] {
		return nil
	}
	switch {
	case c.compares():
		return usage(fmt.Errorf("--diff does not go with --format %s; go tool pprof -diff_base compares pprofs", c.Format))
	case c.Sandwich != "" || c.Invert:
		return usage(fmt.Errorf("--sandwich and --invert do not go with --format %s", c.Format))
	case len(c.GroupBy) > 0 && c.Format == "pprof":
		return usage(errors.New("--group-by does not go with --format pprof"))
	}
	return nil
}

// endpoint says which request of the HTTP API gives the format. The command line
// asks as any client does, of a server or of the same handler in this process.
func (c *getCmd) endpoint() (path string, params url.Values, err error) {
	params = url.Values{"query": {c.Selector}, "from": {c.From}, "to": {c.To}, "filter": c.Filter, "frame_filter": c.FrameFilter}
	set := func(name, value string) {
		if value != "" {
			params.Set(name, value)
		}
	}
	set("type", c.Type)
	if c.Aggregate != "sum" {
		params.Set("aggregate", c.Aggregate)
	}
	if c.Strict {
		params.Set("strict", "1")
	}
	if c.Explain {
		params.Set("explain", "1")
	}
	switch c.Format {
	case "pprof":
		return "/api/v1/pprof", params, nil
	case "series":
		params.Set("format", "csv")
		set("step", c.Step)
		set("by", strings.Join(append(c.By, c.GroupBy...), ","))
		return "/api/v1/series", params, nil
	}
	set("group_by", strings.Join(c.GroupBy, ","))
	set("sandwich", c.Sandwich)
	if c.Invert {
		params.Set("invert", "1")
	}
	if err := c.compare(params); err != nil {
		return "", nil, err
	}
	if c.Format == "top" {
		params.Set("format", "text")
		params.Set("limit", fmt.Sprint(c.Limit))
		if c.Order != "auto" {
			params.Set("order", c.Order)
		}
		return "/api/v1/top", params, nil
	}
	params.Set("format", c.Format)
	return "/api/v1/flamegraph", params, nil
}

// compare sets what the answer is compared with.
func (c *getCmd) compare(params url.Values) error {
	if !c.compares() {
		return nil
	}
	if c.Order == "auto" {
		c.Order = "diff"
	}
	if c.DiffAbsolute {
		params.Set("diff", "absolute")
	}
	for name, value := range map[string]string{"base_query": c.Base, "base_from": c.DiffFrom, "base_to": c.DiffTo} {
		if value != "" {
			params.Set(name, value)
		}
	}
	if c.Base != "" || c.DiffFrom != "" || c.DiffTo != "" {
		return nil
	}
	from, err := profile.ParseTime(c.From, time.Now())
	if err != nil {
		return usage(fmt.Errorf("--from: %w", err))
	}
	params.Set("base_to", from.Format(time.RFC3339Nano)) // the time just before
	return nil
}

// Run is the command.
func (c *getCmd) Run(ctx context.Context, g *globals) error {
	if err := c.validate(); err != nil {
		return err
	}
	path, params, err := c.endpoint()
	if err != nil {
		return err
	}
	if err := c.authorize(g); err != nil {
		return err
	}
	client, base, err := c.client(ctx, g)
	if err != nil {
		return err
	}
	progress := &query.Progress{}
	stop := showProgress(g.err, progress)
	resp, err := do(query.WithProgress(ctx, progress), g, client, http.MethodGet, base+path+"?"+params.Encode(), nil, nil)
	stop()
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := c.write(g.out, resp.Body); err != nil {
		return err
	}
	return reportStats(g, resp.Header.Get(query.StatsHeader))
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
		if c.Format == "top" || c.Format == "tree" {
			stdout = fitTerminal(stdout)
		}
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
		Milliseconds                float64 `json:"ms"`
		Dollars                     float64
		Reason                      string
	}
	if err := json.Unmarshal([]byte(header), &stats); err != nil {
		return nil //nolint:nilerr // a server of another version says it differently; the answer stands
	}
	g.log.Debug("answered", "blocks", stats.Blocks, "ok", stats.OK, "requests", stats.Requests, "bytes", stats.Bytes, "ms", stats.Milliseconds, "dollars", stats.Dollars)
	if len(stats.Missing) == 0 {
		return nil
	}
	for _, m := range stats.Missing {
		g.log.Warn("missing from the answer", "object", m.Key, "reason", m.Reason)
	}
	return fmt.Errorf("%d of %d objects are missing from the answer: %w", stats.Blocks-stats.OK, stats.Blocks, errPartial)
}

// do sends a request of the HTTP API, and turns an error answer into its message. The header's
// fields go with it.
func do(ctx context.Context, g *globals, client *http.Client, method, rawURL string, header http.Header, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, rawURL, body)
	if err != nil {
		return nil, usage(fmt.Errorf("--server: %w", err))
	}
	maps.Copy(req.Header, header)
	g.identify(req.Header)
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

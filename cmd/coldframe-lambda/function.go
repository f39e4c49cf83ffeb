package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
)

// function is one execution environment: what lives from one event to the next.
type function struct {
	cfg   config
	bkt   bucket.Bucket
	cat   *catalog.Catalog
	query *query.Querier
	peers *peers // nil when nothing may be invoked
	web   func(context.Context, *events.LambdaFunctionURLRequest) (*events.LambdaFunctionURLStreamingResponse, error)

	compactions compactions
	report      *report
	tracer      *tracer
}

// start makes a function. It asks nothing of anybody: that is part of the first event.
func start(ctx context.Context, getenv func(string) string) (*function, error) {
	cfg, err := readConfig(getenv)
	if err != nil {
		return nil, err
	}
	// Go's heap may grow to what is left beside its own overhead, rather than to twice
	// what is alive, which a function of 512 MiB cannot afford.
	debug.SetMemoryLimit(cfg.MemoryBytes * 8 / 10)
	bkt, err := bucket.Open(ctx, cfg.Bucket)
	if err != nil {
		return nil, err
	}
	f := &function{cfg: cfg, report: newReport(os.Stdout, cfg)}
	f.tracer = newTracer(cfg.Daemon, func(err error) { f.report.logger().Warn("no traces", "err", err) })
	f.bkt = f.tracer.bucket(bucket.Counting(bkt, f.report.usage))
	f.cat = catalog.New(f.bkt, catalog.Config{})
	if cfg.Function != "" && cfg.Region != "" {
		f.peers = newPeers(cfg, f.bkt, f.tracer, getenv)
	}
	if cfg.has("query") {
		f.query = query.New(f.cat, f.bkt, f.queryConfig())
	}
	f.web, err = f.newWeb()
	return f, err
}

// An event is what all kinds of events are told apart by.
type event struct {
	RequestContext json.RawMessage `json:"requestContext,omitempty"` // of a request to a URL
	DetailType     string          `json:"detail-type,omitempty"`    // of EventBridge
	Compact        *compactEvent   `json:"compact,omitempty"`
	Part           *query.Part     `json:"part,omitempty"`
}

var errNotMine = errors.New("not what this function is for")

// handle answers one event. An error that it returns is what Lambda counts as one.
func (f *function) handle(ctx context.Context, payload json.RawMessage) (answer any, err error) {
	f.report.begin(ctx)
	ctx = f.tracer.invoked(ctx)
	var e event
	if err := json.Unmarshal(payload, &e); err != nil {
		return nil, fmt.Errorf("event: %w: %w", err, profile.ErrInvalid)
	}
	if e.RequestContext != nil {
		return f.handleRequest(ctx, payload) // it ends when its answer has left
	}
	defer func() { f.report.end(err) }()
	ctx, cancel := early(ctx)
	defer cancel()
	if e.DetailType == "Scheduled Event" {
		e.Compact = &compactEvent{}
	}
	switch {
	case e.Part != nil && f.cfg.has("query"):
		ctx, span := f.tracer.begin(ctx, "part")
		defer func() { span.end(err) }()
		return f.computePart(ctx, *e.Part)
	case e.Compact != nil && f.cfg.has("compact"):
		ctx, span := f.tracer.begin(ctx, "compact")
		defer func() { span.end(err) }()
		return f.compact(ctx, *e.Compact)
	}
	return nil, fmt.Errorf("event with keys %s, roles %v: %w", keys(payload), f.cfg.Roles, errNotMine)
}

// early ends a context somewhat before Lambda would kill the process, so that what was
// begun can be told.
func early(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	left := time.Until(deadline)
	return context.WithDeadline(ctx, deadline.Add(-min(max(left/10, 300*time.Millisecond), 5*time.Second)))
}

// keys are those of a JSON object, for an error.
func keys(payload []byte) []string {
	var object map[string]json.RawMessage
	if json.Unmarshal(payload, &object) != nil {
		return nil
	}
	var names []string
	for name := range object {
		if names = append(names, name); len(names) == 10 {
			break
		}
	}
	return names
}

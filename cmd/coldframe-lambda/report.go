package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/compactor"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
)

// report tells what happens: logs of one JSON object a line, which bear the ID of the
// invocation, and metrics in CloudWatch's embedded format, one line an invocation, which
// Lambda's log makes into metrics without a request.
//
// An environment handles one event at a time, so that what is counted between begin and
// end belongs to one invocation; only what an uploader does behind a push may be told by the next.
type report struct {
	out      io.Writer
	function string
	base     *slog.Logger
	current  atomic.Pointer[slog.Logger]
	usage    *bucket.Account

	mu     sync.Mutex
	began  time.Time
	cold   bool // the first event of the environment
	before bucket.Usage
	values map[string]float64
}

// metrics are those that an invocation may tell, with CloudWatch's units. Their dimension
// is the function's name.
var metrics = map[string]string{
	"ColdStarts":          "Count",
	"Requests":            "Count", // to the URL
	"RequestErrors":       "Count", // answered with 5xx
	"ResponseBytes":       "Bytes",
	"Queries":             "Count",
	"QueriesRefused":      "Count",
	"PartialAnswers":      "Count", // something could not be read
	"QueryMilliseconds":   "Milliseconds",
	"WorkerFailures":      "Count", // parts of queries that were computed here instead
	"Commits":             "Count",
	"AbandonedJobs":       "Count", // another compactor was first
	"RejectedProfiles":    "Count", // damaged, or over a limit
	"QuarantinedBlocks":   "Count",
	"StoppedCompactions":  "Count", // time was up
	"CompactedBytes":      "Bytes", // read
	"SealedLagSeconds":    "Seconds",
	"PushedProfiles":      "Count",
	"RefusedProfiles":     "Count",
	"LostProfiles":        "Count",
	"BucketRequests":      "Count",
	"BucketBytesIn":       "Bytes",
	"BucketBytesOut":      "Bytes",
	"HandledMilliseconds": "Milliseconds",
}

const namespace = "coldframe"

func newReport(out io.Writer, cfg config) *report {
	r := &report{out: &lines{w: out}, function: cfg.Function, usage: new(bucket.Account), cold: true, values: map[string]float64{}}
	r.base = slog.New(slog.NewJSONHandler(r.out, &slog.HandlerOptions{Level: cfg.LogLevel}))
	r.current.Store(r.base)
	return r
}

// lines writes one line at a time, from whatever goroutine.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (r *report) logger() *slog.Logger { return r.current.Load() }

// begin is called when an event has come.
func (r *report) begin(ctx context.Context) {
	log := r.base
	if invocation, ok := lambdacontext.FromContext(ctx); ok {
		log = log.With("request_id", invocation.AwsRequestID)
	}
	if trace := os.Getenv("_X_AMZN_TRACE_ID"); trace != "" {
		log = log.With("trace_id", trace)
	}
	r.current.Store(log)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.began, r.before = time.Now(), r.usage.Usage()
	if r.cold {
		r.cold = false
		r.values["ColdStarts"] = 1
	}
}

// end is called when an event was handled, and writes its metrics.
func (r *report) end(err error) {
	if err != nil {
		r.logger().Error("event not handled", "err", err)
	}
	spent := r.usage.Usage()
	r.mu.Lock()
	defer r.mu.Unlock()
	spent = spent.Sub(r.before)
	r.values["BucketRequests"] = float64(spent.Requests())
	r.values["BucketBytesIn"], r.values["BucketBytesOut"] = float64(spent.BytesIn), float64(spent.BytesOut)
	r.values["HandledMilliseconds"] = float64(time.Since(r.began).Microseconds()) / 1e3
	r.write()
	clear(r.values)
}

func (r *report) write() {
	type metric struct {
		Name string
		Unit string
	}
	type directive struct {
		Namespace  string
		Dimensions [][]string
		Metrics    []metric
	}
	line := map[string]any{"FunctionName": r.function}
	var told []metric
	for name, v := range r.values {
		told = append(told, metric{name, metrics[name]})
		line[name] = v
	}
	line["_aws"] = map[string]any{
		"Timestamp":         time.Now().UnixMilli(),
		"CloudWatchMetrics": []directive{{namespace, [][]string{{"FunctionName"}}, told}},
	}
	text, err := json.Marshal(line)
	if err == nil {
		_, err = r.out.Write(append(text, '\n'))
	}
	if err != nil {
		r.logger().Error("metrics not written", "err", err)
	}
}

// add counts something of the invocation.
func (r *report) add(name string, v float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values[name] += v
}

// highest keeps the largest of several values.
func (r *report) highest(name string, v float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values[name] = max(r.values[name], v)
}

// endRequest is called when the answer to a request has left.
func (r *report) endRequest(req *http.Request, status int, sent int64) {
	r.add("Requests", 1)
	r.add("ResponseBytes", float64(sent))
	if status >= 500 {
		r.add("RequestErrors", 1)
	}
	r.logger().Info("request", "method", req.Method, "path", req.URL.Path, "status", status, "bytes", sent)
	r.end(nil)
}

// stopped tells of a compaction whose time was up.
func (r *report) stopped(err error) {
	r.add("StoppedCompactions", 1)
	r.logger().Warn("compaction stopped before its deadline, the next goes on", "err", err)
}

func (r *report) observeQuery() query.Observer {
	return query.Observer{
		Answered: func(a query.Answered) {
			r.add("Queries", 1)
			r.highest("QueryMilliseconds", float64(a.Stats.Elapsed.Microseconds())/1e3)
			if a.Err != nil {
				r.add("QueriesRefused", 1)
			} else if a.Stats.Partial() {
				r.add("PartialAnswers", 1)
				r.logger().Warn("partial answer", "what", a.What, "selector", a.Request.Selector.String(), "blocks", a.Stats.Blocks, "ok", a.Stats.OK, "reason", a.Stats.Reason())
			}
		},
		RemoteFailed: func(worker string, err error) {
			r.add("WorkerFailures", 1)
			r.logger().Warn("a worker failed, its part is computed here", "worker", worker, "err", err)
		},
	}
}

func (f *function) observeCompactor() compactor.Observer {
	r := f.report
	return compactor.Observer{
		Begin: f.tracer.job,
		Committed: func(j compactor.Job) {
			r.add("Commits", 1)
			r.add("CompactedBytes", float64(j.BytesIn))
			r.logger().Info("compacted", "tenant", string(j.Tenant), "shard", j.Shard.String(), "sweep", j.Sweep, "level", int(j.Level), "merged", j.Merged,
				"pprof_blocks", j.L0s, "profiles", j.Profiles, "repeated", j.Repeated, "bytes_in", j.BytesIn, "bytes_out", j.BytesOut, "took", j.Took)
		},
		Abandoned: func(j compactor.Job, err error) {
			r.add("AbandonedJobs", 1)
			r.logger().Info("work abandoned: another compactor was first", "tenant", string(j.Tenant), "shard", j.Shard.String(), "err", err)
		},
		Rejected: func(key, file, reason string) {
			r.add("RejectedProfiles", 1)
			r.logger().Error("damaged: left out of the block", "object", key, "file", file, "reason", reason)
		},
		Quarantined: func(key, reason string) {
			r.add("QuarantinedBlocks", 1)
			r.logger().Error("damaged: the block is left out of merges and answers", "object", key, "reason", reason)
		},
		Unreadable: func(key string, err error) {
			r.logger().Error("cannot tell what a block was made of", "object", key, "err", err)
		},
		Sealed: func(_ profile.Tenant, _ block.Shard, behind time.Duration) {
			r.highest("SealedLagSeconds", behind.Seconds())
		},
	}
}

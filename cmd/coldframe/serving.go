package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/compactor"
	"github.com/coldframe/coldframe/ingest/push"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/serve"
	"github.com/coldframe/coldframe/ui"
	"github.com/coldframe/coldframe/upload"
)

// process is what every long-running command shares: a listener, metrics, a bucket,
// and roles that run until the first of them fails or the command is told to stop.
type process struct {
	g       *globals
	metrics *prometheus.Registry
	bkt     bucket.Bucket
	cat     *catalog.Catalog
	server  *serve.Server
	index   http.Handler // of /
	roles   *errgroup.Group
	ctx     context.Context // ends when a role fails or the command is told to stop
	closing []func(context.Context) error
	tracing *tracing
	follows *follows // nil until a file is followed
}

// start takes the port first: of two processes with one port the second says so
// before it has done anything. bkt may be nil for a role that keeps nothing in a bucket.
func (g *globals) start(ctx context.Context, address string, web webFlags, bkt bucket.Bucket) (*process, error) {
	listening, err := web.listening(g.log)
	if err != nil {
		return nil, err
	}
	gate, err := web.gate()
	if err != nil {
		return nil, err
	}
	p := &process{g: g, metrics: newRegistry(), index: http.HandlerFunc(serveIndex)}
	p.roles, p.ctx = errgroup.WithContext(ctx)
	if p.tracing, err = startTracing(ctx, g.log); err != nil {
		return nil, err
	}
	if bkt != nil {
		p.bkt = p.tracing.bucket(measureBucket(p.metrics, bkt))
		p.cat = catalog.New(p.bkt, catalog.Config{Observer: observeCatalog(p.metrics, g.log)})
	}
	p.server = serve.New(serve.Config{Address: address, Gate: gate, Serve: listening, Metrics: p.metrics, Logger: g.log, Wrap: p.tracing.serve})
	p.server.HandleOpen("GET /{$}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.index.ServeHTTP(w, r) }))
	if web.TokensFile != "" {
		p.follow("tokens", web.TokensFile, func(text []byte) error { return loadTokens(gate, web.TokensFile, text) })
	}
	return p, p.server.Listen(ctx)
}

// wait runs the listener until the end, then closes what must not lose anything, in
// the order in which data flows.
func (p *process) wait() error {
	p.server.SetReady(func() error { return nil })
	p.roles.Go(func() error { return p.server.Run(p.ctx) })
	err := p.roles.Wait()
	if closeErr := p.close(); err == nil {
		err = closeErr
	}
	p.g.log.Info("stopped")
	return err
}

// close ends what addX has begun, and gives the first error.
func (p *process) close() (err error) {
	closing, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), time.Minute)
	defer cancel()
	for _, c := range p.closing {
		if closeErr := c(closing); closeErr != nil && err == nil {
			err = closeErr
		}
	}
	if closeErr := p.tracing.close(closing); closeErr != nil && err == nil {
		err = closeErr
	}
	return err
}

// addQuery adds the query API, of one process or of a member of a cluster, and the page that
// asks it.
func (p *process) addQuery(f queryFlags, c *clusterFlags, l *limits) (*query.Querier, error) {
	cfg := f.config()
	if err := checkCacheDir(cfg.CacheDir); err != nil {
		return nil, err
	}
	admit, err := p.addCluster(c, &cfg)
	if err != nil {
		return nil, err
	}
	cfg.Observer = observeQuery(p.metrics, p.g.log, f.SlowThreshold)
	cfg.Retention, cfg.Limits = retentionOf(p.cat), f.limits(l)
	q := query.New(p.cat, p.bkt, cfg)
	p.metrics.MustRegister(cacheMetrics{q})
	p.server.Handle("/api/v1/", q.Handler())
	p.index = ui.Handler()
	p.server.HandleOpen("GET /assets/", p.index)
	p.server.HandleOpen("GET /licenses.txt", p.index)
	admit(q)
	return q, nil
}

// addUpload makes the way into the bucket, which is flushed at the end.
func (p *process) addUpload(cfg upload.Config) (*upload.Uploader, error) {
	cfg.Observer = observeUpload(p.metrics, p.g.log)
	up, err := upload.New(p.bkt, cfg)
	if err != nil {
		return nil, err
	}
	measureBacklog(p.metrics, up)
	p.closing = append(p.closing, up.Close)
	return up, nil
}

// addPush adds the endpoints that clients push to.
func (p *process) addPush(up *upload.Uploader, limits *limits) {
	push.New(up, push.Config{Limits: limits.of, Observer: observePush(p.metrics, p.g.log)}).Routes(p.server.Handle)
}

// addCompact compacts until the end.
func (p *process) addCompact(cfg compactor.Config) {
	cfg.Observer = observeCompact(p.metrics, p.g.log)
	if p.tracing != nil {
		cfg.Observer.Begin = p.tracing.job
	}
	c := compactor.New(p.cat, p.bkt, cfg)
	p.closing = append(p.closing, func(ctx context.Context) error { c.Release(ctx); return nil })
	p.roles.Go(func() error { c.Run(p.ctx); return nil })
}

func serveIndex(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprint(w, `coldframe

GET  /api/v1/pprof?query={job="api"}&type=process_cpu    for: go tool pprof
GET  /api/v1/flamegraph, top, series, types, labels, label/NAME/values
POST /api/v1/push?job=api                                a pprof
GET  /metrics  /-/healthy  /-/ready  /debug/pprof/
`)
}

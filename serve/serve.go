// Package serve is the listener that ingest and query share: one port, one way to
// name a tenant, one form of error, health, metrics and the process's own pprof.
//
// The port speaks HTTP/1.1 and HTTP/2 without TLS. Handlers of connect-go answer gRPC,
// gRPC-Web and Connect on it; serve has gRPC-Web in base64 understood too, and procedures
// called below /api as well, as Parca's web page does both. [JSONCall] gives a procedure
// the path and the JSON that grpc-gateway would.
//
// Handlers come from the roles; serve knows none of them.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config is how a Server listens. Zero fields mean the defaults named here.
type Config struct {
	Address      string               // host:port; ":7070"
	MaxBodyBytes int64                // of one request after which it is refused with 413; 64 MiB. Of streams each message is bounded, by its handler
	Gate         *Gate                // who may come in; nil: everybody
	DrainTimeout time.Duration        // how long a stop waits for requests in flight; 20 s
	Metrics      *prometheus.Registry // what /metrics shows; nil: no such route
	Logger       *slog.Logger         // nil: silence

	// Serve answers on the listener until the server is shut down, behind TLS for instance,
	// as package webconfig does; nil: [http.Server.Serve], without TLS.
	Serve func(*http.Server, net.Listener) error

	// Wrap is put around all routes, to trace requests; nil: nothing is.
	Wrap func(http.Handler) http.Handler
}

// Server answers HTTP/1.1 and HTTP/2 on one port, without TLS or with it.
type Server struct {
	cfg      Config
	mux      *http.ServeMux
	open     *http.ServeMux // patterns of routes that ask for no token
	listener net.Listener
	ready    atomic.Pointer[func() error]
	origins  []string
}

// New makes a server that has the routes every coldframe process has: /metrics,
// /-/healthy, /-/ready and /debug/pprof/. It does not listen yet.
func New(cfg Config) *Server {
	if cfg.Address == "" {
		cfg.Address = ":7070"
	}
	if cfg.MaxBodyBytes == 0 {
		cfg.MaxBodyBytes = 64 << 20
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = 20 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Serve == nil {
		cfg.Serve = (*http.Server).Serve
	}
	if cfg.Gate == nil {
		cfg.Gate = &Gate{}
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux(), open: http.NewServeMux()}
	if cfg.Metrics != nil {
		s.Handle("GET /metrics", needs(Operate, promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{EnableOpenMetrics: true})))
	}
	s.HandleOpen("GET /-/healthy", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "healthy") }))
	s.HandleOpen("GET /-/ready", http.HandlerFunc(s.serveReady))
	for path, h := range map[string]http.HandlerFunc{
		"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
	} {
		s.Handle("/debug/pprof/"+path, needs(Operate, h))
	}
	return s
}

// Handle adds a route, as [http.ServeMux.Handle] does. With tokens in use it is for their
// bearers; for what, the handler finds out by [Tenant] or [WriteTenant].
func (s *Server) Handle(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

// AllowOrigins lets web pages from elsewhere call, as of https://parca.example; "*" means
// all, and none may unless it is said. It is said before Run.
func (s *Server) AllowOrigins(origins ...string) { s.origins = origins }

// Handler is what the server answers requests with, for who has a listener of another kind.
func (s *Server) Handler() http.Handler {
	guarded := s.guard(s.cfg.Gate.admit(s.route(), s.isOpen))
	if s.cfg.Wrap != nil {
		guarded = s.cfg.Wrap(guarded)
	}
	return allowOrigins(s.origins, acceptWebText(guarded))
}

// HandleOpen adds a route for which no token is needed: it shows nothing of a tenant, or
// proves by other means who asks.
func (s *Server) HandleOpen(pattern string, h http.Handler) {
	s.mux.Handle(pattern, h)
	s.open.Handle(pattern, h)
}

func (s *Server) isOpen(r *http.Request) bool {
	_, pattern := s.open.Handler(r)
	return pattern != ""
}

// SetReady makes /-/ready ask check. Until then the server is not ready.
func (s *Server) SetReady(check func() error) { s.ready.Store(&check) }

func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	check := s.ready.Load()
	if check == nil {
		http.Error(w, "starting", http.StatusServiceUnavailable)
		return
	}
	if err := (*check)(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// Listen takes the port, so that a port that is in use is known before anything
// else starts. Addr is known from then on.
func (s *Server) Listen(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.cfg.Address)
	if err != nil {
		return fmt.Errorf("--http-address %s: %w", s.cfg.Address, err)
	}
	s.listener = l
	return nil
}

// Addr is the address that [Server.Listen] took.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run answers requests until ctx ends, then waits for those in flight for
// Config.DrainTimeout. It listens if Listen was not called.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		if err := s.Listen(ctx); err != nil {
			return err
		}
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true) // behind TLS
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{
		Handler:           s.Handler(),
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}
	stopped := make(chan error, 1)
	go func() { stopped <- s.cfg.Serve(srv, s.listener) }()
	select {
	case err := <-stopped:
		return fmt.Errorf("serving %s: %w", s.cfg.Address, err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.DrainTimeout)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("stopping the listener on %s: %w", s.cfg.Address, err)
	}
	return srv.Close()
}

// route is the mux, in which a procedure below /api is the procedure itself.
func (s *Server) route() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path, isCall := callPath(r.URL.Path); isCall {
			called := *r
			url := *r.URL
			url.Path, url.RawPath = path, ""
			called.URL = &url
			r = &called
		}
		s.mux.ServeHTTP(w, r)
	})
}

// guard bounds what a request may send, and turns a panic into a 500 of this
// request alone.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isRPC(r) {
			r.Body = http.MaxBytesReader(w, r.Body, s.cfg.MaxBodyBytes)
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler { //nolint:errorlint // the documented sentinel is compared as a value
				panic(p)
			}
			s.cfg.Logger.ErrorContext(r.Context(), "request panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			WriteRPCError(w, r, errors.New("internal error; the log says more"))
		}()
		next.ServeHTTP(w, r)
	})
}

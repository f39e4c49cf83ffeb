// Package push receives profiles that clients send, and answers when they are
// durable: success means that the block which holds them is in the bucket.
//
// It speaks what the clients of the field speak: a plain pprof over HTTP, Pyroscope's
// two APIs, Parca's profile store and OpenTelemetry's profiles. Whatever arrives becomes
// pprof, with its sample labels; docs/push.md says how types and names are made one.
//
// What cannot be stored is refused with a reason before anything is kept. While the
// bucket is away clients are told to come back (503 with Retry-After, Unavailable),
// which every client of the field does by itself; a profile that is sent twice counts
// once. Limits are checked in one place for all protocols, [Receiver.store].
package push

import (
	"context"
	"net/http"
	"time"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

// Committer stores profiles and returns when they are durable.
type Committer interface {
	Push(ctx context.Context, tenant profile.Tenant, profiles ...upload.Profile) error
}

// Config is how to receive. Zero fields mean the defaults named here.
type Config struct {
	// Limits gives a tenant's limits. It is asked at every push, so that limits may be
	// changed while the process runs. nil: none.
	Limits func(profile.Tenant) Limits
	// MaxMessageBytes bounds one request after decompression; 64 MiB.
	MaxMessageBytes int
	// InFlightBytes bounds the bodies of all requests together that are being received
	// or stored; 512 MiB. Requests over it are told to come back.
	InFlightBytes int64
	Observer      Observer
}

// Observer is told what happens, for logs and metrics. Nil fields are not called.
type Observer struct {
	// Pushed: a request was answered, with err or without.
	Pushed func(Push)
}

// Push is one request to store profiles, for people and metrics.
type Push struct {
	Protocol string // "pprof", "pyroscope", "ingest", "otlp", "parca"
	Tenant   profile.Tenant
	Client   string // an [Agent]'s ID
	Profiles int
	Bytes    int64 // of the profiles, as they are stored
	Took     time.Duration
	Err      error // nil: they are durable
	// Changed says that the client's push before this one ended otherwise, or that there
	// was none: what a log tells. It is said a few times a minute of each client.
	Changed bool
}

// Receiver turns requests into profiles. Its methods may be called concurrently.
type Receiver struct {
	committer Committer
	cfg       Config
	accounts  accounts
	receipts  receipts
	agents    agents
	inFlight  inFlight
}

// New makes a receiver that stores what it gets by committer.
func New(committer Committer, cfg Config) *Receiver {
	if cfg.Limits == nil {
		cfg.Limits = func(profile.Tenant) Limits { return Limits{} }
	}
	if cfg.MaxMessageBytes <= 0 {
		cfg.MaxMessageBytes = 64 << 20
	}
	if cfg.InFlightBytes <= 0 {
		cfg.InFlightBytes = 512 << 20
	}
	return &Receiver{committer: committer, cfg: cfg, inFlight: inFlight{limit: cfg.InFlightBytes}}
}

// Routes tells every route of the receiver, as [http.ServeMux] patterns.
func (rc *Receiver) Routes(handle func(pattern string, h http.Handler)) {
	plain := func(pattern, protocol string, serve func(http.ResponseWriter, *http.Request) error) {
		handle(pattern, rc.receive(protocol, rc.plainHandler(serve)))
	}
	plain("POST /api/v1/push", protocolPprof, rc.servePush)
	plain("POST /ingest", protocolIngest, rc.serveIngest)
	handle("POST "+pyroscopePush, rc.receive(protocolPyroscope, unary(rc, pyroscopePush, rc.pushPyroscope)))
	handle("POST "+otlpExport, rc.receive(protocolOTLP, unary(rc, otlpExport, rc.exportOTLP)))
	handle("POST "+otlpHTTP, rc.receive(protocolOTLP, http.HandlerFunc(rc.serveOTLP)))
	rc.parcaRoutes(handle)
	handle("GET /api/v1/agents", http.HandlerFunc(rc.serveAgents))
}

// The protocols, as they are called in metrics and by people.
const (
	protocolPprof     = "pprof"
	protocolIngest    = "ingest"
	protocolPyroscope = "pyroscope"
	protocolOTLP      = "otlp"
	protocolParca     = "parca"
)

// Package parca answers Parca's QueryService, so that Parca's own web page, Grafana's
// Parca data source and whatever else was made for Parca run on us.
//
// It turns Parca's questions into those of package query, and the answers into Parca's
// ten reports. The same methods answer gRPC, gRPC-Web and Connect, and JSON at the paths
// below /api that Parca's gateway has. docs/apis.md tells where we differ.
//
// Every request is of one tenant, the one that [query.Config.Tenant] finds in it; nothing
// in a query's text can name another.
package parca

import (
	"context"
	"net/http"

	"connectrpc.com/connect"

	pb "github.com/coldframe/coldframe/api/parca/query/v1alpha1"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/serve"
)

// maxRequestBytes of one message. Questions are short.
const maxRequestBytes = 1 << 20

// Config is what the API needs beside a Querier. Zero fields mean the defaults named here.
type Config struct {
	// Share keeps a pprof where all who have the link can see it. nil: profiles are not
	// shared, and ShareProfile says so.
	Share func(ctx context.Context, pprof []byte, description string) (link string, err error)
}

// API answers parca.query.v1alpha1.QueryService.
type API struct {
	q   *query.Querier
	cfg Config
}

// New makes an API that asks q.
func New(q *query.Querier, cfg Config) *API { return &API{q, cfg} }

var _ pb.QueryServiceHandler = (*API)(nil)

// Routes adds the procedures, and their JSON paths.
func (a *API) Routes(handle func(pattern string, h http.Handler)) {
	path, procedures := pb.NewQueryServiceHandler(a, connect.WithReadMaxBytes(maxRequestBytes), connect.WithInterceptors(serve.CodedErrors()))
	handle(path, a.q.Identify(procedures, serve.WriteRPCError))
	for pattern, h := range map[string]http.Handler{
		"GET /api/profiles/query_range":                serve.JSONCall(a.QueryRange),
		"GET /api/profiles/query":                      serve.JSONCall(a.Query),
		"POST /api/profiles/query":                     serve.JSONCall(a.Query), // filters have no form in a URL
		"GET /api/profiles/series":                     serve.JSONCall(a.Series),
		"GET /api/profiles/types":                      serve.JSONCall(a.ProfileTypes),
		"GET /api/profiles/labels":                     serve.JSONCall(a.Labels),
		"GET /api/profiles/labels/{label_name}/values": serve.JSONCall(a.Values, "label_name"),
		"POST /api/profiles/share":                     serve.JSONCall(a.ShareProfile),
		"GET /api/profiles/has_profile_data":           serve.JSONCall(a.HasProfileData),
	} {
		handle(pattern, a.q.Identify(h, func(w http.ResponseWriter, _ *http.Request, err error) { serve.WriteCallError(w, err) }))
	}
}

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
	"errors"
	"net/http"

	"connectrpc.com/connect"

	pb "github.com/coldframe/coldframe/api/parca/query/v1alpha1"
	"github.com/coldframe/coldframe/profile"
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
	path, procedures := pb.NewQueryServiceHandler(a, connect.WithReadMaxBytes(maxRequestBytes), connect.WithInterceptors(coded{}))
	handle(path, a.identified(procedures, serve.WriteRPCError))
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
		handle(pattern, a.identified(h, func(w http.ResponseWriter, _ *http.Request, err error) { serve.WriteCallError(w, err) }))
	}
}

// caller is who asks, and where an answer's headers go.
type caller struct {
	tenant profile.Tenant
	header http.Header
}

type callerKey struct{}

// identified finds a request's tenant before next is asked.
func (a *API) identified(next http.Handler, refuse func(http.ResponseWriter, *http.Request, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tenant, err := a.q.Tenant(r)
		if err != nil {
			refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, caller{tenant, w.Header()})))
	})
}

// tenantOf is whose data a call is about.
func tenantOf(ctx context.Context) (profile.Tenant, error) {
	if c, ok := ctx.Value(callerKey{}).(caller); ok {
		return c.tenant, nil
	}
	return "", errors.New("the call has no tenant") // it did not come by Routes
}

// told puts an answer's price into its header.
func told(ctx context.Context, stats query.Stats) {
	if c, ok := ctx.Value(callerKey{}).(caller); ok {
		c.header.Set(query.StatsHeader, stats.Header())
	}
}

// coded gives errors the code that gRPC has for them.
type coded struct{}

// WrapUnary implements [connect.Interceptor].
func (coded) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		res, err := next(ctx, req)
		return res, serve.RPCError(err)
	}
}

// WrapStreamingClient implements [connect.Interceptor].
func (coded) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements [connect.Interceptor].
func (coded) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

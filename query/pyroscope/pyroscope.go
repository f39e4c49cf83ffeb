// Package pyroscope answers Pyroscope's QuerierService and its /pyroscope/render, so that
// Grafana's Pyroscope data source and Profiles Drilldown run on us.
//
// It turns Pyroscope's questions into those of package query and the answers into
// flamebearers. Pyroscope knows a profile's type as labels, __profile_type__ first among
// them; they are made here and understood in selectors. docs/apis.md tells where we
// differ.
//
// The messages come from Pyroscope's own module. Its generated clients and handlers do
// not: they would bring another router along.
package pyroscope

import (
	"context"
	"net/http"

	"connectrpc.com/connect"
	capabilitiesv1 "github.com/grafana/pyroscope/api/gen/proto/go/capabilities/v1"
	settingsv1 "github.com/grafana/pyroscope/api/gen/proto/go/settings/v1"

	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/serve"
)

// maxRequestBytes of one message. Questions are short.
const maxRequestBytes = 1 << 20

// API answers querier.v1.QuerierService.
type API struct{ q *query.Querier }

// New makes an API that asks q.
func New(q *query.Querier) *API { return &API{q} }

// Routes adds the procedures, and the paths that older clients ask.
func (a *API) Routes(handle func(pattern string, h http.Handler)) {
	const querier = "/querier.v1.QuerierService/"
	for path, h := range map[string]http.Handler{
		querier + "ProfileTypes":           procedure(querier+"ProfileTypes", a.profileTypes),
		querier + "LabelNames":             procedure(querier+"LabelNames", a.labelNames),
		querier + "LabelValues":            procedure(querier+"LabelValues", a.labelValues),
		querier + "Series":                 procedure(querier+"Series", a.series),
		querier + "SelectMergeStacktraces": procedure(querier+"SelectMergeStacktraces", a.selectMergeStacktraces),
		querier + "SelectMergeSpanProfile": procedure(querier+"SelectMergeSpanProfile", a.selectMergeSpanProfile),
		querier + "SelectMergeProfile":     procedure(querier+"SelectMergeProfile", a.selectMergeProfile),
		querier + "SelectSeries":           procedure(querier+"SelectSeries", a.selectSeries),
		querier + "Diff":                   procedure(querier+"Diff", a.diff),
		querier + "GetProfileStats":        procedure(querier+"GetProfileStats", a.profileStats),
		querier + "AnalyzeQuery":           procedure(querier+"AnalyzeQuery", a.analyzeQuery),
		// Drilldown asks these when it opens. We keep no settings and have no switches.
		"/settings.v1.SettingsService/Get":                     procedure("/settings.v1.SettingsService/Get", none[settingsv1.GetSettingsRequest, settingsv1.GetSettingsResponse]),
		"/capabilities.v1.FeatureFlagsService/GetFeatureFlags": procedure("/capabilities.v1.FeatureFlagsService/GetFeatureFlags", none[capabilitiesv1.GetFeatureFlagsRequest, capabilitiesv1.GetFeatureFlagsResponse]),
	} {
		handle(path, a.q.Identify(h, serve.WriteRPCError))
	}
	for pattern, h := range map[string]func(*http.Request) (any, error){
		"GET /pyroscope/render":       a.render,
		"GET /pyroscope/render-diff":  a.renderDiff,
		"GET /pyroscope/label-values": a.renderLabelValues,
	} {
		answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := h(r)
			if err != nil {
				serve.WriteError(w, query.WithStatus(err))
				return
			}
			if text, isText := body.(string); isText {
				w.Header().Set("Content-Type", "text/plain; charset=utf-8")
				_, _ = w.Write([]byte(text)) // a client that went away cannot be told
				return
			}
			serve.WriteJSON(w, http.StatusOK, body)
		})
		handle(pattern, a.q.Identify(answer, func(w http.ResponseWriter, _ *http.Request, err error) { serve.WriteError(w, err) }))
	}
}

// procedure answers calls over gRPC, gRPC-Web and Connect.
func procedure[Req, Res any](path string, call func(context.Context, *Req) (*Res, error)) http.Handler {
	return connect.NewUnaryHandlerSimple(path, func(ctx context.Context, req *Req) (*Res, error) {
		res, err := call(ctx, req)
		if err != nil {
			return nil, query.WithStatus(err)
		}
		return res, nil
	}, connect.WithReadMaxBytes(maxRequestBytes), connect.WithInterceptors(serve.CodedErrors()))
}

func none[Req, Res any](context.Context, *Req) (*Res, error) { return new(Res), nil }

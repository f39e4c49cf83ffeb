package main

import (
	"net/http"

	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/query/parca"
	"github.com/coldframe/coldframe/query/pyroscope"
)

// apiFlags are about the APIs beside our own that queries are answered by.
type apiFlags struct {
	CORSAllowedOrigins []string `name:"cors-allowed-origins" placeholder:"ORIGIN" help:"Web pages of other origins that may ask, such as https://parca.example; '*' for all."`
	ProfileShareServer string   `placeholder:"URL" help:"Where ShareProfile puts profiles for all who have the link, such as https://api.pprof.me; not given: nowhere."`
}

// addAPIs adds the APIs that other tools' clients speak.
func (p *process) addAPIs(q *query.Querier, f apiFlags) {
	p.server.AllowOrigins(f.CORSAllowedOrigins...)
	cfg := parca.Config{}
	if f.ProfileShareServer != "" {
		cfg.Share = parca.ShareWith(http.DefaultClient, f.ProfileShareServer)
	}
	parca.New(q, cfg).Routes(p.server.Handle)
	pyroscope.New(q).Routes(p.server.Handle)
}

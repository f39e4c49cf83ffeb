// Package webconfig puts a listener behind TLS, client certificates and basic
// authentication, as a file says in the form of Prometheus' exporter-toolkit:
// https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md
//
// It stands beside package serve, which does not import it, so that a program that lets
// others do TLS is not larger for it.
package webconfig

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/prometheus/exporter-toolkit/web"

	"github.com/coldframe/coldframe/profile"
)

// Load checks a file, and the certificates that it names, and gives what has a server
// answer on a listener as the file says: the Serve of serve.Config. That reads the file
// and the certificates again by itself, and tells log of every start whether TLS is on.
// An error names the file and wraps [profile.ErrInvalid].
func Load(file string, log *slog.Logger) (func(*http.Server, net.Listener) error, error) {
	if err := web.Validate(file); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", file, err, profile.ErrInvalid)
	}
	return func(srv *http.Server, l net.Listener) error {
		return web.Serve(l, srv, &web.FlagConfig{WebConfigFile: &file}, log)
	}, nil
}

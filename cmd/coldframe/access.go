package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/common/model"

	"github.com/coldframe/coldframe/ingest/push"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
	"github.com/coldframe/coldframe/serve/webconfig"
)

// webFlags say who may come in, and how.
type webFlags struct {
	WebConfigFile string `name:"web.config.file" placeholder:"FILE" help:"TLS, client certificates and basic authentication, in the form of Prometheus' exporter-toolkit; read again by itself."`
	TokensFile    string `placeholder:"FILE" help:"Bearer tokens with their tenant, rights and restrictions; read again when it changes and on SIGHUP. Without it everybody may do everything, as the tenant of X-Scope-OrgID."`
}

// gate lets in whom the flags say.
func (f webFlags) gate() (*serve.Gate, error) {
	gate := new(serve.Gate)
	if f.TokensFile == "" {
		return gate, nil
	}
	text, err := os.ReadFile(f.TokensFile)
	if err != nil {
		return nil, usage(fmt.Errorf("--tokens-file: %w", err))
	}
	return gate, usage(loadTokens(gate, f.TokensFile, text))
}

// listening is how the listener answers.
func (f webFlags) listening(log *slog.Logger) (func(*http.Server, net.Listener) error, error) {
	if f.WebConfigFile == "" {
		return (*http.Server).Serve, nil
	}
	by, err := webconfig.Load(f.WebConfigFile, log)
	if err != nil {
		return nil, usage(fmt.Errorf("--web.config.file: %w", err))
	}
	return by, nil
}

func loadTokens(gate *serve.Gate, file string, text []byte) error {
	tokens, err := serve.ParseTokens(file, text)
	if err == nil {
		gate.Use(tokens)
	}
	return err
}

// limitsFlag says how much tenants may push and ask for.
type limitsFlag struct {
	LimitsFile string `placeholder:"FILE" help:"How much tenants may push (rates, sizes, labels, series, age) and ask for (range, bytes, queries at a time), by tenant; read again when it changes and on SIGHUP."`
}

// limits are what tenants may push and ask for at this moment.
type limits struct {
	now atomic.Pointer[limitsYAML]
}

type limitsYAML struct {
	Limits map[string]limitYAML `yaml:"limits"` // by tenant; "default": of tenants that have none of their own
}

type limitYAML struct {
	ProfilesPerSecond float64 `yaml:"profiles_per_second"`
	BytesPerSecond    float64 `yaml:"bytes_per_second"`
	ProfileBytes      int64   `yaml:"profile_bytes"`
	Labels            int     `yaml:"labels"`
	LabelNameBytes    int     `yaml:"label_name_bytes"`
	LabelValueBytes   int     `yaml:"label_value_bytes"`
	Series            int     `yaml:"series"`
	MaxAge            string  `yaml:"max_age"` // as 1h or 7d

	QueryRange string `yaml:"query_range"` // as 1h or 7d
	QueryBytes int64  `yaml:"query_bytes"`
	Queries    int    `yaml:"queries"` // at a time

	age, span time.Duration
}

// load reads a file of limits.
func (l *limits) load(file string, text []byte) error {
	y := new(limitsYAML)
	if err := serve.DecodeYAML(file, text, y); err != nil {
		return err
	}
	for tenant, limit := range y.Limits {
		if _, err := profile.ParseTenant(tenant); err != nil {
			return fmt.Errorf("%s: limits: %w", file, err)
		}
		if min(limit.ProfilesPerSecond, limit.BytesPerSecond, float64(limit.ProfileBytes), float64(limit.Labels),
			float64(limit.LabelNameBytes), float64(limit.LabelValueBytes), float64(limit.Series), float64(limit.QueryBytes), float64(limit.Queries)) < 0 {
			return fmt.Errorf("%s: limits.%s: a limit is negative; leave out what is not limited: %w", file, tenant, profile.ErrInvalid)
		}
		for key, of := range map[string]struct {
			text string
			to   *time.Duration
		}{"max_age": {limit.MaxAge, &limit.age}, "query_range": {limit.QueryRange, &limit.span}} {
			if of.text == "" {
				continue
			}
			d, err := model.ParseDuration(of.text)
			if err != nil {
				return fmt.Errorf("%s: limits.%s.%s: %w: %w", file, tenant, key, err, profile.ErrInvalid)
			}
			*of.to = time.Duration(d)
		}
		y.Limits[tenant] = limit
	}
	l.now.Store(y)
	return nil
}

func (l *limits) tenant(t profile.Tenant) limitYAML {
	y := l.now.Load()
	if y == nil {
		return limitYAML{}
	}
	if own, ok := y.Limits[string(t)]; ok {
		return own
	}
	return y.Limits[string(profile.DefaultTenant)]
}

// of is what a tenant may push.
func (l *limits) of(t profile.Tenant) push.Limits {
	y := l.tenant(t)
	return push.Limits{
		ProfilesPerSecond: y.ProfilesPerSecond, BytesPerSecond: y.BytesPerSecond, ProfileBytes: y.ProfileBytes,
		Labels: y.Labels, LabelNameBytes: y.LabelNameBytes, LabelValueBytes: y.LabelValueBytes, Series: y.Series,
	}
}

// age is the shorter of a tenant's max_age and what retention says.
func (l *limits) age(retention func(profile.Tenant) (time.Duration, error)) func(profile.Tenant) (time.Duration, error) {
	return func(t profile.Tenant) (time.Duration, error) {
		kept, err := retention(t)
		if own := l.tenant(t).age; err == nil && own > 0 && (kept == 0 || own < kept) {
			return own, nil
		}
		return kept, err
	}
}

// addLimits reads the file of limits, if there is one, and follows it.
func (p *process) addLimits(f limitsFlag) (*limits, error) {
	l := new(limits)
	if f.LimitsFile == "" {
		return l, nil
	}
	text, err := os.ReadFile(f.LimitsFile)
	if err != nil {
		return nil, usage(fmt.Errorf("--limits-file: %w", err))
	}
	if err := l.load(f.LimitsFile, text); err != nil {
		return nil, usage(err)
	}
	p.follow("limits", f.LimitsFile, func(text []byte) error { return l.load(f.LimitsFile, text) })
	return l, nil
}

// tokenFlag is how a client says who it is.
type tokenFlag struct {
	TokenFile string `placeholder:"FILE" help:"A file with the token by which --server knows this client."`
}

// authorize makes requests to the server carry the token.
func (f tokenFlag) authorize(g *globals) error {
	if f.TokenFile == "" {
		return nil
	}
	text, err := os.ReadFile(f.TokenFile)
	if err != nil {
		return usage(fmt.Errorf("--token-file: %w", err))
	}
	if g.token = strings.TrimSpace(string(text)); g.token == "" || strings.ContainsAny(g.token, "\r\n") {
		return usage(errors.New("--token-file: want one line"))
	}
	return nil
}

// identify says in a request who asks: by the token, which knows its tenant, or by the tenant.
func (g *globals) identify(header http.Header) {
	if g.token != "" {
		header.Set("Authorization", "Bearer "+g.token)
	}
	if g.token == "" || g.tenant != profile.DefaultTenant {
		header.Set(serve.TenantHeader, string(g.tenant))
	}
}

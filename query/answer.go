package query

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
)

// caller is who asks, and where an answer's headers go.
type caller struct {
	tenant profile.Tenant
	header http.Header
}

type callerKey struct{}

// Identify finds a request's tenant before next is asked, which then gets it of
// [TenantOf]. A request without a right one is refused.
func (q *Querier) Identify(next http.Handler, refuse func(http.ResponseWriter, *http.Request, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tenant, err := q.cfg.Tenant(r)
		if err != nil {
			refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, caller{tenant, w.Header()})))
	})
}

// TenantOf is whose data a call that came by [Querier.Identify] is about.
func TenantOf(ctx context.Context) (profile.Tenant, error) {
	if c, ok := ctx.Value(callerKey{}).(caller); ok {
		return c.tenant, nil
	}
	return "", errors.New("the call has no tenant")
}

// Tell puts an answer's price into the header of a call that came by [Querier.Identify].
func Tell(ctx context.Context, stats Stats) {
	if c, ok := ctx.Value(callerKey{}).(caller); ok {
		c.header.Set(StatsHeader, stats.Header())
	}
}

// StatsHeader is the header of an answer that holds its [Stats].
const StatsHeader = "Coldframe-Stats"

// Header is the stats as the value of [StatsHeader]. Missing objects beyond ten are left to
// the numbers, because proxies refuse long headers.
func (s Stats) Header() string {
	s.Missing = s.Missing[:min(len(s.Missing), 10)]
	text, err := json.Marshal(s)
	if err != nil {
		return ""
	}
	return string(text)
}

// WithStatus gives an error of this package its HTTP status and code.
func WithStatus(err error) error {
	for _, class := range []struct {
		sentinel error
		status   int
		code     string
		field    string
	}{
		{ErrAmbiguous, http.StatusBadRequest, "ambiguous", "type"},
		{ErrNoType, http.StatusNotFound, "not_found", "type"},
		{ErrTooLarge, http.StatusUnprocessableEntity, "too_large", ""},
		{ErrPartial, http.StatusServiceUnavailable, "partial", ""},
		{ErrUnavailable, http.StatusServiceUnavailable, "unavailable", ""},
	} {
		if errors.Is(err, class.sentinel) {
			return &serve.Error{Status: class.status, Code: class.code, Field: class.field, Err: err}
		}
	}
	return err
}

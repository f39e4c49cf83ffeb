package query

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
)

// Tenant says whose data a request is about, as [Config.Tenant] does.
func (q *Querier) Tenant(r *http.Request) (profile.Tenant, error) { return q.cfg.Tenant(r) }

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

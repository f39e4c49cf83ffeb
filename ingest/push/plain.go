package push

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
	"github.com/coldframe/coldframe/upload"
)

// servePush answers POST /api/v1/push: the body is one pprof, gzip or not, every
// query parameter is a label of its series except type_name, which is the profile's
// name. Without one the name follows from what the profile measures.
func (rc *Receiver) servePush(w http.ResponseWriter, r *http.Request) error {
	name, labels, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	body, err := rc.readBody(r)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return serve.Field("body", fmt.Errorf("a pprof is expected, the body is empty: %w", profile.ErrInvalid))
	}
	if err := rc.store(r.Context(), []upload.Profile{{Name: name, Labels: labels, Body: body, Time: sentAt(r)}}); err != nil {
		f := fault(err)
		if f.Status == http.StatusBadRequest && f.Field == "" {
			f.Field = "body"
		}
		return f
	}
	serve.WriteJSON(w, http.StatusOK, struct {
		Profiles int `json:"profiles"`
	}{1})
	return nil
}

// sentAt is when the client says that it has sent the request, in the header Date; zero if it
// does not. It is the time of a profile that has none of its own: the same request sent again
// is then the same profile, whoever receives it.
func sentAt(r *http.Request) time.Time {
	at, err := http.ParseTime(r.Header.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	return at
}

// parseQuery splits a push's query into the profile's name and its labels.
func parseQuery(query string) (name string, labels profile.Labels, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", nil, fmt.Errorf("query: %v: %w", err, profile.ErrInvalid) //nolint:errorlint // url's errors have no class to wrap
	}
	var pairs []profile.Label
	for key, vs := range values {
		if len(vs) > 1 {
			return "", nil, serve.Field(key, fmt.Errorf("given %d times: %w", len(vs), profile.ErrInvalid))
		}
		if key == "type_name" {
			name = vs[0]
			continue
		}
		pairs = append(pairs, profile.Label{Name: key, Value: vs[0]})
	}
	labels, err = profile.NewLabels(pairs...)
	return name, labels, err
}

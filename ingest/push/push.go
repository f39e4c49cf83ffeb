// Package push receives profiles that clients send, and answers when they are
// durable: 200 means that the block which holds them is in the bucket.
//
// What cannot be stored is refused with a reason before anything is kept. While the
// bucket is away clients are told to come back (503 with Retry-After), which every
// client of the field does by itself; a profile that is sent twice counts once.
package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
	"github.com/coldframe/coldframe/upload"
)

// Committer stores profiles and returns when they are durable.
type Committer interface {
	Push(ctx context.Context, tenant profile.Tenant, profiles ...upload.Profile) error
}

// Receiver turns requests into profiles.
type Receiver struct {
	committer Committer
}

// New makes a receiver that stores what it gets by committer.
func New(committer Committer) *Receiver { return &Receiver{committer: committer} }

// retryAfter is when a client should try again while the bucket is away.
const retryAfter = 5 * time.Second

// ServePush answers POST /api/v1/push: the body is one pprof, gzip or not, every
// query parameter is a label of its series except type_name, which is the profile's
// name. Without one the name follows from what the profile measures.
func (rc *Receiver) ServePush(w http.ResponseWriter, r *http.Request) {
	n, err := rc.push(r)
	if err != nil {
		serve.WriteError(w, err)
		return
	}
	serve.WriteJSON(w, http.StatusOK, struct {
		Profiles int `json:"profiles"`
	}{n})
}

func (rc *Receiver) push(r *http.Request) (int, error) {
	tenant, err := serve.Tenant(r)
	if err != nil {
		return 0, err
	}
	name, labels, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return 0, err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, fmt.Errorf("reading the profile: %w", err)
	}
	if len(body) == 0 {
		return 0, serve.Field("body", fmt.Errorf("a pprof is expected, the body is empty: %w", profile.ErrInvalid))
	}
	err = rc.committer.Push(r.Context(), tenant, upload.Profile{Name: name, Labels: labels, Body: body})
	switch {
	case errors.Is(err, upload.ErrUnavailable):
		return 0, &serve.Error{Status: http.StatusServiceUnavailable, Code: "unavailable", RetryAfter: retryAfter, Err: err}
	case errors.Is(err, profile.ErrInvalid):
		return 0, serve.Field("body", err)
	}
	return 1, err
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

package serve

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/coldframe/coldframe/profile"
)

// Right is something that a token allows.
type Right string

// The rights.
const (
	Read    Right = "read"    // ask for profiles of the tenant
	Write   Right = "write"   // store profiles and debug information of the tenant
	Operate Right = "operate" // see the process itself: /metrics and /debug/pprof
)

// Access is what the bearer of a token may do.
type Access struct {
	Name     string // of the token, for logs
	Tenant   profile.Tenant
	Rights   []Right
	Matchers []*profile.Matcher // which hold in every query, whatever it asks
	Labels   profile.Labels     // which all that is written has, whatever it says
}

// Gate decides who comes in. The zero Gate lets everybody in, as the tenant that the
// header X-Scope-OrgID names. It may be used and changed concurrently.
type Gate struct {
	tokens atomic.Pointer[Tokens]
}

// Use makes the gate admit the bearers of these tokens, and nobody else.
func (g *Gate) Use(t *Tokens) { g.tokens.Store(t) }

type accessKey struct{}

// AccessOf gives what the request whose context this is may do; nil when no tokens are
// in use.
func AccessOf(ctx context.Context) *Access {
	a, _ := ctx.Value(accessKey{}).(*Access)
	return a
}

// WithAccess gives a context a request's access.
func WithAccess(ctx context.Context, a *Access) context.Context {
	return context.WithValue(ctx, accessKey{}, a)
}

// admit finds out who asks. Without tokens everybody may. open says of a request that
// its route needs no token.
func (g *Gate) admit(next http.Handler, open func(*http.Request) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tokens := g.tokens.Load()
		if tokens == nil || open(r) {
			next.ServeHTTP(w, r)
			return
		}
		a, err := tokens.find(r)
		if err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="coldframe"`)
			WriteRPCError(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(WithAccess(r.Context(), a)))
	})
}

// find gives the access of a request's token, which is a bearer token, or the password of
// basic authentication for clients that know nothing else.
func (t *Tokens) find(r *http.Request) (*Access, error) {
	var token string
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		token = strings.TrimSpace(rest)
	} else if _, password, ok := r.BasicAuth(); ok {
		token = password
	}
	if token == "" {
		return nil, unauthorized("a token is needed: send the header Authorization: Bearer TOKEN")
	}
	a := t.access[sha256.Sum256([]byte(token))]
	if a == nil {
		return nil, unauthorized("the token is not known here")
	}
	return a, nil
}

func unauthorized(text string) error {
	return &Error{Status: http.StatusUnauthorized, Code: "unauthorized", Err: errors.New(text)}
}

// Allow says whether a may do what needs a right. nil, which is no tokens, may.
func (a *Access) Allow(right Right) error {
	if a == nil {
		return nil
	}
	for _, r := range a.Rights {
		if r == right {
			return nil
		}
	}
	return &Error{Status: http.StatusForbidden, Code: "forbidden", Err: fmt.Errorf("the token %q does not have the right %q", a.Name, right)}
}

// Force gives labels those that all that a writes must have. nil forces nothing.
func (a *Access) Force(ls profile.Labels) (profile.Labels, error) {
	if a == nil || len(a.Labels) == 0 {
		return ls, nil
	}
	forced := ls.Map()
	for _, l := range a.Labels {
		forced[l.Name] = l.Value
	}
	return profile.LabelsFromMap(forced)
}

// Restrict adds to a selector what must hold in every query of a. nil adds nothing.
func (a *Access) Restrict(s profile.Selector) profile.Selector {
	if a == nil || len(a.Matchers) == 0 {
		return s
	}
	s.Matchers = append(s.Matchers[:len(s.Matchers):len(s.Matchers)], a.Matchers...)
	return s
}

// needs lets a request pass only with a right.
func needs(right Right, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := AccessOf(r.Context()).Allow(right); err != nil {
			WriteRPCError(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

package bucket

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// An operation is what one call of a bucket does on its server, in one or more attempts.
type operation struct {
	ledger  *ledger
	class   class
	refused error // what it is called when a write's condition does not hold; nil without one

	sent    atomic.Bool // in this attempt, a request that may change something has left
	lost    bool        // it did in an earlier one, which got no answer or none that tells
	differs string      // how an earlier one's content differed from its ETag
}

type operationKey struct{}

// operationOf is for requests that belong to none as well.
func operationOf(ctx context.Context) *operation {
	if o, ok := ctx.Value(operationKey{}).(*operation); ok {
		return o
	}
	return &operation{ledger: ledgerOf(ctx), class: classGet}
}

// classOf is the price class of one of the operation's requests, which need not all be
// of its own class: a client may have to ask first where a bucket lies.
func (o *operation) classOf(r *http.Request) class {
	switch r.Method {
	case http.MethodGet:
		if o.class == classList {
			return classList
		}
		return classGet
	case http.MethodHead:
		return classGet
	case http.MethodDelete:
		return classDelete
	}
	return classPut
}

// Operations are tried maxAttempts times, with pauses of up to 0.1, 0.4 and 1.6 seconds.
const (
	maxAttempts = 4
	firstPause  = 100 * time.Millisecond
)

// pauseBefore waits before the nth attempt, counted from 0, and reports whether the
// context still holds.
func pauseBefore(ctx context.Context, n int) bool {
	if n == 0 {
		return ctx.Err() == nil
	}
	longest := firstPause << (2 * (n - 1))
	select {
	case <-ctx.Done():
		return false
	case <-time.After(longest/2 + rand.N(longest/2)):
		return true
	}
}

// A refusal is an error that a server answered with. The zero refusal says that there
// was no answer.
type refusal struct {
	status int
	code   string // the server's word for it
	text   string // the server's words for people
}

// Error is on one line.
func (r refusal) Error() string {
	text := strings.Join(strings.Fields(r.text), " ")
	if len(text) > 500 {
		text = text[:500] + "…"
	}
	return strings.TrimRight(fmt.Sprintf("%d %s: %s", r.status, r.code, text), ": ")
}

// Errors that are told to no caller but decide what one is told.
var (
	errAbsent    = errors.New("nothing to delete")
	errOurs      = errors.New("refused, perhaps because of an earlier attempt whose answer was lost")
	errNoRange   = errors.New("range not satisfiable")
	errNoVersion = errors.New("the answer carries no version")
)

// final is an error that no other attempt would mend, whatever the class.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// untouched are the answers that say that nothing was done, and that the same request
// may do better a moment later. A bare 500 or 503 does not say the first: it may come
// from a proxy whose server did the work.
var untouched = []string{
	"ConditionalRequestConflict", "OperationAborted", "RequestTimeout", // S3
	"SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestThrottled",
	"AuthorizationHeaderMalformed",               // S3: it names the right region, which the client then remembers
	"rateLimitExceeded", "userRateLimitExceeded", // GCS
	"ServerBusy", // Azure
}

// missing are the codes that say that it is the object that is not there. A 404 may as
// well be about the bucket, or about a user.
var missing = []string{"NoSuchKey", "notFound", "BlobNotFound"}

// judge turns the error of an attempt into what the caller is told, and says whether
// another attempt may follow: if the failure can pass.
//
// The outcome of a failed attempt may be unknown. To repeat it does no harm all the
// same. Put and Delete are then done twice, by one call. Of a conditional write's
// attempts only one can land; but one that is refused may have run into
// an earlier one, and is errOurs, not ErrExist or ErrConflict: those are only said
// when this call wrote nothing.
func (o *operation) judge(ctx context.Context, err error, r refusal) (_ error, again bool) {
	if done := ctx.Err(); done != nil {
		return done, false
	}
	if f := (final{}); errors.As(err, &f) {
		return f.error, false
	}
	switch {
	case r.status == 0 && isCertificateError(err):
		return err, false
	case slices.Contains(untouched, r.code), r.status == http.StatusTooManyRequests:
		return r, true
	case r.status == 0, r.status >= 500 && r.status != http.StatusNotImplemented, r.status == http.StatusRequestTimeout:
		return o.unsettled(err, r), true
	}
	return o.explain(r), o.class.reads() && r.status == http.StatusPreconditionFailed
}

// unsettled is for failures that do not tell what was done.
func (o *operation) unsettled(err error, r refusal) error {
	if r.status != 0 {
		err = r
	}
	// The URL repeats what the caller's text says, and may carry a secret.
	if at := (*url.Error)(nil); errors.As(err, &at) {
		err = at.Err
	}
	if o.class.reads() || !o.sent.Load() {
		return err
	}
	o.lost = true
	return fmt.Errorf("outcome unknown: %w", err)
}

// explain finds the sentinel for an answer that tells.
func (o *operation) explain(r refusal) error {
	var sentinel error
	switch {
	case o.refused != nil && (r.status == http.StatusPreconditionFailed || r.code == "BlobAlreadyExists"),
		errors.Is(o.refused, ErrConflict) && r.code == "NoSuchKey": // so S3 says that there is no version at all
		sentinel = o.refused
		if o.lost {
			sentinel = errOurs
		}
	case o.class == classGet && slices.Contains(missing, r.code):
		sentinel = ErrNotExist
	case o.class == classDelete && slices.Contains(missing, r.code):
		sentinel = errAbsent
	case r.status == http.StatusRequestedRangeNotSatisfiable:
		sentinel = errNoRange
	case o.lost:
		return fmt.Errorf("outcome unknown: %w", r)
	case r.status == http.StatusUnauthorized, r.status == http.StatusForbidden:
		sentinel = ErrDenied
	case r.status == http.StatusNotImplemented, r.code == "NotImplemented":
		sentinel = errors.ErrUnsupported
	default:
		return r
	}
	return fmt.Errorf("%w: %w", sentinel, r)
}

func isCertificateError(err error) bool {
	var invalid *tls.CertificateVerificationError
	return errors.As(err, &invalid)
}

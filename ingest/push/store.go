package push

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
	"github.com/coldframe/coldframe/upload"
)

// retryAfter is when a client should try again while the bucket is away or a limit is
// reached.
const retryAfter = 5 * time.Second

// store makes profiles of one request durable, all or none. It is where limits are
// checked, whatever the protocol.
func (rc *Receiver) store(ctx context.Context, profiles []upload.Profile) error {
	began := time.Now()
	c := clientOf(ctx)
	var size int64
	for _, p := range profiles {
		size += int64(len(p.Body))
	}
	err := rc.commit(ctx, c, profiles, size)
	rc.tell(c, profiles, Push{Profiles: len(profiles), Bytes: size, Took: time.Since(began), Err: err})
	return err
}

// refused tells of a request that could not be read so far that it would have been stored.
func (rc *Receiver) refused(ctx context.Context, err error) {
	if c := clientOf(ctx); !c.told {
		rc.tell(c, nil, Push{Err: err})
	}
}

// tell notes how a client's request ended.
func (rc *Receiver) tell(c *client, profiles []upload.Profile, p Push) {
	c.told = true
	p.Protocol, p.Tenant = c.protocol, c.tenant
	rc.agents.pushed(c, profiles, &p)
	if rc.cfg.Observer.Pushed != nil {
		rc.cfg.Observer.Pushed(p)
	}
}

func (rc *Receiver) commit(ctx context.Context, c *client, profiles []upload.Profile, size int64) error {
	if c.err != nil {
		return c.err
	}
	access := serve.AccessOf(ctx)
	for i := range profiles {
		labels, err := access.Force(profiles[i].Labels)
		if err != nil {
			return fmt.Errorf("with the labels of the token: %w", err)
		}
		profiles[i].Labels = labels
	}
	if err := rc.accounts.check(c.tenant, rc.cfg.Limits(c.tenant), profiles, size); err != nil {
		return err
	}
	keys := rc.receipts.date(c.tenant, profiles)
	err := rc.committer.Push(ctx, c.tenant, profiles...)
	if errors.Is(err, upload.ErrUnavailable) {
		rc.receipts.remember(keys)
	}
	return err
}

// Outcome says in a word how a push ended.
type Outcome string

// The outcomes.
const (
	Stored      Outcome = "stored"
	Refused     Outcome = "refused"     // what was sent cannot be stored
	Limited     Outcome = "limited"     // the tenant is over a limit
	Unavailable Outcome = "unavailable" // the client should come back
	Failed      Outcome = "failed"      // our fault
)

// Outcome says in a word how the push ended.
func (p Push) Outcome() Outcome {
	if p.Err == nil {
		return Stored
	}
	switch status := fault(p.Err).Status; {
	case status == http.StatusTooManyRequests:
		return Limited
	case status == http.StatusServiceUnavailable:
		return Unavailable
	case status < http.StatusInternalServerError:
		return Refused
	}
	return Failed
}

// fault says how an error is told over HTTP. There is one answer for each class,
// whatever the protocol; rpcCode translates it.
func fault(err error) *serve.Error {
	var told *serve.Error
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &told):
		return told
	case errors.As(err, &tooLarge):
		return &serve.Error{
			Status: http.StatusRequestEntityTooLarge, Code: "too_large",
			Err: fmt.Errorf("the request has more than %d bytes: send fewer profiles at once: %w", tooLarge.Limit, err),
		}
	case errors.Is(err, upload.ErrUnavailable):
		return &serve.Error{Status: http.StatusServiceUnavailable, Code: "unavailable", RetryAfter: retryAfter, Err: err}
	case errors.Is(err, profile.ErrInvalid):
		return &serve.Error{Status: http.StatusBadRequest, Code: "invalid", Err: err}
	case errors.Is(err, context.Canceled):
		return &serve.Error{Status: statusClientGone, Code: "canceled", Err: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &serve.Error{Status: http.StatusGatewayTimeout, Code: "timeout", RetryAfter: retryAfter, Err: err}
	}
	return &serve.Error{Status: http.StatusInternalServerError, Code: "internal", Err: err}
}

// statusClientGone is nginx' status for a client that went away; nobody reads it.
const statusClientGone = 499

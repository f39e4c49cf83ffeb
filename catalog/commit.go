package catalog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/internal/guard"
	"github.com/coldframe/coldframe/profile"
)

// Commit applies a change to a shard's HEAD and returns the HEAD that has it. It
// fails with [ErrConflict] when commits that came between have taken the ground from
// under the change. After any other error the change may have been committed or not:
// plan again from a new HEAD, which tells.
//
// Two requests when nobody else commits, and one more for every entry spill.
func (c *Catalog) Commit(ctx context.Context, tenant profile.Tenant, shard block.Shard, change Change) (Head, error) {
	now, err := c.bkt.Now(ctx)
	if err != nil {
		return Head{}, err
	}
	t := transaction{
		c:      c,
		tenant: tenant,
		shard:  shard,
		change: change,
		key:    block.HeadKey(tenant, shard),
		txn:    c.cfg.NewID(now),
	}
	pause := c.cfg.Backoff
	for attempt := 1; ; attempt++ {
		h, err := t.try(ctx, attempt <= c.cfg.Attempts)
		var again *retryError
		switch {
		case !errors.As(err, &again):
			return h, err
		case attempt > c.cfg.Attempts:
			return Head{}, fmt.Errorf("commit to %s: given up after %d attempts: %w", t.key, c.cfg.Attempts, again.cause)
		}
		if err := sleep(ctx, rand.N(pause)); err != nil {
			return Head{}, fmt.Errorf("commit to %s: %w, after %w", t.key, err, again.cause)
		}
		pause = min(2*pause, maxBackoff)
	}
}

// transaction is one change on its way into one HEAD. Its ID stays the same over all
// attempts, so that whichever of them landed is recognised.
type transaction struct {
	c      *Catalog
	tenant profile.Tenant
	shard  block.Shard
	change Change
	key    string
	txn    block.ID
	spill  *spill // written by an earlier attempt
}

// retryError says that an attempt failed in a way that another may not.
type retryError struct{ cause error }

func (e *retryError) Error() string { return e.cause.Error() }

// try reads HEAD and, if the change is not in it yet, writes it with the change.
// With write unset it only looks whether an earlier attempt has landed.
func (t *transaction) try(ctx context.Context, write bool) (Head, error) {
	h, version, err := t.c.load(ctx, t.key)
	switch {
	case err != nil && hopeless(err):
		return Head{}, err
	case err != nil:
		return Head{}, &retryError{err}
	case slices.Contains(h.Txns, t.txn) && !guard.Removed(guard.OwnTransaction):
		return h, nil
	case !write:
		return Head{}, &retryError{errors.New("HEAD kept changing or could not be written")}
	}
	now, err := t.c.bkt.Now(ctx)
	if err != nil {
		return Head{}, err
	}
	n, err := next(h, t.change, t.txn, now, t.c.Window())
	if err != nil {
		return Head{}, fmt.Errorf("%s: %w", t.key, err)
	}
	data, err := t.fit(ctx, &n)
	if err != nil {
		return Head{}, err
	}
	version, err = t.c.bkt.Replace(ctx, t.key, data, version)
	switch {
	case err == nil:
		t.c.remember(t.key, parsedHead{version, n})
		return n, nil
	case errors.Is(err, bucket.ErrDenied):
		return Head{}, err
	case errors.Is(err, bucket.ErrConflict):
		t.c.cfg.Observer.conflict(t.key)
	default:
		t.c.cfg.Observer.ambiguous(t.key, err)
	}
	return Head{}, &retryError{err}
}

// hopeless errors stay when a request is repeated.
func hopeless(err error) bool {
	return errors.Is(err, block.ErrCorrupt) || errors.Is(err, ErrNewer) || errors.Is(err, bucket.ErrDenied)
}

func (o Observer) conflict(key string) {
	if o.Conflict != nil {
		o.Conflict(key)
	}
}

func (o Observer) ambiguous(key string, err error) {
	if o.Ambiguous != nil {
		o.Ambiguous(key, err)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

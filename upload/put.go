package upload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/internal/guard"
	"github.com/coldframe/coldframe/profile"
)

// putTimeout ends a PUT that gets no answer.
const putTimeout = 2 * time.Minute

var errExpired = errors.New("not known to be stored, and too late to try again")

// A parcel is a finished block on its way into the bucket. It has one owner at a
// time: who seals it, the backlog, or who sends it.
type parcel struct {
	key      block.L0Key // its minute is 1970 until it is tried
	profiles int
	size     int64

	// It is either in memory or in the spool.
	data []byte
	file string // its name in the spool

	// tied says that a try may have landed: the block can only be stored under its
	// key, or it might be counted twice.
	tied bool

	firstTry time.Time
}

// seal makes a block of what was gathered.
func (u *Uploader) seal(tenant profile.Tenant, g *gathering) *parcel {
	p := &parcel{
		key:      g.builder.Key(tenant, u.shard, time.Unix(0, 0)),
		profiles: g.builder.Len(),
		data:     g.builder.Bytes(),
	}
	p.size = int64(len(p.data))
	u.backlog.release(g.size - p.size)
	return p
}

// put tries once to store a parcel. nil says that it is in the bucket. errExpired says
// that it must not be tried again, block.ErrCorrupt that it cannot; all else may pass.
func (u *Uploader) put(ctx context.Context, p *parcel) error {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	if p.firstTry.IsZero() {
		p.firstTry = time.Now()
	}
	now, err := u.askNow(ctx)
	if err != nil {
		return err
	}
	if since := now.Sub(p.key.Minute); p.tied && since > u.cfg.RetryFor && !guard.Removed(guard.Expiry) {
		return fmt.Errorf("%w: %s after its first try", errExpired, since.Round(time.Second))
	}
	data := p.data
	if data == nil {
		if data, err = u.spool.read(p); err != nil {
			return err
		}
	}
	if !p.tied {
		p.key.Minute = now.UTC().Truncate(time.Minute)
		if err := u.spool.tie(p); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
	}
	err = u.bkt.Create(ctx, p.key.String(), bytes.NewReader(data), p.size)
	if err == nil || errors.Is(err, bucket.ErrExist) {
		return nil // the ID is ours alone, so an object that exists is an earlier try of ours
	}
	if !certain(err) {
		p.tied = !guard.Removed(guard.Tied)
	}
	if !p.tied {
		u.spool.untie(p)
	}
	return err
}

// certain says whether a PUT that failed with err has changed nothing: it was
// refused, or no connection came about.
func certain(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.Is(err, bucket.ErrDenied) || errors.As(err, &op) && op.Op == "dial" || errors.As(err, &dns)
}

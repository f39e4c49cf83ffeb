package upload

import (
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

// Observer is told what happens, for logs and metrics. Nil fields are not called.
// Calls come from several goroutines at once, and must return soon and not call the
// Uploader.
type Observer struct {
	// Accepted: profiles were taken by Add or Push and are on their way. bytes is what
	// they add to a block.
	Accepted func(tenant profile.Tenant, profiles int, bytes int64)

	// Written: a block is in the bucket. It took that long from the first try of this
	// process on.
	Written func(key block.L0Key, profiles int, bytes int64, took time.Duration)

	// Retry: a try to write a block failed, and another will follow. The key's minute
	// is that of the try.
	Retry func(key block.L0Key, err error)

	// Refused: pushed profiles were answered with an error. Their client knows.
	Refused func(tenant profile.Tenant, profiles int, err error)

	// Lost: a block that nobody waits for is given up.
	Lost func(Loss)

	// ClockAhead: a profile's timestamp lay that far ahead, and was replaced by the time
	// of receipt.
	ClockAhead func(tenant profile.Tenant, ahead time.Duration)

	// SpoolFailed: the spool could not be written, read or tidied up.
	SpoolFailed func(err error)
}

// Loss is a block that was given up.
type Loss struct {
	Key      block.L0Key // its minute is 1970 when it was never tried
	Profiles int
	Bytes    int64
	Reason   Reason
	Err      error
}

// Reason says why a block was given up.
type Reason string

// The reasons.
const (
	Expired      Reason = "expired"       // no answer said that it is stored, for Config.RetryFor
	MemoryFull   Reason = "memory_full"   // others needed its place
	SpoolFull    Reason = "spool_full"    // others needed its place
	SpoolCorrupt Reason = "spool_corrupt" // its file is not what was written. It is kept, renamed
	Closed       Reason = "closed"        // Close could not wait longer
)

func (o *Observer) accepted(tenant profile.Tenant, profiles int, bytes int64) {
	if o.Accepted != nil {
		o.Accepted(tenant, profiles, bytes)
	}
}

func (o *Observer) written(p *parcel) {
	if o.Written != nil {
		o.Written(p.key, p.profiles, p.size, time.Since(p.firstTry))
	}
}

func (o *Observer) retry(p *parcel, err error) {
	if o.Retry != nil {
		o.Retry(p.key, err)
	}
}

func (o *Observer) refused(tenant profile.Tenant, profiles int, err error) {
	if o.Refused != nil {
		o.Refused(tenant, profiles, err)
	}
}

func (o *Observer) lost(l Loss) {
	if o.Lost != nil {
		o.Lost(l)
	}
}

func (o *Observer) clockAhead(tenant profile.Tenant, ahead time.Duration) {
	if o.ClockAhead != nil {
		o.ClockAhead(tenant, ahead)
	}
}

func (o *Observer) spoolFailed(err error) {
	if o.SpoolFailed != nil {
		o.SpoolFailed(err)
	}
}

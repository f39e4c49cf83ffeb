package push

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
	"github.com/coldframe/coldframe/upload"
)

// Limits is how much a tenant may push. A zero field is no limit of this kind: what a
// label set and a profile may hold at all is bounded by the packages profile and upload.
// Age is the uploader's: see upload.Config.MaxAge.
type Limits struct {
	ProfilesPerSecond float64 // on average; as many as in 10 s may come at once
	BytesPerSecond    float64 // of profiles as they are sent; as many as in 10 s may come at once
	ProfileBytes      int64   // of one profile as it is sent
	Labels            int     // of a series
	LabelNameBytes    int
	LabelValueBytes   int
	Series            int // that push within an hour, to each process
}

// burst is how much of a rate may come at once.
const burst = 10 * time.Second

// seriesFor is how long a series that does not push any more is counted, at least; at
// most it is twice that.
const seriesFor = 30 * time.Minute

// maxAccounts bounds the tenants that are remembered. Beyond it those whose buckets are
// full are forgotten, which changes nothing for them.
const maxAccounts = 10_000

// accounts knows what tenants have used of their limits.
type accounts struct {
	mu      sync.Mutex
	tenants map[profile.Tenant]*account
}

type account struct {
	profiles, bytes tokens
	series, before  map[uint64]struct{} // of this half hour and the one before
	distinct        int                 // in both together
	turned          time.Time
}

// check refuses profiles that are over a limit, and charges the tenant for those that
// are not. Nothing is charged for what is refused.
func (a *accounts) check(tenant profile.Tenant, l Limits, profiles []upload.Profile, size int64) error {
	if l == (Limits{}) {
		return nil
	}
	for i := range profiles {
		if err := l.checkShape(&profiles[i]); err != nil {
			return fmt.Errorf("profile %d of %d: %w", i+1, len(profiles), err)
		}
	}
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	acc := a.of(tenant, now)
	if err := acc.checkSeries(l.Series, profiles, now); err != nil {
		return err
	}
	n := float64(len(profiles))
	acc.profiles.refill(l.ProfilesPerSecond, now)
	acc.bytes.refill(l.BytesPerSecond, now)
	switch {
	case l.ProfilesPerSecond > 0 && !acc.profiles.has(n, l.ProfilesPerSecond):
		return overRate("profiles_per_second", l.ProfilesPerSecond, acc.profiles.wait(n, l.ProfilesPerSecond))
	case l.BytesPerSecond > 0 && !acc.bytes.has(float64(size), l.BytesPerSecond):
		return overRate("bytes_per_second", l.BytesPerSecond, acc.bytes.wait(float64(size), l.BytesPerSecond))
	}
	acc.profiles.left -= n
	acc.bytes.left -= float64(size)
	return nil
}

// checkShape checks what does not depend on other pushes.
func (l Limits) checkShape(p *upload.Profile) error {
	if n := int64(len(p.Body)); l.ProfileBytes > 0 && n > l.ProfileBytes {
		return &serve.Error{
			Status: http.StatusRequestEntityTooLarge, Code: "too_large",
			Err: fmt.Errorf("it has %d bytes, the tenant's limit profile_bytes is %d: profile for a shorter time, or raise the limit", n, l.ProfileBytes),
		}
	}
	if l.Labels > 0 && len(p.Labels) > l.Labels {
		return fmt.Errorf("it has %d labels, the tenant's limit labels is %d: send fewer, or raise the limit: %w", len(p.Labels), l.Labels, profile.ErrInvalid)
	}
	for _, label := range p.Labels {
		if l.LabelNameBytes > 0 && len(label.Name) > l.LabelNameBytes {
			return fmt.Errorf("label name %.40q… has %d bytes, the tenant's limit label_name_bytes is %d: %w", label.Name, len(label.Name), l.LabelNameBytes, profile.ErrInvalid)
		}
		if l.LabelValueBytes > 0 && len(label.Value) > l.LabelValueBytes {
			return fmt.Errorf("label %q: its value has %d bytes, the tenant's limit label_value_bytes is %d: %w", label.Name, len(label.Value), l.LabelValueBytes, profile.ErrInvalid)
		}
	}
	return nil
}

func overRate(limit string, rate float64, wait time.Duration) error {
	return &serve.Error{
		Status: http.StatusTooManyRequests, Code: "rate_limited", RetryAfter: max(wait, time.Second),
		Err: fmt.Errorf("the tenant's limit %s of %g is reached: send less often, or raise the limit", limit, rate),
	}
}

// of finds a tenant's account.
func (a *accounts) of(tenant profile.Tenant, now time.Time) *account {
	if acc := a.tenants[tenant]; acc != nil {
		return acc
	}
	if a.tenants == nil {
		a.tenants = map[profile.Tenant]*account{}
	}
	if len(a.tenants) >= maxAccounts {
		for t, acc := range a.tenants {
			if now.Sub(acc.profiles.at) > burst && now.Sub(acc.turned) > seriesFor {
				delete(a.tenants, t)
			}
		}
	}
	acc := &account{turned: now}
	a.tenants[tenant] = acc
	return acc
}

// checkSeries notes the series of profiles, if there is room for those that are new.
func (acc *account) checkSeries(limit int, profiles []upload.Profile, now time.Time) error {
	if limit <= 0 {
		acc.series, acc.before, acc.distinct = nil, nil, 0
		return nil
	}
	if acc.series == nil || now.Sub(acc.turned) > seriesFor {
		acc.before, acc.series, acc.turned = acc.series, map[uint64]struct{}{}, now
		acc.distinct = len(acc.before)
	}
	added := map[uint64]struct{}{}
	distinct := acc.distinct
	for i := range profiles {
		key := xxhash.Sum64String(profiles[i].Name + "\xff" + profiles[i].Labels.String())
		if _, known := acc.series[key]; known {
			continue
		}
		if _, known := added[key]; known {
			continue
		}
		added[key] = struct{}{}
		if _, known := acc.before[key]; known {
			continue
		}
		if distinct++; distinct > limit {
			return &serve.Error{
				Status: http.StatusTooManyRequests, Code: "too_many_series", RetryAfter: time.Minute,
				Err: fmt.Errorf("series %s%s is new, and the tenant's limit series of %d is reached: drop labels whose values are many, or raise the limit", profiles[i].Name, profiles[i].Labels, limit),
			}
		}
	}
	for key := range added {
		acc.series[key] = struct{}{}
	}
	acc.distinct = distinct
	return nil
}

// tokens is a bucket that fills at a rate.
type tokens struct {
	left float64
	at   time.Time // zero: full
}

func (t *tokens) refill(rate float64, now time.Time) {
	most := rate * burst.Seconds()
	if t.at.IsZero() {
		t.left = most
	} else {
		t.left = min(most, t.left+rate*now.Sub(t.at).Seconds())
	}
	t.at = now
}

// has says whether n may be taken: when there is so much, or when the bucket is full
// and can never hold so much.
func (t *tokens) has(n, rate float64) bool { return t.left >= min(n, rate*burst.Seconds()) }

// wait is how long until n may be taken.
func (t *tokens) wait(n, rate float64) time.Duration {
	missing := min(n, rate*burst.Seconds()) - t.left
	return time.Duration(missing / rate * float64(time.Second))
}

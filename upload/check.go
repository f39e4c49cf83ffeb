package upload

import (
	"fmt"
	"strings"
	"time"

	"github.com/coldframe/coldframe/block/pprofblock"
	"github.com/coldframe/coldframe/profile"
)

// Profile is one profile to be stored.
type Profile struct {
	// Name is the first word of its profile types: "process_cpu", "memory". An empty
	// one is chosen by what the profile measures: process_cpu, memory, goroutine, ….
	// Go's block and mutex profiles look alike and are both called contention.
	Name   string
	Labels profile.Labels // of its series
	// Body is a pprof, in gzip, zstd or neither. It is kept, and must not be changed.
	Body []byte
	// Time is when it was taken, if the pprof does not say, or says a time that is ahead of
	// the bucket's clock; zero is now.
	Time time.Time
}

const (
	// maxAhead is how far ahead of the bucket's clock a profile may be.
	maxAhead = 10 * time.Minute
	// maxDuration bounds what is believed of a profile's length: a longer one would
	// only make the block look as if it covered years.
	maxDuration = 366 * 24 * time.Hour

	// earliest is the first time that is believed, 1971: some clients write
	// microseconds where nanoseconds belong, which is a day in January 1970.
	earliest = 365 * 24 * int64(time.Hour)

	// maxTogether bounds one call, so that what it brings fits into one block.
	maxTogether = pprofblock.MaxSize / 2
)

// check decodes profiles and makes them ready for a block, all or none. It says how
// much they will add to it.
func (u *Uploader) check(tenant profile.Tenant, profiles []Profile) (_ []*pprofblock.Packed, sizeBytes int64, _ error) {
	if t, err := profile.ParseTenant(string(tenant)); err != nil || t != tenant {
		return nil, 0, fmt.Errorf("tenant %q: %w", tenant, profile.ErrInvalid)
	}
	if len(profiles) > pprofblock.MaxProfiles {
		return nil, 0, fmt.Errorf("%d profiles at once, at most %d are allowed: %w", len(profiles), pprofblock.MaxProfiles, profile.ErrInvalid)
	}
	u.checking <- struct{}{}
	defer func() { <-u.checking }()
	d := u.decoders.Get().(*profile.Decoder)
	defer u.decoders.Put(d)
	packed := make([]*pprofblock.Packed, len(profiles))
	for i, p := range profiles {
		e, body, err := u.entry(d, tenant, p)
		if err == nil {
			packed[i], err = pprofblock.Pack(e, body)
		}
		if err != nil {
			return nil, 0, fmt.Errorf("profile %d of %d, %.100q of service %.100q: %w", i+1, len(profiles), p.Name, p.Labels.Service(), err)
		}
		if sizeBytes += packed[i].Size(); sizeBytes > maxTogether {
			return nil, 0, fmt.Errorf("%d profiles at once have more than %d bytes: %w", len(profiles), maxTogether, profile.ErrInvalid)
		}
	}
	return packed, sizeBytes, nil
}

// entry says of a profile what the manifest needs, and gives the pprof to be stored.
func (u *Uploader) entry(d *profile.Decoder, tenant profile.Tenant, p Profile) (e pprofblock.Entry, body []byte, err error) {
	decoded, err := d.Decode(p.Body)
	if err != nil {
		return e, nil, err
	}
	if len(decoded.SampleTypes) == 0 {
		return e, nil, fmt.Errorf("it has no sample types: %w", profile.ErrInvalid)
	}
	body, same, err := normalise(decoded, p.Body)
	if err == nil && !same {
		decoded, err = d.Decode(body)
	}
	if err != nil {
		return e, nil, err
	}
	e = pprofblock.Entry{Name: p.Name, Labels: p.Labels, PeriodType: clone(decoded.ValueType(decoded.PeriodType)), Samples: int64(decoded.NumSamples())}
	for _, t := range decoded.SampleTypes {
		e.SampleTypes = append(e.SampleTypes, clone(decoded.ValueType(t)))
	}
	if e.Name == "" {
		e.Name = nameOf(e.SampleTypes, e.PeriodType)
	}
	if e.MinTime, err = u.timeOf(tenant, p, decoded.TimeNanos); err != nil {
		return e, nil, err
	}
	e.MaxTime = e.MinTime.Add(min(max(time.Duration(decoded.DurationNanos), 0), maxDuration))
	return e, body, nil
}

// timeOf decides when a profile was taken.
func (u *Uploader) timeOf(tenant profile.Tenant, p Profile, nanos int64) (time.Time, error) {
	now := u.now()
	at := time.Unix(0, nanos)
	if nanos < earliest {
		at = p.Time
	}
	if at.UnixNano() < earliest {
		at = now
	}
	if ahead := at.Sub(now); ahead > maxAhead {
		u.cfg.Observer.clockAhead(tenant, ahead)
		if at = p.Time; at.UnixNano() < earliest || at.Sub(now) > maxAhead {
			at = now
		}
	}
	if u.cfg.MaxAge != nil {
		limit, err := u.cfg.MaxAge(tenant)
		if err != nil {
			return at, err
		}
		if limit > 0 && now.Sub(at) > limit {
			return at, fmt.Errorf("taken at %s, which is longer ago than the retention of %s: %w", at.UTC().Format(time.RFC3339), limit, profile.ErrInvalid)
		}
	}
	return at, nil
}

// clone makes words outlive their decoder.
func clone(t profile.ValueType) profile.ValueType {
	return profile.ValueType{Type: strings.Clone(t.Type), Unit: strings.Clone(t.Unit)}
}

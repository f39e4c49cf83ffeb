package block

import (
	"fmt"
	"strings"
	"time"

	"github.com/coldframe/coldframe/profile"
)

// Class is the first word of a key after the format's version. It says what an
// object is and how long it may live: lifecycle rules filter by a literal prefix, and
// [Class.Prefix] is that prefix, one rule for all tenants.
type Class string

// The classes. How long each lives is for lifecycle rules to say.
const (
	ClassL0        Class = "l0" // pprof blocks, as sent
	ClassB1        Class = "b1" // Arrow blocks of level 1: about a minute
	ClassB2        Class = "b2" // 15 minutes
	ClassB3        Class = "b3" // 3 hours
	ClassB4        Class = "b4" // a UTC day
	ClassR4        Class = "r4" // rollups of a b4 alone, kept longer
	ClassManifest  Class = "man"
	ClassMeta      Class = "meta"
	ClassDebuginfo Class = "debuginfo"
	ClassTmp       Class = "tmp"
	ClassStatus    Class = "status"
)

// Class is where blocks of a level lie. There are none above [L4].
func (l Level) Class() Class {
	return [...]Class{ClassL0, ClassB1, ClassB2, ClassB3, ClassB4}[l]
}

// Prefix begins the keys of all objects of a class: "v1/b1/". Listed with a
// delimiter it yields the tenants.
func (c Class) Prefix() string { return "v1/" + string(c) + "/" }

// TenantPrefix begins the keys of a tenant's objects of a class: "v1/b1/default/".
// For l0, b1 to b4, r4 and man a listing with a delimiter yields its shards.
func (c Class) TenantPrefix(tenant profile.Tenant) string {
	return c.Prefix() + string(tenant) + "/"
}

// ShardPrefix begins the keys of a shard's objects of a class: "v1/b1/default/00/".
// Listed with a delimiter it yields hours for l0 and days for b1 to b4 and r4.
func (c Class) ShardPrefix(tenant profile.Tenant, shard Shard) string {
	return c.TenantPrefix(tenant) + shard.String() + "/"
}

// DayPrefix begins the keys of a shard's Arrow blocks of one day and class.
func (c Class) DayPrefix(tenant profile.Tenant, shard Shard, day Day) string {
	return c.ShardPrefix(tenant, shard) + day.String() + "/"
}

// HourPrefix begins the keys of the pprof blocks uploaded to a shard in t's hour.
func HourPrefix(tenant profile.Tenant, shard Shard, t time.Time) string {
	return ClassL0.ShardPrefix(tenant, shard) + t.UTC().Format("2006010215") + "/"
}

// MinutePrefix begins the keys of the pprof blocks uploaded to a shard in t's minute.
func MinutePrefix(tenant profile.Tenant, shard Shard, t time.Time) string {
	return ClassL0.ShardPrefix(tenant, shard) + t.UTC().Format("2006010215/04") + "/"
}

// HeadKey is where a shard's register of live blocks lies.
func HeadKey(tenant profile.Tenant, shard Shard) string {
	return ClassManifest.ShardPrefix(tenant, shard) + "HEAD"
}

// ArchKey is where entries lie that were spilled from a HEAD grown too large.
func ArchKey(tenant profile.Tenant, shard Shard, id ID) string {
	return ClassManifest.ShardPrefix(tenant, shard) + "arch/" + id.String() + ".json"
}

// TenantKey is where a tenant's settings lie: shards, retention, format epoch.
func TenantKey(tenant profile.Tenant) string {
	return ClassMeta.TenantPrefix(tenant) + "tenant.json"
}

// DefaultsKey is where it lies how long the bucket's own lifecycle keeps anything.
func DefaultsKey() string { return ClassMeta.Prefix() + "lifecycle.json" }

// StatusKey is where the process called id, of the given role, says what it last
// did. Both are one path element.
func StatusKey(tenant profile.Tenant, role, id string) string {
	return ClassStatus.TenantPrefix(tenant) + role + "/" + id + ".json"
}

// L0Key is the key of a pprof block:
//
//	v1/l0/<tenant>/<shard>/<YYYYMMDDHH>/<MM>/<id>.<minT>.<durS>.<bloom>.pprof.zip
//
// minT is MinTime in seconds since 1970, durS is Duration in seconds.
type L0Key struct {
	Tenant profile.Tenant
	Shard  Shard

	// Minute is when the block was uploaded, by the bucket's clock, in whole
	// minutes. It has nothing to do with the times of the profiles inside.
	Minute time.Time
	ID     ID

	// Every profile inside lies in [MinTime, MinTime+Duration], both ends
	// included. Both are whole seconds and 1970 at the earliest: see [SetTimes].
	MinTime  time.Time
	Duration time.Duration

	Bloom Bloom // the service labels inside
}

const (
	l0Suffix    = ".pprof.zip"
	arrowSuffix = ".arrow.zip"

	lastSecond = 253402300799 // 9999-12-31T23:59:59Z
	maxSeconds = 9223372036   // in a time.Duration
)

// SetTimes sets MinTime and Duration to the narrowest whole seconds that cover
// [first, last], the times of the first and the last profile. A time before 1970
// counts as 1970, and a span over 292 years as that.
func (k *L0Key) SetTimes(first, last time.Time) {
	from := max(first.Unix(), 0)
	to := max(last.Unix(), from)
	if last.Nanosecond() > 0 {
		to++
	}
	k.MinTime = time.Unix(from, 0).UTC()
	k.Duration = time.Duration(min(to-from, maxSeconds)) * time.Second
}

// MaxTime is MinTime+Duration: no profile inside is later.
func (k L0Key) MaxTime() time.Time { return k.MinTime.Add(k.Duration) }

// String gives the key. Parts of a minute or of a second are cut off.
func (k L0Key) String() string {
	return fmt.Sprintf("%s%s.%d.%d.%s%s", MinutePrefix(k.Tenant, k.Shard, k.Minute),
		k.ID, k.MinTime.Unix(), k.Duration/time.Second, k.Bloom, l0Suffix)
}

// ParseL0Key reads what [L0Key.String] writes, and nothing else: a key that is read
// and written again is the same. Anything else is ErrCorrupt.
func ParseL0Key(key string) (L0Key, error) {
	k, err := parseL0Key(key)
	if err != nil {
		return L0Key{}, fmt.Errorf("key %.200q of a pprof block: %w", key, err)
	}
	return k, nil
}

func parseL0Key(key string) (k L0Key, err error) {
	var hour, minute, name string
	if k.Tenant, k.Shard, err = cutShard(ClassL0, key, &hour, &minute, &name); err != nil {
		return k, err
	}
	// The length is checked because time.Parse takes an hour of one digit.
	if k.Minute, err = time.Parse("2006010215/04", hour+"/"+minute); err != nil || len(hour) != 10 || k.Minute.Year() < 1970 {
		return k, fmt.Errorf("minute %q/%q: want YYYYMMDDHH/MM: %w", hour, minute, ErrCorrupt)
	}
	var ok bool
	if name, ok = strings.CutSuffix(name, l0Suffix); !ok {
		return k, fmt.Errorf("does not end with %s: %w", l0Suffix, ErrCorrupt)
	}
	id, name, _ := strings.Cut(name, ".")
	minTime, name, _ := strings.Cut(name, ".")
	duration, bloom, _ := strings.Cut(name, ".")
	if k.ID, err = ParseID(id); err != nil {
		return k, err
	}
	seconds, err := parseSeconds(minTime, lastSecond)
	if err != nil {
		return k, err
	}
	k.MinTime = time.Unix(seconds, 0).UTC()
	if seconds, err = parseSeconds(duration, maxSeconds); err != nil {
		return k, err
	}
	k.Duration = time.Duration(seconds) * time.Second
	k.Bloom, err = ParseBloom(bloom)
	return k, err
}

// ArrowKey is the key of an Arrow block:
//
//	v1/<b1|b2|b3|b4|r4>/<tenant>/<shard>/<YYYYMMDD>/<id>.arrow.zip
type ArrowKey struct {
	Class  Class // ClassB1 to ClassB4, or ClassR4
	Tenant profile.Tenant
	Shard  Shard
	Day    Day // the UTC day that all profiles inside belong to
	ID     ID
}

// String gives the key.
func (k ArrowKey) String() string {
	return k.Class.DayPrefix(k.Tenant, k.Shard, k.Day) + k.ID.String() + arrowSuffix
}

// ParseArrowKey reads what [ArrowKey.String] writes, and nothing else. Anything
// else is ErrCorrupt.
func ParseArrowKey(key string) (ArrowKey, error) {
	k, err := parseArrowKey(key)
	if err != nil {
		return ArrowKey{}, fmt.Errorf("key %.200q of an Arrow block: %w", key, err)
	}
	return k, nil
}

func parseArrowKey(key string) (k ArrowKey, err error) {
	for _, class := range [...]Class{ClassB1, ClassB2, ClassB3, ClassB4, ClassR4} {
		if strings.HasPrefix(key, class.Prefix()) {
			k.Class = class
		}
	}
	if k.Class == "" {
		return k, fmt.Errorf("does not begin with v1/b1/ to v1/b4/ or v1/r4/: %w", ErrCorrupt)
	}
	var day, name string
	if k.Tenant, k.Shard, err = cutShard(k.Class, key, &day, &name); err != nil {
		return k, err
	}
	if k.Day, err = ParseDay(day); err != nil {
		return k, err
	}
	name, ok := strings.CutSuffix(name, arrowSuffix)
	if !ok {
		return k, fmt.Errorf("does not end with %s: %w", arrowSuffix, ErrCorrupt)
	}
	k.ID, err = ParseID(name)
	return k, err
}

// cutShard splits a key of a class after its tenant and shard into path elements,
// exactly as many as there are places to put them.
func cutShard(class Class, key string, elements ...*string) (profile.Tenant, Shard, error) {
	rest, ok := strings.CutPrefix(key, class.Prefix())
	parts := strings.SplitN(rest, "/", len(elements)+3)
	if !ok || len(parts) != len(elements)+2 {
		return "", 0, fmt.Errorf("want %s and %d more path elements: %w", class.Prefix(), len(elements)+2, ErrCorrupt)
	}
	tenant, err := profile.ParseTenant(parts[0])
	if err != nil || parts[0] == "" {
		return "", 0, fmt.Errorf("tenant %.70q: %w", parts[0], ErrCorrupt)
	}
	shard, err := ParseShard(parts[1])
	for i, element := range elements {
		*element = parts[i+2]
	}
	return tenant, shard, err
}

// parseSeconds reads a decimal number without sign or leading zeros, up to limit.
func parseSeconds(s string, limit int64) (int64, error) {
	var n int64
	for i, c := range []byte(s) {
		if c < '0' || c > '9' || i > 0 && n == 0 {
			return 0, fmt.Errorf("%.30q is not a number of seconds: %w", s, ErrCorrupt)
		}
		if n = n*10 + int64(c-'0'); n > limit {
			return 0, fmt.Errorf("%.30q seconds are more than %d: %w", s, limit, ErrCorrupt)
		}
	}
	if s == "" {
		return 0, fmt.Errorf("number of seconds missing: %w", ErrCorrupt)
	}
	return n, nil
}

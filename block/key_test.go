package block_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

var anID = must(block.ParseID("01J9ZQ4T5V8W3X6Y7Z0A1B2C3D"))

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func labels(t testing.TB, pairs ...string) profile.Labels {
	t.Helper()
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	ls, err := profile.LabelsFromMap(m)
	if err != nil {
		t.Fatal(err)
	}
	return ls
}

// The keys, letter by letter.
func TestKeys(t *testing.T) {
	minute := time.Date(2026, 8, 21, 23, 5, 59, 0, time.FixedZone("", 2*60*60)) // 21:05 UTC
	l0 := block.L0Key{Tenant: "acme", Shard: 0x1f, Minute: minute, ID: anID}
	l0.SetTimes(time.UnixMilli(1787346300999), time.UnixMilli(1787346302001))
	l0.Bloom.Add(labels(t, "job", "api"))
	for _, c := range []struct{ got, want string }{
		{l0.String(), "v1/l0/acme/1f/2026082121/05/01J9ZQ4T5V8W3X6Y7Z0A1B2C3D.1787346300.3." + l0.Bloom.String() + ".pprof.zip"},
		{block.ClassL0.Prefix(), "v1/l0/"},
		{block.ClassL0.TenantPrefix("acme"), "v1/l0/acme/"},
		{block.ClassL0.ShardPrefix("acme", 1), "v1/l0/acme/01/"},
		{block.HourPrefix("acme", 1, minute), "v1/l0/acme/01/2026082121/"},
		{block.MinutePrefix("acme", 1, minute), "v1/l0/acme/01/2026082121/05/"},
		{block.Meta{ID: anID, Level: block.L1, Day: 20686}.Key("acme", 2), "v1/b1/acme/02/20260821/01J9ZQ4T5V8W3X6Y7Z0A1B2C3D.arrow.zip"},
		{block.Meta{ID: anID, Level: block.L4, Day: 20686}.Key("acme", 2), "v1/b4/acme/02/20260821/01J9ZQ4T5V8W3X6Y7Z0A1B2C3D.arrow.zip"},
		{block.Meta{Day: 20686, R4: &block.Rollup{ID: anID}}.RollupKey("acme", 2), "v1/r4/acme/02/20260821/01J9ZQ4T5V8W3X6Y7Z0A1B2C3D.arrow.zip"},
		{block.Meta{Day: 20686}.RollupKey("acme", 2), ""},
		{block.ClassB3.DayPrefix("acme", 2, 20686), "v1/b3/acme/02/20260821/"},
		{block.HeadKey("acme", 2), "v1/man/acme/02/HEAD"},
		{block.ArchKey("acme", 2, anID), "v1/man/acme/02/arch/01J9ZQ4T5V8W3X6Y7Z0A1B2C3D.json"},
		{block.TenantKey("acme"), "v1/meta/acme/tenant.json"},
		{block.StatusKey("acme", "scraper", "host-1"), "v1/status/acme/scraper/host-1.json"},
		{block.ClassTmp.TenantPrefix("acme"), "v1/tmp/acme/"},
		{block.ClassDebuginfo.TenantPrefix("acme"), "v1/debuginfo/acme/"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}

// The prefixes of an hour and of a minute begin the keys inside them and no others,
// and keys sort by upload minute.
func TestL0KeysSortByMinute(t *testing.T) {
	start := time.Date(2026, 8, 21, 22, 58, 0, 0, time.UTC)
	var keys []string
	for i := range 180 {
		minute := start.Add(time.Duration(i) * time.Minute)
		key := block.L0Key{Tenant: "t", Minute: minute, ID: block.NewID(minute), MinTime: time.Unix(0, 0)}.String()
		keys = append(keys, key)
		for j := range 180 {
			other := start.Add(time.Duration(j) * time.Minute)
			if got, want := strings.HasPrefix(key, block.MinutePrefix("t", 0, other)), i == j; got != want {
				t.Fatalf("%s has prefix of %v: %v", key, other, got)
			}
			if got, want := strings.HasPrefix(key, block.HourPrefix("t", 0, other)), minute.Truncate(time.Hour).Equal(other.Truncate(time.Hour)); got != want {
				t.Fatalf("%s has hour prefix of %v: %v", key, other, got)
			}
		}
	}
	if !slices.IsSorted(keys) {
		t.Error("keys do not sort by minute")
	}
}

// [MinTime, MaxTime] of a key covers what it was made of, to the nanosecond, and is
// no wider than it must be.
func TestL0KeyCoversItsProfiles(t *testing.T) {
	times := []int64{0, 1, 999_999_999, 1e9, 1e9 + 1, 1787346300_000_000_000, 1787346300_999_999_999, 1<<63 - 1e9}
	for _, first := range times {
		for _, last := range times {
			if last < first {
				continue
			}
			k := block.L0Key{Tenant: "t", Minute: time.Unix(0, 0), ID: anID}
			k.SetTimes(time.Unix(0, first), time.Unix(0, last))
			parsed, err := block.ParseL0Key(k.String())
			if err != nil {
				t.Fatal(err)
			}
			from, to := parsed.MinTime, parsed.MaxTime()
			if from.After(time.Unix(0, first)) || to.Before(time.Unix(0, last)) {
				t.Errorf("[%d, %d]: key says [%v, %v]", first, last, from, to)
			}
			if time.Unix(0, first).Sub(from) >= time.Second || to.Sub(time.Unix(0, last)) >= time.Second {
				t.Errorf("[%d, %d]: key says [%v, %v], wider than seconds", first, last, from, to)
			}
		}
	}
}

func TestParseL0KeyRefuses(t *testing.T) {
	good := block.L0Key{Tenant: "acme", Shard: 3, Minute: time.Unix(1787346300, 0), ID: anID, MinTime: time.Unix(1787346000, 0), Duration: time.Minute}.String()
	if _, err := block.ParseL0Key(good); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new string }{
		{"v1/", "v2/"},
		{"v1/", "/v1/"},
		{"/l0/", "/b1/"},
		{"acme", ""},
		{"acme", ".acme"},
		{"acme", "a/b"},
		{"/03/", "/3/"},
		{"/03/", "/0G/"},
		{"/03/", "/AB/"},
		{"2026", "+026"},
		{"/05/", "/60/"},
		{"/05/", "/5/"},
		{"2026082121", "2026082124"},
		{"2026082121", "202608211"},
		{"20260821", "20260231"},
		{"20260821", "19691231"},
		{"01J9", "01j9"},
		{"01J9", "81J9"},
		{"01J9", "01I9"},
		{"1787346000", "01787346000"},
		{"1787346000", "-1"},
		{"1787346000", "+1"},
		{"1787346000", ""},
		{"1787346000", "253402300800"},
		{"1787346000", "99999999999999999999"},
		{".60.", ".060."},
		{".60.", ".9223372037."},
		{".60.", ".1e3."},
		{".60.", "."},
		{"AAA.pprof", "AAB.pprof"},
		{"AAA.pprof", "AA.pprof"},
		{"AAA.pprof", "AAAA.pprof"},
		{"AAA.pprof", "A\nA.pprof"},
		{".zip", ".zip "},
		{".zip", ".zip.tmp"},
		{".pprof", ".x.pprof"},
	} {
		bad := strings.Replace(good, c.old, c.new, 1)
		if bad == good {
			t.Fatalf("%q is not in %s", c.old, good)
		}
		if k, err := block.ParseL0Key(bad); !errors.Is(err, block.ErrCorrupt) {
			t.Errorf("%s: got %+v, %v", bad, k, err)
		}
	}
}

// A key that parses is written again as it was.
func FuzzParseL0Key(f *testing.F) {
	f.Add("v1/l0/acme/03/2026082121/05/01J9ZQ4T5V8W3X6Y7Z0A1B2C3D.1787346000.60.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.pprof.zip")
	f.Add("v1/b1/acme/02/20260821/01J9ZQ4T5V8W3X6Y7Z0A1B2C3D.arrow.zip")
	f.Add("v1/r4/default/ff/99991231/7ZZZZZZZZZZZZZZZZZZZZZZZZZ.arrow.zip")
	f.Fuzz(func(t *testing.T, key string) {
		l0, err := block.ParseL0Key(key)
		if err == nil && l0.String() != key {
			t.Errorf("%q is written as %q", key, l0)
		}
		arrow, arrowErr := block.ParseArrowKey(key)
		if arrowErr == nil && arrow.String() != key {
			t.Errorf("%q is written as %q", key, arrow)
		}
		for _, err := range []error{err, arrowErr} {
			if err != nil && !errors.Is(err, block.ErrCorrupt) {
				t.Errorf("%q: %v does not wrap ErrCorrupt", key, err)
			}
		}
		if err == nil && arrowErr == nil {
			t.Errorf("%q is a key of both kinds", key)
		}
	})
}

func BenchmarkParseL0Key(b *testing.B) {
	k := block.L0Key{Tenant: "acme", Shard: 3, Minute: time.Unix(1787346300, 0), ID: anID, MinTime: time.Unix(1787346000, 0), Duration: time.Minute}.String()
	for b.Loop() {
		if _, err := block.ParseL0Key(k); err != nil {
			b.Fatal(err)
		}
	}
}

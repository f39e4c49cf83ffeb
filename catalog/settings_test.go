package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/profile"
)

func TestParseRetention(t *testing.T) {
	for text, want := range map[string]Retention{
		"": 0, "0": 0, "1h": Retention(time.Hour), "36h": Retention(36 * time.Hour), "30d": Retention(30 * day),
		"2w": Retention(14 * day), "1y": Retention(365 * day), "250y": maxRetention,
	} {
		got, err := ParseRetention(text)
		if err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
		again, err := ParseRetention(got.String())
		if err != nil || again != want {
			t.Errorf("%q as text is %q, which is %v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"30", "d", "-1d", "1.5d", "0d", "0h", "59m", "251y", "99999999999y", "1 d", "1dd", "1D"} {
		if r, err := ParseRetention(text); !errors.Is(err, profile.ErrInvalid) {
			t.Errorf("%q is %v, %v", text, r, err)
		}
	}
}

// A day is kept until its last instant is as old as the retention.
func TestFirstDays(t *testing.T) {
	r := Retentions{Raw: Retention(30 * day), Rollups: Retention(365 * day)}
	d := block.DayOf(time.Date(2026, 8, 21, 0, 0, 0, 0, time.UTC))
	for _, c := range []struct {
		now  time.Time
		want block.Day
	}{
		{d.Start(), d - 30}, {d.End().Add(-1), d - 30}, {d.End(), d - 29},
	} {
		raw, rollups := r.FirstDays(c.now)
		if raw != c.want || rollups != c.want-335 {
			t.Errorf("at %s: %s and %s, want %s", c.now, raw, rollups, c.want)
		}
		if last := raw - 1; c.now.Sub(last.End()) < 30*day-1 {
			t.Errorf("at %s: %s is dropped, which ended %s ago", c.now, last, c.now.Sub(last.End()))
		}
	}
	if raw, rollups := (Retentions{}).FirstDays(d.Start()); raw != 0 || rollups != 0 {
		t.Errorf("without a limit: %s and %s", raw, rollups)
	}
	if _, rollups := (Retentions{Raw: Retention(2 * day)}).FirstDays(d.Start()); rollups != d-2 {
		t.Errorf("rollups go with their profiles: %s", rollups)
	}
}

// A tenant's retention counts within the bucket's.
func TestRetentions(t *testing.T) {
	const d = Retention(day)
	for _, c := range []struct{ tenant, bucket, want Retentions }{
		{Retentions{}, Retentions{}, Retentions{}},
		{Retentions{Raw: 7 * d}, Retentions{}, Retentions{7 * d, 7 * d}},
		{Retentions{}, Retentions{30 * d, 365 * d}, Retentions{30 * d, 365 * d}},
		{Retentions{Raw: 7 * d}, Retentions{30 * d, 365 * d}, Retentions{7 * d, 7 * d}},
		{Retentions{7 * d, 700 * d}, Retentions{30 * d, 365 * d}, Retentions{7 * d, 365 * d}},
		{Retentions{90 * d, 700 * d}, Retentions{Raw: 30 * d}, Retentions{30 * d, 30 * d}},
	} {
		cat := New(bucket.Mem(), Config{})
		if err := cat.SetDefaults(t.Context(), c.bucket); err != nil {
			t.Fatal(err)
		}
		if _, err := cat.ChangeSettings(t.Context(), "a", func(s *Settings) {
			s.Retention, s.RollupRetention = c.tenant.Raw, c.tenant.Rollups
		}); err != nil {
			t.Fatal(err)
		}
		if got, err := cat.Retentions(t.Context(), "a"); err != nil || got != c.want {
			t.Errorf("%v in a bucket of %v: %v, %v; want %v", c.tenant, c.bucket, got, err, c.want)
		}
	}
}

func TestParseSettings(t *testing.T) {
	for text, want := range map[string]error{
		`{"v":1}`: nil,
		`{"v":1,"epoch":1,"shards":2,"retention":"30d","rollup_retention":"1y"}`: nil,
		`{"v":1,"deleted":"2026-08-21T12:00:00Z"}`:                               nil,
		`{"v":2}`:                         ErrNewer,
		`{"v":1,"epoch":2}`:               ErrNewer,
		`{"v":1,"colour":"red"}`:          ErrNewer,
		`{"v":1,"retention":"soon"}`:      block.ErrCorrupt,
		`{"v":1,"retention":30}`:          block.ErrCorrupt,
		`{"v":1,"shards":257}`:            block.ErrCorrupt,
		`{"v":1,"shards":-1}`:             block.ErrCorrupt,
		`{"v":1,"rollup_retention":"1d"}`: block.ErrCorrupt,
		`{"v":0}`:                         block.ErrCorrupt,
		`{"v":1}{}`:                       block.ErrCorrupt,
		``:                                block.ErrCorrupt,
		`{"v":1,"retention":"2d","rollup_retention":"1d"}`: block.ErrCorrupt,
	} {
		if _, err := ParseSettings([]byte(text)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
}

func FuzzParseSettings(f *testing.F) {
	f.Add([]byte(`{"v":1,"epoch":1,"shards":2,"retention":"30d","rollup_retention":"1y","deleted":"2026-08-21T12:00:00Z"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseSettings(data)
		if err != nil {
			if !errors.Is(err, block.ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Errorf("an error of its own: %v", err)
			}
			return
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if s2, err := ParseSettings(again); err != nil {
			t.Errorf("%s is read and written as %s: %v, %v", data, again, s2, err)
		}
	})
}

// Settings are asked for again after some seconds, and outlive an outage for minutes.
func TestSettingsAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := bucket.Mem()
		away := false
		cat := New(&moody{Bucket: mem, away: &away}, Config{})
		other := New(mem, Config{})
		must := func(want Retention) {
			t.Helper()
			if s, err := cat.Settings(t.Context(), "a"); err != nil || s.Retention != want {
				t.Errorf("%v, %v; want %v", s, err, want)
			}
		}
		must(0)
		if _, err := other.ChangeSettings(t.Context(), "a", func(s *Settings) { s.Retention = Retention(day) }); err != nil {
			t.Fatal(err)
		}
		must(0)
		time.Sleep(settingsFor)
		must(Retention(day))
		away = true
		time.Sleep(settingsAtMost)
		must(Retention(day))
		time.Sleep(settingsFor)
		if _, err := cat.Settings(t.Context(), "a"); err == nil {
			t.Error("nothing was read for too long, and it is no error")
		}
		away = false
		time.Sleep(settingsFor)
		must(Retention(day))
		if err := mem.Put(t.Context(), block.TenantKey("a"), []byte("{")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(settingsFor)
		if _, err := cat.Settings(t.Context(), "a"); !errors.Is(err, block.ErrCorrupt) || !strings.Contains(err.Error(), "v1/meta/a/tenant.json") {
			t.Errorf("broken settings: %v", err)
		}
	})
}

// moody is a bucket that does not answer while it is away.
type moody struct {
	bucket.Bucket
	away *bool
}

func (m *moody) Get(ctx context.Context, key string) ([]byte, bucket.Version, error) {
	if *m.away {
		return nil, "", errors.New("away")
	}
	return m.Bucket.Get(ctx, key)
}

func TestChangeSettings(t *testing.T) {
	cat := New(bucket.Mem(), Config{})
	change := func(shards int) error {
		_, err := cat.ChangeSettings(t.Context(), "a", func(s *Settings) { s.Shards = shards })
		return err
	}
	if err := errors.Join(change(2), change(4)); err != nil {
		t.Fatal(err)
	}
	if err := change(3); !errors.Is(err, profile.ErrInvalid) {
		t.Errorf("fewer shards: %v", err)
	}
	if err := change(257); !errors.Is(err, profile.ErrInvalid) {
		t.Errorf("too many shards: %v", err)
	}
	if s, err := cat.Settings(t.Context(), "a"); err != nil || s.Shards != 4 || s.V != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

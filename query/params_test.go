package query

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"
)

func TestTimeRangeOfRequest(t *testing.T) {
	now := time.Date(2026, 8, 21, 10, 0, 0, 0, time.UTC)
	for _, c := range []struct{ query, from, to string }{
		{"", "2026-08-21T09:00:00Z", "2026-08-21T10:00:00Z"},
		{"from=now-5m", "2026-08-21T09:55:00Z", "2026-08-21T10:00:00Z"},
		{"from=1787306400&to=now%2b5m", "2026-08-21T10:00:00Z", "2026-08-21T10:05:00Z"},
		{"to=now+5m", "2026-08-21T09:00:00Z", "2026-08-21T10:05:00Z"},
		{"from=2026-08-20T00:00:00Z&to=2026-08-20T00:00:00.5Z", "2026-08-20T00:00:00Z", "2026-08-20T00:00:00.5Z"},
		{"seconds=30", "2026-08-21T09:59:30Z", "2026-08-21T10:00:00Z"},
		{"seconds=30&to=now-1h", "2026-08-21T08:59:30Z", "2026-08-21T09:00:00Z"},
		{"seconds=30&from=now-1h", "2026-08-21T09:00:00Z", "2026-08-21T10:00:00Z"},
	} {
		p := newParams(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?"+c.query, nil), now)
		r := p.timeRange()
		if from, to := formatTime(r.From), formatTime(r.To); p.err != nil || from != c.from || to != c.to {
			t.Errorf("%q gives [%s, %s) and %v, want [%s, %s)", c.query, from, to, p.err, c.from, c.to)
		}
	}
}

func TestParams(t *testing.T) {
	p := newParams(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?step=1m30s&s2=1.5&s3=2d&by=a,b&by=c,+a&n=7&x=0.5&on=1", nil), time.Now())
	for _, c := range []struct{ got, want time.Duration }{
		{p.duration("step"), 90 * time.Second},
		{p.duration("s2"), 1500 * time.Millisecond},
		{p.duration("s3"), 48 * time.Hour},
		{p.duration("none"), 0},
	} {
		if c.got != c.want {
			t.Errorf("duration %s, want %s", c.got, c.want)
		}
	}
	if by := p.list("by"); !slices.Equal(by, []string{"a", "b", "c"}) {
		t.Errorf("by is %q", by)
	}
	if n := p.integer("n", 1, 0, 10); n != 7 {
		t.Errorf("n is %d", n)
	}
	if x := p.share("x"); x != 0.5 {
		t.Errorf("x is %g", x)
	}
	if !p.flag("on") || p.flag("off") {
		t.Error("flags are wrong")
	}
	if p.err != nil {
		t.Error(p.err)
	}
}

package push_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	parcav1 "github.com/coldframe/coldframe/api/parca/profilestore/v1alpha1"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/ingest/push"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

// Whatever the protocol, what is over a limit is refused with the protocol's own code, the
// limit's name, and when to come back if that helps; other tenants are let through.
func TestLimits(t *testing.T) {
	large := samplePprof(t, noon())
	for _, c := range []struct {
		limit  string
		limits push.Limits
		free   int // pushes that are let through
		labels []string
		status int
		code   connect.Code
	}{
		{"profiles_per_second", push.Limits{ProfilesPerSecond: 0.3}, 3, nil, 429, connect.CodeResourceExhausted},
		{"bytes_per_second", push.Limits{BytesPerSecond: float64(len(large)) / 5}, 2, nil, 429, connect.CodeResourceExhausted},
		{"profile_bytes", push.Limits{ProfileBytes: int64(len(large)) - 1}, 0, nil, 413, connect.CodeInvalidArgument},
		{"labels", push.Limits{Labels: 1}, 0, []string{"a", "b", "c", "d"}, 400, connect.CodeInvalidArgument},
		{"label_name_bytes", push.Limits{LabelNameBytes: 3}, 0, []string{"long", "b"}, 400, connect.CodeInvalidArgument},
		{"label_value_bytes", push.Limits{LabelValueBytes: 3}, 0, []string{"a", "long"}, 400, connect.CodeInvalidArgument},
	} {
		t.Run(c.limit, func(t *testing.T) {
			s := serveOn(t, bucket.Mem(), push.Config{Limits: func(tenant profile.Tenant) push.Limits {
				if tenant == "free" {
					return push.Limits{}
				}
				return c.limits
			}}, upload.Config{})
			query := "?type_name=process_cpu"
			for i := 0; i < len(c.labels); i += 2 {
				query += "&" + c.labels[i] + "=" + c.labels[i+1]
			}
			for range c.free {
				if status, answer, _ := s.post(t, "/api/v1/push"+query, "", large); status != http.StatusOK {
					t.Fatalf("within the limit: %d %s", status, answer)
				}
			}
			status, answer, header := s.post(t, "/api/v1/push"+query, "", large)
			if status != c.status || !strings.Contains(answer, c.limit) || (header.Get("Retry-After") != "") != (c.status == 429) {
				t.Errorf("HTTP: %d %s %s, want %d", status, answer, header.Get("Retry-After"), c.status)
			}
			_, err := client[parcav1.WriteRawRequest, parcav1.WriteRawResponse](s, parcav1.ProfileStoreServiceWriteRawProcedure, connect.WithGRPC()).
				CallUnary(t.Context(), connect.NewRequest(writeRawRequest(large, c.labels...)))
			var told *connect.Error
			if !errors.As(err, &told) || told.Code() != c.code || !strings.Contains(told.Message(), c.limit) || (len(told.Details()) > 0) != (c.status == 429) {
				t.Errorf("gRPC: %v, want %s", err, c.code)
			}
			if status, answer, _ := s.post(t, "/api/v1/push"+query, "", large, "X-Scope-OrgID", "free"); status != http.StatusOK {
				t.Errorf("another tenant: %d %s", status, answer)
			}
			if n := len(s.stored(t, "default")); n != c.free {
				t.Errorf("%d profiles are stored, want %d", n, c.free)
			}
		})
	}
}

// What is older than the tenant's profiles are kept is refused by every protocol's own code.
func TestTooOld(t *testing.T) {
	s := serveOn(t, bucket.Mem(), push.Config{}, upload.Config{MaxAge: func(profile.Tenant) (time.Duration, error) { return 24 * time.Hour, nil }})
	old, young := samplePprof(t, noon().Add(-48*time.Hour)), samplePprof(t, noon())
	if status, answer, _ := s.post(t, "/api/v1/push?job=a", "", old); status != http.StatusBadRequest || !strings.Contains(answer, "retention of 24h") {
		t.Errorf("HTTP: %d %s", status, answer)
	}
	raw := client[parcav1.WriteRawRequest, parcav1.WriteRawResponse](s, parcav1.ProfileStoreServiceWriteRawProcedure, connect.WithGRPC())
	if _, err := raw.CallUnary(t.Context(), connect.NewRequest(writeRawRequest(old))); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "retention of 24h") {
		t.Errorf("gRPC: %v", err)
	}
	if _, err := raw.CallUnary(t.Context(), connect.NewRequest(writeRawRequest(young))); err != nil {
		t.Errorf("what is young enough: %v", err)
	}
	if n := len(s.stored(t, "default")); n != 1 {
		t.Errorf("%d profiles are stored, want 1", n)
	}
}

// A new series over the limit is refused; the old ones go on.
func TestSeriesLimit(t *testing.T) {
	s := serveOn(t, bucket.Mem(), push.Config{Limits: func(profile.Tenant) push.Limits { return push.Limits{Series: 2} }}, upload.Config{})
	body := samplePprof(t, noon())
	for i, c := range []struct {
		pod    string
		status int
	}{{"a", 200}, {"b", 200}, {"c", 429}, {"a", 200}, {"c", 429}, {"b", 200}} {
		if status, answer, _ := s.post(t, "/api/v1/push?pod="+c.pod, "", body); status != c.status {
			t.Errorf("push %d, pod %s: %d %s, want %d", i, c.pod, status, answer, c.status)
		}
	}
	_, err := client[parcav1.WriteRawRequest, parcav1.WriteRawResponse](s, parcav1.ProfileStoreServiceWriteRawProcedure, connect.WithGRPC()).
		CallUnary(t.Context(), connect.NewRequest(writeRawRequest(body, "pod", "d")))
	if connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "limit series") {
		t.Errorf("gRPC: %v", err)
	}
}

// shaky is a bucket that may lose answers, or be away.
type shaky struct {
	bucket.Bucket
	loseAnswer, away atomic.Bool
}

var errAway = errors.New("connection reset")

func (b *shaky) Create(ctx context.Context, key string, r io.Reader, size int64) error {
	if b.away.Load() {
		return errAway
	}
	err := b.Bucket.Create(ctx, key, r, size)
	if b.loseAnswer.Load() {
		return errAway
	}
	return err
}

// A push that landed without an answer, and is sent again: both have the same identity,
// series, name, time and content, by which every reader counts them once. That holds for
// a profile whose time hangs on its receipt too, as long as the same process receives it again.
func TestSentAgainIsTheSameProfile(t *testing.T) {
	lines := []byte("main;work\nmain\n")
	for name, c := range map[string]struct {
		query  string
		body   []byte
		itsOwn bool // the time is the profile's
	}{
		"with its time":       {"/api/v1/push?job=a", samplePprof(t, noon()), true},
		"without a time":      {"/api/v1/push?job=a", samplePprof(t, time.Time{}), false},
		"of a clock ahead":    {"/api/v1/push?job=a", samplePprof(t, time.Now().Add(time.Hour)), false},
		"folded, no times":    {"/ingest?name=a&format=lines", lines, false},
		"folded, relative":    {"/ingest?name=a&format=lines&from=now-30s&until=now-10s", lines, false},
		"folded, only from":   {fmt.Sprintf("/ingest?name=a&format=lines&from=%d", noon().Unix()), lines, true},
		"folded, until now":   {fmt.Sprintf("/ingest?name=a&format=lines&from=%d&until=now", noon().Unix()), lines, true},
		"folded, its times":   {fmt.Sprintf("/ingest?name=a&format=lines&from=%d&until=%d", noon().Unix(), noon().Unix()+9), lines, true},
		"pprof, relative":     {"/ingest?name=a&format=pprof&from=now-30s&until=now-10s", samplePprof(t, time.Time{}), false},
		"pprof, of its query": {fmt.Sprintf("/ingest?name=a&format=pprof&from=%d", noon().Unix()), samplePprof(t, time.Time{}), true},
	} {
		t.Run(name, func(t *testing.T) {
			b := &shaky{Bucket: bucket.Mem()}
			s := serveOn(t, b, push.Config{}, upload.Config{PushTimeout: 200 * time.Millisecond})
			b.loseAnswer.Store(true)
			if status, answer, header := s.post(t, c.query, "", c.body); status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
				t.Fatalf("no answer of the bucket: %d %s", status, answer)
			}
			b.loseAnswer.Store(false)
			time.Sleep(5 * time.Millisecond)
			if status, answer, _ := s.post(t, c.query, "", c.body); status != http.StatusOK {
				t.Fatalf("sent again: %d %s", status, answer)
			}
			all := s.stored(t, "default")
			if len(all) != 2 {
				t.Fatalf("%d profiles are stored, want 2 that are one", len(all))
			}
			first, second := all[0], all[1]
			if !first.MinTime.Equal(second.MinTime) || first.Name != second.Name || !first.Labels.Equal(second.Labels) || string(first.body) != string(second.body) {
				t.Errorf("%s%s at %s, then %s%s at %s", first.Name, first.Labels, first.MinTime, second.Name, second.Labels, second.MinTime)
			}
			time.Sleep(5 * time.Millisecond)
			s.post(t, c.query, "", c.body)
			third := s.stored(t, "default")
			if same := third[0].MinTime.Equal(third[1].MinTime) && third[1].MinTime.Equal(third[2].MinTime); same != c.itsOwn {
				t.Errorf("sent anew after an acknowledgement it has the time of the one before: %v, want %v", same, c.itsOwn)
			}
		})
	}
}

// While the bucket is away clients are told to come back, what waits is bounded, and
// what was acknowledged before and after is there.
func TestBucketAway(t *testing.T) {
	b := &shaky{Bucket: bucket.Mem()}
	const memory = 256 << 10
	up, err := upload.New(b, upload.Config{Agent: "test", PushTimeout: 300 * time.Millisecond, MemoryBytes: memory})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = up.Close(context.WithoutCancel(t.Context())) }()
	s := serveWith(t, b, push.New(up, push.Config{InFlightBytes: 1 << 20}))
	body := samplePprof(t, noon())
	b.away.Store(true)
	var all sync.WaitGroup
	var most atomic.Int64
	var refused atomic.Int64
	for i := range 64 {
		all.Go(func() {
			large := append([]byte(nil), body...)
			if i%2 == 0 {
				large = make([]byte, 900<<10) // more than may be received at once, together
			}
			status, answer, header := s.post(t, "/api/v1/push?job=a", "", large)
			if now := up.Backlog().MemoryBytes; now > most.Load() {
				most.Store(now)
			}
			switch {
			case status == http.StatusServiceUnavailable && header.Get("Retry-After") != "":
				refused.Add(1)
			case i%2 == 0 && status == http.StatusBadRequest: // it was received, and is no pprof
			default:
				t.Errorf("%d %s", status, answer)
			}
		})
	}
	all.Wait()
	if most.Load() > memory || refused.Load() < 32 {
		t.Errorf("%d bytes waited, at most %d may; %d of 64 were told to come back", most.Load(), memory, refused.Load())
	}
	if n := len(s.stored(t, "default")); n != 0 {
		t.Fatalf("%d profiles are stored while the bucket is away", n)
	}
	b.away.Store(false)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if status, answer, _ := s.post(t, "/api/v1/push?job=a", "", body); status == http.StatusOK {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the bucket is back: %d %s", status, answer)
		}
	}
	if n := len(s.stored(t, "default")); n != 1 {
		t.Errorf("%d profiles are stored, want the one that was acknowledged", n)
	}
}

package push_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/coldframe/coldframe/block/pprofblock"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/ingest/push"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

func goroutines(t *testing.T) []byte {
	t.Helper()
	var body bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&body, 0); err != nil {
		t.Fatal(err)
	}
	return body.Bytes()
}

func closeUploader(t *testing.T, up *upload.Uploader) {
	t.Helper()
	if err := up.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

func post(t *testing.T, h http.HandlerFunc, query string, body []byte, tenant string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/push?"+query, bytes.NewReader(body))
	r.Body = http.MaxBytesReader(nil, r.Body, 1<<20)
	if tenant != "" {
		r.Header.Set("X-Scope-OrgID", tenant)
	}
	w := httptest.NewRecorder()
	h(w, r)
	return w
}

// What was answered with 200 is in the bucket, whole, with the labels of the query.
func TestAcknowledgedIsInTheBucket(t *testing.T) {
	bkt := bucket.Mem()
	up, err := upload.New(bkt, upload.Config{Agent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer closeUploader(t, up)
	body := goroutines(t)
	w := post(t, push.New(up).ServePush, "job=api&pod=a", body, "team")
	if w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != `{"profiles":1}` {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	found := 0
	for o, err := range bkt.List(t.Context(), "v1/l0/team/") {
		if err != nil {
			t.Fatal(err)
		}
		data, _, err := bkt.Get(t.Context(), o.Key)
		if err != nil {
			t.Fatal(err)
		}
		r, err := pprofblock.Open(data, pprofblock.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range r.Manifest().Profiles {
			stored, err := r.Profile(i)
			if err != nil {
				t.Fatal(err)
			}
			found++
			if e.Name != "goroutine" || e.Labels.String() != `{job="api", pod="a"}` || !bytes.Equal(stored, body) {
				t.Errorf("stored %s %s, %d bytes; want goroutine with the labels of the query, %d bytes", e.Name, e.Labels, len(stored), len(body))
			}
		}
	}
	if found != 1 {
		t.Errorf("%d profiles are in the bucket, want 1", found)
	}
}

type committer struct{ err error }

func (c committer) Push(context.Context, profile.Tenant, ...upload.Profile) error { return c.err }

func TestRefusals(t *testing.T) {
	up, err := upload.New(bucket.Mem(), upload.Config{Agent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer closeUploader(t, up)
	good := goroutines(t)
	for name, c := range map[string]struct {
		to     push.Committer
		query  string
		body   []byte
		tenant string
		status int
		field  string
	}{
		"empty":            {up, "job=a", nil, "", 400, "body"},
		"not a pprof":      {up, "job=a", []byte("hello"), "", 400, "body"},
		"truncated":        {up, "job=a", good[:len(good)/2], "", 400, "body"},
		"too large":        {up, "job=a", make([]byte, 2<<20), "", 413, ""},
		"label twice":      {up, "job=a&job=b", good, "", 400, "job"},
		"label not UTF-8":  {up, "job=%ff", good, "", 400, ""},
		"label no name":    {up, "=x", good, "", 400, ""},
		"query malformed":  {up, "job=%zz", good, "", 400, ""},
		"tenant malformed": {up, "job=a", good, "../x", 400, "X-Scope-OrgID"},
		"bucket away":      {committer{fmt.Errorf("put: %w", upload.ErrUnavailable)}, "job=a", good, "", 503, ""},
		"bug":              {committer{errors.New("x")}, "job=a", good, "", 500, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := post(t, push.New(c.to).ServePush, c.query, c.body, c.tenant)
			var got struct {
				Error struct{ Code, Message, Field string }
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatalf("%q: %v", w.Body, err)
			}
			if w.Code != c.status || got.Error.Field != c.field || got.Error.Message == "" || got.Error.Code == "" {
				t.Errorf("%d %s, want %d with field %q", w.Code, w.Body, c.status, c.field)
			}
			if c.status == 503 && w.Header().Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
	}
}

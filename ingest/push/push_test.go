package push_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/ingest/push"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

// What was answered with 200 is in the bucket, whole, with the labels of the query.
func TestAcknowledgedIsInTheBucket(t *testing.T) {
	s := newServer(t)
	body := samplePprof(t, noon())
	status, answer, _ := s.post(t, "/api/v1/push?job=api&pod=a", "", body, "X-Scope-OrgID", "team")
	if status != http.StatusOK || strings.TrimSpace(answer) != `{"profiles":1}` {
		t.Fatalf("%d %s", status, answer)
	}
	p := s.only(t, "team")
	if p.Name != "process_cpu" || p.Labels.String() != `{job="api", pod="a"}` || !bytes.Equal(p.body, body) || p.folded() != sampleFolded {
		t.Errorf("stored %s %s, %d bytes; want process_cpu with the labels of the query, %d bytes", p.Name, p.Labels, len(p.body), len(body))
	}
}

type committer struct{ err error }

func (c committer) Push(context.Context, profile.Tenant, ...upload.Profile) error { return c.err }

func TestRefusals(t *testing.T) {
	good := samplePprof(t, noon())
	up := newServer(t)
	small := serveOn(t, bucket.Mem(), push.Config{MaxMessageBytes: 1 << 20}, upload.Config{})
	failing := func(err error) *server { return serveWith(t, nil, push.New(committer{err}, push.Config{})) }
	for name, c := range map[string]struct {
		to      *server
		query   string
		body    []byte
		headers []string
		status  int
		field   string
	}{
		"empty":            {up, "job=a", nil, nil, 400, "body"},
		"not a pprof":      {up, "job=a", []byte("hello"), nil, 400, "body"},
		"truncated":        {up, "job=a", good[:len(good)/2], nil, 400, "body"},
		"too large":        {small, "job=a", make([]byte, 2<<20), nil, 413, ""},
		"label twice":      {up, "job=a&job=b", good, nil, 400, "job"},
		"label not UTF-8":  {up, "job=%ff", good, nil, 400, ""},
		"label no name":    {up, "=x", good, nil, 400, ""},
		"query malformed":  {up, "job=%zz", good, nil, 400, ""},
		"tenant malformed": {up, "job=a", good, []string{"X-Scope-OrgID", "../x"}, 400, "X-Scope-OrgID"},
		"not gzip":         {up, "job=a", []byte("x"), []string{"Content-Encoding", "gzip"}, 400, ""},
		"unknown encoding": {up, "job=a", good, []string{"Content-Encoding", "br"}, 415, "Content-Encoding"},
		"bucket away":      {failing(fmt.Errorf("put: %w", upload.ErrUnavailable)), "job=a", good, nil, 503, ""},
		"bug":              {failing(errors.New("x")), "job=a", good, nil, 500, ""},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer, header := c.to.post(t, "/api/v1/push?"+c.query, "", c.body, c.headers...)
			var got struct {
				Error struct{ Code, Message, Field string }
			}
			if err := json.Unmarshal([]byte(answer), &got); err != nil {
				t.Fatalf("%q: %v", answer, err)
			}
			if status != c.status || got.Error.Field != c.field || got.Error.Message == "" || got.Error.Code == "" {
				t.Errorf("%d %s, want %d with field %q", status, answer, c.status, c.field)
			}
			if c.status == 503 && header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
	}
}

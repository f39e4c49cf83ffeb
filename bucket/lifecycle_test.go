package bucket

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/lifecycle"
)

func exampleLifecycle() Lifecycle {
	const day = 24 * time.Hour
	return Lifecycle{Rules: []Rule{{"v1/l0/", 7 * day}, {"v1/b4/", 30*day + 1}}, AbortUploadsAfter: day}
}

// The documents are what the clouds' own tools and clients read.
func TestLifecycleDocuments(t *testing.T) {
	l := exampleLifecycle().Below("some/where")
	neutral, err := json.Marshal(l)
	if want := `{"rules":[{"id":"coldframe-some-where-v1-l0","prefix":"some/where/v1/l0/","days":7},` +
		`{"id":"coldframe-some-where-v1-b4","prefix":"some/where/v1/b4/","days":31}],"abort_incomplete_uploads_days":1}`; err != nil || string(neutral) != want {
		t.Errorf("%s, %v\nwant %s", neutral, err, want)
	}
	s3JSON, err := l.S3JSON()
	if err != nil {
		t.Fatal(err)
	}
	s3XML, err := l.S3XML()
	if err != nil {
		t.Fatal(err)
	}
	var fromJSON, fromXML lifecycle.Configuration
	if err := json.Unmarshal(s3JSON, &fromJSON); err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(s3XML, &fromXML); err != nil {
		t.Fatal(err)
	}
	for _, c := range []lifecycle.Configuration{fromJSON, fromXML} {
		if len(c.Rules) != 3 || c.Rules[1].Expiration.Days != 31 || c.Rules[1].RuleFilter.Prefix != "some/where/v1/b4/" ||
			c.Rules[1].Status != "Enabled" || c.Rules[2].AbortIncompleteMultipartUpload.DaysAfterInitiation != 1 {
			t.Errorf("%+v\nof\n%s\n%s", c, s3JSON, s3XML)
		}
	}
	gcs, err := l.GCSJSON()
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Rule []struct {
			Action    struct{ Type string }
			Condition struct {
				Age           int
				MatchesPrefix []string
			}
		}
	}
	if err := json.Unmarshal(gcs, &rules); err != nil || len(rules.Rule) != 3 || rules.Rule[0].Action.Type != "Delete" ||
		rules.Rule[0].Condition.Age != 7 || rules.Rule[0].Condition.MatchesPrefix[0] != "some/where/v1/l0/" ||
		rules.Rule[2].Action.Type != "AbortIncompleteMultipartUpload" {
		t.Errorf("%v\n%s", err, gcs)
	}
}

// ruled is a server that keeps a bucket's rules as S3 does, and records what it was sent.
type ruled struct{ document []byte }

func (s *ruled) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, ok := r.URL.Query()["lifecycle"]; !ok {
		http.Error(w, "?", http.StatusTeapot)
		return
	}
	switch {
	case r.Method == http.MethodPut:
		s.document, _ = io.ReadAll(r.Body)
	case s.document == nil:
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `<Error><Code>NoSuchLifecycleConfiguration</Code></Error>`)
	default:
		_, _ = w.Write(s.document)
	}
}

// Rules take the place of those set before, and leave those of others alone.
func TestSetLifecycleOfS3(t *testing.T) {
	server := &ruled{}
	h := httptest.NewServer(server)
	defer h.Close()
	b, err := Open(t.Context(), []byte("type: S3\nprefix: here\nconfig:\n  bucket: profiles\n  region: us-east-1\n  access_key: a\n  secret_key: b\n  insecure: true\n  endpoint: "+strings.TrimPrefix(h.URL, "http://")))
	if err != nil {
		t.Fatal(err)
	}
	set := func(l Lifecycle) string {
		t.Helper()
		if err := SetLifecycle(t.Context(), Counting(b, &Account{}), l); err != nil {
			t.Fatal(err)
		}
		var c lifecycle.Configuration
		if err := xml.Unmarshal(server.document, &c); err != nil {
			t.Fatalf("%v\n%s", err, server.document)
		}
		var ids []string
		for _, r := range c.Rules {
			ids = append(ids, r.ID)
		}
		return strings.Join(ids, " ")
	}
	if got := set(exampleLifecycle()); got != "coldframe-here-v1-l0 coldframe-here-v1-b4 coldframe-abort-uploads" {
		t.Errorf("at first: %s", got)
	}
	server.document = []byte(strings.Replace(string(server.document), "<Rule>",
		"<Rule><ID>logs</ID><Status>Enabled</Status><Filter><Prefix>logs/</Prefix></Filter><Expiration><Days>3</Days></Expiration></Rule>"+
			"<Rule><ID>coldframe-there-v1-l0</ID><Status>Enabled</Status><Filter><Prefix>there/v1/l0/</Prefix></Filter><Expiration><Days>3</Days></Expiration></Rule><Rule>", 1))
	l := exampleLifecycle()
	l.Rules = l.Rules[:1]
	if got := set(l); got != "logs coldframe-there-v1-l0 coldframe-here-v1-l0 coldframe-abort-uploads" {
		t.Errorf("then: %s", got)
	}
}

func TestBucketsWithoutLifecycle(t *testing.T) {
	folder, err := openFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []Bucket{Mem(), folder} {
		if err := SetLifecycle(t.Context(), b, exampleLifecycle()); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", b.Name(), err)
		}
	}
}

// What a folder holds goes when a server would let it go, and not before.
func TestPlayLifecycle(t *testing.T) {
	f, err := openFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for key, age := range map[string]time.Duration{
		"v1/l0/a/old": 7 * 24 * time.Hour, "v1/l0/a/young": 7*24*time.Hour - time.Minute,
		"v1/b4/a/old": 31 * 24 * time.Hour, "v1/man/a/HEAD": 999 * 24 * time.Hour,
	} {
		if err := f.Put(t.Context(), key, []byte("12345")); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(f.root+"/"+key, now, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	played, err := PlayLifecycle(t.Context(), f, exampleLifecycle())
	if err != nil || played != (Played{2, 10}) {
		t.Errorf("%+v, %v", played, err)
	}
	var left []string
	for o, err := range f.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, o.Key)
	}
	if got := strings.Join(left, " "); got != "v1/l0/a/young v1/man/a/HEAD" {
		t.Errorf("left: %s", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := PlayLifecycle(ctx, f, exampleLifecycle()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

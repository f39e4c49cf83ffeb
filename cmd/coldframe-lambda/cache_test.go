package main

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/compactor"
	"github.com/coldframe/coldframe/internal/lambdaenv"
	"github.com/coldframe/coldframe/upload"
)

// What was read once of blocks is asked of memory, and after a crash of /tmp, rather than of the bucket;
// /tmp takes no more than it is given.
func TestCaches(t *testing.T) {
	c := newCloud(t)
	types := map[string]bool{}
	var profiles []upload.Profile
	for _, p := range corpusOf()[:200] {
		types[p.Name] = true
		profiles = append(profiles, upload.Profile{Name: p.Name, Labels: p.Labels, Body: p.Body})
	}
	c.push(t, "agent", profiles...)
	if err := compactor.New(catalog.New(c.bkt, catalog.Config{}), c.bkt, compactor.Config{SealNow: true}).RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, one := range []struct {
		most     int64
		survives bool
	}{{64 << 20, true}, {400_000, false}, {0, false}} {
		f := c.deploy(t, lambdaenv.Config{Timeout: time.Minute, Env: []string{fmt.Sprint("COLDFRAME_CACHE_BYTES=", one.most)}})
		askAll := func() (bytesIn float64) {
			before := c.metric(t, "BucketBytesIn")
			for name := range types {
				if status, body, _ := fetch(t, f, http.MethodGet, "/api/v1/flamegraph?type="+name+"&"+wholeRange, nil); status != http.StatusOK {
					t.Fatalf("%d %s", status, body)
				}
			}
			return c.metric(t, "BucketBytesIn") - before
		}
		first, warm := askAll(), askAll()
		f.Crash()
		size, err := f.Tmp()
		if err != nil {
			t.Fatal(err)
		}
		fresh := askAll()
		t.Logf("at most %d bytes in /tmp: read %.0f bytes, warm %.0f, after a crash %.0f, with %d bytes in /tmp", one.most, first, warm, fresh, size)
		if f.Processes() != 2 {
			t.Errorf("%d processes, want one and after its crash another", f.Processes())
		}
		if warm > first/10 {
			t.Errorf("warm, %.0f bytes of %.0f are read again", warm, first)
		}
		if survives := fresh < first/2; survives != one.survives {
			t.Errorf("at most %d bytes in /tmp: after a crash %.0f bytes of %.0f are read again", one.most, fresh, first)
		}
		if size > one.most+one.most/8 || one.survives && size == 0 {
			t.Errorf("/tmp has %d bytes, want at most about %d", size, one.most)
		}
	}
}

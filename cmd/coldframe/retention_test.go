package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"
)

// What a tenant's retention says holds for answers and for pushes a moment later, and for
// no other tenant.
func TestTenantRetention(t *testing.T) {
	bkt := folder(t)
	old, fresh := pprofOf(t, time.Now().Add(-48*time.Hour)), pprofOf(t, time.Now().Add(-time.Minute))
	for _, tenant := range []string{"a", "b"} {
		must(t, "push", "--bucket-config", bkt, "--tenant", tenant, "--type-name", "work", old, fresh)
	}
	samples := func(tenant string) int {
		return len(get(t, bkt, "--tenant", tenant, "--from", "now-72h", "--type", "work").Sample)
	}
	if n := samples("a"); n != 2 {
		t.Fatalf("%d samples before", n)
	}
	shown := must(t, "tenant", "set", "--bucket-config", bkt, "--tenant", "a", "--retention", "1d")
	if !strings.Contains(shown, "together  retention 1d, rollups 1d") {
		t.Errorf("tenant set shows\n%s", shown)
	}
	if a, b := samples("a"), samples("b"); a != 1 || b != 2 {
		t.Errorf("%d samples of the tenant, %d of another; want 1 and 2", a, b)
	}
	if status, _, stderr := command(t, "push", "--bucket-config", bkt, "--tenant", "a", "--type-name", "work", old); status == 0 || !strings.Contains(stderr, "retention of 24h") {
		t.Errorf("push of what is too old: status %d, %s", status, stderr)
	}
	must(t, "lifecycle", "apply", "--bucket-config", bkt, "--retention", "1h")
	if n := samples("b"); n != 1 {
		t.Errorf("%d samples within the bucket's retention", n)
	}
	if ls := must(t, "tenant", "ls", "--bucket-config", bkt); !strings.Contains(ls, "a  1 shards  retention 1d") || !strings.Contains(ls, "b  1 shards  retention without limit") {
		t.Errorf("tenant ls:\n%s", ls)
	}
}

func TestTenantMistakes(t *testing.T) {
	bkt := folder(t)
	for _, args := range [][]string{
		{"tenant", "set", "--bucket-config", bkt},
		{"tenant", "set", "--bucket-config", bkt, "--retention", "soon"},
		{"tenant", "set", "--bucket-config", bkt, "--rollup-retention", "1y"},
		{"tenant", "set", "--bucket-config", bkt, "--shards", "1000"},
		{"lifecycle", "print", "--rollup-retention", "1y"},
		{"lifecycle", "print", "--retention", "2y", "--rollup-retention", "1y"},
	} {
		if status, _, stderr := command(t, args...); status != exitUsage {
			t.Errorf("%v: status %d, %s", args, status, stderr)
		}
	}
}

// The rules that all tools get, by name, prefix and days.
func TestLifecyclePrint(t *testing.T) {
	var printed struct {
		Rules []struct {
			ID, Prefix string
			Days       int
		}
		Abort int `json:"abort_incomplete_uploads_days"`
	}
	out := must(t, "lifecycle", "print", "--format", "json", "--retention", "30d", "--rollup-retention", "2y")
	if err := json.Unmarshal([]byte(out), &printed); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"v1/l0/": 7, "v1/b1/": 7, "v1/b2/": 7, "v1/b3/": 7, "v1/b4/": 30, "v1/r4/": 730, "v1/tmp/": 1, "v1/status/": 1}
	for _, r := range printed.Rules {
		if want[r.Prefix] != r.Days || r.ID != "coldframe-"+strings.ReplaceAll(strings.Trim(r.Prefix, "/"), "/", "-") {
			t.Errorf("%+v", r)
		}
		delete(want, r.Prefix)
	}
	if len(want) > 0 || printed.Abort != 1 {
		t.Errorf("missing %v, uploads aborted after %d days", want, printed.Abort)
	}
	for _, format := range []string{"text", "s3", "s3-xml", "gcs"} {
		if out := must(t, "lifecycle", "print", "--format", format, "--prefix", "cold/", "--retention", "30d"); !strings.Contains(out, "cold/v1/b4/") || !strings.Contains(out, "30") {
			t.Errorf("%s:\n%s", format, out)
		}
	}
}

// pprofOf writes a pprof with one sample, taken at a time.
func pprofOf(t testing.TB, at time.Time) (path string) {
	t.Helper()
	p, err := pprof.ParseData(oneSample(t, fmt.Sprint("at", at.Unix())))
	if err != nil {
		t.Fatal(err)
	}
	p.TimeNanos = at.UnixNano()
	var body bytes.Buffer
	if err := p.Write(&body); err != nil {
		t.Fatal(err)
	}
	return write(t, t.TempDir(), "cpu.pb.gz", body.Bytes())
}

// A tenant is deleted only when that is said twice, whole, and alone.
func TestDeleteTenant(t *testing.T) {
	bkt := folder(t)
	for _, tenant := range []string{"a", "b"} {
		must(t, "push", "--bucket-config", bkt, "--tenant", tenant, "--type-name", "work", pprofOf(t, time.Now()))
	}
	must(t, "compact", "--bucket-config", bkt, "--once", "--seal-now", "--only", "b")
	if ls := must(t, "block", "ls", "--bucket-config", bkt, "--tenant", "a", "--from", "0"); strings.Contains(ls, ".arrow.zip") {
		t.Errorf("compact --only b has compacted a:\n%s", ls)
	}
	must(t, "compact", "--bucket-config", bkt, "--once", "--seal-now")
	must(t, "push", "--bucket-config", bkt, "--tenant", "a", "--type-name", "work", pprofOf(t, time.Now()))
	samples := func(tenant string) int {
		return len(get(t, bkt, "--tenant", tenant, "--type", "work").Sample)
	}
	if out := must(t, "delete", "--bucket-config", bkt, "--tenant", "a"); !strings.Contains(out, "Nothing was deleted") || samples("a") == 0 {
		t.Errorf("without --yes:\n%s", out)
	}
	if out := must(t, "delete", "--bucket-config", bkt, "--tenant", "a", "--yes"); !strings.Contains(out, "deleted 3 objects") {
		t.Errorf("with --yes:\n%s", out)
	}
	if status, stdout, _ := command(t, "get", "--bucket-config", bkt, "--tenant", "a", "--type", "work", "--format", "folded"); status == 0 && stdout != "" {
		t.Errorf("the deleted tenant answers\n%s", stdout)
	}
	if status, _, stderr := command(t, "push", "--bucket-config", bkt, "--tenant", "a", "--type-name", "work", pprofOf(t, time.Now())); status == 0 || !strings.Contains(stderr, "was deleted") {
		t.Errorf("push to the deleted tenant: status %d, %s", status, stderr)
	}
	if samples("b") != 1 {
		t.Error("another tenant is harmed")
	}
	must(t, "tenant", "set", "--bucket-config", bkt, "--tenant", "a", "--undelete")
	must(t, "push", "--bucket-config", bkt, "--tenant", "a", "--type-name", "work", pprofOf(t, time.Now()))
	must(t, "compact", "--bucket-config", bkt, "--once", "--seal-now", "--delete")
	if n := samples("a"); n != 1 {
		t.Errorf("%d samples of the tenant that is used again", n)
	}
	must(t, "fsck", "--bucket-config", bkt)
}

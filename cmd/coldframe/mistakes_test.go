package main

import (
	"strings"
	"testing"
)

// What a user gets wrong is told in a line or two that name it, with exit status 2.
func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	badConfig := write(t, dir, "parca.yaml", []byte("scrape_configs:\n  - job_name: a\n    scrape_intervall: 5s\n"))
	badBucket := write(t, dir, "bucket.yaml", []byte("type: S4\n"))
	badKey := write(t, dir, "key.yaml", []byte("type: FILESYSTEM\nconfig: {directori: x}\n"))
	notPprof := write(t, dir, "x.pb.gz", []byte("hello"))
	bkt := folder(t)
	for _, c := range []struct {
		args   string
		status int
		says   string
	}{
		{"", 2, "expected one of"},
		{"gett", 2, "gett"},
		{"get", 2, "--bucket-config"},
		{"get --server ftp://x {}", 2, "--server"},
		{"get --bucket-config {B} {job=", 2, "selector"},
		{"get --bucket-config {B} --from yesterday {}", 2, "from"},
		{"get --bucket-config {B} --from now --to now-1h {}", 2, "from"},
		{"get --bucket-config {B} --format xml {}", 2, "--format"},
		{"get --bucket-config {B} --filter name=x {}", 2, "function, system, binary"},
		{"get --bucket-config {B} --diff --format pprof {}", 2, "-diff_base"},
		{"get --bucket-config {B} --format series --sandwich f {}", 2, "--sandwich"},
		{"get --bucket-config {B} --format series --filter line {}", 2, "FIELD=VALUE"},
		{"get --bucket-config {B} --format pprof --group-by pod {}", 2, "--group-by"},
		{"get --bucket-config {B} --diff-from never {}", 2, "base_from"},
		{"get --bucket-config {B} {} {pod=", 2, "selector"},
		{"get --bucket-config " + badBucket + " {}", 2, "S4"},
		{"get --bucket-config " + badKey + " {}", 2, "directori"},
		{"get --bucket-config " + dir + "/none.yaml {}", 2, "none.yaml"},
		{"--tenant ../x get --bucket-config {B} {}", 2, "--tenant"},
		{"dev --config-path " + badConfig, 2, badConfig + `:3: unknown key "scrape_intervall"`},
		{"ingest --check-config " + badConfig, 2, "scrape_intervall"},
		{"compact --bucket-config {B} --seal-now", 2, "--once"},
		{"push --bucket-config {B} " + notPprof, 1, "x.pb.gz"},
		{"push --bucket-config {B} --label =x " + notPprof, 2, "--label"},
		{"push --bucket-config {B} " + dir + "/none.pb.gz", 2, "none.pb.gz"},
		{"block inspect --bucket-config {B} v1/b1/none.arrow.zip", 1, "no such object"},
		{"block inspect --bucket-config {B} v1/x", 1, "no such object"},
	} {
		t.Run(c.args, func(t *testing.T) {
			args := strings.Fields(c.args)
			for i, a := range args {
				args[i] = strings.ReplaceAll(a, "{B}", bkt)
			}
			status, stdout, stderr := command(t, args...)
			if status != c.status || !strings.Contains(stdout+stderr, c.says) {
				t.Errorf("exit status %d, want %d; want %q in:\n%s%s", status, c.status, c.says, stdout, stderr)
			}
		})
	}
}

// The address is taken before anything else is done.
func TestPortInUse(t *testing.T) {
	address := freeAddress(t)
	first := spawn(t, "query", "--bucket-config", folder(t), "--http-address", address)
	first.ready(t, "http://"+address)
	if status, _, stderr := command(t, "query", "--bucket-config", folder(t), "--http-address", address); status != 1 || !strings.Contains(stderr, address) {
		t.Errorf("exit status %d, want 1 and the address in %q", status, stderr)
	}
}

// A push whose profiles are not all good stores the good ones and says so by status 3.
func TestPushInPart(t *testing.T) {
	dir := t.TempDir()
	good, bad := write(t, dir, "good.pb.gz", oneSample(t, "f")), write(t, dir, "bad.pb.gz", []byte("hello"))
	status, stdout, stderr := command(t, "push", "--bucket-config", folder(t), good, bad)
	if status != exitPartial || !strings.Contains(stdout, "stored 1 of 2") || !strings.Contains(stderr, "bad.pb.gz") {
		t.Errorf("exit status %d\n%s%s", status, stdout, stderr)
	}
}

// Every format of get answers, from a bucket and through a server alike.
func TestGetFormats(t *testing.T) {
	bkt, address := folder(t), freeAddress(t)
	server := spawn(t, "query", "--bucket-config", bkt, "--http-address", address)
	server.ready(t, "http://"+address)
	file := write(t, t.TempDir(), "p.pb.gz", oneSample(t, "the_function"))
	must(t, "push", "--bucket-config", bkt, "--label", "job=a", file)
	for _, format := range []string{"pprof", "top", "tree", "json", "folded", "series", "speedscope", "svg", "arrow"} {
		direct := must(t, "get", "--bucket-config", bkt, "--format", format, "--from", "now-1h", `{job="a"}`)
		served := must(t, "get", "--server", "http://"+address, "--format", format, "--from", "now-1h", `{job="a"}`)
		if format != "pprof" && format != "series" && (!strings.Contains(direct, "the_function") || !strings.Contains(served, "the_function")) {
			t.Errorf("%s:\n%s\nthrough the server:\n%s", format, direct, served)
		}
		if format == "folded" && direct != served {
			t.Errorf("folded: %q, through the server %q", direct, served)
		}
	}
	if status, _, stderr := command(t, "get", "--bucket-config", bkt, "--type", "memory", `{job="a"}`); status != 1 || !strings.Contains(stderr, "samples") {
		t.Errorf("an unknown type: exit status %d, %s", status, stderr)
	}
	if out := must(t, "get", "--server", "http://"+address, "--format", "folded", `{job="none"}`); out != "" {
		t.Errorf("nothing selected: %q", out)
	}
	if status, _, _ := command(t, "get", "--server", "http://127.0.0.1:1", "{}"); status != 1 {
		t.Error("a server that is not there is no failure")
	}
}

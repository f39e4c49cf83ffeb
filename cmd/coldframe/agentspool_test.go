package main

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coldframe/coldframe/agent"
	"github.com/coldframe/coldframe/bpf"
	"github.com/coldframe/coldframe/bucket/buckettest"
	"github.com/coldframe/coldframe/internal/machine"
)

// While the bucket is away blocks wait in the spool; who kills the agent then loses none of them,
// for the next one sends them. Nor is anything lost when the bucket comes back.
func TestAgentSpool(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	owner, writer := buckettest.S3WriteOnly(t, "v1/l0/")
	through, network := buckettest.Toxic(t, writer)
	dir := t.TempDir()
	c, spool := filepath.Join(dir, "cfspool_c"), filepath.Join(dir, "spool")
	build(t, "gcc", "-O2", "-o", c, "../../bpf/testdata/ratio.c")
	burn(t, "c", c)
	run := func(node string) (*spawned, string) {
		address := freeAddress(t)
		a := spawn(t, "agent", "--bucket-config", string(through), "--http-address", address, "--node", node, "--spool-dir", spool,
			"--profiling-cpu-sampling-frequency", "199", "--profiling-duration", "1s", "--window", "2s", "--include-env-var", "CF_E2E")
		a.ready(t, "http://"+address)
		waitSampled(t, "http://"+address, 50, "c")
		return a, "http://" + address
	}
	stored := func(node string) (n uint64) {
		for _, s := range get(t, string(owner), "--type", "process_cpu/samples", `{cf_e2e="c", node="`+node+`"}`).Sample {
			n += uint64(s.Value[0])
		}
		return n
	}

	first, url := run("first")
	network.Away(true)
	sampled := sampledOf(t, url, "c")
	// What was sampled by then is in the first two of these.
	const blocks = 4
	waitSpooled(t, spool, func(n int) bool { return n >= blocks })
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-first.done; err == nil {
		t.Fatal("the killed agent ended well")
	}
	first.done <- nil
	network.Away(false)
	second, url := run("second")
	waitSpooled(t, spool, func(n int) bool { return n == 0 })
	if got := stored("first"); got < sampled {
		t.Errorf("of an agent that was killed without a bucket %d samples are stored; %d were taken some blocks before", got, sampled)
	}

	network.Away(true)
	waitSpooled(t, spool, func(n int) bool { return n >= blocks })
	network.Away(false)
	waitSpooled(t, spool, func(n int) bool { return n == 0 })
	sampled = sampledOf(t, url, "c")
	if _, body, err := fetch(t, url+"/metrics"); err != nil || regexp.MustCompile(`coldframe_upload_lost_profiles_total\{.*\} [1-9]`).Match(body) {
		t.Errorf("something was lost: %v\n%s", err, body)
	}
	if err := second.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-second.done; err != nil {
		t.Errorf("the agent did not stop cleanly: %v\n%s", err, second.stderr)
	}
	second.done <- nil
	if got := stored("second"); got < sampled {
		t.Errorf("%d samples are stored, %d were taken before the agent was stopped", got, sampled)
	}
}

// sampledOf is how many samples an agent has taken of a program that burns CPU.
func sampledOf(t *testing.T, url, language string) (n uint64) {
	t.Helper()
	_, body, err := fetch(t, url+"/api/processes")
	var all []agent.ProcessInfo
	if err != nil || json.Unmarshal(body, &all) != nil {
		t.Fatalf("/api/processes: %v\n%s", err, body)
	}
	for _, p := range all {
		if p.Labels.Get("cf_e2e") == language {
			n += p.Samples
		}
	}
	return n
}

// waitSpooled waits until so many blocks are in the spool.
func waitSpooled(t *testing.T, dir string, enough func(blocks int) bool) {
	t.Helper()
	eventually(t, 4*time.Minute, func() (string, bool) {
		files, err := filepath.Glob(dir + "/*.pprof.zip")
		return strings.Join(files, "\n"), err == nil && enough(len(files))
	})
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/agent"
	"github.com/coldframe/coldframe/bpf"
	"github.com/coldframe/coldframe/bucket/buckettest"
	"github.com/coldframe/coldframe/internal/machine"
)

const goRatio = `package main

var sink uint64

//go:noinline
func spin(n uint64) {
	x := n
	for i := uint64(0); i < n; i++ {
		x = x*2862933555777941757 + 3037000493
	}
	sink += x
}

//go:noinline
func heavy() { spin(300000); sink++ }

//go:noinline
func light() { spin(100000); sink++ }

func main() {
	for {
		heavy()
		light()
	}
}
`

const pythonRatio = `
def spin(n):
    x = n
    for i in range(n):
        x = (x * 3 + i) & 0xffff
    return x

def heavy():
    return spin(30000)

def light():
    return spin(10000)

while True:
    heavy()
    light()
`

// The whole way: a machine is profiled into a bucket, and the bucket names the functions
// that burn its CPU, in their shares. What was not written yet is by a clean stop.
func TestAgentFolder(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	bkt := folder(t)
	agentEndToEnd(t, bkt, bkt)
}

// The same with credentials that may put objects below v1/l0/ and nothing else.
func TestAgentWriteOnly(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	owner, writer := buckettest.S3WriteOnly(t, "v1/l0/")
	if status, _, stderr := command(t, "get", "--bucket-config", string(writer), "--strict", "{}"); status == 0 {
		t.Fatalf("the agent's credentials can read:\n%s", stderr)
	}
	agentEndToEnd(t, string(owner), string(writer))
}

func agentEndToEnd(t *testing.T, reader, writer string) {
	dir := t.TempDir()
	// Names of this run alone, for the machine may run the test twice at once.
	c, golang := filepath.Join(dir, "cfe2e_c"), filepath.Join(dir, "cfe2e_go")
	build(t, "gcc", "-O2", "-o", c, "../../bpf/testdata/ratio.c")
	build(t, "go", "build", "-o", golang, write(t, dir, "ratio.go", []byte(goRatio)))
	config := write(t, dir, "agent.yaml", []byte("relabel_configs: [{target_label: seen, replacement: first}]\n"))
	burn(t, "c", c)
	burn(t, "go", golang)
	burn(t, "python", "python3", write(t, dir, "ratio.py", []byte(pythonRatio)))

	// Beside the bucket, a server takes everything too.
	server, remote := freeAddress(t), folder(t)
	ingest := spawn(t, "ingest", "--bucket-config", remote, "--http-address", server)
	ingest.ready(t, "http://"+server)

	address, local := freeAddress(t), filepath.Join(dir, "local")
	a := spawn(t, "agent", "--bucket-config", writer, "--http-address", address, "--node", "e2e",
		"--profiling-cpu-sampling-frequency", "199", "--profiling-duration", "2s", "--window", "1h",
		"--metadata-external-labels", "env=test;run=1", "--config-path", config, "--local-store-directory", local,
		"--include-env-var", "CF_E2E", "--remote-store-address", server, "--remote-store-insecure")
	url := "http://" + address
	a.ready(t, url)
	waitSampled(t, url, 400, "c", "go", "python")
	checkProcesses(t, url)
	if status, body, err := fetch(t, url+"/"); err != nil || status != http.StatusOK || !bytes.Contains(body, []byte("cfe2e_c")) {
		t.Errorf("the page: %d, %v\n%s", status, err, body)
	}
	checkReload(t, a, url, config)
	if err := a.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := <-a.done
	a.done <- nil
	if err != nil {
		t.Fatalf("the agent did not stop cleanly: %v\n%s", err, a.stderr)
	}

	for language, prefix := range map[string]string{"c": "", "go": "main.", "python": ""} {
		selector := `{cf_e2e="` + language + `", node="e2e", env="test", run="1"}`
		t.Log(language)
		checkShares(t, get(t, reader, "--type", "process_cpu/samples", selector), prefix)
		checkShares(t, get(t, remote, "--type", "process_cpu/samples", selector), prefix)
		top := must(t, "get", "--bucket-config", reader, "--from", "now-10m", "--type", "process_cpu/cpu", "--format", "top", "--limit", "100", selector)
		if !strings.Contains(top, prefix+"heavy") || !strings.Contains(top, prefix+"light") || !strings.Contains(top, prefix+"spin") {
			t.Errorf("%s: top names not what burns the CPU:\n%s", language, top)
		}
		t.Log(top)
	}
	if p := get(t, reader, "--type", "process_cpu/samples", `{comm="cfe2e_c", seen="second"}`); len(p.Sample) == 0 {
		t.Error("nothing was stored with the label of the second configuration")
	}
	checkLocal(t, filepath.Join(local, "process_cpu", "cfe2e_c"))
}

func build(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
}

// burn runs a program until the test's end, below the agent's own priority.
func burn(t *testing.T, language string, argv ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nice", append([]string{"-n", "5"}, argv...)...)
	cmd.Env = append(os.Environ(), "CF_E2E="+language)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

// waitSampled waits until the programs that burn CPU were sampled so often, each.
func waitSampled(t *testing.T, url string, enough uint64, languages ...string) {
	t.Helper()
	eventually(t, 4*time.Minute, func() (string, bool) {
		status, body, err := fetch(t, url+"/api/processes")
		var all []agent.ProcessInfo
		if err != nil || status != http.StatusOK || json.Unmarshal(body, &all) != nil {
			return fmt.Sprintf("/api/processes: %d, %v", status, err), false
		}
		samples := map[string]uint64{}
		for _, p := range all {
			samples[p.Labels.Get("cf_e2e")] += p.Samples
		}
		for _, l := range languages {
			if samples[l] < enough {
				return fmt.Sprintf("%d samples of %s", samples[l], l), false
			}
		}
		return "", true
	})
}

func checkProcesses(t *testing.T, url string) {
	t.Helper()
	status, body, err := fetch(t, url+"/api/processes")
	var all []agent.ProcessInfo
	if err != nil || status != http.StatusOK || json.Unmarshal(body, &all) != nil {
		t.Fatalf("/api/processes: %d, %v\n%s", status, err, body)
	}
	seen := false
	for _, p := range all {
		if p.Comm == "cfe2e_c" {
			seen = true
			// The first samples come before the unwind tables of its binaries are there.
			if p.Samples < 50 || p.Complete*100 < p.Samples*90 || p.Labels.Get("seen") != "first" {
				t.Errorf("of the C program: %+v", p)
			}
		}
	}
	if !seen {
		t.Errorf("/api/processes does not know the C program: %s", body)
	}
	_, body, err = fetch(t, url+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`coldframe_agent_samples_total [1-9]`, `coldframe_agent_lost_samples_total 0`, `coldframe_agent_table_rows [1-9]`, `coldframe_agent_stacks_total\{stop="`, `coldframe_upload_accepted_profiles_total\{tenant="default"\} [1-9]`} {
		if !regexp.MustCompile(want).Match(body) {
			t.Errorf("/metrics has no %s", want)
		}
	}
}

// checkReload gives the agent a bad configuration, which changes nothing, then a good one.
func checkReload(t *testing.T, a *spawned, url, config string) {
	t.Helper()
	reload := func(text, metric string) {
		t.Helper()
		write(t, filepath.Dir(config), filepath.Base(config), []byte(text))
		if err := a.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Minute, func() (string, bool) {
			_, body, err := fetch(t, url+"/metrics")
			return string(body), err == nil && bytes.Contains(body, []byte("\n"+metric+"\n"))
		})
	}
	const successful = "coldframe_agent_config_last_reload_successful "
	reload("relabel_configs: [{action: nonsense}]\n", successful+"0")
	reload("relabel_configs: [{target_label: seen, replacement: second}]\n", successful+"1")
	eventually(t, time.Minute, func() (string, bool) { // new labels need a sample
		_, body, err := fetch(t, url+"/api/processes")
		return string(body), err == nil && bytes.Contains(body, []byte("second"))
	})
}

// checkShares wants three quarters of the samples in heavy and the rest in light, within
// three standard deviations.
func checkShares(t *testing.T, p *pprof.Profile, prefix string) {
	t.Helper()
	var heavy, light, other float64
	for _, s := range p.Sample {
		in := &other
		for _, l := range s.Location {
			for _, line := range l.Line {
				switch line.Function.Name {
				case prefix + "heavy":
					in = &heavy
				case prefix + "light":
					in = &light
				}
			}
		}
		*in += float64(s.Value[0])
	}
	n := heavy + light
	sigma := math.Sqrt(0.75 * 0.25 * n)
	t.Logf("%.0f samples in heavy, %.0f in light, %.0f in neither", heavy, light, other)
	if n < 100 || math.Abs(heavy-0.75*n) > 3*sigma+0.01*n {
		t.Errorf("%.0f of %.0f samples in heavy, want three quarters ± %.0f", heavy, n, 3*sigma)
	}
	if other > 0.1*(n+other) { // Go's own threads, and what is sampled before main
		t.Errorf("%.0f of %.0f samples in neither function", other, n+other)
	}
}

func checkLocal(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(dir + "/*.pb.gz")
	if err != nil || len(files) < 2 {
		t.Fatalf("%d files in %s, %v", len(files), dir, err)
	}
	body, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pprof.ParseData(body); err != nil {
		t.Error(err)
	}
}

// Every flag is read by something: a field of a command's struct that no other code of
// this package mentions is a flag that does nothing.
func TestEveryFlagIsRead(t *testing.T) {
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	flags, read := map[string]string{}, map[string]bool{}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Field:
				if n.Tag != nil && (strings.Contains(n.Tag.Value, "help:") && !strings.Contains(n.Tag.Value, "cmd:")) {
					for _, name := range n.Names {
						flags[name.Name] = path
					}
				}
			case *ast.SelectorExpr:
				read[n.Sel.Name] = true
			}
			return true
		})
	}
	delete(flags, "Version") // kong's own
	if len(flags) < 40 {
		t.Fatalf("found %d flags: does this test still know how they are declared?", len(flags))
	}
	for name, path := range flags {
		if !read[name] {
			t.Errorf("%s: the flag of field %s is read by nothing", path, name)
		}
	}
}

// An agent that may not profile says what to do, and has written nothing.
func TestAgentWithoutCapabilities(t *testing.T) {
	dir, cmd := unprivileged(t, "agent", "--local-store-directory", "DIR/local", "--http-address", "127.0.0.1:0")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "BPF, PERFMON and SYS_PTRACE") || !strings.Contains(string(out), "--preflight") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Stat(dir + "/local"); err == nil {
		t.Error("it has written something")
	}
}

// Four capabilities are enough, without any of root's others. (Another user would also need
// DAC_READ_SEARCH, to read what is said of processes and binaries to their owner alone.)
func TestAgentByCapabilities(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	const caps = "+bpf,+perfmon,+sys_ptrace,+checkpoint_restore"
	c := filepath.Join(t.TempDir(), "cfcap_c")
	build(t, "gcc", "-O2", "-o", c, "../../bpf/testdata/ratio.c")
	burn(t, "c", c)
	address := freeAddress(t)
	dir, cmd := unprivileged(t, "agent", "--local-store-directory", "DIR/local", "--http-address", address,
		"--include-env-var", "CF_E2E", "--profiling-duration", "1s", "--profiling-cpu-sampling-frequency", "199")
	kept := []string{"setpriv", "--bounding-set=-all," + caps, "--inh-caps=-all"}
	cmd.Args = append(kept, cmd.Args[slices.Index(cmd.Args, dir+"/coldframe"):]...)
	a := watch(t, cmd)
	a.ready(t, "http://"+address)
	waitSampled(t, "http://"+address, 300, "c")
	_, body, err := fetch(t, "http://"+address+"/api/processes")
	var all []agent.ProcessInfo
	if err != nil || json.Unmarshal(body, &all) != nil {
		t.Fatalf("/api/processes: %v\n%s", err, body)
	}
	for _, p := range all {
		if p.Comm == "cfcap_c" && p.Complete*100 < p.Samples*90 {
			t.Errorf("%d of %d stacks are whole", p.Complete, p.Samples)
		}
	}
	if err := a.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-a.done; err != nil {
		t.Errorf("the agent did not stop cleanly: %v\n%s", err, a.stderr)
	}
	a.done <- nil
	files, err := filepath.Glob(dir + "/local/process_cpu/cfcap_c/*.pb.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no profiles in %s: %v", dir, err)
	}
	body, err = os.ReadFile(files[len(files)-1])
	if err != nil {
		t.Fatal(err)
	}
	p, err := pprof.ParseData(body)
	if err != nil {
		t.Fatal(err)
	}
	if s := p.String(); !strings.Contains(s, "heavy") || !strings.Contains(s, "spin") {
		t.Errorf("the functions have no names:\n%s", s)
	}
}

// Dev does without what it may not do, and says so; if it is asked for that it fails.
func TestDevWithoutCapabilities(t *testing.T) {
	const why = "this machine cannot be profiled"
	address := freeAddress(t)
	_, cmd := unprivileged(t, "dev", "--data", "DIR/data", "--http-address", address)
	auto := watch(t, cmd)
	auto.ready(t, "http://"+address)
	auto.kill()
	if said := auto.stderr.String(); strings.Count(said, why) != 1 {
		t.Errorf("dev does not say once why it does not profile:\n%s", said)
	}
	_, cmd = unprivileged(t, "dev", "--agent", "on", "--data", "DIR/data", "--http-address", "127.0.0.1:0")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), why) {
		t.Errorf("dev --agent=on: %v\n%s", err, out)
	}
}

// unprivileged is coldframe as nobody, without capabilities. DIR in an argument is a
// folder that nobody may write to.
func unprivileged(t *testing.T, args ...string) (dir string, cmd *exec.Cmd) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give capabilities up")
	}
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip(err)
	}
	dir, err = os.MkdirTemp("", "coldframe") //nolint:usetesting // nobody may not enter the test's own folders
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	body, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(dir+"/coldframe", body, 0o755) //nolint:gosec // another user runs it
	}
	if err = errors.Join(err, os.Chmod(dir, 0o777)); err != nil { //nolint:gosec // as above
		t.Fatal(err)
	}
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "DIR", dir)
	}
	cmd = exec.CommandContext(context.WithoutCancel(t.Context()), setpriv,
		append([]string{"--reuid", "65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all", dir + "/coldframe"}, args...)...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	return dir, cmd
}

// Dev profiles the whole machine beside itself.
func TestAgentInDev(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	c := filepath.Join(t.TempDir(), "cfdev_c")
	build(t, "gcc", "-O2", "-o", c, "../../bpf/testdata/ratio.c")
	burn(t, "c", c)
	address := freeAddress(t)
	dev := spawn(t, "dev", "--agent", "on", "--data", t.TempDir(), "--http-address", address)
	dev.ready(t, "http://"+address)
	eventually(t, 2*time.Minute, func() (string, bool) {
		_, out, stderr := command(t, "get", "--server", "http://"+address, "--type", "process_cpu/cpu", `{comm="cfdev_c"}`)
		return out + stderr, strings.Contains(out, "heavy") && strings.Contains(out, "light")
	})
}

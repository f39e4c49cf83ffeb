package agent

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/bpf"
	"github.com/coldframe/coldframe/internal/machine"
)

const testdata = "../bpf/testdata/"

// truth is a program of which is known what its stacks must look like.
type truth struct {
	name  string
	build func(t *testing.T) string // path of what to run
	args  []string
	// want matches whole stacks, leaf first, as "leaf;caller;…;root", user frames only.
	want   string
	before func(t *testing.T)               // builds what else it needs
	ready  func(t *testing.T, pid int) bool // whether what is to be sampled has begun
	sees   string                           // matches at least a third of the stacks
	lines  map[string]int64                 // where functions call the next
}

func c(source string, flags ...string) func(*testing.T) string {
	return func(t *testing.T) string {
		return compile(t, testdata+source, "fixture", append([]string{"gcc"}, flags...)...)
	}
}

// onAMD64 builds what is written in its assembly.
func onAMD64(build func(*testing.T) string) func(*testing.T) string {
	return func(t *testing.T) string {
		if runtime.GOARCH != "amd64" {
			t.Skip("assembly of amd64")
		}
		return build(t)
	}
}

// interpreter runs what is installed.
func interpreter(name string) func(*testing.T) string {
	return func(t *testing.T) string {
		path, err := exec.LookPath(name)
		if err != nil {
			missing(t, err)
		}
		return path
	}
}

// missing skips a fixture whose tools are not installed; where CI has promised them, it fails.
func missing(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(err)
	}
	t.Skip(err)
}

// down is the pattern of stacks that may end at any depth of a chain, leaf first: what is in
// f3 has f2 and f1 below it, and no f4 above.
func down(chain ...string) string {
	p := ""
	for _, f := range chain {
		p = "(" + p + f + ";)?"
	}
	return "^" + p + `main;__libc_start_call_main;__libc_start_main(_impl)?;_start$`
}

const (
	memset  = `(\w*memset\w*|\?)`                                              // libc's, by whatever name, or the linkage table before it
	goOther = `|;runtime\.(mstart|mcall|rt0_go|systemstack|morestack|goexit)$` // Go's own threads and goroutines
)

func truths(t *testing.T) []truth {
	here, err := filepath.Abs(testdata)
	if err != nil {
		t.Fatal(err)
	}
	spin := "(leaf_spin|" + memset + ")"
	chain := down(spin, "f5", "f4", "f3", "f2", "f1")
	noFrame := down(spin, "f4", "f3", "f2", "f1") // frame pointers miss the caller of a leaf that makes no frame
	callback := down(spin, "f5", `f4;(compare;)?([\w.]*(msort|qsort)[\w.]*;)*f3`, "f2", "f1")
	return []truth{
		{name: "no frame pointers", build: c("chain.c", "-O2", "-fomit-frame-pointer"), want: chain},
		{name: "frame pointers", build: c("chain.c", "-O2", "-fno-omit-frame-pointer"), want: chain},
		{name: "static pie", build: c("chain.c", "-O2", "-static-pie"), want: chain},
		{name: "system call", build: c("chain.c", "-O2"), args: []string{"1"}, want: down("(__libc_read|__read|read)", "leaf_sys", "f5", "f4", "f3", "f2", "f1")},
		{name: "callback through libc", build: c("chain.c", "-O2"), args: []string{"2"}, want: callback},
		{name: "signal handler", build: c("chain.c", "-O2"), args: []string{"3"}, want: down(`((leaf_spin;)?(handler;)?(\w*restore_rt|__kernel_rt_sigreturn|\?);)?`+spin, "f5", "f4", "f3", "f2", "f1")},
		{name: "linkage table", build: c("calls.c", "-O2", "-fno-builtin", "-Wl,-z,lazy"), args: []string{"1"}, want: down(`(ffs|labs|\w*ffs|\?)`, "call_abs")},
		{name: "vdso", build: c("calls.c", "-O2"), args: []string{"2"}, want: down(`((\w*clock_gettime\w*|do_hres|\?);?)+`, "ask_time")},
		{name: "dlopen", build: c("calls.c", "-O2"), args: []string{"3", scratch + "/lib.so"}, want: down("lib_leaf", "lib_middle", "lib_entry"), before: buildLibrary, ready: mapped("lib.so")},
		{name: "no unwind tables", build: c("chain.c", "-O2", "-fno-omit-frame-pointer", "-fno-asynchronous-unwind-tables"), want: chain + "|" + noFrame},
		{name: "first thread has ended", build: c("headless.c", "-O2", "-pthread"), want: `^(spin;)?work;start_thread;(clone3?|__clone3?|thread_start)$`},
		{name: "frame address in a register", build: onAMD64(c("register.s")), want: down("busy")},
		{name: "rust", build: tool("rs.rs", "rustc", "-O"), want: `^((((rs::leaf;|([^;]*(alloc|free)[^;]*;)+)?(rs::r3;|([^;]*(sort|closure|call_once|insert|slice)[^;]*;)+)?)?rs::r2;)?rs::r1;)?rs::main;([^;]*(std|core|rt|call_once)[^;]*;)+main;__libc_start_call_main;__libc_start_main(_impl)?;_start$`},
		{name: "c++ exceptions", build: tool("throw.cc", "g++", "-O2"), want: `(^|;)(work::caught|[^;]*cxa[^;]*|_Unwind_DeleteException|\?);main;__libc_start_call_main;.*_start$`},
		{name: "go", build: goFixture, want: `^main\.leaf;main\.inlined;main\.g3;main\.g2;main\.g1;main\.main;runtime\.main;runtime\.goexit$` + goOther},
		{name: "go in system calls", build: goFixture, args: []string{"1"}, want: `(^|;)main\.main;runtime\.main;runtime\.goexit$` + goOther},
		{name: "java with a perf map", build: java, args: []string{"-XX:+PreserveFramePointer", "-XX:TieredStopAtLevel=1", "-XX:CompileCommand=quiet", "-XX:CompileCommand=dontinline,J::*", "-cp", scratch, "J"}, ready: perfMap, sees: `^[^;]*J\.leaf\([^;]*;[^;]*J\.j3\([^;]*;[^;]*J\.j2\([^;]*;[^;]*J\.j1\(`, want: `;(clone3?|__clone3?)$`},
		{name: "java", build: java, args: []string{"-XX:+PreserveFramePointer", "-Xint", "-cp", scratch, "J"}, want: `;(clone3?|__clone3?)$`},
		{name: "node", build: interpreter("node"), args: []string{"--perf-basic-prof", here + "/n.js"}, want: `(leaf|j3).* .*n\.js.*_start$|;(_start|clone3?|__clone3?)$`},
	}
}

// pyenv is a pattern of what pyenv has installed.
func pyenv(program string) string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".pyenv/versions/3.*/bin", program)
}

// pythons are all versions of CPython that are installed. Its stacks are whole when the
// module's code is reached through the functions, with native frames where C calls back.
func pythons(t *testing.T, here string) []truth {
	var all []truth
	for _, glob := range []string{"/usr/bin/python3.[0-9]*", pyenv("python3.[0-9]*"), "/opt/hostedtoolcache/Python/3.*/x64/bin/python3.[0-9]*"} {
		paths, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			m := regexp.MustCompile(`/python3\.(\d+)$`).FindStringSubmatch(p)
			if m == nil {
				continue
			}
			if minor, _ := strconv.Atoi(m[1]); minor < 8 {
				continue
			}
			all = append(all, truth{
				name: "python 3." + m[1] + " in " + filepath.Dir(p), build: func(*testing.T) string { return p }, args: []string{here + "/p.py"},
				want:  `^([^;]*;)*?((leaf;([^;]*;)*?)?p3;([^;]*;)*?)?p2;([^;]*;)*?p1;([^;]*;)*?<module>;([^;]*;)*?__libc_start_call_main;.*_start$|^([^;]*;)*?<module>;.*_start$`,
				lines: map[string]int64{"p3": 6, "p2": 7, "p1": 8},
			})
		}
	}
	return all
}

// Python's frames stand where the interpreter's loop is in the native stack, in every version.
func TestPython(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	here, err := filepath.Abs(testdata)
	if err != nil {
		t.Fatal(err)
	}
	all := pythons(t, here)
	for minor := 8; minor <= 13; minor++ {
		name := fmt.Sprintf("python 3.%d in ", minor)
		if !slices.ContainsFunc(all, func(tr truth) bool { return strings.HasPrefix(tr.name, name) }) {
			t.Run(name+"no place", func(t *testing.T) {
				if os.Getenv("COLDFRAME_TEST_PYTHONS") == "present" {
					t.Skip("not here, and python.org is not reached")
				}
				missing(t, fmt.Errorf("no CPython 3.%d in /usr/bin nor below ~/.pyenv/versions (pyenv install 3.%d)", minor, minor))
			})
		}
	}
	for _, tr := range slices.Clone(all) {
		tr.lines = nil
		if strings.HasPrefix(tr.name, "python 3.11") || strings.HasPrefix(tr.name, "python 3.13") {
			tr.args = []string{here + "/threads.py"}
			tr.name += ", threads"
			tr.want = `(^|;)(t|K\.meth|work_re|work_json|<module>|Thread\.run);.*(__libc_start_call_main;.*_start|clone3?)$|;(_start|clone3?)$`
			all = append(all, tr)
		}
		if strings.HasPrefix(tr.name, "python 3.12") {
			tr.args = []string{"-X", "perf", here + "/p.py"}
			tr.name += ", trampolines"
			tr.want = `py::leaf:.*py::p3:.*py::p2:.*py::p1:.*py::<module>:.*_start$|^([^;]*;)*?(py::p3:.*)?py::p2:.*py::p1:.*py::<module>:.*_start$`
			all = append(all, tr)
		}
	}
	testTruths(t, all)
}

// java compiles the class and finds the machine to run it.
func java(t *testing.T) string {
	javac, err := exec.LookPath("javac")
	if err != nil {
		missing(t, err)
	}
	if b, err := exec.CommandContext(t.Context(), javac, "-d", scratch, testdata+"J.java").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	return interpreter("java")(t)
}

// perfMap has a running Java machine write down where its code is, until it has compiled the
// functions of the fixture.
func perfMap(t *testing.T, pid int) bool {
	_ = exec.CommandContext(t.Context(), "jcmd", strconv.Itoa(pid), "Compiler.perfmap").Run() // it may not listen yet
	b, err := os.ReadFile(fmt.Sprintf("/tmp/perf-%d.map", pid))
	for _, f := range []string{"J.leaf(", "J.j3(", "J.j2(", "J.j1("} {
		if err != nil || !strings.Contains(string(b), f) {
			return false
		}
	}
	return true
}

// mapped says whether a process has mapped a file.
func mapped(name string) func(*testing.T, int) bool {
	return func(t *testing.T, pid int) bool {
		maps, err := readMaps(uint32(pid))
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(maps, func(m mapsEntry) bool { return filepath.Base(m.path) == name })
	}
}

// tool builds a source with any compiler.
func tool(source string, argv ...string) func(*testing.T) string {
	return func(t *testing.T) string { return compile(t, testdata+source, "fixture", argv...) }
}

func buildLibrary(t *testing.T) {
	gcc := exec.CommandContext(t.Context(), "gcc", "-O2", "-shared", "-fPIC", "-o", scratch+"/lib.so", testdata+"lib.c")
	if b, err := gcc.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
}

func goFixture(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "fixture")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".")
	cmd.Dir = testdata + "gochain"
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Log(string(b))
		missing(t, err)
	}
	return path
}

// Of each program nearly all stacks must be exactly what the source says. A stack that is
// cut anywhere does not match.
func TestTruth(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	testTruths(t, truths(t))
}

func testTruths(t *testing.T, list []truth) {
	const atOnce = 5 // each needs samples of the same few CPUs
	const enough = 300
	var batch []*running
	var all []*running
	for _, tr := range list {
		t.Run("build/"+tr.name, func(t *testing.T) { all = append(all, &running{truth: tr, path: install(t, tr)}) })
	}
	for len(all) > 0 {
		batch, all = all[:min(atOnce, len(all))], all[min(atOnce, len(all)):]
		// A high frequency makes enough samples of little time.
		p := begin(t, Config{Sampler: bpf.Config{Frequency: 499}})
		var pids []int
		for _, r := range batch {
			r.start(t)
			pids = append(pids, r.cmd.Process.Pid)
		}
		for _, r := range batch {
			if r.ready != nil {
				p.until(r.name+": ready", func() bool { return r.ready(t, r.cmd.Process.Pid) })
			}
		}
		found := p.gather(enough, pids...)
		for _, r := range batch {
			r.stop()
		}
		s := p.stop()
		t.Logf("%+v", s)
		if s.Kernel.RingFull != 0 || s.EventsLost != 0 {
			t.Errorf("lost: %d samples, %d events", s.Kernel.RingFull, s.EventsLost)
		}
		for _, r := range batch {
			t.Run(r.name, func(t *testing.T) { judge(t, p.memory, r.truth, found[r.cmd.Process.Pid]) })
		}
	}
}

// running is a truth on its way.
type running struct {
	truth
	path string
	cmd  *exec.Cmd
}

// install builds a program and moves it to where it outlives the subtest that built it.
func install(t *testing.T, tr truth) string {
	if tr.before != nil {
		tr.before(t)
	}
	path := tr.build(t)
	if filepath.Base(path) != "fixture" {
		return path
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(scratch, strings.ReplaceAll(tr.name, " ", "-"))
	if err := os.WriteFile(to, b, 0o700); err != nil {
		t.Fatal(err)
	}
	return to
}

func (r *running) start(t *testing.T) {
	// Below the agent's own priority, for the machine is small and they never rest.
	r.cmd = exec.CommandContext(t.Context(), "nice", append([]string{"-n", "5", r.path}, r.args...)...)
	r.cmd.Dir = scratch
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (r *running) stop() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
}

// scratch is a folder for the time of all tests.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "coldframe-agent"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(scratch)
	os.Exit(code)
}

func judge(t *testing.T, m *memory, tr truth, g *gathered) {
	profiles := m.ofProcess(t, g)
	stacks := folded(profiles)
	want := regexp.MustCompile(tr.want)
	var good, total int64
	for stack, n := range stacks {
		total += n
		if want.MatchString(stack) {
			good += n
		} else {
			t.Logf("%4d × %s", n, stack)
		}
	}
	if tr.sees != "" {
		sees, n := regexp.MustCompile(tr.sees), int64(0)
		for stack, count := range stacks {
			if sees.MatchString(stack) {
				n += count
			}
		}
		t.Logf("%d of %d stacks match %s", n, total, tr.sees)
		if n*3 < total {
			t.Errorf("%d of %d stacks match %s", n, total, tr.sees)
		}
	}
	for name, line := range tr.lines {
		checkLine(t, profiles, name, line)
	}
	checkShare(t, "match "+tr.want, good, total)
	// Of the samples that the kernel took, before it walked any stack.
	checkShare(t, "are complete", int64(g.complete), int64(g.samples))
}

// checkShare wants 99 % to be right, within the three standard deviations that so few samples
// may be off.
func checkShare(t *testing.T, what string, good, total int64) {
	t.Helper()
	if total == 0 {
		t.Fatal("no samples")
	}
	n := float64(total)
	t.Logf("%d of %d stacks %s: %.1f %%", good, total, what, 100*float64(good)/n)
	if wrong := float64(total - good); wrong > 0.01*n+3*math.Sqrt(0.01*0.99*n) {
		t.Errorf("%.1f %% of the stacks %s, want 99 %%", 100*float64(good)/n, what)
	}
}

// checkLine wants all places of a function on one line.
func checkLine(t *testing.T, ps []*pprof.Profile, name string, want int64) {
	t.Helper()
	seen := 0
	for _, p := range ps {
		for _, s := range p.Sample {
			for _, l := range s.Location[1:] {
				for _, line := range l.Line {
					if line.Function.Name != name {
						continue
					}
					if seen++; line.Line != want {
						t.Fatalf("%s is at line %d, want %d", name, line.Line, want)
					}
				}
			}
		}
	}
	if seen == 0 {
		t.Errorf("no sample in %s", name)
	}
}

// ofProcess returns on-CPU profiles with only the samples of one process, since it had settled.
func (m *memory) ofProcess(t testing.TB, g *gathered) []*pprof.Profile {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*pprof.Profile
	for _, p := range m.profiles {
		if p.Name != "process_cpu" || p.Range.From.Before(g.since) {
			continue
		}
		d := decode(t, p)
		keep := d.Sample[:0]
		for _, s := range d.Sample {
			if v := s.Label["pid"]; len(v) == 1 && v[0] == strconv.Itoa(g.pid) {
				keep = append(keep, s)
			}
		}
		d.Sample = keep
		out = append(out, d)
	}
	return out
}

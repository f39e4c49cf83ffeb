package agent

import (
	"bytes"
	"encoding/hex"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/agent/symbols"
	"github.com/coldframe/coldframe/bpf"
	"github.com/coldframe/coldframe/bpf/ehframe"
	"github.com/coldframe/coldframe/profile"
)

// Samples and events are handed out by time, events first, and only what is old enough.
func TestOrder(t *testing.T) {
	var o order
	o.addSample(&bpf.Sample{Time: 30})
	o.addSample(&bpf.Sample{Time: 10})
	o.addEvent(bpf.Event{Time: 30})
	o.addEvent(bpf.Event{Time: 20})
	o.addEvent(bpf.Event{Time: 40})
	var got []string
	take := func(cut uint64) {
		o.until(cut, func(e bpf.Event) { got = append(got, "e"+strconv.Itoa(int(e.Time))) }, func(s *bpf.Sample) { got = append(got, "s"+strconv.Itoa(int(s.Time))) })
	}
	take(30)
	if want := []string{"s10", "e20", "e30", "s30"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	take(50)
	if got[len(got)-1] != "e40" || len(o.waiting) != 0 {
		t.Errorf("got %v with %d left", got, len(o.waiting))
	}
}

// A new mapping cuts away what it covers, in the middle too, and the rest keeps its place in the file.
func TestInsert(t *testing.T) {
	m := func(start, end, offset uint64) mapping { return mapping{start: start, end: end, offset: offset} }
	for _, c := range []struct {
		name   string
		before []mapping
		add    mapping
		want   []mapping
	}{
		{"into nothing", nil, m(10, 20, 0), []mapping{m(10, 20, 0)}},
		{"between", []mapping{m(0, 10, 0), m(20, 30, 0)}, m(10, 20, 5), []mapping{m(0, 10, 0), m(10, 20, 5), m(20, 30, 0)}},
		{"over all", []mapping{m(0, 10, 0), m(20, 30, 0)}, m(0, 40, 7), []mapping{m(0, 40, 7)}},
		{"into the middle", []mapping{m(0, 30, 100)}, m(10, 20, 0), []mapping{m(0, 10, 100), m(10, 20, 0), m(20, 30, 120)}},
		{"over an end", []mapping{m(0, 30, 100)}, m(20, 40, 0), []mapping{m(0, 20, 100), m(20, 40, 0)}},
	} {
		kept := slices.Clone(c.before)
		if got := insert(c.before, c.add); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
		if !slices.Equal(kept, c.before) {
			t.Errorf("%s: the parent's mappings have changed", c.name)
		}
	}
}

func TestParseMaps(t *testing.T) {
	const text = `5567d6a7d000-5567d6a7f000 r--p 00000000 fe:00 1835	/usr/bin/cat
5567d6a7f000-5567d6a84000 r-xp 00002000 fe:0a 1835                       /usr/bin/a file (deleted)
7f0000000000-7f0000001000 rwxp 00000000 00:00 0
7ffd3b5f2000-7ffd3b5f4000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
nonsense
`
	got := parseMaps([]byte(text))
	want := []mapsEntry{
		{start: 0x5567d6a7f000, end: 0x5567d6a84000, offset: 0x2000, device: 0xfe<<32 | 0x0a, inode: 1835, path: "/usr/bin/a file (deleted)"},
		{start: 0x7f0000000000, end: 0x7f0000001000},
		{start: 0x7ffd3b5f2000, end: 0x7ffd3b5f4000, path: "[vdso]"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseStat(t *testing.T) {
	for text, want := range map[string]string{
		"12 (cat) R 7 12 7": "cat", "13 (a) b) (c) S 7 1": "a) b) (c", "": "", "14 broken": "",
	} {
		comm, parent := parseStat(text)
		if comm != want || want != "" && parent != 7 {
			t.Errorf("%q: got %q of %d, want %q of 7", text, comm, parent, want)
		}
	}
}

// What is known of a container comes after its first samples. Until then nothing is final:
// neither its labels nor that nobody wants it.
func TestLabelsOfContainers(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	relabel, err := ParseRelabel("f", []byte("relabel_configs: [{source_labels: [__meta_kubernetes_pod_label_team], regex: pay, action: keep}]"))
	if err != nil {
		t.Fatal(err)
	}
	var told map[string]string
	container := func(asked string) (map[string]string, bool) {
		if asked != id {
			t.Errorf("asked for container %s, want %s", asked, id)
		}
		return told, told != nil
	}
	gone := uint32(1 << 30) // no such process: its cgroup is what it was born with
	for _, c := range []struct {
		name         string
		relabel      Relabel
		first, later string // series; "" when nobody wants the samples
		dropped      bool   // by the kernel, later
		team         string
	}{
		{"no rules", nil, `{comm="app", container_id="` + id + `", node="n"}`, `{comm="app", container_id="` + id + `", node="n", pod="p"}`, false, "pay"},
		{"wanted by its pod", relabel, "", `{comm="app", container_id="` + id + `", node="n", pod="p"}`, false, "pay"},
		{"not wanted", relabel, "", "", true, "other"},
	} {
		told = nil
		ps := &processes{config: Config{Node: "n", Container: container, Relabel: c.relabel}}
		p := &process{pid: gone, parent: gone, comm: "app", cgroup: "0::/docker/" + id}
		name := func() string {
			s := ps.seriesOf(p)
			if s == nil {
				return ""
			}
			return s.key()
		}
		if got := name(); got != c.first || p.drop {
			t.Errorf("%s: at first %q, dropped %v; want %q", c.name, got, p.drop, c.first)
		}
		told = map[string]string{"pod": "p", "__meta_kubernetes_pod_label_team": c.team}
		if got := name(); got != c.first {
			t.Errorf("%s: asked again at once: %q", c.name, got)
		}
		p.known.until = time.Time{}
		if got := name(); got != c.later || p.drop != c.dropped {
			t.Errorf("%s: later %q, dropped %v; want %q, %v", c.name, got, p.drop, c.later, c.dropped)
		}
	}
}

// The forms that container runtimes and systemd write into /proc/PID/cgroup.
func TestCgroupLabels(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	const uid = "3c1f6a50-1b2c-4d5e-8f90-a1b2c3d4e5f6"
	for text, want := range map[string]map[string]string{
		"0::/system.slice/nginx.service":                                                                            {"systemd_unit": "nginx.service"},
		"0::/user.slice/user-0.slice/session-3.scope":                                                               {"systemd_unit": "session-3.scope"},
		"0::/system.slice/docker-" + id + ".scope":                                                                  {"container_id": id, "systemd_unit": "docker-" + id + ".scope"},
		"12:cpu,cpuacct:/docker/" + id + "\n1:name=systemd:/docker/" + id:                                           {"container_id": id},
		"0::/kubepods/burstable/pod" + uid + "/" + id:                                                               {"container_id": id, "pod_uid": uid},
		"0::/kubepods.slice/kubepods-pod3c1f6a50_1b2c_4d5e_8f90_a1b2c3d4e5f6.slice/cri-containerd-" + id + ".scope": {"container_id": id, "pod_uid": uid, "systemd_unit": "cri-containerd-" + id + ".scope"},
		"0::/lxc.payload.web/init.scope":                                                                            {"container_id": "web", "systemd_unit": "init.scope"},
		`0::/system.slice/system-getty.slice/getty\x2dx@tty1.service`:                                               {"systemd_unit": "getty-x@tty1.service"},
		"0::/": {},
		"junk": {},
	} {
		if got := cgroupLabels(text); !maps.Equal(got, want) {
			t.Errorf("%s:\ngot  %v\nwant %v", text, got, want)
		}
	}
}

// A profile is what google's own reader says it is.
func TestEncode(t *testing.T) {
	w := newWindow(time.Unix(1700000000, 5))
	ls, err := profile.NewLabels(profile.Label{Name: "comm", Value: "x"})
	if err != nil {
		t.Fatal(err)
	}
	to := &series{labels: ls}
	outer := symbols.Frame{Function: "outer", System: "outer", File: "a.py", Line: 7, StartLine: 5}
	st := func(named ...symbols.Frame) stack {
		s := stack{guess: -1, extra: sampleLabels{cpu: -1}}
		for i, f := range named {
			s.locs = append(s.locs, loc{pythonSource, uint64(i)})
			s.named = append(s.named, f)
		}
		s.locs = append(s.locs, loc{nowhere, 0x1234})
		return s
	}
	inner := symbols.Frame{Function: "inner", File: "a.py", Line: 2, StartLine: 1}
	w.add(onCPU, to, st(inner, outer), 1, 10)
	w.add(onCPU, to, st(inner, outer), 1, 10)
	threaded := st(outer)
	threaded.extra = sampleLabels{thread: 42, name: "worker", cpu: 3, pid: 7}
	w.add(onCPU, to, threaded, 1, 10)
	wr := newWriter(Config{}, 10, nil, nil)
	s := w.seal(time.Unix(1700000010, 5))
	b := wr.encode(s, wr.resolve(s), onCPU, w.series[to.key()].stacks[onCPU])
	p, err := pprof.Parse(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.CheckValid(); err != nil {
		t.Fatal(err)
	}
	if p.TimeNanos != 1700000000000000005 || p.DurationNanos != 10e9 || p.Period != 10 || p.DefaultSampleType != "cpu" {
		t.Errorf("time %d, duration %d, period %d, default %s", p.TimeNanos, p.DurationNanos, p.Period, p.DefaultSampleType)
	}
	if len(p.Sample) != 2 {
		t.Fatalf("%d samples, want 2", len(p.Sample))
	}
	slices.SortFunc(p.Sample, func(a, b *pprof.Sample) int { return int(b.Value[0] - a.Value[0]) })
	twice, once := p.Sample[0], p.Sample[1]
	if !slices.Equal(twice.Value, []int64{2, 20}) || len(twice.Location) != 3 {
		t.Errorf("the sample seen twice: %v with %d locations", twice.Value, len(twice.Location))
	}
	if l := twice.Location[0].Line[0]; l.Function.Name != "inner" || l.Line != 2 || l.Function.StartLine != 1 || l.Function.Filename != "a.py" {
		t.Errorf("leaf: %+v %+v", l, l.Function)
	}
	if a := twice.Location[2].Address; a != 0x1234 {
		t.Errorf("bare address %#x, want 0x1234", a)
	}
	for name, want := range map[string]string{"thread_id": "42", "thread_name": "worker", "cpu": "3", "pid": "7"} {
		if v := once.Label[name]; len(v) != 1 || v[0] != want {
			t.Errorf("label %s: %v, want %s", name, v, want)
		}
	}
}

const printLines = `
import sys, dis
src = '''
def f(a,
      b=2):
    x = [i
         for i in range(a)
         if i]
    try:
        return sum(x) + \\
            b / 0
    except ZeroDivisionError:
        pass
    finally:
        a = (lambda q:
               q + 1)(a)


''' + "\n" * 300 + '''
    return a
class C:
    def g(self): return {
        'a': self,
    }
'''
def codes(c):
    yield c
    for k in c.co_consts:
        if hasattr(k, 'co_code'): yield from codes(k)
for c in codes(compile(src, 'x', 'exec')):
    v = sys.version_info[1]
    table = c.co_lnotab if v < 10 else c.co_linetable
    if v < 10:
        starts = dict(dis.findlinestarts(c)); lines = {}; cur = c.co_firstlineno
        for off in range(0, len(c.co_code), 2):
            cur = starts.get(off, cur); lines[off] = cur
    else:
        lines = {o: l for s, e, l in c.co_lines() if l is not None for o in range(s, e, 2)}
    print(v, c.co_firstlineno, table.hex() or '-', ','.join('%d:%d' % x for x in sorted(lines.items())))
`

// Lines are those that each version of Python itself gives for its instructions.
func TestPythonLines(t *testing.T) {
	paths, _ := filepath.Glob(pyenv("python3"))
	compared := 0
	for _, path := range append(paths, "/usr/bin/python3") {
		out, err := exec.CommandContext(t.Context(), path, "-c", printLines).Output()
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(out)) {
			f := strings.Fields(line)
			if len(f) != 4 {
				continue
			}
			minor, _ := strconv.Atoi(f[0])
			first, _ := strconv.Atoi(f[1])
			table, _ := hex.DecodeString(f[2])
			if minor < 8 {
				continue
			}
			for pair := range strings.SplitSeq(f[3], ",") {
				o, l, _ := strings.Cut(pair, ":")
				offset, _ := strconv.ParseInt(o, 10, 64)
				want, _ := strconv.Atoi(l)
				var got int
				switch {
				case minor <= 9:
					got = lineOfTable(table, first, offset)
				case minor == 10:
					got = lineOfRanges(table, first, offset)
				default:
					got = lineOfLocations(table, first, offset)
				}
				compared++
				if got != want {
					t.Errorf("Python 3.%d: instruction %d of the function at line %d: got line %d, want %d", minor, offset, first, got, want)
				}
			}
		}
	}
	if compared == 0 {
		missing(t, os.ErrNotExist)
	}
	t.Logf("%d instructions", compared)
}

// Whatever a process has in its memory, a line comes out.
func FuzzLines(f *testing.F) {
	f.Add([]byte{0x80, 1, 2, 0xf0, 0x7f}, int64(4))
	f.Fuzz(func(_ *testing.T, table []byte, at int64) {
		lineOfTable(table, 1, at)
		lineOfRanges(table, 1, at)
		lineOfLocations(table, 1, at)
	})
}

func FuzzProc(f *testing.F) {
	f.Add([]byte("5567d6a7f000-5567d6a84000 r-xp 00002000 fe:0a 1835 /usr/bin/a\n0::/system.slice/x.service"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, m := range parseMaps(b) {
			if m.start >= m.end {
				t.Fatalf("mapping [%#x, %#x)", m.start, m.end)
			}
		}
		if _, err := profile.LabelsFromMap(cgroupLabels(string(b))); err != nil && len(b) < 10_000 {
			t.Fatal(err)
		}
		parseStat(string(b))
	})
}

// What is in several runs of the interpreter's loop is put where each run is.
func TestMergePython(t *testing.T) {
	in := &binaryFile{}
	in.source = source{kind: fromFile, file: in}
	p := &python{minor: 12, in: in, binary: &symbols.Python{Loops: []symbols.Segment{{Address: 100, Size: 10}}}, codes: map[uint64]*pythonCode{}}
	for i, name := range []string{"a", "b", "c"} {
		p.codes[uint64(i+1)] = &pythonCode{function: name, read: time.Now()}
	}
	native := func(addrs ...uint64) stack {
		st := stack{guess: -1}
		for _, a := range addrs {
			st.locs = append(st.locs, loc{&in.source, a})
		}
		return st
	}
	text := func(st stack) string {
		var s []string
		for _, l := range st.locs {
			if l.src == pythonSource {
				s = append(s, st.named[l.addr].Function)
			} else {
				s = append(s, strconv.Itoa(int(l.addr)))
			}
		}
		return strings.Join(s, " ")
	}
	frames := []bpf.PythonFrame{{Code: 1}, {Code: 2, Entry: true}, {Code: 3, Entry: true}}
	for _, c := range []struct {
		stack  stack
		frames []bpf.PythonFrame
		want   string
		fits   bool
	}{
		{native(5, 105, 50, 109, 1), frames, "5 a b 50 c 1", true},
		{native(5, 50, 109, 1), frames, "5 50 c 1", false},            // the inner run has no loop yet
		{native(5, 101, 105, 109, 1), frames, "5 101 a b c 1", false}, // the innermost loop has no frame yet
		{native(5, 1), frames, "5 1", false},
		{native(5, 105, 1), frames[:1], "5 a 1", true},
	} {
		st := c.stack
		if fits := p.merge(&st, c.frames); fits != c.fits || text(st) != c.want {
			t.Errorf("got %q, %t; want %q, %t", text(st), fits, c.want, c.fits)
		}
	}
}

// Profiles become files that pprof reads, whatever the process calls itself.
func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	for _, comm := range []string{"web", "../../etc", ".."} {
		ls, err := profile.NewLabels(profile.Label{Name: "comm", Value: comm})
		if err != nil {
			t.Fatal(err)
		}
		p := Profile{Name: "process_cpu", Labels: ls, Range: profile.TimeRange{From: time.Unix(1700000000, 0)}, Pprof: []byte("x")}
		if err := Directory(dir).Write(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(dir + "/process_cpu/*/20231114T221320.000Z-*.pb.gz")
	if err != nil || len(files) != 3 {
		t.Errorf("files %v, %v; want three", files, err)
	}
}

// A process that has ended is found for a while, unless another has its ID.
func TestDeparted(t *testing.T) {
	d, now := newDeparted(), time.Now()
	known, unknown := &process{pid: 1, start: 10}, &process{pid: 2}
	d.add(known, now)
	d.add(unknown, now.Add(time.Second))
	again := &process{pid: 1, start: 20}
	for _, c := range []struct {
		pid   uint32
		start uint64
		want  *process
	}{{1, 10, known}, {1, 20, nil}, {2, 5, unknown}, {3, 1, nil}} {
		if got := d.find(c.pid, c.start); got != c.want {
			t.Errorf("%d since %d: got %v, want %v", c.pid, c.start, got, c.want)
		}
	}
	d.add(again, now.Add(2*time.Second))
	d.forget(now.Add(remembered + 1500*time.Millisecond))
	if d.find(1, 20) != again || d.find(2, 5) != nil || len(d.queue) != 1 {
		t.Errorf("after a while: %v", d)
	}
	d.forget(now.Add(time.Hour))
	if len(d.byPID) != 0 || len(d.queue) != 0 {
		t.Errorf("%v is kept for ever", d)
	}
}

// The linkage table's rules stand between those of what lies around it, wherever it lies.
func TestWithLinkage(t *testing.T) {
	const addr, size = 0x1000, 64
	jump := func(pc uint64) ehframe.Row { return ehframe.Row{PC: pc, CFA: ehframe.FromSP, RA: ehframe.RAInLR} }
	pushed := ehframe.Row{PC: 0x1004, CFA: ehframe.FromSP, Offset: 16, RAOffset: -8}
	before, after := ehframe.Row{PC: 0xf00, CFA: ehframe.FromFP}, ehframe.Row{PC: 0x2000, CFA: ehframe.FromFP}
	next := ehframe.Row{PC: addr + size, CFA: ehframe.FromFP}
	linkage := []ehframe.Row{jump(0x1000), pushed, jump(0x1020), {PC: addr + size}}
	for name, c := range map[string]struct{ rows, want []ehframe.Row }{
		"between":   {[]ehframe.Row{before, after}, slices.Concat([]ehframe.Row{before}, linkage, []ehframe.Row{after})},
		"first":     {[]ehframe.Row{after}, slices.Concat(linkage, []ehframe.Row{after})},
		"last":      {[]ehframe.Row{before}, slices.Concat([]ehframe.Row{before}, linkage)},
		"alone":     {nil, linkage},
		"adjacent":  {[]ehframe.Row{before, next}, slices.Concat([]ehframe.Row{before}, linkage[:3], []ehframe.Row{next})},
		"described": {[]ehframe.Row{before, {PC: 0x1000}, {PC: 0x1010}, after}, slices.Concat([]ehframe.Row{before}, linkage, []ehframe.Row{after})},
	} {
		if got := slices.Collect(withLinkage(slices.Values(c.rows), addr, size)); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

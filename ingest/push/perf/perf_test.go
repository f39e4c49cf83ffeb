package perf_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/agent/symbols"
	"github.com/coldframe/coldframe/ingest/push/perf"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/profile/draft"
)

// command runs a program of this machine; without it the test is skipped.
func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var out, failure bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failure
	if err := cmd.Run(); err != nil {
		if name == "perf" && args[0] == "record" && os.Getenv("CI") == "" {
			t.Skipf("perf record: %v: %s", err, &failure)
		}
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, &failure)
	}
	return out.String()
}

// record records testdata/burn.c, which forks, and gives the recording's file.
func record(t testing.TB, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	burn, file := filepath.Join(dir, "cf_burn"), filepath.Join(dir, "perf.data")
	command(t, "gcc", "-O1", "-fno-omit-frame-pointer", "-Wl,--build-id", "-o", burn, filepath.Join("testdata", "burn.c"), "-lm")
	if !slices.Contains(args, "-c") {
		args = append([]string{"-F", "499"}, args...)
	}
	command(t, "perf", slices.Concat([]string{"record", "-o", file}, args, []string{burn})...)
	return file
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

type local struct{ *os.File }

func (f local) Size() int64 {
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// options are those of a recording that was made on this machine.
func options(t *testing.T) perf.Options {
	return perf.Options{
		Ended: time.Unix(1_767_607_200, 0),
		Open: func(path string) (perf.File, error) {
			f, err := os.Open(path)
			return local{f}, err
		},
		Kernel: func(string) *symbols.Kernel {
			f, err := os.Open("/proc/kallsyms")
			if err != nil {
				return nil
			}
			defer f.Close()
			k, err := symbols.ReadKernel(f)
			if err != nil {
				t.Error(err)
			}
			return k
		},
	}
}

// total is what profiles hold together, and what they call their functions.
func total(t testing.TB, made []draft.Profile) (samples, event int64, leaves map[string]int64) {
	t.Helper()
	leaves = map[string]int64{}
	for _, m := range made {
		p, err := pprof.ParseData(m.Body)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.CheckValid(); err != nil {
			t.Fatal(err)
		}
		for _, s := range p.Sample {
			samples += s.Value[0]
			event += s.Value[1]
			leaf := "?"
			if len(s.Location) > 0 && len(s.Location[0].Line) > 0 {
				leaf = s.Location[0].Line[0].Function.Name
			}
			leaves[m.Labels.Get("comm")+" "+leaf] += s.Value[0]
		}
	}
	return samples, event, leaves
}

// reported is what perf report says of a recording.
func reported(t *testing.T, file string) (samples, event int64, leaves map[string]int64) {
	t.Helper()
	head := command(t, "perf", "report", "-i", file, "--stdio", "--no-children", "-g", "none")
	leaves = map[string]int64{}
	count := regexp.MustCompile(`# Event count \(approx\.\): (\d+)`).FindAllStringSubmatch(head, -1)
	for _, w := range count {
		n, err := strconv.ParseInt(w[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		event += n
	}
	lines := command(t, "perf", "report", "-i", file, "--stdio", "-q", "--no-children", "-g", "none", "-F", "sample,comm,sym", "-t", "|")
	for line := range strings.Lines(lines) {
		w := strings.Split(strings.TrimSpace(line), "|")
		if len(w) != 3 {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(w[0]), 10, 64)
		if err != nil {
			continue
		}
		samples += n
		_, name, _ := strings.Cut(strings.TrimSpace(w[2]), "] ")
		if strings.HasPrefix(name, "0x") {
			continue // no name
		}
		leaves[strings.TrimSpace(w[1])+" "+strings.TrimSpace(name)] += n
	}
	return samples, event, leaves
}

// What perf report says of a recording is what its profiles hold: samples, event counts,
// and samples by program and function, of the kernel too.
func TestTotalsArePerfReports(t *testing.T) {
	if testing.Short() {
		t.Skip("records for seconds")
	}
	for name, args := range map[string][]string{
		"stacks":       {"-g", "-e", "cpu-clock"},
		"no stacks":    {"-e", "cpu-clock"},
		"two events":   {"-g", "-e", "cpu-clock,page-faults"},
		"fixed period": {"-g", "-e", "cpu-clock", "-c", "2000000"},
		"machine":      {"-a", "-g", "-e", "cpu-clock"},
		"build IDs":    {"-g", "-e", "cpu-clock", "--buildid-mmap"},
	} {
		t.Run(name, func(t *testing.T) {
			file := record(t, args...)
			made, err := perf.Decode(read(t, file), options(t))
			if err != nil {
				t.Fatal(err)
			}
			samples, event, leaves := total(t, made)
			wantSamples, wantEvent, wantLeaves := reported(t, file)
			if samples != wantSamples || event != wantEvent || samples < 10 {
				t.Errorf("%d samples, %d events, perf report says %d and %d", samples, event, wantSamples, wantEvent)
			}
			if n := leaves["cf_burn leaf"]; n != wantLeaves["cf_burn leaf"] || n == 0 {
				t.Errorf("leaf has %d samples, perf report says %d: %v", n, wantLeaves["cf_burn leaf"], leaves)
			}
			// Places may have several names, most of all in the kernel, where time goes on a loaded machine.
			same := 0
			for key := range wantLeaves {
				if leaves[key] > 0 {
					same++
				}
			}
			if name != "machine" && same*2 < len(wantLeaves) {
				t.Errorf("%d of %d functions have the name that perf report says\n%v\n%v", same, len(wantLeaves), leaves, wantLeaves)
			}

			script, err := perf.DecodeScript([]byte(command(t, "perf", "script", "-i", file, "-F", "comm,pid,tid,time,period,event,ip,sym,symoff,dso")), time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			if n, e, _ := total(t, script); n != wantSamples || e != wantEvent {
				t.Errorf("perf script: %d samples, %d events, perf report says %d and %d", n, e, wantSamples, wantEvent)
			}
		})
	}
}

// A stack has its callers, mappings and build IDs, and the profile its time.
func TestStacks(t *testing.T) {
	if testing.Short() {
		t.Skip("records for seconds")
	}
	file := record(t, "-g", "-e", "cpu-clock")
	data := read(t, file)
	named, err := perf.Decode(data, options(t))
	if err != nil {
		t.Fatal(err)
	}
	bare, err := perf.Decode(data, perf.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(named) != 1 || named[0].Name != "process_cpu" || named[0].Labels.String() != `{comm="cf_burn"}` {
		t.Fatalf("got %d profiles, the first %s%s", len(named), named[0].Name, named[0].Labels)
	}
	folded := 0
	p, err := pprof.ParseData(named[0].Body)
	if err != nil {
		t.Fatal(err)
	}
	if end := p.TimeNanos + p.DurationNanos; end != 1_767_607_200*1e9 || p.DurationNanos < 1e8 || p.Period < 1e6 {
		t.Errorf("ended %d, %d ns long, period %d", end, p.DurationNanos, p.Period)
	}
	for _, s := range p.Sample {
		var names []string
		for _, l := range s.Location {
			for _, line := range l.Line {
				names = append(names, line.Function.Name)
			}
		}
		if strings.HasPrefix(strings.Join(names, ";"), "leaf;mid;main;") {
			folded++
		}
		if len(s.NumLabel["pid"]) != 1 {
			t.Fatalf("labels %v", s.NumLabel)
		}
	}
	if folded < 2 { // two processes
		t.Errorf("no leaf;mid;main in\n%s", p)
	}
	q, err := pprof.ParseData(bare[0].Body)
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Fields(command(t, "perf", "buildid-list", "-i", file))
	found := false
	for _, m := range q.Mapping {
		found = found || strings.HasSuffix(m.File, "/cf_burn") && strings.Contains(strings.Join(id, " "), m.BuildID) && len(m.BuildID) == 40 && m.Start < m.Limit
	}
	if !found || len(q.Function) != 0 {
		t.Errorf("mappings %v, build IDs %v, %d functions", q.Mapping, id, len(q.Function))
	}
}

const script = `# comment
shop 26959/26960 [001] 17035.533041:    5025125 cpu-clock:ppp: 
	            11ae leaf+0x35 (/usr/bin/shop)
	            11ae small (inlined)
	            11e2 mid+0x9 (/usr/bin/shop)
	ffffffff81000000 [unknown] ([kernel.kallsyms])
	            1238 std::vector<int, int>::push(int) const+0x3c (/usr/bin/shop)

my worker 0:1 7 18000.1: 3 cycles:u:  1234 main+0x1 (/usr/bin/a b)

shop 1   page-faults:
	 7f12 [unknown] ([unknown])
`

func TestScript(t *testing.T) {
	made, err := perf.DecodeScript([]byte(script), time.Unix(1_767_607_200, 0))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range made {
		p, err := pprof.ParseData(m.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range p.Sample {
			line := fmt.Sprintf("%s%s %s %v", m.Name, m.Labels, p.SampleType[1].Type, s.Value)
			for _, l := range s.Location {
				line += fmt.Sprintf(" | %x", l.Address)
				if l.Mapping != nil {
					line += " " + l.Mapping.File
				}
				for _, at := range l.Line {
					line += " " + at.Function.Name
				}
			}
			got = append(got, line)
		}
	}
	want := `process_cpu{comm="shop"} cpu [1 5025125] | 11ae /usr/bin/shop leaf | 11e2 /usr/bin/shop small mid | ffffffff81000000 [kernel.kallsyms] | 1238 /usr/bin/shop std::vector<int, int>::push(int) const
cycles{comm="my worker 0:1"} cycles [1 3] | 1234 /usr/bin/a b main
page_faults{comm="shop"} page_faults [1 1] | 7f12`
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
	for _, bad := range []string{"", "\n\n", "hello", "shop 1 1.0: 1 cpu-clock:\n\tzzz\n", strings.Repeat("x", 1<<20+1)} {
		if _, err := perf.DecodeScript([]byte(bad), time.Time{}); !errors.Is(err, profile.ErrInvalid) {
			t.Errorf("%.40q: %v", bad, err)
		}
		if perf.IsScript([]byte(bad)) && !strings.Contains(bad, "cpu-clock") {
			t.Errorf("%.40q is taken for a script", bad)
		}
	}
	if !perf.IsScript([]byte(script)) || perf.IsScript([]byte("main;a 1\n")) {
		t.Error("a script is not known from folded stacks")
	}
}

func TestMalformed(t *testing.T) {
	for name, data := range map[string][]byte{
		"nothing": nil, "text": []byte("hello"), "short": []byte("PERFILE2abc"),
		"pipe": append([]byte("PERFILE2"), 16, 0, 0, 0, 0, 0, 0, 0),
		"huge": append([]byte("PERFILE2"), bytes.Repeat([]byte{0xff}, 200)...), "zero": append([]byte("PERFILE2"), make([]byte, 200)...),
	} {
		if _, err := perf.Decode(data, perf.Options{}); !errors.Is(err, profile.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	small := read(f, filepath.Join("testdata", "small.perf.data"))
	f.Add(small)
	f.Add(small[:200])
	f.Fuzz(func(t *testing.T, data []byte) {
		made, err := perf.Decode(data, perf.Options{})
		check(t, made, err)
	})
}

func FuzzDecodeScript(f *testing.F) {
	f.Add([]byte(script))
	f.Fuzz(func(t *testing.T, data []byte) {
		made, err := perf.DecodeScript(data, time.Time{})
		check(t, made, err)
	})
}

func check(t *testing.T, made []draft.Profile, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, profile.ErrInvalid) {
		t.Fatalf("%v is not ErrInvalid", err)
	}
	for _, m := range made {
		var d profile.Decoder
		if _, err := d.Decode(m.Body); err != nil {
			t.Fatalf("what was made cannot be read: %v", err)
		}
	}
}

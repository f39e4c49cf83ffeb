package jfr_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"
	peer "github.com/grafana/jfr-parser/parser"
	peerlabels "github.com/grafana/jfr-parser/pprof"
	"google.golang.org/protobuf/proto"

	"github.com/coldframe/coldframe/ingest/push/jfr"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/profile/draft"
)

// record runs testdata/Shop.java on the JVM of this machine, twice the flight recorder's
// chunks long, and gives the recording.
func record(t *testing.T) []byte {
	t.Helper()
	if testing.Short() {
		t.Skip("runs a JVM for seconds")
	}
	java, err := exec.LookPath("java")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	settings := filepath.Join(dir, "all.jfc")
	const jfc = `<?xml version="1.0" encoding="UTF-8"?><configuration version="2.0">
<event name="jdk.ExecutionSample"><setting name="enabled">true</setting><setting name="period">10 ms</setting></event>
<event name="jdk.ObjectAllocationInNewTLAB"><setting name="enabled">true</setting><setting name="stackTrace">true</setting></event>
<event name="jdk.ObjectAllocationOutsideTLAB"><setting name="enabled">true</setting><setting name="stackTrace">true</setting></event>
<event name="jdk.ObjectAllocationSample"><setting name="enabled">true</setting><setting name="throttle">300/s</setting></event>
<event name="jdk.JavaMonitorEnter"><setting name="enabled">true</setting><setting name="threshold">1 ms</setting><setting name="stackTrace">true</setting></event>
<event name="jdk.ThreadPark"><setting name="enabled">true</setting><setting name="threshold">1 ms</setting><setting name="stackTrace">true</setting></event>
<event name="jdk.ActiveSetting"><setting name="enabled">true</setting></event></configuration>`
	if err := os.WriteFile(settings, []byte(jfc), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "shop.jfr")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, java, "-XX:StartFlightRecording=filename="+file+",settings="+settings, filepath.Join("testdata", "Shop.java"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// counts is totals of a recording that was made just now, and says which functions there are.
func counts(t *testing.T, data []byte, o jfr.Options) (_ map[string]int64, functions string) {
	t.Helper()
	made, err := jfr.Decode(data, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range made {
		p := parse(t, m)
		if time.Since(m.Time) > time.Minute || p.DurationNanos <= 0 || p.DurationNanos > int64(time.Minute) {
			t.Errorf("%s is of %s, %d ns long", m.Name, m.Time, p.DurationNanos)
		}
		for _, f := range p.Function {
			functions += m.Name + " " + f.Name + "\n"
		}
	}
	return totals(t, made), functions
}

func parse(t *testing.T, m draft.Profile) *pprof.Profile {
	t.Helper()
	p, err := pprof.ParseData(m.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.CheckValid(); err != nil {
		t.Fatal(err)
	}
	return p
}

// totals adds up the values of profiles by name, sample type and kind of event.
func totals(t *testing.T, made []draft.Profile) map[string]int64 {
	t.Helper()
	totals := map[string]int64{}
	for _, m := range made {
		p := parse(t, m)
		for _, s := range p.Sample {
			key := ""
			if events := s.Label["jfr_event"]; len(events) > 0 {
				key = " " + events[0]
			}
			for i, st := range p.SampleType {
				totals[m.Name+" "+st.Type+":"+st.Unit+key] += s.Value[i]
			}
		}
	}
	return totals
}

// peerCounts adds up the events of a recording as another parser reads it.
func peerCounts(data []byte, period int64) map[string]int64 {
	want := map[string]int64{}
	add := func(kind, unit, event string, n, amount int64) {
		want[kind+" "+unit+event] += amount
		want[kind+" "+map[string]string{"memory": "alloc_samples:count", "malloc": "alloc_objects:count", "mutex": "contentions:count", "block": "contentions:count", "process_cpu": "samples:count", "wall": "samples:count"}[kind]+event] += n
	}
	mode := ""
	p := peer.NewParser(data, peer.Options{})
	for {
		typ, err := p.ParseEvent()
		if err != nil {
			return want
		}
		switch typ {
		case p.TypeMap.T_ACTIVE_SETTING:
			if p.ActiveSetting.Name == "event" {
				mode = p.ActiveSetting.Value
			}
		case p.TypeMap.T_EXECUTION_SAMPLE:
			if ts := p.GetThreadState(p.ExecutionSample.State); ts == nil || ts.Name != "STATE_SLEEPING" {
				add("process_cpu", "cpu:nanoseconds", "", 1, period)
			}
			if mode == "wall" {
				add("wall", "wall:nanoseconds", "", 1, period)
			}
		case p.TypeMap.T_WALL_CLOCK_SAMPLE:
			n := int64(p.WallClockSample.Samples)
			if ts := p.GetThreadState(p.WallClockSample.State); ts != nil && ts.Name == "STATE_RUNNABLE" && mode == "wall" {
				add("process_cpu", "cpu:nanoseconds", "", n, n*period)
			}
			add("wall", "wall:nanoseconds", "", n, n*period)
		case p.TypeMap.T_ALLOC_IN_NEW_TLAB:
			add("memory", "alloc_space:bytes", " jdk.ObjectAllocationInNewTLAB", 1, int64(p.ObjectAllocationInNewTLAB.TlabSize))
		case p.TypeMap.T_ALLOC_OUTSIDE_TLAB:
			add("memory", "alloc_space:bytes", " jdk.ObjectAllocationOutsideTLAB", 1, int64(p.ObjectAllocationOutsideTLAB.AllocationSize))
		case p.TypeMap.T_ALLOC_SAMPLE:
			add("memory", "alloc_space:bytes", " jdk.ObjectAllocationSample", 1, int64(p.ObjectAllocationSample.Weight))
		case p.TypeMap.T_MALLOC:
			add("malloc", "alloc_space:bytes", "", 1, int64(p.Malloc.Size))
		case p.TypeMap.T_LIVE_OBJECT:
			want["memory inuse_objects:count"]++
		case p.TypeMap.T_MONITOR_ENTER:
			want["mutex contentions:count"]++
		case p.TypeMap.T_THREAD_PARK:
			want["block contentions:count"]++
		}
	}
}

// recordings are those of the other parser's tests: of async-profiler, of several JVMs,
// and such as once broke it.
func recordings(t testing.TB) map[string][]byte {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/grafana/jfr-parser").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "parser", "testdata", "*.jfr.gz"))
	if err != nil || len(files) == 0 {
		t.Fatal("no recordings", err)
	}
	all := map[string][]byte{}
	for _, file := range files {
		packed, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var u profile.Decoder
		data, err := u.Uncompress(packed)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[filepath.Base(file)] = append([]byte(nil), data...)
	}
	return all
}

// Recordings that others have collected give what another parser counts in them.
func TestRecordingsOfOthers(t *testing.T) {
	all := recordings(t)
	for name, data := range all {
		if testing.Short() && len(data) > 1<<20 {
			continue
		}
		want := peerCounts(data, 1000)
		made, err := jfr.Decode(data, jfr.Options{Period: 1000})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := totals(t, made)
		for key, n := range want {
			if got[key] != n {
				t.Errorf("%s: %s: %d, want %d", name, key, got[key], n)
			}
		}
	}
	t.Logf("%d recordings", len(all))
}

// A recording of a real JVM gives what another parser counts in it, event by event.
func TestRecordingOfARealJVM(t *testing.T) {
	data := record(t)
	want := peerCounts(data, 10_000_000)
	got, functions := counts(t, data, jfr.Options{})
	if len(want) < 6 || want["process_cpu samples:count"] == 0 {
		t.Fatalf("the recording has only %v", want)
	}
	for key, n := range want {
		if got[key] != n {
			t.Errorf("%s: %d, want %d", key, got[key], n)
		}
	}
	for _, f := range []string{"process_cpu Shop.burnJava", "memory Shop.allocateJava", "mutex Shop.queueJava", "block java.util.concurrent.locks.LockSupport.parkNanos"} {
		if !strings.Contains(functions, f+"\n") {
			t.Errorf("no %s among\n%s", f, functions)
		}
	}
	if waited := time.Duration(got["mutex delay:nanoseconds"]); waited < 200*time.Millisecond || waited > 10*time.Second {
		t.Errorf("waited %s for the till", waited)
	}
	if other, _ := counts(t, data, jfr.Options{Period: time.Second}); other["process_cpu cpu:nanoseconds"] != want["process_cpu samples:count"]*1e9 {
		t.Errorf("with a period of 1 s: %d ns", other["process_cpu cpu:nanoseconds"])
	}
	twice, _ := counts(t, append(data[:len(data):len(data)], data...), jfr.Options{})
	cut, _ := counts(t, append(data[:len(data):len(data)], data[:len(data)/2]...), jfr.Options{})
	if key := "process_cpu samples:count"; twice[key] != 2*got[key] || cut[key] != got[key] {
		t.Errorf("two chunks have %d samples, one and a half %d, one %d", twice[key], cut[key], got[key])
	}
	checkDamage(t, data)
}

// checkDamage cuts and changes a recording: it is refused or read, and never panics.
func checkDamage(t *testing.T, data []byte) {
	t.Helper()
	for i := 0; i < len(data); i += 1 + len(data)/40 {
		if _, err := jfr.Decode(data[:i], jfr.Options{}); !errors.Is(err, profile.ErrInvalid) {
			t.Fatalf("cut at %d of %d: %v", i, len(data), err)
		}
		damaged := append([]byte(nil), data...)
		damaged[i] ^= 0x55
		if _, err := jfr.Decode(damaged, jfr.Options{}); err != nil && !errors.Is(err, profile.ErrInvalid) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
}

// The labels beside a recording are those that Pyroscope's library writes.
func TestContexts(t *testing.T) {
	data, err := proto.Marshal(&peerlabels.LabelsSnapshot{
		Contexts: map[int64]*peerlabels.Context{7: {Labels: map[int64]int64{1: 2, 3: 4}}, 8: {Labels: map[int64]int64{1: 99}}},
		Strings:  map[int64]string{1: "handler", 2: "cart", 3: "user", 4: "a"},
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := jfr.ParseContexts(data)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c); got != "{map[7:[{handler cart 0 } {user a 0 }] 8:[]] map[1:handler 2:cart 3:user 4:a]}" && !strings.Contains(got, "7:[{handler cart 0 } {user a 0 }]") {
		t.Errorf("got %s", got)
	}
	if _, err := jfr.ParseContexts(data[:len(data)-1]); !errors.Is(err, profile.ErrInvalid) {
		t.Errorf("cut: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, data := range recordings(f) {
		if len(data) < 128<<10 {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		made, err := jfr.Decode(data, jfr.Options{})
		if err != nil && !errors.Is(err, profile.ErrInvalid) {
			t.Fatalf("%v is not ErrInvalid", err)
		}
		for _, m := range made {
			var d profile.Decoder
			if _, err := d.Decode(m.Body); err != nil {
				t.Fatalf("what was made cannot be read: %v", err)
			}
		}
	})
}

func FuzzParseContexts(f *testing.F) {
	f.Add([]byte("\n\x06\b\x07\x12\x02\n\x00\x12\x05\b\x01\x12\x01a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := jfr.ParseContexts(data); err != nil && !errors.Is(err, profile.ErrInvalid) {
			t.Fatalf("%v is not ErrInvalid", err)
		}
	})
}

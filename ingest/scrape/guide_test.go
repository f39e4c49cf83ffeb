package scrape

import (
	"bufio"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/upload"
)

// exampleProgram builds and starts infra/examples/go, and tells its address.
func exampleProgram(t *testing.T) (address string) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "example")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".")
	build.Dir = "../../infra/examples/go"
	if out, err := build.CombinedOutput(); err != nil {
		if os.Getenv("CI") == "" {
			t.Skipf("the example cannot be built here: %v\n%s", err, out)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	program := exec.CommandContext(t.Context(), binary, "-http-address", "127.0.0.1:0")
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Process.Kill(); _ = program.Wait() })
	address, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(address)
}

// The two examples of the ingestion guide, as they are but for the address, against a real
// Go program: what they name arrives, with its types and the functions of the program, and
// nothing else does.
func TestGuide(t *testing.T) {
	address := exampleProgram(t)
	for file, want := range map[string]map[string]string{
		"guide_fgprof.txt": {
			"block": "contentions/count delay/nanoseconds", "mutex": "contentions/count delay/nanoseconds", "goroutine": "goroutine/count",
			"memory":      "alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes",
			"process_cpu": "samples/count cpu/nanoseconds", "fgprof": "samples/count time/nanoseconds",
		},
		"guide_no_cpu.txt": {
			"block": "contentions/count delay/nanoseconds", "mutex": "contentions/count delay/nanoseconds", "goroutine": "goroutine/count",
			"memory": "alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes",
		},
	} {
		text, err := os.ReadFile(filepath.Join("testdata/config", file))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "-- parca.yaml --\n")
		config, _, _ := strings.Cut(rest, "-- result --\n")
		sink := &gathered{got: make(chan upload.Profile, 100)}
		start(t, sink, Settings{}, parse(t, "%s", strings.ReplaceAll(config, "127.0.0.1:7070", address)))
		got := map[string]string{}
		for len(got) < len(want) {
			select {
			case p := <-sink.got:
				got[p.Name] = typesAndCheck(t, p)
			case <-time.After(time.Minute):
				t.Fatalf("%s: only %v arrived", file, got)
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s:\n got %v\nwant %v", file, got, want)
		}
	}
}

// typesAndCheck gives the sample types of a profile, which must be sound and know the
// functions of the example.
func typesAndCheck(t *testing.T, p upload.Profile) string {
	t.Helper()
	decoded, err := pprof.ParseData(p.Body)
	if err != nil {
		t.Fatalf("%s: %v", p.Name, err)
	}
	known := map[string]string{"process_cpu": "main.burn", "fgprof": "main.wait", "goroutine": "main.work"}
	if name := known[p.Name]; name != "" && !slices.ContainsFunc(decoded.Function, func(f *pprof.Function) bool { return f.Name == name }) {
		t.Errorf("%s does not know %s", p.Name, name)
	}
	var types []string
	for _, st := range decoded.SampleType {
		types = append(types, st.Type+"/"+st.Unit)
	}
	return strings.Join(types, " ")
}

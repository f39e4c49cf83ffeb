package main

import (
	"bufio"
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/agent/symbols"
)

// example is a program of infra/examples: how it is made and started, and which functions
// its profiles must know, by type.
type example struct {
	make, run []string // BINARY is a path for what is made
	want      map[string][]string
	binary    string // whose addresses the profiles have instead of functions
}

var examples = map[string]example{
	"go": {
		make: []string{"go", "build", "-o", "BINARY", "."}, run: []string{"BINARY", "-http-address", "127.0.0.1:0"},
		want: map[string][]string{
			"process_cpu/cpu": {"main.burn"}, "memory/alloc_space": {"main.burn"}, "memory/inuse_space": {"main.burn"}, "goroutine": {"main.work"},
			"mutex/delay": {"main.work"}, "block/delay": {"main.wait"}, "fgprof/time": {"main.burn", "main.wait"},
		},
	},
	"node": {
		make: []string{"npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"}, run: []string{"node", "main.mjs", "127.0.0.1:0"},
		want: map[string][]string{"process_cpu/wall": {"burn"}, "process_cpu/cpu": {"burn"}, "process_cpu/samples": {"burn"}, "memory/inuse_space": {"allocate"}},
	},
	"python": {
		run:  []string{"python3", "main.py", "127.0.0.1:0"},
		want: map[string][]string{"process_cpu/cpu": {"burn", "background"}, "memory/inuse_space": {"allocate"}},
	},
	"java": {
		make: []string{"javac", "-d", "BINARY", "Main.java"}, run: []string{"java", "-cp", "BINARY", "Main", "127.0.0.1", "0"},
		want: map[string][]string{"process_cpu/cpu": {"Main.burn"}, "memory/alloc_space": {"Main.allocate"}, "mutex/delay": {"Main.queue"}},
	},
	"cpp": {
		make: []string{"g++", "-O2", "-g", "-o", "BINARY", "main.cc", "-ltcmalloc_and_profiler"}, run: []string{"env", "TCMALLOC_SAMPLE_PARAMETER=65536", "BINARY", "127.0.0.1", "0"},
		want: map[string][]string{"process_cpu/cpu": {"burn"}, "memory/inuse_space": {"allocate"}}, binary: "BINARY",
	},
	"rust": {
		make: []string{"rustc", "--edition", "2021", "-O", "-g", "-o", "BINARY", "main.rs"}, run: []string{"BINARY", "127.0.0.1:0"},
		want: map[string][]string{"process_cpu/cpu": {"burn"}}, binary: "BINARY",
	},
}

// The examples run, are scraped by their own configurations, and the functions of each come
// back from a query. gperftools' profiles have addresses, which lead to the functions in
// the binary that their mapping and build ID name.
func TestExamples(t *testing.T) {
	if testing.Short() {
		t.Skip("runs programs in six languages")
	}
	running := map[string]example{}
	config := "scrape_configs:\n"
	for _, language := range slices.Sorted(maps.Keys(examples)) {
		e, address, err := examples[language].start(t, language)
		if err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%s: %v", language, err)
			}
			t.Logf("%s is left out: %v", language, err)
			continue
		}
		running[language] = e
		config += exampleJob(t, language, address)
	}
	bkt, address := folder(t), freeAddress(t)
	file := write(t, t.TempDir(), "parca.yaml", []byte(config))
	p := spawn(t, "ingest", "--bucket-config", bkt, "--config-path", file, "--http-address", address, "--window", "1s")
	p.ready(t, "http://"+address)
	for language, e := range running {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			for kind, functions := range e.want {
				eventually(t, 2*time.Minute, func() (string, bool) {
					status, out, stderr := command(t, "get", "--bucket-config", bkt, "--format", "pprof", "--type", kind, `{job="`+language+`"}`)
					if status != 0 {
						return language + ": " + kind + ": " + stderr, false
					}
					return e.missing(t, language+": "+kind, []byte(out), functions)
				})
			}
		})
	}
}

// start makes and starts a program, and gives the address that it prints.
func (e example) start(t *testing.T, language string) (_ example, address string, err error) {
	t.Helper()
	place := strings.NewReplacer("BINARY", filepath.Join(t.TempDir(), "example_"+language))
	command := func(argv []string) *exec.Cmd {
		words := make([]string, len(argv))
		for i, word := range argv {
			words[i] = place.Replace(word)
		}
		cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
		cmd.Dir = filepath.Join("../../infra/examples", language)
		return cmd
	}
	e.binary = place.Replace(e.binary)
	if _, err := exec.LookPath(e.run[0]); err != nil && e.make == nil {
		return e, "", err
	}
	if e.make != nil {
		if out, err := command(e.make).CombinedOutput(); err != nil {
			return e, "", fmt.Errorf("%s: %w\n%s", strings.Join(e.make, " "), err, out)
		}
	}
	program := command(e.run)
	program.Stderr = os.Stderr
	out, err := program.StdoutPipe()
	if err == nil {
		err = program.Start()
	}
	if err != nil {
		return e, "", err
	}
	t.Cleanup(func() { _ = program.Process.Kill(); _ = program.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	return e, strings.TrimSpace(line), err
}

// exampleJob is the job of an example's own parca.yaml, by another name, at this address, and
// asked more often than once in 15 s.
func exampleJob(t *testing.T, language, address string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../infra/examples", language, "parca.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, job, _ := strings.Cut(string(text), "scrape_configs:\n")
	for line := range strings.Lines(job) {
		word := strings.TrimSpace(line)
		switch key, _, _ := strings.Cut(word, ":"); key {
		case "- job_name":
			job = strings.Replace(job, word, "- job_name: "+language, 1)
		case "scrape_interval":
			job = strings.Replace(job, word, "scrape_interval: 3s\n    scrape_timeout: 60s", 1)
		case "scrape_timeout":
			job = strings.Replace(job, line, "", 1)
		case "- targets":
			job = strings.Replace(job, word, fmt.Sprintf("- targets: [%q]", address), 1)
		}
	}
	return job
}

// missing says which functions a profile does not have on any stack.
func (e example) missing(t *testing.T, what string, body []byte, functions []string) (why string, ok bool) {
	t.Helper()
	p, err := pprof.ParseData(body)
	if err != nil {
		return fmt.Sprintf("%s: %v", what, err), false
	}
	found := map[string]bool{}
	for _, s := range p.Sample {
		for _, l := range s.Location {
			for _, line := range l.Line {
				found[line.Function.Name] = true
			}
			if e.binary != "" && len(l.Line) == 0 && l.Mapping != nil && l.Mapping.File == e.binary {
				name, err := functionAt(e.binary, l)
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
				found[name] = true
			}
		}
	}
	for _, f := range functions {
		if !found[f] {
			return fmt.Sprintf("%s: no %s among %v", what, f, slices.Sorted(maps.Keys(found))), false
		}
	}
	return "", true
}

// functionAt finds the function of an address in the binary of its mapping, as a
// symbolizer does: by the offset in the file, and only if the build ID, where there is one,
// is the binary's.
func functionAt(binary string, l *pprof.Location) (string, error) {
	f, err := elf.Open(binary)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	if id := l.Mapping.BuildID; id != "" {
		notes, err := f.Section(".note.gnu.build-id").Data()
		if err != nil {
			return "", err
		}
		if is := fmt.Sprintf("%x", symbols.FindBuildID(notes)); is != id {
			return "", fmt.Errorf("the mapping's build ID is %s, the binary's %s", id, is)
		}
	}
	inFile := l.Address - l.Mapping.Start + l.Mapping.Offset
	all, err := f.Symbols()
	if err != nil {
		return "", err
	}
	for _, segment := range f.Progs {
		if segment.Type != elf.PT_LOAD || inFile < segment.Off || inFile >= segment.Off+segment.Filesz {
			continue
		}
		at := inFile - segment.Off + segment.Vaddr
		for _, s := range all {
			if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Value <= at && at < s.Value+max(s.Size, 1) {
				return plainName(s.Name), nil
			}
		}
		return "", nil
	}
	return "", errors.New("the address is outside of its mapping's file")
}

// plainName takes the function's own name out of a mangled one: _Z4burn…, _ZN7example4burn….
func plainName(mangled string) string {
	for _, name := range []string{"burn", "allocate"} {
		if strings.Contains(mangled, fmt.Sprintf("%d%s", len(name), name)) {
			return name
		}
	}
	return cmp.Or(mangled, "?")
}

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"runtime/debug"
	"testing"
)

// What this very test is made of is told, module by module, and twice the same.
func TestRun(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := run(out, "../../ui/package-lock.json", binary); err != nil {
			t.Fatal(err)
		}
	}
	if first.String() != second.String() {
		t.Error("twice the same binary, and not the same bytes")
	}
	var d document
	if err := json.Unmarshal(first.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	has := map[string]bool{}
	for i, c := range d.Components {
		has[c.Name+"@"+c.Version], has[c.Name] = true, true
		if c.PURL == "" || c.Ref == "" || d.Dependencies[0].DependsOn[i] != c.Ref {
			t.Errorf("%s: no address, or nothing depends on it", c.Name)
		}
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("the test has no build information")
	}
	for _, m := range info.Deps {
		if !has[m.Path+"@"+m.Version] {
			t.Errorf("%s %s is missing", m.Path, m.Version)
		}
	}
	for _, name := range []string{"std@" + info.GoVersion[len("go"):], "preact"} {
		if !has[name] {
			t.Errorf("%s is missing", name)
		}
	}
	if d.Metadata.Component.Hashes[0].Algorithm != "SHA-256" {
		t.Errorf("got %+v", d.Metadata.Component)
	}
}

func TestMistakes(t *testing.T) {
	if err := run(&bytes.Buffer{}, "../../ui/package-lock.json", "main.go"); err == nil {
		t.Error("a file that is no binary is taken for one")
	}
	if err := run(&bytes.Buffer{}, "main.go", os.Args[0]); err == nil {
		t.Error("a file that is no lock file is taken for one")
	}
}

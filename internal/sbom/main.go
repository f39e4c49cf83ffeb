// Sbom writes what a released binary is made of, as CycloneDX 1.5 in JSON:
//
//	go run ./internal/sbom ui/package-lock.json dist/coldframe-linux-amd64
//
// The Go modules are those that the binary itself names, with the sums of go.sum, the
// toolchain among them; the packages of npm are those that the page is built from, which the
// lock file names. The same binary gives the same bytes: there is no time and no serial number.
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: sbom PACKAGE-LOCK BINARY")
		os.Exit(2)
	}
	if err := run(os.Stdout, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

// document is as much of CycloneDX as there is to say.
type document struct {
	Format       string       `json:"bomFormat"`
	SpecVersion  string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type     string    `json:"type"`
	Ref      string    `json:"bom-ref"`
	Name     string    `json:"name"`
	Version  string    `json:"version,omitempty"`
	PURL     string    `json:"purl,omitempty"`
	Hashes   []hash    `json:"hashes,omitempty"`
	Licenses []license `json:"licenses,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type license struct {
	Expression string `json:"expression"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

func run(out io.Writer, lockFile, binary string) error {
	modules, err := goModules(binary)
	if err != nil {
		return err
	}
	packages, err := npmPackages(lockFile)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	d := document{Format: "CycloneDX", SpecVersion: "1.5", Version: 1, Components: append(modules, packages...)}
	d.Metadata.Component = component{
		Type: "application", Ref: "binary", Name: filepath.Base(binary),
		Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}}, Licenses: []license{{"Apache-2.0"}},
	}
	of := dependency{Ref: "binary"}
	for _, c := range d.Components {
		of.DependsOn = append(of.DependsOn, c.Ref)
	}
	d.Dependencies = []dependency{of}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(d)
}

// goModules are those that the linker wrote into the binary. A sum of go.sum is the SHA-256
// of a module's list of files, which CycloneDX takes as the component's.
func goModules(binary string) ([]component, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", binary, err)
	}
	toolchain := strings.TrimPrefix(info.GoVersion, "go")
	all := []component{{Type: "library", Name: "std", Version: toolchain, PURL: "pkg:golang/std@" + toolchain}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		c := component{Type: "library", Name: m.Path, Version: m.Version, PURL: "pkg:golang/" + m.Path + "@" + m.Version}
		if sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:")); err == nil && len(sum) == sha256.Size {
			c.Hashes = []hash{{"SHA-256", hex.EncodeToString(sum)}}
		}
		all = append(all, c)
	}
	for i := range all {
		all[i].Ref = all[i].PURL
	}
	return all, nil
}

// npmPackages are those of a package-lock.json that are not for development alone.
func npmPackages(lockFile string) ([]component, error) {
	text, err := os.ReadFile(lockFile)
	if err != nil {
		return nil, err
	}
	var lock struct {
		Packages map[string]struct {
			Version, License, Integrity string
			Dev                         bool
		}
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		return nil, fmt.Errorf("%s: %w", lockFile, err)
	}
	var all []component
	for path, p := range lock.Packages {
		_, name, found := strings.Cut(path, "node_modules/")
		if !found || p.Dev {
			continue
		}
		purl := "pkg:npm/" + strings.Replace(name, "@", "%40", 1) + "@" + p.Version
		c := component{Type: "library", Ref: purl, Name: name, Version: p.Version, PURL: purl}
		if p.License != "" {
			c.Licenses = []license{{p.License}}
		}
		if sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(p.Integrity, "sha512-")); err == nil && len(sum) == 64 {
			c.Hashes = []hash{{"SHA-512", hex.EncodeToString(sum)}}
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b component) int { return strings.Compare(a.Ref, b.Ref) })
	return all, nil
}

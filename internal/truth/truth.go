// Package truth tells what profiles hold according to google/pprof, in a form in
// which two can be compared: for tests alone.
package truth

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	pprof "github.com/google/pprof/profile"
)

// Samples says how much of each sample type every distinct sample has: by its stack
// (addresses relative to their mapping, build IDs, functions, lines, inlining) and
// its labels. Samples without any value are left out, as Merge leaves them out.
func Samples(p *pprof.Profile) map[string][]int64 {
	all := map[string][]int64{}
	for _, s := range p.Sample {
		if !slices.ContainsFunc(s.Value, func(v int64) bool { return v != 0 }) {
			continue
		}
		key := stack(s) + labels(s)
		if all[key] == nil {
			all[key] = make([]int64, len(s.Value))
		}
		for i, v := range s.Value {
			all[key][i] += v
		}
	}
	maps.DeleteFunc(all, func(_ string, values []int64) bool {
		return !slices.ContainsFunc(values, func(v int64) bool { return v != 0 })
	})
	return all
}

func stack(s *pprof.Sample) string {
	var b strings.Builder
	for _, l := range s.Location {
		address := l.Address
		if m := l.Mapping; m != nil {
			address -= m.Start
			file := m.BuildID
			if file == "" {
				file = m.File
			}
			size := (m.Limit - m.Start + 0xfff) &^ 0xfff // as Merge compares them
			fmt.Fprintf(&b, "%s+%x/%x ", file, m.Offset, size)
		}
		fmt.Fprintf(&b, "%x", address)
		if l.IsFolded {
			b.WriteString(" folded")
		}
		for _, line := range l.Line {
			if f := line.Function; f != nil {
				fmt.Fprintf(&b, " %q %q %q:%d", f.Name, f.SystemName, f.Filename, f.StartLine)
			}
			fmt.Fprintf(&b, " %d:%d", line.Line, line.Column)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func labels(s *pprof.Sample) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.Label)) {
		fmt.Fprintf(&b, "%q=%q ", name, slices.Sorted(slices.Values(s.Label[name])))
	}
	for _, name := range slices.Sorted(maps.Keys(s.NumLabel)) {
		units := s.NumUnit[name]
		for i, v := range s.NumLabel[name] {
			unit := ""
			if i < len(units) {
				unit = units[i]
			}
			fmt.Fprintf(&b, "%q=%d%q ", name, v, unit)
		}
	}
	return b.String()
}

// Difference says where two sets of samples differ, in at most ten lines, or "" if
// they are equal.
func Difference(got, want map[string][]int64) string {
	var b strings.Builder
	lines := 0
	tell := func(format string, args ...any) {
		if lines++; lines <= 10 {
			fmt.Fprintf(&b, format, args...)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if values, ok := got[key]; !ok {
			tell("lacks %v of\n%s\n", want[key], key)
		} else if !slices.Equal(values, want[key]) {
			tell("has %v, want %v of\n%s\n", values, want[key], key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if want[key] == nil {
			tell("has %v of what is not there:\n%s\n", got[key], key)
		}
	}
	if lines > 10 {
		fmt.Fprintf(&b, "and %d more\n", lines-10)
	}
	return b.String()
}

// Testdata are google/pprof's own test profiles that it can read itself, by file
// name: profile.proto and every format before it.
func Testdata() (map[string][]byte, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/google/pprof").Output() //nolint:noctx // ends by itself at once
	if err != nil {
		return nil, fmt.Errorf("where is google/pprof? %w", err)
	}
	root := filepath.Join(strings.TrimSpace(string(dir)), "profile", "testdata")
	files := map[string][]byte{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if _, err := pprof.ParseData(data); err == nil {
			files[filepath.Base(path)] = data
		}
		return nil
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no profile in %s", root)
	}
	return files, err
}

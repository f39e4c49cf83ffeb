package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// results are the medians of what was measured.
type results struct {
	values  map[string][]float64 // by "package.Name/sub unit", sorted
	machine string               // "linux/amd64, 2 × Some CPU"
}

// readResults reads the output of go test -bench.
func readResults(r io.Reader) (results, error) {
	res := results{values: map[string][]float64{}}
	var goos, goarch, cpu, pkg, procs string
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "goos":
			goos = value
		case "goarch":
			goarch = value
		case "cpu":
			cpu = value
		case "pkg":
			pkg = strings.TrimPrefix(value, "github.com/coldframe/coldframe/")
		}
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			if _, err := strconv.Atoi(name[i+1:]); err == nil {
				name, procs = name[:i], name[i+1:]
			}
		}
		for i := 2; i+1 < len(fields); i += 2 {
			x, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return results{}, fmt.Errorf("%s: %s is not a number", fields[0], fields[i])
			}
			k := pkg + "." + name + " " + fields[i+1]
			res.values[k] = append(res.values[k], x)
		}
	}
	for _, v := range res.values {
		slices.Sort(v)
	}
	res.machine = fmt.Sprintf("%s/%s, %s × %s", goos, goarch, procs, cpu)
	return res, lines.Err()
}

// median is what one benchmark measured in a unit.
func (r results) median(benchmark, unit string) (float64, bool) {
	v := r.values[benchmark+" "+unit]
	if len(v) == 0 {
		return 0, false
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2, true
}

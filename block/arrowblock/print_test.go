package arrowblock

import (
	"strings"
	"testing"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/block"
)

// printedBlock has two services, a mapping, inlined lines and labels.
func printedBlock(t *testing.T) *Block {
	t.Helper()
	p := tiny()
	p.Mapping = []*pprof.Mapping{{ID: 1, Start: 0x400000, Limit: 0x500000, File: "/bin/app"}}
	inlined := &pprof.Function{ID: 2, Name: "main.inlined"}
	p.Function = append(p.Function, inlined)
	p.Location = append(p.Location,
		&pprof.Location{ID: 2, Mapping: p.Mapping[0], Address: 0x400042},
		&pprof.Location{ID: 3, Address: 0x99, Line: []pprof.Line{{Function: inlined, Line: 1}, {Function: p.Function[0], Line: 2}}})
	p.Sample = append(p.Sample, &pprof.Sample{
		Location: []*pprof.Location{p.Location[1], p.Location[2]},
		Value:    []int64{1, 10},
		Label:    map[string][]string{"thread": {"main"}},
		NumLabel: map[string][]int64{"size": {512}},
		NumUnit:  map[string][]string{"size": {"bytes"}},
	})
	b := newBuilder(t)
	add(t, b, Key{Name: "process_cpu", Labels: labels(t, "service_name", "api", "pod", "a")}, encode(t, p))
	add(t, b, Key{Name: "process_cpu", Labels: labels(t, "service_name", "web")}, encode(t, tiny()))
	b.AddSource(Source{ID: block.ID{1}, Day: block.DayOf(day), Profile: "7.pb.gz", Rejected: "gzip: unexpected EOF"})
	opened, _ := finish(t, b)
	return opened
}

func TestPrint(t *testing.T) {
	var out strings.Builder
	if err := Print(t.Context(), &out, printedBlock(t)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Arrow block of 2026-03-04T00:00:00.000Z to 2026-03-05T00:00:00.000Z\n",
		"profiles  2, from 2026-03-04T00:00:00.001Z to 2026-03-04T00:00:00.001Z\n",
		"samples   3 in 3 rows\n",
		"0      process_cpu  samples:count cpu:nanoseconds  cpu:nanoseconds  false           2         3\n",
		"0        api   1       [0, 4)\n",
		"1        web   1       [4, 6)\n",
		"raw/0/0.arrow ",
		"7.pb.gz  gzip: unexpected EOF\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestDump(t *testing.T) {
	const api = `2026-03-04T00:00:00.001Z process_cpu {pod="a", service_name="api"}`
	const web = `2026-03-04T00:00:00.001Z process_cpu {service_name="web"}`
	all := []string{
		api + ` samples=3 cpu=30 main.main`,
		api + ` samples=1 cpu=10 size=512bytes thread="main" main.main;main.inlined;/bin/app+0x42`,
		web + ` samples=3 cpu=30 main.main`,
	}
	b := printedBlock(t)
	for _, tt := range []struct {
		name string
		cfg  DumpConfig
		want int // of all lines, from the first
	}{
		{"all", DumpConfig{}, 3},
		{"no limit", DumpConfig{Limit: -1}, 3},
		{"a limit", DumpConfig{Limit: 2}, 2},
		{"a group", DumpConfig{Group: "process_cpu"}, 3},
		{"another group", DumpConfig{Group: "memory"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			if err := Dump(t.Context(), &out, b, tt.cfg); err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if out.Len() == 0 {
				lines = nil
			}
			if len(lines) != tt.want {
				t.Fatalf("%d lines, want %d:\n%s", len(lines), tt.want, out.String())
			}
			for _, want := range all[:tt.want] {
				if !strings.Contains(out.String(), want+"\n") {
					t.Errorf("no line %q in\n%s", want, out.String())
				}
			}
		})
	}
}

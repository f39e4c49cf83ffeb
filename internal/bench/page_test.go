package main

import (
	"slices"
	"strings"
	"testing"
)

const output = `goos: linux
goarch: amd64
pkg: github.com/coldframe/coldframe/profile
cpu: Some CPU @ 3GHz
BenchmarkDecode/repeating/ours-2         	 100	  500000 ns/op	 0.25 cpu-ms/profile	 10 B/op
BenchmarkDecode/repeating/ours-2         	 100	  500000 ns/op	 0.35 cpu-ms/profile	 10 B/op
BenchmarkDecode/repeating/pprof-2        	 100	  500000 ns/op	 1.5 cpu-ms/profile	 10 B/op
BenchmarkDecode/distinct/ours-2          	 100	  500000 ns/op	 1234.5 cpu-ms/profile	 10 B/op
PASS
`

// A row has the medians of both and how many times ours is better; rows of which
// something was not measured are left out and told; text around tables stays, as do
// tables of which nothing was measured; and filling twice changes nothing.
func TestFill(t *testing.T) {
	r, err := readResults(strings.NewReader(output))
	if err != nil {
		t.Fatal(err)
	}
	page := `on <!-- machine -->?<!-- /machine -->
<!-- bench: cpu-ms/profile
decode | profile.Decode/{stacks}/ours | profile.Decode/{stacks}/pprof | ≥ 4×
alone | profile.Decode/{stacks}/ours | |
-->
old
<!-- /bench -->
<!-- bench: B/op
memory | profile.Decode/repeating/ours | |
-->
<!-- /bench -->
<!-- bench: s/op
sleep | profile.Sleep | |
-->
as it was
<!-- /bench -->
after`
	want := `on <!-- machine -->linux/amd64, 2 × Some CPU @ 3GHz<!-- /machine -->
<!-- bench: cpu-ms/profile
decode | profile.Decode/{stacks}/ours | profile.Decode/{stacks}/pprof | ≥ 4×
alone | profile.Decode/{stacks}/ours | |
-->
| what | stacks | ours, cpu-ms/profile | theirs | ratio | target |
|---|---|--:|--:|--:|--:|
| decode | repeating | 0.300 | 1.50 | 5× | ≥ 4× |
| alone | repeating | 0.300 |  |  |  |
| alone | distinct | 1,234 |  |  |  |
<!-- /bench -->
<!-- bench: B/op
memory | profile.Decode/repeating/ours | |
-->
| what | ours, B/op |
|---|--:|
| memory | 10 |
<!-- /bench -->
<!-- bench: s/op
sleep | profile.Sleep | |
-->
as it was
<!-- /bench -->
after`
	got, missing, err := fill(page, r)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if absent := []string{"profile.Decode/distinct/pprof cpu-ms/profile", "profile.Sleep s/op"}; !slices.Equal(missing, absent) {
		t.Errorf("missing %q, want %q", missing, absent)
	}
	if again, _, _ := fill(string(got), r); string(again) != want {
		t.Errorf("filled twice:\n%s", again)
	}
}

func TestFigure(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 3: "3", 0.0123456: "0.0123", 1.2345: "1.23", 12.345: "12.3", 123.45: "123", 1234567: "1,234,567"} {
		if got := figure(x); got != want {
			t.Errorf("figure(%v) = %s, want %s", x, got, want)
		}
	}
}

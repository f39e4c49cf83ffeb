package query

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// The samples of a speedscope file are the stacks of the tree.
func TestSpeedscope(t *testing.T) {
	rng := rand.New(rand.NewPCG(31, 1))
	for range 50 {
		stacks := randomStacks(rng)
		var b bytes.Buffer
		if err := treeOf(stacks).WriteSpeedscope(&b); err != nil {
			t.Fatal(err)
		}
		var file struct {
			Shared   struct{ Frames []struct{ Name string } }
			Profiles []struct {
				Type, Unit string
				EndValue   int64
				Samples    [][]int
				Weights    []int64
			}
		}
		if err := json.Unmarshal(b.Bytes(), &file); err != nil {
			t.Fatal(err)
		}
		got, sum := map[string]int64{}, int64(0)
		for i, sample := range file.Profiles[0].Samples {
			var names []string
			for _, f := range sample {
				names = append(names, file.Shared.Frames[f].Name)
			}
			got[strings.Join(names, ";")] += file.Profiles[0].Weights[i]
			sum += file.Profiles[0].Weights[i]
		}
		for stack, v := range stacks {
			if v == 0 {
				delete(stacks, stack)
			}
		}
		compareMaps(t, "speedscope", got, stacks)
		if p := file.Profiles[0]; p.EndValue != sum || p.Type != "sampled" || p.Unit != "nanoseconds" {
			t.Errorf("profile %s of %s ends at %d, want %d", p.Type, p.Unit, p.EndValue, sum)
		}
	}
}

// A picture is well-formed, whatever functions are called, and each rectangle lies within the one it hangs from.
func TestSVG(t *testing.T) {
	rng := rand.New(rand.NewPCG(31, 2))
	for i := range 30 {
		tree := treeOf(randomStacks(rng))
		tree.Frames[1].Name = "operator<<\x00 \"&'>\xff"
		if i%2 == 0 {
			tree.BaseSelf = make([]int64, len(tree.Depth))
			tree.BaseTotal = make([]int64, len(tree.Depth))
			for j := len(tree.Depth) - 1; j >= 0; j-- {
				tree.BaseTotal[j] = rng.Int64N(50)
			}
		}
		var b bytes.Buffer
		if err := tree.WriteSVG(&b); err != nil {
			t.Fatal(err)
		}
		rows := map[float64][][2]float64{} // where rectangles begin and end, by their place from above
		dec := xml.NewDecoder(&b)
		for {
			token, err := dec.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			element, ok := token.(xml.StartElement)
			if !ok || element.Name.Local != "rect" {
				continue
			}
			at := map[string]float64{}
			for _, a := range element.Attr {
				at[a.Name.Local], _ = strconv.ParseFloat(a.Value, 64)
			}
			if _, drawn := at["x"]; drawn {
				rows[at["y"]] = append(rows[at["y"]], [2]float64{at["x"], at["x"] + at["width"]})
			}
		}
		checkRows(t, rows)
	}
}

func checkRows(t *testing.T, rows map[float64][][2]float64) {
	t.Helper()
	for y, row := range rows {
		reached := 0.0
		for _, r := range row {
			if r[0] < reached-0.2 {
				t.Errorf("a rectangle at %g begins at %g, the one before it ends at %g", y, r[0], reached)
			}
			reached = r[1]
			above := y == svgHead
			for _, p := range rows[y-svgRow] {
				above = above || p[0] <= r[0]+0.2 && r[1] <= p[1]+0.2
			}
			if !above {
				t.Errorf("a rectangle at %g from %g to %g hangs from none", y, r[0], r[1])
			}
		}
	}
}

func TestTextOfComparison(t *testing.T) {
	tree := treeOf(map[string]int64{"main;new": 30e6, "main;same": 50e6, "main;old": 0})
	base := treeOf(map[string]int64{"main;new": 0, "main;same": 20e6, "main;old": 20e6})
	tree.BaseSelf, tree.BaseTotal, tree.BaseRange = base.Self, base.Total, base.Range
	var got bytes.Buffer
	if err := tree.Top(ByDiff, 0).WriteText(&got); err != nil {
		t.Fatal(err)
	}
	want := `Type: process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta
Range: 2026-08-21T10:00:00Z to 2026-08-21T11:00:00Z
Total: 80ms
Base: 2026-08-21T10:00:00Z to 2026-08-21T11:00:00Z, total 40ms
Differences are relative: values of the base count 2 times
Showing 4 of 4 functions
      self       base        diff      total       base        diff
         0       20ms       -40ms          0       20ms       -40ms  old
      30ms          0       +30ms       30ms          0       +30ms  new
      50ms       20ms       +10ms       50ms       20ms       +10ms  same
         0          0           0       80ms       40ms           0  main
`
	if got.String() != want {
		t.Errorf("top:\n%swant\n%s", got.String(), want)
	}
	tree.Absolute = true
	got.Reset()
	if err := tree.WriteText(&got); err != nil {
		t.Fatal(err)
	}
	want = `Type: process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta
Range: 2026-08-21T10:00:00Z to 2026-08-21T11:00:00Z
Total: 80ms
Base: 2026-08-21T10:00:00Z to 2026-08-21T11:00:00Z, total 40ms
      self   self%      total  total%       base        diff
         0   0.00%       80ms 100.00%       40ms       +40ms  main
      30ms  37.50%       30ms  37.50%          0       +30ms    new
         0   0.00%          0   0.00%       20ms       -20ms    old
      50ms  62.50%       50ms  62.50%       20ms       +30ms    same
`
	if got.String() != want {
		t.Errorf("tree:\n%swant\n%s", got.String(), want)
	}
}

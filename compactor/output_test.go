package compactor

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/internal/truth"
)

// window is what a rollup's cell stands for, whatever the block numbers it.
type window struct {
	of string // the series' labels, or the service
	t  uint32
}

// wantWindows is what google/pprof makes of a block's profiles, window by window, given all
// profiles by the hash of their content.
func wantWindows(t *testing.T, b *arrowblock.Block, r arrowblock.Rollup, all map[uint64]*pprof.Profile) map[window]map[string][]int64 {
	t.Helper()
	totals, err := b.Totals(t.Context(), 0, arrowblock.Span{To: math.MaxUint32})
	if err != nil {
		t.Fatal(err)
	}
	in := map[window][]*pprof.Profile{}
	every := uint32(r.Window.Milliseconds())
	for i := range totals.Len() {
		w := window{keyName(b, arrowblock.BySeries, totals.Series[i]), totals.T[i] / every * every}
		if r.Axis == arrowblock.ByService {
			w.of = b.Services()[b.Series()[totals.Series[i]].Service].Name
		}
		if all[totals.Hash[i]] == nil {
			t.Fatalf("profile %d was not sent", i)
		}
		in[w] = append(in[w], all[totals.Hash[i]])
	}
	want := map[window]map[string][]int64{}
	for w, profiles := range in {
		merged, err := pprof.Merge(profiles)
		if err != nil {
			t.Fatal(err)
		}
		want[w] = truth.Samples(merged)
	}
	return want
}

func keyName(b *arrowblock.Block, axis arrowblock.Axis, key uint32) string {
	if axis == arrowblock.ByService {
		return b.Services()[key].Name
	}
	return b.Series()[key].Labels.String()
}

// readWindows reads a rollup, each window as a pprof.
func readWindows(t *testing.T, b *arrowblock.Block, r arrowblock.Rollup) map[window]map[string][]int64 {
	t.Helper()
	stacks := writeStacks(t, b)
	cells, err := b.Cells(t.Context(), r, 0, arrowblock.Span{To: math.MaxUint32})
	if err != nil {
		t.Fatal(err)
	}
	var spans []arrowblock.Span
	var profiles []*pprof.Profile
	for i := range cells.Len() {
		spans = append(spans, arrowblock.Span{From: cells.FirstRow[i], To: cells.FirstRow[i+1]})
		profiles = append(profiles, &pprof.Profile{})
	}
	for rows, err := range b.RollupRows(t.Context(), r, 0, spans, []int{0, 1}) {
		if err != nil {
			t.Fatal(err)
		}
		p := profiles[rows.Span]
		samples, cpu := rows.Values(nil, 0), rows.Values(nil, 1)
		for i, stack := range rows.Stack {
			p.Sample = append(p.Sample, &pprof.Sample{Location: stacks[stack], Value: []int64{samples[i], cpu[i]}})
		}
	}
	got := map[window]map[string][]int64{}
	for i, p := range profiles {
		got[window{keyName(b, r.Axis, cells.Key[i]), cells.T[i]}] = truth.Samples(p)
	}
	return got
}

// writeStacks gives the locations of every node's stack, leaf first.
func writeStacks(t *testing.T, b *arrowblock.Block) (all [][]*pprof.Location) {
	t.Helper()
	sym := arrowblock.NewSymbols()
	for n := range b.Services() {
		stacks, err := b.Stacks(t.Context(), sym, n)
		if err != nil {
			t.Fatal(err)
		}
		path := make([]*pprof.Location, math.MaxUint16)
		for i, depth := range stacks[0].Depth {
			if depth > 0 {
				path[depth] = location(sym, stacks[0].Frame[i])
			}
			stack := slices.Clone(path[1 : depth+1])
			slices.Reverse(stack)
			all = append(all, stack)
		}
	}
	return all
}

func location(sym *arrowblock.Symbols, id arrowblock.FrameID) *pprof.Location {
	f := sym.Frame(id)
	m := sym.Mappings()[f.Mapping]
	l := &pprof.Location{
		Address: m.Start + f.Address,
		Mapping: &pprof.Mapping{Start: m.Start, Limit: m.Limit, Offset: m.Offset, File: m.File, BuildID: m.BuildID},
	}
	for _, line := range f.Lines {
		fn := sym.Function(line.Function)
		l.Line = append(l.Line, pprof.Line{
			Function: &pprof.Function{Name: fn.Name, SystemName: fn.SystemName, Filename: fn.Filename, StartLine: fn.StartLine}, Line: line.Line, Column: line.Column,
		})
	}
	return l
}

// At every level, each window of each rollup is what google/pprof makes of the profiles in it,
// though some of them were sent twice and met again only when blocks were merged. So is it in
// the block of rollups that outlives a day's.
func TestRollupsAreWhatGoogleMakes(t *testing.T) {
	f := newFleet(t)
	f.clock.Store(block.DayOf(noon).Range().From.UnixNano())
	c := f.compactor(f.mem, Config{})
	sent := map[uint64]*pprof.Profile{}
	checked := map[string]int{}
	check := func() {
		for _, m := range f.head(0).Live {
			opened, err := openBlock(t.Context(), f.mem, catalog.Block{Meta: m})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(opened.Rollups(), rollupsOf[m.Level]) {
				t.Fatalf("a block of level %d has rollups %v", m.Level, opened.Rollups())
			}
			readers := []*arrowblock.Block{opened}
			if m.Level == block.L4 {
				alone, err := arrowblock.Open(t.Context(), object{f.mem, m.RollupKey(tenant, 0), m.R4.Size}, arrowblock.Tail{Bytes: m.R4.Tail, CRC: m.R4.CRC})
				if err != nil {
					t.Fatal(err)
				}
				readers = append(readers, alone)
			}
			for _, r := range opened.Rollups() {
				want := wantWindows(t, opened, r, sent)
				for n, reader := range readers {
					what := fmt.Sprintf("level %d, %s, reader %d", m.Level, r, n)
					got := readWindows(t, reader, r)
					if len(got) != len(want) {
						t.Errorf("%s: %d windows, want %d", what, len(got), len(want))
					}
					for w := range want {
						if d := truth.Difference(got[w], want[w]); d != "" {
							t.Errorf("%s: %v %s", what, w, d)
						}
					}
					checked[what] += len(want)
				}
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	for i := 0; f.now().Before(block.DayOf(noon).Range().To); i++ {
		at := f.now()
		n := f.count.Load()
		_, body, _ := makeProfile(t, n+1, at)
		p, err := pprof.ParseData(body)
		if err != nil {
			t.Fatal(err)
		}
		sent[contentHash(t, body)] = p
		f.upload(0, at)
		f.advance(7 * time.Minute)
		mustRun(t, c)
		if i%4 == 0 { // the client did not hear that it had landed
			f.count.Store(n)
			f.upload(0, at)
		}
		if i%40 == 39 {
			check()
		}
	}
	f.advance(2 * time.Hour)
	mustRun(t, c)
	f.mustBeWhole("when the day is closed")
	check()
	if got := f.levels(0); got != "[0 0 0 1]" {
		t.Errorf("blocks by level %s, want one of level 4", got)
	}
	for level := block.L2; level <= block.L4; level++ {
		for _, r := range rollupsOf[level] {
			if checked[fmt.Sprintf("level %d, %s, reader 0", level, r)] == 0 {
				t.Errorf("no window of %s in a block of level %d", r, level)
			}
		}
	}
}

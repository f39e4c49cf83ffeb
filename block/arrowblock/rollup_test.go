package arrowblock

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

// dayRollups are the rollups of a day's block.
var dayRollups = []Rollup{
	{BySeries, time.Hour},
	{BySeries, 24 * time.Hour},
	{ByService, 15 * time.Minute},
	{ByService, time.Hour},
	{ByService, 24 * time.Hour},
}

// finishWith writes the block with rollups, and the block of the rollups alone.
func finishWith(tb testing.TB, b *Builder, rollups []Rollup) (whole, alone []byte) {
	tb.Helper()
	var w, a bytes.Buffer
	meta, err := b.FinishTo(Output{Block: &w, Rollups: rollups, RollupsAlone: &a})
	if err != nil {
		tb.Fatal(err)
	}
	if meta.Size != int64(w.Len()) || meta.R4.Size != int64(a.Len()) {
		tb.Fatalf("meta %+v %+v of %d and %d bytes", meta, meta.R4, w.Len(), a.Len())
	}
	if _, err := Open(tb.Context(), block.Bytes(a.Bytes()), Tail{meta.R4.Tail, meta.R4.CRC}); err != nil {
		tb.Fatal(err)
	}
	return w.Bytes(), a.Bytes()
}

// cellKey says whose sums they are: a series or service, and the window's beginning.
type cellKey struct{ key, t uint32 }

// naiveCell is a cell as it should be.
type naiveCell struct {
	profiles, firstT, lastT uint32
	samples, duration       int64
	period                  int64
	rows                    map[uint32][]int64
}

// naiveCells sums a group's own rows window by window, in the plainest way.
func naiveCells(tb testing.TB, b *Block, group int, r Rollup) map[cellKey]*naiveCell {
	tb.Helper()
	totals, err := b.Totals(tb.Context(), group, Span{0, uint64(len(b.Series()))})
	if err != nil {
		tb.Fatal(err)
	}
	types := len(b.Groups()[group].SampleTypes)
	cols := Columns{}
	for k := range types {
		cols.Values = append(cols.Values, k)
	}
	cells := map[cellKey]*naiveCell{}
	for i := range totals.Len() {
		key := cellKey{totals.Series[i], totals.T[i] / uint32(r.Window.Milliseconds()) * uint32(r.Window.Milliseconds())}
		if r.Axis == ByService {
			key.key = uint32(b.Series()[key.key].Service)
		}
		c := cells[key]
		if c == nil {
			c = &naiveCell{firstT: totals.T[i], period: math.MinInt64, rows: map[uint32][]int64{}}
			cells[key] = c
		}
		c.profiles++
		c.firstT, c.lastT = min(c.firstT, totals.T[i]), max(c.lastT, totals.T[i])
		c.samples += int64(totals.Samples[i])
		c.duration += totals.DurationNanos[i]
		c.period = max(c.period, totals.Period[i])
		for rows, err := range b.Rows(tb.Context(), group, []Span{{totals.FirstRow[i], totals.FirstRow[i+1]}}, cols) {
			if err != nil {
				tb.Fatal(err)
			}
			for k := range types {
				for n, v := range rows.Values(nil, k) {
					if c.rows[rows.Stack[n]] == nil {
						c.rows[rows.Stack[n]] = make([]int64, types)
					}
					c.rows[rows.Stack[n]][k] += v
				}
			}
		}
	}
	for _, c := range cells {
		maps.DeleteFunc(c.rows, func(_ uint32, values []int64) bool { return allZero(values) })
	}
	return cells
}

// readCells reads a rollup as a query does.
func readCells(tb testing.TB, b *Block, group int, r Rollup) map[cellKey]*naiveCell {
	tb.Helper()
	cells, err := b.Cells(tb.Context(), r, group, Span{0, math.MaxUint32})
	if err != nil {
		tb.Fatal(err)
	}
	var spans []Span
	var values []int
	got := map[cellKey]*naiveCell{}
	for i := range cells.Len() {
		spans = append(spans, Span{cells.FirstRow[i], cells.FirstRow[i+1]})
		got[cellKey{cells.Key[i], cells.T[i]}] = &naiveCell{
			cells.Profiles[i], cells.FirstT[i], cells.LastT[i], cells.Samples[i], cells.DurationNanos[i], cells.Period[i], map[uint32][]int64{},
		}
	}
	for k := range cells.Values {
		values = append(values, k)
	}
	sums := make([][]int64, cells.Len())
	for i := range sums {
		sums[i] = make([]int64, len(values))
	}
	for rows, err := range b.RollupRows(tb.Context(), r, group, spans, values) {
		if err != nil {
			tb.Fatal(err)
		}
		if rows.Labels != nil {
			tb.Error("rows of a rollup have labels")
		}
		c := got[cellKey{cells.Key[rows.Span], cells.T[rows.Span]}]
		for k := range values {
			for n, v := range rows.Values(nil, k) {
				if c.rows[rows.Stack[n]] == nil {
					c.rows[rows.Stack[n]] = make([]int64, len(values))
				}
				c.rows[rows.Stack[n]][k] += v
				sums[rows.Span][k] += v
			}
		}
	}
	for i := range sums {
		for k := range values {
			if sums[i][k] != cells.Values[k][i] {
				tb.Errorf("cell %d of %s: rows add up to %d, the cell says %d", i, r, sums[i][k], cells.Values[k][i])
			}
		}
	}
	return got
}

func compareCells(tb testing.TB, what string, got, want map[cellKey]*naiveCell) {
	tb.Helper()
	if len(got) != len(want) {
		tb.Errorf("%s: %d cells, want %d", what, len(got), len(want))
	}
	for key, w := range want {
		g := got[key]
		if g == nil {
			tb.Errorf("%s: no cell %v", what, key)
			continue
		}
		if g.profiles != w.profiles || g.firstT != w.firstT || g.lastT != w.lastT || g.samples != w.samples || g.duration != w.duration || g.period != w.period {
			tb.Errorf("%s: cell %v is %+v, want %+v", what, key, g, w)
		}
		if !maps.EqualFunc(g.rows, w.rows, slices.Equal[[]int64]) {
			tb.Errorf("%s: cell %v has rows %v, want %v", what, key, g.rows, w.rows)
		}
	}
}

// rollupInputs are random profiles of several services and groups, some of them near one another.
func rollupInputs(t *testing.T, seed uint64, n int) []input {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 5))
	inputs := randomInputs(t, seed, n)
	for i := range inputs {
		if r.IntN(3) == 0 {
			inputs[i].key.Name = "memory"
		}
		if r.IntN(2) == 0 {
			at := 10*time.Hour + time.Duration(r.Int64N(int64(time.Hour)))
			if r.IntN(4) == 0 {
				at = at.Truncate(15 * time.Minute)
			}
			inputs[i].key.Time = day.Add(at)
		}
	}
	return inputs
}

// Every window of every rollup holds exactly the sums of the rows of its profiles, and so
// does the block of the rollups alone, whatever memory is allowed.
func TestRollupsAreSumsOfRows(t *testing.T) {
	for seed := range uint64(20) {
		inputs := rollupInputs(t, seed, 80)
		whole, alone := finishWith(t, buildOf(t, inputs), dayRollups)
		b, r4 := openBytes(t, whole), openBytes(t, alone)
		if !slices.Equal(b.Rollups(), dayRollups) || !slices.Equal(r4.Rollups(), dayRollups) {
			t.Fatalf("rollups %v and %v, want %v", b.Rollups(), r4.Rollups(), dayRollups)
		}
		for _, r := range dayRollups {
			for g := range b.Groups() {
				want := naiveCells(t, b, g, r)
				compareCells(t, fmt.Sprint("seed ", seed, " ", r), readCells(t, b, g, r), want)
				compareCells(t, fmt.Sprint("seed ", seed, " alone ", r), readCells(t, r4, g, r), want)
			}
		}
		for _, b := range []*Block{b, r4} {
			if err := b.Verify(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}

// The sums of all windows of a day are what google/pprof makes of the profiles without their labels.
func TestRollupsAreWhatMergeMakes(t *testing.T) {
	inputs := randomInputs(t, 77, 60)
	whole, alone := finishWith(t, buildOf(t, inputs), dayRollups)
	var profiles []*pprof.Profile
	for _, in := range inputs {
		p := in.profile.Copy()
		for _, s := range p.Sample {
			s.Label, s.NumLabel, s.NumUnit = nil, nil, nil
		}
		profiles = append(profiles, p)
	}
	want := wantSamples(t, profiles...)
	for _, data := range [][]byte{whole, alone} {
		b := openBytes(t, data)
		sym := NewSymbols()
		var nodes []string
		for n := range b.Services() {
			stacks, err := b.Stacks(t.Context(), sym, n)
			if err != nil {
				t.Fatal(err)
			}
			nodes = append(nodes, writeStacks(sym, stacks[0])...)
		}
		for _, r := range dayRollups {
			got := samples{}
			for _, c := range readCells(t, b, 0, r) {
				for stack, values := range c.rows {
					got.add(nodes[stack], values)
				}
			}
			compareSamples(t, got.dropZeros(), want)
		}
	}
}

// Merging makes the rollups that building makes, byte by byte, whatever rollups the blocks had and though
// profiles are in several of them: what was sent twice is in no sum twice.
func TestMergedRollupsAreAsBuilt(t *testing.T) {
	for seed := range uint64(15) {
		r := rand.New(rand.NewPCG(seed, 9))
		inputs := rollupInputs(t, seed, 1+r.IntN(100))
		wantWhole, wantAlone := finishWith(t, buildOf(t, inputs), dayRollups)
		dealt := []*Builder{newBuilder(t), newBuilder(t), newBuilder(t)}
		for n, in := range inputs {
			first := r.IntN(len(dealt))
			add(t, dealt[first], in.key, in.body)
			if second := r.IntN(len(dealt)); second != first && n%3 == 0 {
				add(t, dealt[second], in.key, in.body)
			}
		}
		var blocks []*Block
		for i, d := range dealt {
			data, _ := finishWith(t, d, [][]Rollup{nil, {{BySeries, 15 * time.Minute}}, dayRollups}[i])
			blocks = append(blocks, openBytes(t, data))
		}
		for _, little := range []bool{false, true} {
			var whole, alone bytes.Buffer
			m, err := newMerging(Output{Block: &whole, Rollups: dayRollups, RollupsAlone: &alone}, blocks)
			if err != nil {
				t.Fatal(err)
			}
			if little {
				m.nodesAtATime, m.mostSymbolBytes, m.maxWindowBytes = 1, 1, 1
			}
			if _, _, err := m.write(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(whole.Bytes(), wantWhole) || !bytes.Equal(alone.Bytes(), wantAlone) {
				t.Fatalf("seed %d, little memory %v: merged rollups differ from built ones", seed, little)
			}
		}
	}
}

// Cells of some series or services are those keys' part of all.
func TestCellsByKey(t *testing.T) {
	data, _ := finishWith(t, buildOf(t, rollupInputs(t, 4, 90)), dayRollups)
	b := openBytes(t, data)
	for _, r := range dayRollups {
		all, err := b.Cells(t.Context(), r, 0, Span{0, math.MaxUint32})
		if err != nil {
			t.Fatal(err)
		}
		for from := range uint64(8) {
			for to := from; to < 8; to++ {
				got, err := b.Cells(t.Context(), r, 0, Span{from, to})
				if err != nil {
					t.Fatal(err)
				}
				n := 0
				for i, key := range all.Key {
					if uint64(key) < from || uint64(key) >= to {
						continue
					}
					if got.T[n] != all.T[i] || got.FirstRow[n] != all.FirstRow[i] || got.Values[1][n] != all.Values[1][i] {
						t.Fatalf("%s of [%d, %d): cell %d is not cell %d of all", r, from, to, n, i)
					}
					n++
				}
				if got.Len() != n || len(got.FirstRow) != n+1 {
					t.Fatalf("%s of [%d, %d): %d cells, want %d", r, from, to, got.Len(), n)
				}
			}
		}
	}
}

// More cells and rows than fit a section come back.
func TestManyCells(t *testing.T) {
	if testing.Short() {
		t.Skip("70,000 profiles")
	}
	b := newBuilder(t)
	body := encode(t, tiny())
	for i := range 70_000 {
		add(t, b, Key{Name: "cpu", Labels: labels(t, "job", fmt.Sprint("j", i%7)), Time: day.Add(time.Duration(i) * 1200 * time.Millisecond)}, body)
	}
	rollups := []Rollup{{BySeries, time.Second}, {ByService, time.Second}, {ByService, time.Hour}}
	data, _ := finishWith(t, b, rollups)
	opened := openBytes(t, data)
	for _, r := range rollups[:2] {
		cells, err := opened.Cells(t.Context(), r, 0, Span{0, 7})
		if err != nil || cells.Len() != 70_000 || sum(cells.Values[0]) != 3*70_000 {
			t.Fatalf("%s: %d cells with %d, %v", r, cells.Len(), sum(cells.Values[0]), err)
		}
	}
	if err := opened.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// Rollups that cannot be made are refused before anything is written.
func TestRollupsThatCannotBe(t *testing.T) {
	for name, rollups := range map[string][]Rollup{
		"no window":           {{BySeries, 0}},
		"twice":               {{BySeries, time.Hour}, {BySeries, time.Hour}},
		"parts of a second":   {{ByService, 1500 * time.Millisecond}},
		"does not divide":     {{ByService, 15 * time.Minute}, {ByService, 50 * time.Minute}},
		"longer than a month": {{ByService, 31 * 24 * time.Hour}},
		"no axis":             {{7, time.Hour}},
		"too many":            make([]Rollup, 17),
	} {
		b := buildOf(t, randomInputs(t, 1, 2))
		if _, err := b.FinishTo(Output{Block: io.Discard, Rollups: rollups}); !errors.Is(err, profile.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	data, alone := finishWith(t, buildOf(t, randomInputs(t, 1, 2)), dayRollups)
	b := openBytes(t, data)
	if _, err := b.Cells(t.Context(), Rollup{BySeries, time.Minute}, 0, Span{0, 1}); !errors.Is(err, profile.ErrInvalid) {
		t.Errorf("cells of a rollup that is not there: %v", err)
	}
	for _, err := range b.RollupRows(t.Context(), Rollup{BySeries, time.Minute}, 0, nil, nil) {
		if !errors.Is(err, profile.ErrInvalid) {
			t.Errorf("rows of a rollup that is not there: %v", err)
		}
	}
	if _, _, err := MergeBlocks(t.Context(), Output{Block: io.Discard}, openBytes(t, alone)); !errors.Is(err, profile.ErrInvalid) {
		t.Errorf("merge of rollups alone: %v", err)
	}
}

// splice makes a block of one's sections, but for those of a folder, which are another's.
func splice(tb testing.TB, one, other []byte, folder string) []byte {
	tb.Helper()
	a, b := openBytes(tb, one), openBytes(tb, other)
	var out bytes.Buffer
	f, err := newFinisher(newBuilder(tb), Output{Block: &out, Rollups: a.Rollups()})
	if err != nil {
		tb.Fatal(err)
	}
	for i := range a.sections {
		s, data := &a.sections[i], one
		if strings.HasPrefix(s.name, folder) {
			if s, err = b.named(s.name); err != nil {
				tb.Fatal(err)
			}
			data = other
		}
		if s.name == groupsName {
			if err := f.pack.beginTail(); err != nil {
				tb.Fatal(err)
			}
		}
		if err := f.pack.add(*s, data[s.off:s.end()]); err != nil {
			tb.Fatal(err)
		}
	}
	if err := f.writeIndex(f.pack, a.info); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// A rollup that is in order and has nothing to do with the rows beside it is found, be it
// by one unit of one sample.
func TestVerifyFindsOtherSums(t *testing.T) {
	var blocks, alone [2][]byte
	for i := range blocks {
		b := newBuilder(t)
		for n := range 3 {
			p := tiny()
			if n == 1 {
				p.Sample[0].Value[1] += int64(i)
			}
			p.Sample = append(p.Sample, &pprof.Sample{Value: []int64{1, int64(n)}, Location: []*pprof.Location{p.Location[0], p.Location[0]}})
			add(t, b, Key{Name: "cpu", Labels: labels(t, "job", "a", "pod", fmt.Sprint(n)), Time: day.Add(time.Duration(n) * time.Hour)}, encode(t, p))
		}
		blocks[i], alone[i] = finishWith(t, b, dayRollups)
	}
	for _, r := range dayRollups {
		folder := r.String()
		if got := openBytes(t, splice(t, blocks[0], blocks[0], folder)).Verify(t.Context()); got != nil {
			t.Fatalf("spliced with itself: %v", got)
		}
		for _, b := range [][2][]byte{blocks, alone} {
			err := openBytes(t, splice(t, b[0], b[1], folder)).Verify(t.Context())
			if !errors.Is(err, block.ErrCorrupt) || !strings.Contains(err.Error(), "add up") {
				t.Errorf("other sums in %s: %v", folder, err)
			}
		}
	}
}

// What queries of long ranges read, the sums of services, lies at the end of a block, after all rows
// and profiles of all groups.
func TestRollupsOfServicesComeLast(t *testing.T) {
	r := rand.New(rand.NewPCG(77, 1))
	builder := newBuilder(t)
	for i, name := range []string{"x", "y", "x"} {
		if _, err := builder.Add(Key{Name: name, Labels: labels(t, "job", "a")}, flatProfile(r, 10, 20, 3), uint64(i)); err != nil {
			t.Fatal(err)
		}
	}
	whole, _ := finishWith(t, builder, dayRollups)
	b, err := Open(t.Context(), block.Bytes(whole), Tail{})
	if err != nil {
		t.Fatal(err)
	}
	lastRaw, firstSeries, firstService := -1, -1, -1
	for i := range b.sections {
		switch name := b.sections[i].name; {
		case strings.HasPrefix(name, "raw/"), strings.HasPrefix(name, "totals/"):
			lastRaw = i
		case firstSeries < 0 && strings.HasPrefix(name, "rs/"):
			firstSeries = i
		case firstService < 0 && strings.HasPrefix(name, "rv/"):
			firstService = i
		}
	}
	if len(b.groups) < 2 || lastRaw < 0 || lastRaw > firstSeries || firstSeries > firstService {
		t.Errorf("%d groups; rows and totals end at section %d, sums of series begin at %d, of services at %d", len(b.groups), lastRaw, firstSeries, firstService)
	}
}

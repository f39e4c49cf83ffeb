package compactor

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/catalog"
)

// Without its HEADs a bucket still tells what was live. What is rebuilt counts everything
// once, then and after further compaction; stragglers come in with the next sweep.
func TestRebuildHeads(t *testing.T) {
	for _, broken := range []bool{false, true} {
		f := newFleet(t)
		c := f.compactor(f.mem, Config{})
		for range 6 {
			f.upload(0, f.now(), f.now().Add(-24*time.Hour))
			f.upload(5, f.now())
			f.advance(25 * time.Minute)
			mustRun(t, c)
		}
		f.orphan(0)
		f.uploadTo(f.mem, 0, noon.Add(time.Minute), noon) // long since too late: a rebuilt HEAD knows nothing of that
		f.upload(0, f.now())
		f.advance(2 * time.Minute)
		for _, shard := range []block.Shard{0, 5} {
			if broken {
				if err := f.mem.Put(t.Context(), block.HeadKey(tenant, shard), []byte("{")); err != nil {
					t.Fatal(err)
				}
			} else if err := f.mem.Delete(t.Context(), block.HeadKey(tenant, shard)); err != nil {
				t.Fatal(err)
			}
		}
		var rebuilt []Rebuilt
		if err := c.RebuildHeads(t.Context(), func(r Rebuilt) { rebuilt = append(rebuilt, r) }); err != nil {
			t.Fatal(err)
		}
		if len(rebuilt) != 2 || rebuilt[0].Live != 12 || rebuilt[0].Superseded != 1 || rebuilt[0].Stragglers != 1 || rebuilt[1].Live != 6 || rebuilt[1].Stragglers != 0 {
			t.Errorf("%+v", rebuilt)
		}
		if a := f.read(f.mem); len(a.count) != len(f.sent)-1 {
			t.Errorf("%d profiles of %d, want all but one", len(a.count), len(f.sent))
		} else {
			f.mustNotRepeat("rebuilt", a)
		}
		mustRun(t, f.compactor(f.mem, Config{}))
		f.mustBeWhole("after compaction")
		found, _ := f.check(f.mem)
		for _, finding := range found {
			if !strings.HasPrefix(finding, "orphan ") { // as merged blocks are
				t.Errorf("found %q", finding)
			}
		}
	}
}

// orphan makes a second block of a live one's bytes, as a compactor leaves it that lost its race.
func (f *fleet) orphan(shard block.Shard) {
	f.t.Helper()
	live := f.head(shard).Live[0]
	data, _, err := f.mem.Get(f.t.Context(), live.Key(tenant, shard))
	if err != nil {
		f.t.Fatal(err)
	}
	live.ID = block.NewID(f.now())
	f.put(live.Key(tenant, shard), data)
}

// A HEAD that can be read is not touched.
func TestRebuildLeavesSoundHeads(t *testing.T) {
	f := newFleet(t)
	f.upload(0, f.now())
	f.advance(2 * time.Minute)
	c := f.compactor(f.mem, Config{})
	mustRun(t, c)
	before := f.head(0)
	if err := c.RebuildHeads(t.Context(), func(r Rebuilt) { t.Errorf("rebuilt %+v", r) }); err != nil {
		t.Fatal(err)
	}
	if after := f.head(0); after.Seq != before.Seq || after.Txn != before.Txn {
		t.Errorf("HEAD became %+v", after)
	}
}

// When all pprof blocks are gone the blocks are live all the same.
func TestRebuildLongAfter(t *testing.T) {
	f := newFleet(t)
	f.upload(0, f.now())
	f.advance(2 * time.Minute)
	c := f.compactor(f.mem, Config{})
	mustRun(t, c)
	for o, err := range f.mem.List(t.Context(), "v1/") {
		if err != nil {
			t.Fatal(err)
		}
		if o.Key[:6] == "v1/l0/" || o.Key[:6] == "v1/man" {
			if err := f.mem.Delete(t.Context(), o.Key); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.RebuildHeads(t.Context(), func(Rebuilt) {}); err != nil {
		t.Fatal(err)
	}
	f.mustBeWhole("rebuilt")
	if h := f.head(0); h.Sealed != lastEnded(f.now(), 20*time.Second) || len(h.Commits) > 0 {
		t.Errorf("%+v", h)
	}
}

func TestCover(t *testing.T) {
	source := func(names string) (all []sourceDay) {
		for _, name := range names {
			var id block.ID
			id[15] = byte(name)
			all = append(all, sourceDay{id, 1})
		}
		return all
	}
	tests := []struct {
		name       string
		blocks     map[string]block.Level // by their sources
		live, torn []string
	}{
		{"apart", map[string]block.Level{"a": 1, "bc": 1}, []string{"bc", "a"}, nil},
		{"merged", map[string]block.Level{"a": 1, "b": 1, "ab": 2, "c": 1}, []string{"ab", "c"}, nil},
		{"merged twice", map[string]block.Level{"a": 1, "b": 1, "ab": 2, "abc": 3, "c": 2}, []string{"abc"}, nil},
		{"a lost race", map[string]block.Level{"ab": 1, "b": 1, "bc": 1, "c": 1}, []string{"ab", "c"}, []string{"bc"}},
		{"a small merge and a large block", map[string]block.Level{"ab": 2, "bcd": 1}, []string{"ab"}, []string{"bcd"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var all []candidate
			for names, level := range tt.blocks {
				c := candidate{Meta: block.Meta{Level: level}, sources: source(names)}
				c.ID[0] = names[0]
				all = append(all, c)
			}
			names := func(cs []candidate) (all []string) {
				for _, c := range cs {
					s := ""
					for _, at := range c.sources {
						s += string(rune(at.id[15]))
					}
					all = append(all, s)
				}
				return all
			}
			live, torn := cover(all)
			if !slices.Equal(names(live), tt.live) || !slices.Equal(names(torn), tt.torn) {
				t.Errorf("live %v and torn %v, want %v and %v", names(live), names(torn), tt.live, tt.torn)
			}
		})
	}
}

// The entries of a rebuilt HEAD are those of the one that was lost, rollups too.
func TestRebuildFindsRollups(t *testing.T) {
	f := newFleet(t)
	c := f.compactor(f.mem, Config{})
	for range 3 {
		f.upload(0, f.now(), f.now().Add(-time.Hour))
		f.advance(24 * time.Hour)
		mustRun(t, c)
	}
	before := f.head(0).Live
	if err := f.mem.Delete(t.Context(), block.HeadKey(tenant, 0)); err != nil {
		t.Fatal(err)
	}
	if err := c.RebuildHeads(t.Context(), func(Rebuilt) {}); err != nil {
		t.Fatal(err)
	}
	after := f.head(0).Live
	if len(before) == 0 || len(after) != len(before) {
		t.Fatalf("%d live blocks, before %d", len(after), len(before))
	}
	for i := range before {
		if before[i].R4 == nil || after[i].R4 == nil || before[i].R4.ID != after[i].R4.ID || before[i].R4.Size != after[i].R4.Size {
			t.Errorf("block %s has the rollups %+v, before %+v", after[i].ID, after[i].R4, before[i].R4)
		}
	}
	if found, _ := f.check(f.mem); len(found) > 0 {
		t.Errorf("check finds %q", found)
	}
}

// Of a day whose profiles have expired the rollups are found again, until they expire too.
func TestRebuildFindsWhatOutlives(t *testing.T) {
	f := newFleet(t)
	c := f.compactor(f.mem, Config{Delete: true})
	if _, err := c.cat.ChangeSettings(t.Context(), tenant, func(s *catalog.Settings) {
		s.Retention, _ = catalog.ParseRetention("2d")
		s.RollupRetention, _ = catalog.ParseRetention("5d")
	}); err != nil {
		t.Fatal(err)
	}
	pass := func(days int) {
		f.advance(time.Duration(days) * 24 * time.Hour)
		for range 2 { // what is retired goes an hour later
			mustRun(t, c)
			f.advance(61 * time.Minute)
			mustRun(t, c)
		}
	}
	f.upload(0, f.now(), f.now().Add(-time.Hour))
	f.upload(5, f.now())
	pass(2)
	f.upload(0, f.now(), f.now().Add(-time.Hour))
	pass(1)
	for _, want := range []struct{ days, live, outlived int }{{0, 3, 2}, {3, 1, 1}} {
		pass(want.days)
		before := map[block.Shard]string{}
		for _, shard := range []block.Shard{0, 5} {
			before[shard] = rollupsOf4(f.head(shard))
			if err := f.mem.Delete(t.Context(), block.HeadKey(tenant, shard)); err != nil {
				t.Fatal(err)
			}
		}
		live, outlived := 0, 0
		if err := c.RebuildHeads(t.Context(), func(r Rebuilt) { live, outlived = live+r.Live, outlived+r.Outlived }); err != nil {
			t.Fatal(err)
		}
		if live != want.live || outlived != want.outlived {
			t.Errorf("%d blocks, %d of them only rollups; want %+v", live, outlived, want)
		}
		for shard, want := range before {
			if got := rollupsOf4(f.head(shard)); got != want {
				t.Errorf("shard %s has %q, before %q", shard, got, want)
			}
		}
		if found, _ := f.check(f.mem); len(found) > 0 {
			t.Errorf("check finds %q", found)
		}
	}
}

// rollupsOf4 tells the live blocks of a HEAD, all of level 4, by their rollups.
func rollupsOf4(h catalog.Head) (all string) {
	for _, m := range h.Live {
		all += fmt.Sprintf("%s %s %v, ", m.Day, m.R4.ID, m.Expired)
	}
	return all
}

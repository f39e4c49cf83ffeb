package compactor

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket/buckettest"
)

// levels counts a shard's live blocks by level.
func (f *fleet) levels(shard block.Shard) string {
	f.t.Helper()
	var n [5]int
	for _, m := range f.head(shard).Live {
		n[m.Level]++
	}
	return fmt.Sprint(n[1:])
}

// A day's uploads become one block of level 4, by way of all levels, and what comes late
// joins it. At each step every profile counts once.
func TestLevels(t *testing.T) {
	f := newFleet(t)
	f.clock.Store(block.DayOf(noon).Range().From.UnixNano())
	made := map[block.Level]int{}
	c := f.compactor(f.mem, Config{Observer: Observer{Committed: func(j Job) { made[j.Level]++ }}})
	for f.now().Before(block.DayOf(noon).Range().To) {
		f.upload(0, f.now())
		f.advance(5 * time.Minute)
		mustRun(t, c)
		if f.now().Minute() == 0 && f.now().Hour()%4 == 0 {
			f.mustBeWhole(f.now().String())
		}
	}
	f.advance(30 * time.Minute)
	mustRun(t, c)
	f.mustBeWhole("before the day is closed")
	if got := f.levels(0); got != "[0 0 8 0]" {
		t.Errorf("blocks by level %s, want eight of level 3", got)
	}
	f.advance(time.Hour)
	mustRun(t, c)
	f.mustBeWhole("when the day is closed")
	if got := f.levels(0); got != "[0 0 0 1]" {
		t.Errorf("blocks by level %s, want one of level 4", got)
	}
	if made[block.L2] != 96 || made[block.L3] != 8 || made[block.L4] != 1 {
		t.Errorf("merges by level: %v", made)
	}
	for range 8 {
		f.upload(0, noon.Add(-time.Duration(f.count.Load())*time.Second))
		f.advance(2 * time.Minute)
		mustRun(t, c)
	}
	f.mustBeWhole("with late data")
	if got := f.levels(0); got != "[0 0 0 1]" {
		t.Errorf("blocks by level %s after nine of level 4, want one", got)
	}
	if found, checked := f.check(f.mem); checked.Damaged > 0 {
		t.Errorf("found %q", found)
	}
}

// Whichever write of merging fails, lost or landed: a reader sees every profile once, and
// running again finishes the work.
func TestEveryWriteOfMergingFails(t *testing.T) {
	for n := 1; ; n++ {
		failed := false
		for _, landed := range []bool{false, true} {
			f := newFleet(t)
			good := f.compactor(f.mem, Config{})
			for range 4 {
				f.upload(0, f.now(), f.now().Add(-3*time.Hour))
				f.advance(3 * time.Minute)
				mustRun(t, good)
			}
			f.advance(14 * time.Hour)
			b := buckettest.FailNth(f.mem, n, landed)
			when := fmt.Sprintf("n=%d landed=%v", n, landed)
			c := f.compactor(b, Config{Jobs: 1})
			err := c.RunOnce(t.Context())
			f.mustBeWhole(when)
			if errors.Is(err, buckettest.ErrInjected) {
				err = c.RunOnce(t.Context())
			}
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			f.mustBeWhole(when + ", again")
			if got := f.levels(0); got != "[0 0 0 1]" {
				t.Errorf("%s: blocks by level %s, want one of level 4", when, got)
			}
			failed = b.Failed()
		}
		if !failed {
			t.Logf("%d writes", n-1)
			break
		}
	}
}

// A block that is damaged or gone is marked and told, stays live, and the others of its
// window are merged.
func TestDamagedBlockIsQuarantined(t *testing.T) {
	for _, gone := range []bool{false, true} {
		f := newFleet(t)
		var told []string
		c := f.compactor(f.mem, Config{Observer: Observer{Quarantined: func(key, reason string) { told = append(told, key+": "+reason) }}})
		for range 4 {
			f.upload(0, f.now())
			f.advance(3 * time.Minute)
			mustRun(t, c)
		}
		victim := f.head(0).Live[1]
		key := victim.Key(tenant, 0)
		data, _, err := f.mem.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.mem.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if !gone {
			data = bytes.Clone(data)
			data[len(data)/3] ^= 0xff
			f.put(key, data)
		}
		f.advance(10 * time.Minute)
		mustRun(t, c)
		if got := f.levels(0); got != "[1 1 0 0]" {
			t.Errorf("gone=%v: blocks by level %s, want the bad one and one of level 2", gone, got)
		}
		if len(told) != 1 || !strings.HasPrefix(told[0], key) {
			t.Errorf("gone=%v: told %q", gone, told)
		}
		for _, m := range f.head(0).Live {
			if (m.ID == victim.ID) != (m.Bad != "") {
				t.Errorf("gone=%v: %s has bad %q", gone, m.ID, m.Bad)
			}
		}
		before := f.head(0).Seq
		mustRun(t, c)
		if after := f.head(0).Seq; after != before {
			t.Errorf("gone=%v: %d more commits with nothing to do", gone, after-before)
		}
	}
}

package block_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
)

func TestNewIDIsUniqueAndCarriesItsTime(t *testing.T) {
	const goroutines, each = 8, 2000
	now := time.UnixMilli(1787346300123)
	ids := make([][each]block.ID, goroutines)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				ids[g][i] = block.NewID(now)
			}
		})
	}
	wg.Wait()
	seen := map[block.ID]bool{}
	for _, batch := range ids {
		for _, id := range batch {
			if seen[id] {
				t.Fatalf("%s twice", id)
			}
			seen[id] = true
			if !id.Timestamp().Equal(now) {
				t.Fatalf("%s has time %v, want %v", id, id.Timestamp(), now)
			}
		}
	}
	if a, b := block.NewID(now).String(), block.NewID(now.Add(time.Millisecond)).String(); a >= b {
		t.Errorf("%s is not before %s", a, b)
	}
	if id := block.NewID(time.Unix(-1, 0)); id.Time() != 0 {
		t.Errorf("before 1970: %s", id)
	}
}

func TestShardOf(t *testing.T) {
	for _, shards := range []int{-1, 0, 1} {
		if got := block.ShardOf("host-1", shards); got != 0 {
			t.Errorf("of %d shards: got %s, want 00", shards, got)
		}
	}
	// xxhash64("host-1"), from another implementation than the one used here.
	const sum = 0x2e03bba7ae31b4dd
	for _, shards := range []int{2, 7, 256, 1000} {
		if got, want := block.ShardOf("host-1", shards), block.Shard(sum%uint64(min(shards, 256))); got != want {
			t.Errorf("of %d shards: got %s, want %s", shards, got, want)
		}
	}
}

func TestDays(t *testing.T) {
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{time.Unix(0, 0), "19700101"},
		{time.Date(2026, 8, 21, 23, 59, 59, 999999999, time.UTC), "20260821"},
		{time.Date(2026, 8, 22, 1, 0, 0, 0, time.FixedZone("", 2*60*60)), "20260821"},
		{time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC), "20240229"},
		{time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), "99991231"},
	} {
		day := block.DayOf(c.at)
		if day.String() != c.want || block.DayOfMillis(c.at.UnixMilli()) != day {
			t.Errorf("%v: got %s and %s, want %s", c.at, day, block.DayOfMillis(c.at.UnixMilli()), c.want)
		}
		if back, err := block.ParseDay(c.want); err != nil || back != day {
			t.Errorf("parse %s: got %v, %v", c.want, back, err)
		}
		if !day.Range().Contains(c.at) || day.Range().Contains(day.End()) || day.End() != (day+1).Start() {
			t.Errorf("%s is [%v, %v)", day, day.Start(), day.End())
		}
	}
	if got := block.DayOf(time.Unix(0, -1)); got != -1 {
		t.Errorf("the nanosecond before 1970: got %d, want -1", got)
	}
	for _, s := range []string{"", "2026821", "20260230", "19691231", "2026-08-21", "020260821", " 0260821"} {
		if day, err := block.ParseDay(s); err == nil {
			t.Errorf("%q: got %s", s, day)
		}
	}
	if !slices.IsSorted([]string{block.Day(99).String(), block.Day(100).String(), block.Day(20686).String()}) {
		t.Error("days do not sort")
	}
}

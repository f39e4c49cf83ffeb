package compactor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/catalog"
)

// Each case is prose, the live blocks ("NAME LEVEL FIRST MADE MB", and "bad"), the time, and
// which of them are merged. Times are day-hour:minute of a month. A name ending in
// "*N" stands for N blocks, one a minute.
func TestPlanMerges(t *testing.T) {
	files, err := filepath.Glob("testdata/levels/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			given, want, _ := strings.Cut(string(data), "-- merges --\n")
			got := merges(t, given)
			if *update {
				if err := os.WriteFile(file, []byte(given+"-- merges --\n"+got), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("%s\ngot\n%s\nwant\n%s", given, got, want)
			}
		})
	}
}

func merges(t *testing.T, given string) string {
	t.Helper()
	_, given, _ = strings.Cut(given, "-- blocks --\n")
	blocks, when, _ := strings.Cut(given, "-- now --\n")
	clock := func(s string) time.Time {
		at, err := time.ParseInLocation("2006-01 02-15:04", "2026-08 "+strings.TrimSpace(s), time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	now := clock(when)
	names := map[block.ID]string{}
	var live []block.Meta
	for line := range strings.Lines(blocks) {
		words := strings.Fields(line)
		var level block.Level
		var size int64
		if _, err := fmt.Sscan(words[1]+" "+words[4], &level, &size); err != nil {
			t.Fatal(err)
		}
		name, count, _ := strings.Cut(words[0], "*")
		n := 1
		if count != "" {
			if _, err := fmt.Sscan(count, &n); err != nil {
				t.Fatal(err)
			}
		}
		for i := range n {
			first := clock(words[2]).Add(time.Duration(i) * time.Minute)
			m := block.Meta{Level: level, Day: block.DayOf(first), MinTime: first.UnixMilli(), MaxTime: first.UnixMilli(), Size: size << 20}
			if err := m.ID.SetTime(ulid.Timestamp(clock(words[3]))); err != nil {
				t.Fatal(err)
			}
			m.ID[15] = byte(len(live))
			if len(words) > 5 {
				m.Bad = words[5]
			}
			names[m.ID] = name
			if n > 1 {
				names[m.ID] = fmt.Sprintf("%s%d", name, i+1)
			}
			live = append(live, m)
		}
	}
	var out strings.Builder
	for _, p := range planMerges(live, now, catalog.MinuteOf(now)-1) {
		for _, m := range p.in {
			fmt.Fprintf(&out, "%s ", names[m.ID])
		}
		fmt.Fprintf(&out, "-> level %d\n", p.level)
	}
	return out.String()
}

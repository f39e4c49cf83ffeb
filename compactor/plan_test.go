package compactor

import (
	"errors"
	"flag"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/catalog"
)

var update = flag.Bool("update", false, "rewrite what the case files expect")

// Each case is prose, what HEAD says, what a listing of the minutes after it shows
// ("HH:MM BYTES"), and what is made of it.
func TestPlan(t *testing.T) {
	files, err := filepath.Glob("testdata/plan/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			given, want, _ := strings.Cut(string(data), "-- plan --\n")
			got := plan(t, given)
			if *update {
				if err := os.WriteFile(file, []byte(given+"-- plan --\n"+got), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("%s\ngot\n%s\nwant\n%s", given, got, want)
			}
		})
	}
}

func plan(t *testing.T, given string) string {
	t.Helper()
	_, head, _ := strings.Cut(given, "-- head --\n")
	head, listing, _ := strings.Cut(head, "-- listing --\n")
	var sealed, swept, upTo string
	var maxBytes int64
	if _, err := fmt.Sscanf(head, "sealed %s swept %s\nup to %s at most %d", &sealed, &swept, &upTo, &maxBytes); err != nil {
		t.Fatal(err)
	}
	h := catalog.Head{Sealed: at(t, sealed), Swept: at(t, swept)}
	var l0s []catalog.L0
	for line := range strings.Lines(listing) {
		var minute string
		var size int64
		if _, err := fmt.Sscanf(line, "%s %d", &minute, &size); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		l0s = append(l0s, catalog.L0{L0Key: block.L0Key{Minute: at(t, minute).Time()}, Size: size})
	}
	b, err := nextBatch(listed(l0s, nil), at(t, upTo), maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	const window = 60
	return fmt.Sprintf("%d pprof blocks, %d bytes, up to %s, whole %v\nworth sealing %v, worth sweeping %v, sweep due %v\n",
		len(b.l0s), b.bytes, b.to.Time().Format("15:04"), b.whole,
		b.worthSealing(h, window), b.worthSweeping(h, window), sweepDue(h, 10*time.Minute))
}

func at(t *testing.T, clock string) catalog.Minute {
	t.Helper()
	d, err := time.Parse("15:04", clock)
	if err != nil {
		t.Fatal(err)
	}
	return catalog.MinuteOf(noon.Truncate(24 * time.Hour).Add(time.Duration(d.Hour())*time.Hour + time.Duration(d.Minute())*time.Minute))
}

func listed(l0s []catalog.L0, err error) iter.Seq2[catalog.L0, error] {
	return func(yield func(catalog.L0, error) bool) {
		for _, l0 := range l0s {
			if !yield(l0, nil) {
				return
			}
		}
		if err != nil {
			yield(catalog.L0{}, err)
		}
	}
}

// A listing that breaks off is no plan: what it has not shown would be sealed unread.
func TestPlanOfABrokenListing(t *testing.T) {
	broken := errors.New("broken off")
	if _, err := nextBatch(listed([]catalog.L0{{Size: 1}}, broken), 100, 10); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestLastEnded(t *testing.T) {
	const lag = 20 * time.Second
	for after, want := range map[time.Duration]string{
		0:                                     "11:58",
		19 * time.Second:                      "11:58",
		20 * time.Second:                      "11:59",
		79*time.Second + 999*time.Millisecond: "11:59",
		80 * time.Second:                      "12:00",
	} {
		if got := lastEnded(noon.Add(after), lag); got != at(t, want) {
			t.Errorf("%v after noon: %s, want %s", after, got, want)
		}
	}
	if got := lastEnded(time.Unix(30, 0), lag); got != 0 {
		t.Errorf("in 1970: %s", got)
	}
}

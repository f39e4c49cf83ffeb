package catalog

import (
	"strings"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
)

func TestListing(t *testing.T) {
	eachCase(t, "listing", func(t *testing.T, sections map[string]string) string {
		var after, upTo string
		scan(t, sections["minutes"], "after %s up to %s", &after, &upTo)
		var b strings.Builder
		for _, f := range foldersBetween(readMinute(t, after), readMinute(t, upTo)) {
			b.WriteString(strings.TrimPrefix(f.prefix("default", 0), block.ClassL0.ShardPrefix("default", 0)) + "\n")
		}
		return b.String()
	})
}

func readMinute(t *testing.T, s string) Minute {
	t.Helper()
	at, err := time.Parse("2006-01-02T15:04", s)
	if err != nil {
		t.Fatal(err)
	}
	return MinuteOf(at)
}

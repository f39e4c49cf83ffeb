package upload

import (
	"errors"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
)

// A name that is read is written again as it was.
func FuzzParseFileName(f *testing.F) {
	p := &parcel{key: block.L0Key{Tenant: "acme", Minute: time.Unix(0, 0), MinTime: time.Unix(0, 0), ID: block.NewID(time.Unix(1787346300, 0))}, profiles: 12}
	f.Add(fileName(p, false))
	f.Add(fileName(p, true))
	f.Add("corrupt!" + fileName(p, true))
	f.Add("tied!free!1!v1!l0")
	f.Fuzz(func(t *testing.T, name string) {
		p, err := parseFileName(name)
		switch {
		case err == nil && (fileName(p, p.tied) != name || p.file != name):
			t.Errorf("%q is written as %q", name, fileName(p, p.tied))
		case err != nil && !errors.Is(err, block.ErrCorrupt):
			t.Errorf("%q: %v is not ErrCorrupt", name, err)
		}
	})
}

// Windows of a fleet end all over the window, each of a host in the same second of it.
func TestWindowsOfAFleetEndApart(t *testing.T) {
	now := time.Unix(1787346300, 123)
	perSecond := map[int]int{}
	const hosts = 600
	for i := range hosts {
		u := &Uploader{cfg: Config{Agent: string(rune('a'+i%26)) + time.Duration(i).String(), Window: time.Minute}}
		first := u.untilWindowEnds(now)
		if first <= 0 || first > time.Minute {
			t.Fatalf("first window ends in %v", first)
		}
		end := now.Add(first)
		if again := u.untilWindowEnds(end); again != time.Minute {
			t.Fatalf("the next ends in %v", again)
		}
		perSecond[end.Second()]++
	}
	for second, n := range perSecond {
		if n > hosts/60*3 {
			t.Errorf("%d of %d windows end in second %d", n, hosts, second)
		}
	}
}

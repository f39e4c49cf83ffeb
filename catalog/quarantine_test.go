package catalog

import (
	"errors"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
)

// A block that is marked stays live and changes in nothing else; one that is gone, or has
// expired and so may be gone, cannot be marked.
func TestQuarantine(t *testing.T) {
	one, two := block.Meta{ID: block.ID{1}, Rows: 7}, block.Meta{ID: block.ID{2}, Rows: 8}
	h := Head{Live: []block.Meta{one, two}}
	if err := (Quarantine{ID: two.ID, Bad: "torn"}).apply(&h, 60, time.Time{}); err != nil {
		t.Fatal(err)
	}
	two.Bad = "torn"
	if h.Live[0].Bad != "" || h.Live[1].Bad != "torn" || h.Live[1].Rows != 8 || len(h.Live) != 2 {
		t.Errorf("live is %+v", h.Live)
	}
	h.Live[0].Expired = true
	for _, id := range []block.ID{{1}, {3}} {
		if err := (Quarantine{ID: id, Bad: "missing"}).apply(&h, 60, time.Time{}); !errors.Is(err, ErrConflict) || h.Live[0].Bad != "" {
			t.Errorf("quarantine of what is not live: %v, live is %+v", err, h.Live)
		}
	}
}

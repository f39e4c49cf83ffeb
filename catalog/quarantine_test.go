package catalog

import (
	"errors"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
)

// A block that is marked stays live and changes in nothing else; one that is gone
// cannot be marked.
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
	if err := (Quarantine{ID: block.ID{3}, Bad: "torn"}).apply(&h, 60, time.Time{}); !errors.Is(err, ErrConflict) {
		t.Errorf("quarantine of what is not live: %v", err)
	}
}

package catalog

import (
	"fmt"
	"time"

	"github.com/coldframe/coldframe/block"
)

// Quarantine marks a block as damaged: it stays live, so that answers tell that it is
// missing from them, and is left out of merges.
type Quarantine struct {
	ID  block.ID // live, and still. An entry that has moved to an arch part counts as gone, as does one that has expired
	Bad string   // what was found, not empty
}

func (q Quarantine) apply(h *Head, _ Minute, _ time.Time) error {
	i := h.find(q.ID)
	if i < 0 || h.Live[i].Expired {
		return fmt.Errorf("quarantine of block %s: it is not live: %w", q.ID, ErrConflict)
	}
	h.Live[i].Bad = q.Bad
	return nil
}

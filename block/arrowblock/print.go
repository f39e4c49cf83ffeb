package arrowblock

import (
	"context"
	"io"
)

// Print writes what a block holds, section by section, for people.
func Print(ctx context.Context, w io.Writer, b *Block) error { panic("soon") }

// DumpConfig says which rows [Dump] writes.
type DumpConfig struct {
	Group string // of this name only; "": of all
	Limit int    // at most so many rows; 0: 100. Less than 0: all
}

// Dump writes rows as lines of text, one for each row: time, series, values, sample
// labels, and the stack from the root, its functions separated by ';'.
func Dump(ctx context.Context, w io.Writer, b *Block, cfg DumpConfig) error { panic("soon") }

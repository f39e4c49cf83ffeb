package arrowblock

import (
	"fmt"
	"io"
)

// Output says where a block goes, and which sums are in it.
type Output struct {
	// Block gets the block. Required.
	Block io.Writer
	// Rollups are made and written beside the rows. On each axis, windows must divide one
	// another. None by default.
	Rollups []Rollup
	// RollupsAlone, unless nil, gets a second block: what Block gets, without profiles, their rows and their
	// sample labels. Meta.R4 then says how large it is, and how it opens.
	RollupsAlone io.Writer
}

func newFinisher(b *Builder, out Output) (*finisher, error) {
	rollups, err := checkRollups(out.Rollups)
	if err != nil {
		return nil, err
	}
	enc, err := newEncoder(b.cfg.Uncompressed)
	if err != nil {
		return nil, err
	}
	f := &finisher{b: b, enc: enc, pack: newPacker(out.Block), rollups: rollups, maxWindowBytes: maxWindowBytes}
	if out.RollupsAlone != nil {
		f.alone = newPacker(out.RollupsAlone)
	}
	return f, nil
}

// section encodes columns and writes them as a member of the block, and of that of the
// rollups alone. s says what is inside.
func (f *finisher) section(s section, facts []fact, columns ...column) error {
	return f.sectionOf([]*packer{f.pack, f.alone}, s, facts, columns...)
}

// rawSection writes what the block of the rollups alone has not.
func (f *finisher) rawSection(s section, facts []fact, columns ...column) error {
	return f.sectionOf([]*packer{f.pack}, s, facts, columns...)
}

func (f *finisher) sectionOf(packs []*packer, s section, facts []fact, columns ...column) error {
	if s.rows = columns[0].rows; s.rows > maxRows {
		return fmt.Errorf("section %s: %d rows, at most %d are allowed", s.name, s.rows, maxRows)
	}
	content, err := f.enc.stream(facts, columns...)
	if err != nil {
		return fmt.Errorf("section %s: %w", s.name, err)
	}
	for _, p := range packs {
		if p == nil {
			continue
		}
		if err := p.add(s, content); err != nil {
			return err
		}
	}
	return nil
}

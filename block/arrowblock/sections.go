package arrowblock

import (
	"fmt"
	"strings"

	"github.com/coldframe/coldframe/block"
)

// chunk is the sections of a part of the stack table.
type chunk struct{ nodes, frames, functions *section }

// rowTable is all rows of a kind that a group has.
type rowTable struct {
	chunks []rowChunk
	rows   uint64
}

// rowChunk is the sections of some rows. tuples is nil where the rows hold their values themselves.
type rowChunk struct{ rows, tuples *section }

func (c rowChunk) bytes() int64 {
	if c.tuples == nil {
		return c.rows.length
	}
	return c.rows.length + c.tuples.length
}

// readChunks sorts the sections of rows, totals and stacks by what they belong to, and
// checks that none is missing. Sections of other names are for later versions.
func (b *Block) readChunks() error {
	b.raw = make([]rowTable, len(b.groups))
	b.totals = make([][]*section, len(b.groups))
	byName := make(map[string]*section, len(b.sections))
	for i := range b.sections {
		byName[b.sections[i].name] = &b.sections[i]
	}
	nodes := uint64(0)
	for n := 0; ; n++ {
		c := chunk{byName[chunkName(n, "nodes")], byName[chunkName(n, "frames")], byName[chunkName(n, "functions")]}
		if c.nodes == nil {
			break
		}
		if c.frames == nil || c.functions == nil || c.nodes.first != nodes {
			return fmt.Errorf("stacks %d: frames or functions are missing, or its first node is not %d: %w", n, nodes, block.ErrCorrupt)
		}
		nodes += uint64(c.nodes.rows)
		b.chunks = append(b.chunks, c)
	}
	if int64(nodes) != b.info.Nodes {
		return fmt.Errorf("stacks have %d nodes, the block has %d: %w", nodes, b.info.Nodes, block.ErrCorrupt)
	}
	rows, profiles := uint64(0), 0
	for g := range b.groups {
		var err error
		if b.raw[g], err = tableOf(byName, func(n int) string { return rawName(g, n) }); err != nil {
			return err
		}
		for n := 0; byName[totalsName(g, n)] != nil; n++ {
			s := byName[totalsName(g, n)]
			profiles += s.rows
			b.totals[g] = append(b.totals[g], s)
		}
		rows += b.raw[g].rows
	}
	if err := b.readRollups(byName); err != nil {
		return err
	}
	if int64(rows) != b.info.Rows || int64(profiles) != b.info.Profiles && (b.info.Raw || profiles > 0) {
		return fmt.Errorf("groups have %d rows of %d profiles, the block has %d of %d: %w", rows, profiles, b.info.Rows, b.info.Profiles, block.ErrCorrupt)
	}
	return nil
}

// tableOf gathers the chunks of rows that have the names.
func tableOf(byName map[string]*section, name func(n int) string) (t rowTable, err error) {
	for n := 0; byName[name(n)] != nil; n++ {
		s := byName[name(n)]
		if s.first != t.rows {
			return t, fmt.Errorf("section %s at %d: first row is %d, not %d: %w", s.name, s.off, s.first, t.rows, block.ErrCorrupt)
		}
		t.rows += uint64(s.rows)
		t.chunks = append(t.chunks, rowChunk{s, byName[tuplesName(s.name)]})
	}
	return t, nil
}

// readRollups finds the sections of the rollups that the index names. Those of other
// axes are for later versions.
func (b *Block) readRollups(byName map[string]*section) error {
	for i := range b.rollups {
		r := &b.rollups[i]
		for g := range b.groups {
			rows, err := tableOf(byName, func(n int) string { return rollupName(r.Rollup, g, n) })
			if err != nil {
				return err
			}
			var cells []*section
			for n := 0; byName[cellsName(r.Rollup, g, n)] != nil; n++ {
				cells = append(cells, byName[cellsName(r.Rollup, g, n)])
			}
			r.rows, r.cells = append(r.rows, rows), append(r.cells, cells)
		}
	}
	return nil
}

func chunkName(n int, part string) string { return fmt.Sprintf("st/%d.%s.arrow", n, part) }
func rawName(group, n int) string         { return fmt.Sprintf("raw/%d/%d.arrow", group, n) }
func totalsName(group, n int) string      { return fmt.Sprintf("totals/%d/%d.arrow", group, n) }
func rollupName(r Rollup, group, n int) string {
	return fmt.Sprintf("%s/%d/%d.arrow", r, group, n)
}

func cellsName(r Rollup, group, n int) string {
	return fmt.Sprintf("%s/%d/%d.cells.arrow", r, group, n)
}
func stackByteName(k int) string { return fmt.Sprintf("d%d", k) }

// tuplesName names the section of the tuples that a section of rows refers to.
func tuplesName(rows string) string { return strings.TrimSuffix(rows, ".arrow") + ".tuples.arrow" }

package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

// archive is the content of an arch part.
type archive struct {
	V    int          `json:"v"`
	Live []block.Meta `json:"live"` // in the same order as in HEAD
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// spill is an arch part that was written, and what is in it.
type spill struct {
	part    Part
	entries []block.Meta
}

// fit encodes h, and first moves its oldest entries to an arch part if it is too
// large. A part that an earlier attempt has written serves again if all of its
// entries are still in h; otherwise it stays behind, named by nobody.
func (t *transaction) fit(ctx context.Context, h *Head) ([]byte, error) {
	data, err := h.encode()
	if err != nil || len(data) <= t.c.cfg.MaxHeadBytes {
		return data, err
	}
	// What is retired is forgotten within hours. It is no reason to spill what is new.
	retired, err := json.Marshal(h.Retired)
	if err != nil || len(data)-len(retired) <= t.c.cfg.MaxHeadBytes {
		return data, err
	}
	if t.spill == nil || !h.holds(t.spill.entries) {
		old, err := h.oldest(len(data)-len(retired)-t.c.cfg.MaxHeadBytes/2, t.c.cfg.MaxHeadBytes/4)
		if err != nil || len(old) == 0 {
			return data, err
		}
		if t.spill, err = t.c.writePart(ctx, t.tenant, t.shard, old); err != nil {
			return nil, err
		}
	}
	h.archive(*t.spill)
	return h.encode()
}

// oldest is the shortest prefix of the live entries that takes at least wantBytes in
// JSON, or all of them. It is empty when that would make a part of less than
// minBytes: many small parts would take more room in HEAD than they free.
func (h Head) oldest(wantBytes, minBytes int) ([]block.Meta, error) {
	sizeBytes, n := 0, 0
	for ; n < len(h.Live) && sizeBytes < wantBytes; n++ {
		data, err := json.Marshal(h.Live[n])
		if err != nil {
			return nil, err
		}
		sizeBytes += len(data) + len(",")
	}
	if sizeBytes < minBytes {
		return nil, nil
	}
	return h.Live[:n], nil
}

// holds says whether all entries are live in h.
func (h Head) holds(entries []block.Meta) bool {
	return !slices.ContainsFunc(entries, func(m block.Meta) bool { return h.find(m.ID) < 0 })
}

// archive moves the entries of a part out of h.
func (h *Head) archive(s spill) {
	h.Live = slices.DeleteFunc(h.Live, func(m block.Meta) bool {
		return slices.ContainsFunc(s.entries, func(e block.Meta) bool { return e.ID == m.ID })
	})
	h.Arch = append(h.Arch, s.part)
}

func (c *Catalog) writePart(ctx context.Context, tenant profile.Tenant, shard block.Shard, entries []block.Meta) (*spill, error) {
	entries = slices.Clone(entries)
	data, err := json.Marshal(archive{format, entries})
	if err != nil {
		return nil, err
	}
	now, err := c.bkt.Now(ctx)
	if err != nil {
		return nil, err
	}
	part := Part{
		ID:      c.cfg.NewID(now),
		Entries: len(entries),
		MinTime: entries[0].MinTime,
		MaxTime: entries[0].MaxTime,
		Size:    int64(len(data)),
		CRC:     crc32.Checksum(data, castagnoli),
	}
	for _, m := range entries {
		part.MinTime = min(part.MinTime, m.MinTime)
		part.MaxTime = max(part.MaxTime, m.MaxTime)
	}
	key := block.ArchKey(tenant, shard, part.ID)
	if err := c.bkt.Create(ctx, key, bytes.NewReader(data), part.Size); err != nil {
		return nil, err
	}
	if c.cfg.Observer.Spilled != nil {
		c.cfg.Observer.Spilled(key, len(entries))
	}
	return &spill{part, entries}, nil
}

// ParseArchive reads an arch part: live entries, in the order of HEAD. Errors are
// those of [ParseHead].
func ParseArchive(data []byte) ([]block.Meta, error) {
	var a archive
	if err := decodeStrictly(data, &a, &a.V); err != nil {
		return nil, err
	}
	if a.V != format {
		return nil, fmt.Errorf("version %d: %w", a.V, block.ErrCorrupt)
	}
	if err := validateEntries(a.Live); err != nil {
		return nil, fmt.Errorf("%w: %w", err, block.ErrCorrupt)
	}
	return a.Live, nil
}

// maxParts bounds how many arch parts a Catalog remembers, of about 64 KiB each in
// the bucket and twice that in memory.
const maxParts = 128

// Archive reads an arch part that a HEAD of the shard names. What was read before
// costs nothing; the caller may not change it.
func (c *Catalog) Archive(ctx context.Context, tenant profile.Tenant, shard block.Shard, part Part) ([]block.Meta, error) {
	key := block.ArchKey(tenant, shard, part.ID)
	c.mu.Lock()
	live, known := c.parts[key]
	c.mu.Unlock()
	if known {
		return live, nil
	}
	data, _, err := c.bkt.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	if sum := crc32.Checksum(data, castagnoli); int64(len(data)) != part.Size || sum != part.CRC {
		return nil, fmt.Errorf("%s: %d bytes with checksum %08x, HEAD says %d with %08x: %w", key, len(data), sum, part.Size, part.CRC, block.ErrCorrupt)
	}
	if live, err = ParseArchive(data); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	forgetOne(c.parts, maxParts)
	c.parts[key] = live
	return live, nil
}

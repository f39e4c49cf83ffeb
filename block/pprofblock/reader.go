package pprofblock

import (
	"bytes"
	"fmt"
	"hash/crc32"

	"github.com/coldframe/coldframe/block"
)

// Limits bound what a block may ask of its reader. A zero field means its default.
type Limits struct {
	Profiles      int   // at most and by default MaxProfiles
	ManifestBytes int64 // 64 MiB. Decoding takes a few times that in memory
}

// Reader is an open block. It is safe for concurrent use.
type Reader struct {
	data     []byte
	manifest *Manifest
	offsets  []int64 // of the profiles' bytes
	end      int64   // of the last one's, where the directory begins
}

// Open reads a block's manifest. The data is kept and must not change.
//
// Bytes that are not a whole block are block.ErrCorrupt. The profiles themselves are
// not looked at: [Reader.Profile] and [Reader.Verify] do that.
func Open(data []byte, limits Limits) (*Reader, error) {
	r, err := open(data, limits)
	if err != nil {
		return nil, fmt.Errorf("pprof block: %w: %w", err, block.ErrCorrupt)
	}
	return r, nil
}

func open(data []byte, limits Limits) (*Reader, error) {
	if limits.Profiles <= 0 {
		limits.Profiles = MaxProfiles
	}
	if limits.ManifestBytes <= 0 {
		limits.ManifestBytes = 64 << 20
	}
	first, body, err := firstMember(data, manifestFile)
	if err != nil {
		return nil, err
	}
	if first.size > limits.ManifestBytes {
		return nil, fmt.Errorf("manifest of %d bytes, at most %d are allowed", first.size, limits.ManifestBytes)
	}
	r := &Reader{data: data, end: first.end()}
	if r.manifest, err = decodeManifest(body, min(limits.Profiles, MaxProfiles)); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	// The layout has no freedom: with the sizes all offsets are known, and damage
	// to a header between two profiles spoils neither of them.
	nameBytes := int64(len(manifestFile))
	for _, e := range r.manifest.Profiles {
		nameBytes += int64(len(e.File))
		r.offsets = append(r.offsets, r.end+localSize+int64(len(e.File)))
		r.end += localSize + int64(len(e.File)) + e.Size
	}
	if want := r.end + directoryLen(1+r.Len(), nameBytes); int64(len(data)) != want {
		return nil, fmt.Errorf("%d bytes, the manifest tells of %d", len(data), want)
	}
	return r, nil
}

// Manifest says what is in the block. It is shared and must not be changed.
func (r *Reader) Manifest() *Manifest { return r.manifest }

// Len is how many profiles there are.
func (r *Reader) Len() int { return len(r.manifest.Profiles) }

// Profile returns profile i, from 0, in gzip. It lies in the block's data. One
// that is not what was written is block.ErrCorrupt, whatever the others are.
func (r *Reader) Profile(i int) ([]byte, error) {
	e := &r.manifest.Profiles[i]
	body := r.data[r.offsets[i] : r.offsets[i]+e.Size : r.offsets[i]+e.Size]
	if got := crc32.Checksum(body, castagnoli); got != e.CRC {
		return nil, fmt.Errorf("pprof block %s: %s has checksum %08x, want %08x: %w", r.manifest.ID, e.File, got, e.CRC, block.ErrCorrupt)
	}
	return body, nil
}

// Verify checks every byte: the profiles, and all that stands around them, which
// must be what a Builder would have written.
func (r *Reader) Verify() error {
	first, _, err := firstMember(r.data, manifestFile)
	if err != nil {
		return fmt.Errorf("pprof block %s: %w: %w", r.manifest.ID, err, block.ErrCorrupt)
	}
	members := []member{first}
	for i, e := range r.manifest.Profiles {
		body, err := r.Profile(i)
		if err != nil {
			return err
		}
		m := newMember(e.File, body)
		m.offset = members[i].end()
		if got := r.data[m.offset:r.offsets[i]]; !bytes.Equal(got, m.appendLocal(nil)) {
			return fmt.Errorf("pprof block %s: header of %s is damaged: %w", r.manifest.ID, e.File, block.ErrCorrupt)
		}
		members = append(members, m)
	}
	if got := r.data[r.end:]; !bytes.Equal(got, appendDirectory(nil, members, r.end)) {
		return fmt.Errorf("pprof block %s: the ZIP's directory is damaged: %w", r.manifest.ID, block.ErrCorrupt)
	}
	return nil
}

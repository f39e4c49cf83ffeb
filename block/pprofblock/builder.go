package pprofblock

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Builder gathers the profiles of one block. It is for one goroutine.
type Builder struct {
	manifest Manifest
	head     []byte // of the manifest, encoded
	lines    []byte // its entries, encoded
	bodies   [][]byte
	members  []member // of bodies; their offsets are set by Bytes

	bodyBytes, nameBytes int64
}

// NewBuilder begins a block. The agent's name is cut to valid UTF-8 of at most 1 KiB;
// created outside 1970 to 2262 becomes 1970.
func NewBuilder(id block.ID, agent string, created time.Time) *Builder {
	agent = string(bytes.ToValidUTF8([]byte(agent[:min(len(agent), maxWord)]), nil))
	if s := created.Unix(); s < 0 || s >= maxNanos/int64(time.Second) {
		created = time.Unix(0, 0)
	}
	m := Manifest{ID: id, Agent: agent, Created: created.UTC()}
	return &Builder{manifest: m, head: encodeHead(&m), nameBytes: int64(len(manifestFile))}
}

// Packed is a profile ready for a block: checked, in gzip, with its checksums.
type Packed struct {
	entry Entry  // without a file name
	line  []byte // of the manifest, but for the file's name
	body  []byte
	zip   uint32 // the ZIP's checksum of body
}

// Size is how many bytes the profile adds to a block, or a few more.
func (p *Packed) Size() int64 {
	return int64(len(p.body)+len(p.line)+len(lineStart)) + localSize + centralSize + 3*int64(len(fileName(MaxProfiles)))
}

// Pack makes a profile ready. A gzip body is kept as it is, and by reference: it
// must not change before [Builder.Bytes]. A body in zstd or without compression is
// packed as gzip, which is what go tool pprof reads.
//
// An entry that the format cannot hold is profile.ErrInvalid, and so is a body that does not unpack.
func Pack(e Entry, body []byte) (*Packed, error) {
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", err, profile.ErrInvalid)
	}
	body, err := asGzip(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, profile.ErrInvalid)
	}
	e.File, e.Size, e.CRC = "", int64(len(body)), crc32.Checksum(body, castagnoli)
	e.MinTime, e.MaxTime = e.MinTime.UTC(), e.MaxTime.UTC()
	return &Packed{e, encodeEntry(&e), body, crc32.ChecksumIEEE(body)}, nil
}

// Add is [Pack] and [Builder.Append].
func (b *Builder) Add(e Entry, body []byte) error {
	p, err := Pack(e, body)
	if err != nil {
		return err
	}
	return b.Append(p)
}

// Append adds a profile. One that would make the block larger than [MaxSize] or
// [MaxProfiles] is profile.ErrInvalid; nothing is added then.
func (b *Builder) Append(p *Packed) error {
	if len(b.bodies) == MaxProfiles || b.Size()+p.Size() > MaxSize {
		return fmt.Errorf("profile of %d bytes does not fit into a block with %d of %d bytes: %w", p.Size(), b.Len(), b.Size(), profile.ErrInvalid)
	}
	e := p.entry
	e.File = fileName(b.Len())
	if b.Len() > 0 {
		b.lines = append(b.lines, ',')
	}
	b.lines = append(append(append(b.lines, lineStart...), e.File...), p.line...)
	b.manifest.Profiles = append(b.manifest.Profiles, e)
	b.bodies = append(b.bodies, p.body)
	b.members = append(b.members, member{name: e.File, size: e.Size, crc: p.zip})
	b.bodyBytes += e.Size
	b.nameBytes += int64(len(e.File))
	return nil
}

// Len is how many profiles have been added.
func (b *Builder) Len() int { return len(b.bodies) }

// Size is how many bytes [Builder.Bytes] would return now.
func (b *Builder) Size() int64 {
	count := 1 + len(b.members)
	manifest := len(b.head) + len(b.lines) + len(manifestTail)
	return int64(count)*localSize + b.nameBytes + int64(manifest) + b.bodyBytes + directoryLen(count, b.nameBytes)
}

// Key is the block's key when it is uploaded in the given minute of the bucket's clock.
func (b *Builder) Key(tenant profile.Tenant, shard block.Shard, minute time.Time) block.L0Key {
	k := block.L0Key{Tenant: tenant, Shard: shard, Minute: minute, ID: b.manifest.ID}
	var first, last time.Time
	for i, e := range b.manifest.Profiles {
		if i == 0 || e.MinTime.Before(first) {
			first = e.MinTime
		}
		if e.MaxTime.After(last) {
			last = e.MaxTime
		}
		k.Bloom.Add(e.Labels)
	}
	k.SetTimes(first, last)
	return k
}

// Bytes gives the block. The same additions give the same bytes.
func (b *Builder) Bytes() []byte {
	out := make([]byte, 0, b.Size())
	manifest := slices.Concat(b.head, b.lines, []byte(manifestTail))

	first := newMember(manifestFile, manifest)
	out = append(first.appendLocal(out), manifest...)
	members := append(make([]member, 0, 1+len(b.members)), first)
	for i, m := range b.members {
		m.offset = int64(len(out))
		members = append(members, m)
		out = append(m.appendLocal(out), b.bodies[i]...)
	}
	return appendDirectory(out, members, int64(len(out)))
}

// maxUnpacked bounds what a zstd body may unpack to. No profile that is larger is
// decoded by default: see profile.Limits.
const maxUnpacked = 512 << 20

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// asGzip returns body itself if it is gzip already.
func asGzip(body []byte) ([]byte, error) {
	if len(body) == 0 {
		return nil, fmt.Errorf("no bytes")
	}
	if bytes.HasPrefix(body, gzipMagic) {
		return body, nil
	}
	if bytes.HasPrefix(body, zstdMagic) {
		var err error
		if body, err = unzstd(body); err != nil {
			return nil, fmt.Errorf("unpack zstd: %w", err)
		}
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(body)
	if err == nil {
		err = w.Close()
	}
	return out.Bytes(), err
}

func unzstd(body []byte) ([]byte, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUnpacked))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.DecodeAll(body, nil)
}

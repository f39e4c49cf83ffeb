package arrowblock

import (
	"archive/zip"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

// section is what the index says of a ZIP member: where its bytes lie, their
// checksum, and what they hold.
type section struct {
	name   string
	off    int64 // of the member's content in the block
	length int64
	crc    uint32 // CRC32C of the content
	rows   int
	// first numbers the section's first row in the table of which it is a part: the
	// node of stacks, the row of raw rows. For totals it is the first row of their
	// first profile. 0 elsewhere.
	first uint64
	// Of raw rows and totals, both ends included.
	minSeries, maxSeries uint32
	minT, maxT           uint32
}

func (s *section) end() int64 { return s.off + s.length }

// castagnoli is the polynomial of every CRC32C in a block.
func castagnoli(data []byte) uint32 { return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) }

// The trailer is the ZIP's comment: where the index lies. Its length is fixed, so that it is
// found without looking for it, and it is text, so that unzip -z shows it.
const (
	trailerFormat  = "coldframe arrow block 1, index at %016x, %08x bytes, crc32c %08x"
	trailerPattern = "coldframe arrow block 1, index at 0000000000000000, 00000000 bytes, crc32c 00000000"
	trailerBytes   = len(trailerPattern)

	zipEnd        = "PK\x05\x06"
	zipEndBytes   = 22 // before the comment
	zipLocalBytes = 30 // before a member's name
)

// packer writes sections as the members of a ZIP and keeps the directory. The same
// sections give the same bytes.
type packer struct {
	out      *countingWriter
	zip      *zip.Writer
	sections []section
	next     int64 // where the next member begins
	tail     int64 // where the tail begins
}

// countingWriter counts what passes, and from the tail on takes its checksum.
type countingWriter struct {
	w      io.Writer
	n      int64
	inTail bool
	crc    uint32
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	if c.inTail {
		c.crc = crc32.Update(c.crc, crc32.MakeTable(crc32.Castagnoli), b[:n])
	}
	return n, err
}

func newPacker(w io.Writer) *packer {
	out := &countingWriter{w: w}
	return &packer{out: out, zip: zip.NewWriter(out)}
}

// add writes one member. s says what is inside; where and how long is found out here.
func (p *packer) add(s section, content []byte) error {
	s.off = p.next + zipLocalBytes + int64(len(s.name))
	s.length = int64(len(content))
	s.crc = castagnoli(content)
	if s.length >= math.MaxUint32 {
		return fmt.Errorf("section %s: %d bytes are too many", s.name, s.length)
	}
	if err := p.member(s.name, content); err != nil {
		return fmt.Errorf("section %s: %w", s.name, err)
	}
	p.next = s.end()
	p.sections = append(p.sections, s)
	return nil
}

func (p *packer) member(name string, content []byte) error {
	w, err := p.zip.CreateRaw(&zip.FileHeader{
		Name:               name,
		Method:             zip.Store,
		CreatorVersion:     20,
		ReaderVersion:      20,
		ModifiedDate:       1<<5 | 1, //nolint:staticcheck // 1980-01-01; CreateRaw does not look at Modified.
		CRC32:              crc32.ChecksumIEEE(content),
		CompressedSize64:   uint64(len(content)),
		UncompressedSize64: uint64(len(content)),
	})
	if err != nil {
		return err
	}
	_, err = w.Write(content)
	return err
}

// beginTail makes all that follows the block's tail.
func (p *packer) beginTail() error {
	if err := p.zip.Flush(); err != nil {
		return err
	}
	p.out.inTail = true
	p.tail = p.out.n
	return nil
}

// finish writes the directory and the trailer, which points to the last section.
func (p *packer) finish() error {
	index := p.sections[len(p.sections)-1]
	if err := p.zip.SetComment(fmt.Sprintf(trailerFormat, index.off, index.length, index.crc)); err != nil {
		return err
	}
	return p.zip.Close()
}

// parseTrailer finds the index in a block's last bytes.
func parseTrailer(end []byte) (index section, ok bool) {
	if len(end) < zipEndBytes+trailerBytes {
		return section{}, false
	}
	end = end[len(end)-zipEndBytes-trailerBytes:]
	if string(end[:4]) != zipEnd {
		return section{}, false
	}
	comment := string(end[zipEndBytes:])
	index.name = indexName
	if _, err := fmt.Sscanf(comment, trailerFormat, &index.off, &index.length, &index.crc); err != nil {
		return section{}, false
	}
	// Read back what was read: Sscanf forgives what the format does not.
	return index, comment == fmt.Sprintf(trailerFormat, index.off, index.length, index.crc)
}

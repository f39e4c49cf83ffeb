package parca

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/profile/draft"
)

// The file that Parca's agent writes when it has no server, <unix>-<pid>.padata: this
// magic, a version and the number of batches in 16 bits each, and then each batch with
// its length in 32 bits before it, all big-endian. Batches are IPC streams. With .zst
// all of it is in zstd.
var padataMagic = []byte{0xa6, 0xe7, 0xcc, 0xca}

var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// maxFile bounds a file, uncompressed.
const maxFile = 1 << 30

// IsFile says whether data begins as a file of Parca's agent, which may be in zstd.
func IsFile(data []byte) bool {
	if bytes.HasPrefix(data, zstdMagic) {
		r, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(32<<20))
		if err != nil {
			return false
		}
		defer r.Close()
		head := make([]byte, len(padataMagic))
		_, err = io.ReadFull(r, head)
		return err == nil && bytes.Equal(head, padataMagic)
	}
	return bytes.HasPrefix(data, padataMagic)
}

// DecodeFile turns a file of Parca's agent into profiles, batch by batch: each covers the
// seconds that its batch does. whole is as [Batches] says.
func DecodeFile(data []byte) (made []draft.Profile, whole bool, err error) {
	streams, whole, err := Batches(data)
	if err != nil {
		return nil, false, err
	}
	s := NewSamples()
	for i, stream := range streams {
		if err := s.Add(stream); err != nil {
			return nil, false, fmt.Errorf("padata: batch %d of %d: %w", i+1, len(streams), err)
		}
		if s.waiting() && i+1 < len(streams) {
			continue // of v1, whose stacks are a batch of their own
		}
		profiles, err := s.Profiles()
		if err != nil {
			return nil, false, fmt.Errorf("padata: batch %d of %d: %w", i+1, len(streams), err)
		}
		made = append(made, profiles...)
		s = NewSamples()
	}
	return made, whole, nil
}

// Batches splits a file of Parca's agent into its IPC streams. A file that ends within a
// batch, as one does whose agent was killed, gives the batches before it; whole is false then.
func Batches(data []byte) (streams [][]byte, whole bool, err error) {
	if bytes.HasPrefix(data, zstdMagic) {
		if data, err = unzstd(data); err != nil {
			return nil, false, err
		}
	}
	const head = 8
	if len(data) < head || !bytes.HasPrefix(data, padataMagic) {
		return nil, false, fmt.Errorf("padata: it does not begin with %x and 4 more bytes: %w", padataMagic, profile.ErrInvalid)
	}
	count := int(binary.BigEndian.Uint16(data[6:]))
	for data = data[head:]; len(data) > 0; {
		if len(data) < 4 {
			return streams, false, nil
		}
		n := int64(binary.BigEndian.Uint32(data))
		if n > int64(len(data)-4) {
			return streams, false, nil
		}
		streams = append(streams, data[4:4+n])
		data = data[4+n:]
	}
	return streams, count == 0 || len(streams) == count, nil // the count is written at the end
}

// unzstd takes off zstd, as far as it is whole.
func unzstd(data []byte) ([]byte, error) {
	r, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(32<<20))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out bytes.Buffer
	n, err := io.Copy(&out, io.LimitReader(r, maxFile+1))
	switch {
	case n > maxFile:
		return nil, fmt.Errorf("padata: more than %d bytes uncompressed: %w", maxFile, profile.ErrInvalid)
	case err != nil && n == 0:
		return nil, fmt.Errorf("padata: %w: %w", err, profile.ErrInvalid)
	}
	return out.Bytes(), nil
}

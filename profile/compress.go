package profile

import (
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// Uncompress takes off one layer of gzip (of one or several members) or zstd, told
// by their magic. What is neither is returned as it is.
//
// The result is valid until the next call of Uncompress or Decode. It is what a
// profile's identity is computed from, and what [Decoder.DecodeUncompressed] wants.
// Limits hold while uncompressing: nothing is allocated for what is over them.
func (d *Decoder) Uncompress(data []byte) ([]byte, error) {
	limits := d.Limits.withDefaults()
	var err error
	switch {
	case bytes.HasPrefix(data, gzipMagic):
		if len(data) > limits.MaxCompressedBytes {
			return nil, overLimit("MaxCompressedBytes", "bytes of gzip", len(data), limits.MaxCompressedBytes)
		}
		err = d.gunzip.reset(data)
		if err == nil {
			err = d.readRaw(&d.gunzip.r, limits.MaxBytes)
		}
		d.gunzip.input.Reset(nil) // a decoder at rest keeps no profile
	case bytes.HasPrefix(data, zstdMagic):
		if len(data) > limits.MaxCompressedBytes {
			return nil, overLimit("MaxCompressedBytes", "bytes of zstd", len(data), limits.MaxCompressedBytes)
		}
		err = d.unzstd.reset(data)
		if err == nil {
			err = d.readRaw(d.unzstd.r, limits.MaxBytes)
		}
		d.unzstd.input.Reset(nil)
	default:
		return data, nil
	}
	if err != nil && !errors.Is(err, ErrInvalid) {
		err = invalidf("pprof: %w", err)
	}
	return d.raw, err
}

// gunzip is a decoder of gzip, whose window and tables are taken again for each profile.
type gunzip struct {
	r     gzip.Reader
	input bytes.Reader
}

func (z *gunzip) reset(data []byte) error {
	z.input.Reset(data)
	return z.r.Reset(&z.input)
}

// unzstd is a decoder of zstd, made when the first is met.
type unzstd struct {
	r     *zstd.Decoder
	input bytes.Reader
}

func (z *unzstd) reset(data []byte) (err error) {
	z.input.Reset(data)
	if z.r == nil {
		z.r, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(32<<20))
		if err != nil {
			return err
		}
	}
	return z.r.Reset(&z.input)
}

// readRaw reads all of r into d.raw, at most limit bytes.
func (d *Decoder) readRaw(r io.Reader, limit int) error {
	d.raw = d.raw[:0]
	for {
		if len(d.raw) == cap(d.raw) {
			d.raw = append(d.raw, 0)[:len(d.raw)]
		}
		n, err := r.Read(d.raw[len(d.raw):cap(d.raw)])
		d.raw = d.raw[:len(d.raw)+n]
		if len(d.raw) > limit {
			return overLimit("MaxBytes", "uncompressed bytes", len(d.raw), limit)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

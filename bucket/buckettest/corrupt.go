package buckettest

import (
	"bytes"
	"context"
	"fmt"

	"github.com/coldframe/coldframe/bucket"
)

// Damage says what a reader gets instead of an object's bytes. It may not change data.
type Damage func(key string, data []byte) ([]byte, error)

// Truncated keeps the first n bytes.
func Truncated(n int) Damage {
	return func(_ string, data []byte) ([]byte, error) { return data[:min(n, len(data))], nil }
}

// BitFlipped turns one bit, counted from the first byte's lowest and modulo the object's length.
func BitFlipped(bit int) Damage {
	return func(_ string, data []byte) ([]byte, error) {
		if len(data) == 0 {
			return data, nil
		}
		flipped := bytes.Clone(data)
		flipped[bit/8%len(data)] ^= 1 << (bit % 8)
		return flipped, nil
	}
}

// Foreign gives other bytes.
func Foreign(other []byte) Damage {
	return func(string, []byte) ([]byte, error) { return other, nil }
}

// Unreadable fails with [ErrInjected].
func Unreadable(key string, _ []byte) ([]byte, error) {
	return nil, fmt.Errorf("read %s: %w", key, ErrInjected)
}

// Corrupt damages what is read from those of b's objects whose key matches. Listings
// and Stat tell of the objects as they were written.
func Corrupt(b bucket.Bucket, match func(key string) bool, damage Damage) bucket.Bucket {
	return &corrupt{Bucket: b, match: match, damage: damage}
}

type corrupt struct {
	bucket.Bucket
	match  func(key string) bool
	damage Damage
}

func (c *corrupt) Get(ctx context.Context, key string) ([]byte, bucket.Version, error) {
	data, v, err := c.Bucket.Get(ctx, key)
	if err != nil || !c.match(key) {
		return data, v, err
	}
	data, err = c.damage(key, data)
	if err != nil {
		return nil, "", err
	}
	return data, v, nil
}

func (c *corrupt) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if !c.match(key) {
		return c.Bucket.GetRange(ctx, key, off, n)
	}
	data, _, err := c.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	damaged := bucket.Mem()
	if err := damaged.Put(ctx, key, data); err != nil {
		return nil, err
	}
	return damaged.GetRange(ctx, key, off, n)
}

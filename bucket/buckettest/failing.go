package buckettest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/coldframe/coldframe/bucket"
)

// ErrInjected is the failure that this package's buckets make. It is none of
// bucket's sentinels: the caller knows nothing of what happened.
var ErrInjected = errors.New("injected failure")

// Failing is a bucket of which one write fails. Made by [FailNth].
type Failing struct {
	bucket.Bucket
	nth    int64
	landed bool
	writes atomic.Int64
}

// FailNth makes b's nth write fail, counted from 1 over Create, Replace, Put and
// Delete, with [ErrInjected]: before anything happened, or, if landed, after b has
// done it or refused it, so that only the answer is lost. All others go through. An n of 0 fails none.
//
// A test lets every write fail once by counting n up until Failed says that there were fewer.
func FailNth(b bucket.Bucket, n int, landed bool) *Failing {
	return &Failing{Bucket: b, nth: int64(n), landed: landed}
}

// Writes is the number of writes tried so far.
func (f *Failing) Writes() int { return int(f.writes.Load()) }

// Failed reports whether the nth write has been tried.
func (f *Failing) Failed() bool { return f.nth > 0 && f.writes.Load() >= f.nth }

// Create implements [bucket.Bucket].
func (f *Failing) Create(ctx context.Context, key string, r io.Reader, size int64) error {
	return f.write("create", key, func() error { return f.Bucket.Create(ctx, key, r, size) })
}

// Replace implements [bucket.Bucket].
func (f *Failing) Replace(ctx context.Context, key string, data []byte, old bucket.Version) (bucket.Version, error) {
	var v bucket.Version
	err := f.write("replace", key, func() (err error) {
		v, err = f.Bucket.Replace(ctx, key, data, old)
		return err
	})
	if err != nil {
		return "", err
	}
	return v, nil
}

// Put implements [bucket.Bucket].
func (f *Failing) Put(ctx context.Context, key string, data []byte) error {
	return f.write("put", key, func() error { return f.Bucket.Put(ctx, key, data) })
}

// Delete implements [bucket.Bucket].
func (f *Failing) Delete(ctx context.Context, key string) error {
	return f.write("delete", key, func() error { return f.Bucket.Delete(ctx, key) })
}

func (f *Failing) write(op, key string, do func() error) error {
	if f.writes.Add(1) != f.nth {
		return do()
	}
	if !f.landed {
		return fmt.Errorf("%s %s, lost: %w", op, key, ErrInjected)
	}
	_ = do() // whatever the answer was, it is lost
	return fmt.Errorf("%s %s, answer lost: %w", op, key, ErrInjected)
}

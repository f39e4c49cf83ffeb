package bucket

import (
	"context"
	"io"
	"iter"
	"time"
)

// Counting is b with everything that is asked of it charged to total, too.
func Counting(b Bucket, total *Account) Bucket { return &counting{b, total} }

type counting struct {
	Bucket
	total *Account
}

func (c *counting) unwrap() Bucket { return c.Bucket }

func (c *counting) Create(ctx context.Context, key string, r io.Reader, size int64) error {
	return c.Bucket.Create(WithAccount(ctx, c.total), key, r, size)
}

func (c *counting) Replace(ctx context.Context, key string, data []byte, old Version) (Version, error) {
	return c.Bucket.Replace(WithAccount(ctx, c.total), key, data, old)
}

func (c *counting) Put(ctx context.Context, key string, data []byte) error {
	return c.Bucket.Put(WithAccount(ctx, c.total), key, data)
}

func (c *counting) Get(ctx context.Context, key string) ([]byte, Version, error) {
	return c.Bucket.Get(WithAccount(ctx, c.total), key)
}

func (c *counting) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	return c.Bucket.GetRange(WithAccount(ctx, c.total), key, off, n)
}

func (c *counting) Stat(ctx context.Context, key string) (Object, error) {
	return c.Bucket.Stat(WithAccount(ctx, c.total), key)
}

func (c *counting) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return c.Bucket.List(WithAccount(ctx, c.total), prefix)
}

func (c *counting) ListFolders(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return c.Bucket.ListFolders(WithAccount(ctx, c.total), prefix)
}

func (c *counting) Delete(ctx context.Context, key string) error {
	return c.Bucket.Delete(WithAccount(ctx, c.total), key)
}

func (c *counting) Now(ctx context.Context) (time.Time, error) {
	return c.Bucket.Now(WithAccount(ctx, c.total))
}

package bucket

import (
	"context"
	"io"
	"iter"
)

// Trace is told of each operation on a bucket before it begins. The operation goes on under
// the context that it returns, and done is called with its outcome.
type Trace func(ctx context.Context, operation, key string) (_ context.Context, done func(error))

// Traced is b with everything that is asked of it told to trace.
func Traced(b Bucket, trace Trace) Bucket { return &traced{b, trace} }

type traced struct {
	Bucket
	trace Trace
}

func (t *traced) unwrap() Bucket { return t.Bucket }

func (t *traced) Create(ctx context.Context, key string, r io.Reader, size int64) (err error) {
	ctx, done := t.trace(ctx, "create", key)
	defer func() { done(err) }()
	return t.Bucket.Create(ctx, key, r, size)
}

func (t *traced) Replace(ctx context.Context, key string, data []byte, old Version) (_ Version, err error) {
	ctx, done := t.trace(ctx, "replace", key)
	defer func() { done(err) }()
	return t.Bucket.Replace(ctx, key, data, old)
}

func (t *traced) Put(ctx context.Context, key string, data []byte) (err error) {
	ctx, done := t.trace(ctx, "put", key)
	defer func() { done(err) }()
	return t.Bucket.Put(ctx, key, data)
}

func (t *traced) Get(ctx context.Context, key string) (_ []byte, _ Version, err error) {
	ctx, done := t.trace(ctx, "get", key)
	defer func() { done(err) }()
	return t.Bucket.Get(ctx, key)
}

func (t *traced) GetRange(ctx context.Context, key string, off, n int64) (_ []byte, err error) {
	ctx, done := t.trace(ctx, "get range", key)
	defer func() { done(err) }()
	return t.Bucket.GetRange(ctx, key, off, n)
}

func (t *traced) Stat(ctx context.Context, key string) (_ Object, err error) {
	ctx, done := t.trace(ctx, "stat", key)
	defer func() { done(err) }()
	return t.Bucket.Stat(ctx, key)
}

func (t *traced) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return tracedList(ctx, t.trace, "list", prefix, t.Bucket.List)
}

func (t *traced) ListFolders(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return tracedList(ctx, t.trace, "list folders", prefix, t.Bucket.ListFolders)
}

// tracedList traces a listing from its first page until its reader has enough.
func tracedList[T any](ctx context.Context, trace Trace, operation, prefix string, list func(context.Context, string) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		ctx, done := trace(ctx, operation, prefix)
		var failed error
		defer func() { done(failed) }()
		for t, err := range list(ctx, prefix) {
			failed = err
			if !yield(t, err) {
				return
			}
		}
	}
}

func (t *traced) Delete(ctx context.Context, key string) (err error) {
	ctx, done := t.trace(ctx, "delete", key)
	defer func() { done(err) }()
	return t.Bucket.Delete(ctx, key)
}

package bucket

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync/atomic"
	"time"
)

// A cloud is a client of one kind of server. Its methods make one request each, or one
// a page, take whole keys, and fail with whatever errors the client has.
type cloud interface {
	// put stores b, whose MD5 is sum, if c holds.
	put(ctx context.Context, key string, b *body, sum []byte, c condition) (Version, error)
	// get answers with a span, or with the whole object if s is nil. A span with a
	// negative offset is answered from there on to the end.
	get(ctx context.Context, key string, s *span) (*content, error)
	stat(ctx context.Context, key string) (Object, error)
	// list yields objects in the order of their keys, and may leave out those up to
	// after. With folders it yields what lies below a next '/' once, as an Object of
	// which the Key alone is set and ends in '/'.
	list(ctx context.Context, prefix, after string, folders bool, yield func(Object) bool) error
	delete(ctx context.Context, key string) error

	// refusal is what the server said, if err comes from an answer.
	refusal(err error) refusal
}

// content is an answer to a get.
type content struct {
	body    io.ReadCloser
	off     int64 // of the body in the object
	size    int64 // of the body
	total   int64 // of the object
	version Version
}

// remote is a bucket on a server.
type remote struct {
	cloud  cloud
	name   string // scheme://bucket/prefix, without a '/' at the end
	prefix string // of all keys: empty, or ends in '/'
	clock  *serverClock
	cas    atomic.Int32
}

func newRemote(c cloud, scheme, bucket, prefix string, clock *serverClock) *remote {
	r := &remote{cloud: c, name: scheme + "://" + bucket, clock: clock}
	if prefix != "" {
		r.name += "/" + prefix
		r.prefix = prefix + "/"
	}
	return r
}

// Create implements [Bucket]. ErrExist says that another call has stored the object,
// which may be an earlier one of the same caller that got no answer. An object that
// holds these very bytes, after an attempt of this call got no answer, is ours.
func (r *remote) Create(ctx context.Context, key string, from io.Reader, size int64) error {
	b, err := newBody(from, size)
	if err == nil {
		_, err = r.write(ctx, key, b, condition{absent: true}, ErrExist)
	}
	return r.fail("create", key, err)
}

// Replace implements [Bucket].
func (r *remote) Replace(ctx context.Context, key string, data []byte, old Version) (Version, error) {
	v, err := r.write(ctx, key, bodyOf(data), ifStill(old), ErrConflict)
	if err == nil && v == "" {
		err = errNoVersion
	}
	if err != nil {
		return "", r.fail("replace", key, err)
	}
	return v, nil
}

// Put implements [Bucket].
func (r *remote) Put(ctx context.Context, key string, data []byte) error {
	_, err := r.write(ctx, key, bodyOf(data), condition{}, nil)
	return r.fail("put", key, err)
}

// write stores b if c holds, and fails with refused if c does not.
func (r *remote) write(ctx context.Context, key string, b *body, c condition, refused error) (v Version, err error) {
	if r.CAS() == CASNone {
		c, refused = condition{}, nil
	}
	sum, err := b.md5()
	if err != nil {
		return "", err
	}
	err = r.try(ctx, &operation{class: classPut, refused: refused}, key, func(ctx context.Context, key string) error {
		if err := b.rewind(); err != nil {
			return err
		}
		v, err = r.cloud.put(ctx, key, b, sum, c)
		return err
	})
	if errors.Is(err, errOurs) {
		return r.settle(ctx, key, sum, refused, err)
	}
	return v, err
}

// settle looks whether a write that was refused, but only after an attempt of unknown
// outcome, has landed by that. It has if the object is what was to be written. If it is
// not, Create was refused, as what it makes is not replaced; but Replace may have been
// followed by another. Who cannot read is left with err.
func (r *remote) settle(ctx context.Context, key string, sum []byte, refused, err error) (Version, error) {
	stored := md5.New()
	var v Version
	unread := r.try(ctx, &operation{class: classGet}, key, func(ctx context.Context, key string) error {
		answer, err := r.cloud.get(ctx, key, nil)
		if err != nil {
			return err
		}
		defer answer.body.Close()
		v = answer.version
		stored.Reset()
		_, err = io.Copy(stored, answer.body)
		return err
	})
	switch {
	case unread != nil:
		return "", err
	case bytes.Equal(stored.Sum(nil), sum):
		return v, nil
	case errors.Is(refused, ErrExist):
		return "", fmt.Errorf("%w, with other content", ErrExist)
	}
	return "", err
}

// Get implements [Bucket].
func (r *remote) Get(ctx context.Context, key string) (data []byte, v Version, err error) {
	err = r.try(ctx, &operation{class: classGet}, key, func(ctx context.Context, key string) error {
		c, err := r.cloud.get(ctx, key, nil)
		if err != nil {
			return err
		}
		defer c.body.Close()
		v = c.version
		data, err = c.read(0, c.size)
		return err
	})
	if err == nil && v == "" {
		err = errNoVersion
	}
	if err != nil {
		return nil, "", r.fail("get", key, err)
	}
	return data, v, nil
}

// GetRange implements [Bucket].
func (r *remote) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	s := span{off, n}
	data, err := r.getRange(ctx, key, s)
	if errors.Is(err, errNoRange) && s.tail() {
		return []byte{}, nil // an empty object has no range at all, not even its tail
	}
	return data, r.fail("get range of", key, err)
}

func (r *remote) getRange(ctx context.Context, key string, s span) (data []byte, err error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if s.n == 0 {
		// No server can be asked for nothing.
		o, err := r.stat(ctx, key)
		if err == nil {
			_, _, err = s.within(o.Size)
		}
		return []byte{}, err
	}
	err = r.try(ctx, &operation{class: classGet}, key, func(ctx context.Context, key string) error {
		c, err := r.cloud.get(ctx, key, &s)
		if err != nil {
			return err
		}
		defer c.body.Close()
		from, to, err := s.within(c.total)
		if err != nil {
			return final{err}
		}
		data, err = c.read(from, to)
		return err
	})
	return data, err
}

// read reads the half-open range of the object out of the answer, which must hold it.
func (c *content) read(from, to int64) ([]byte, error) {
	if from != c.off || to > c.off+c.size {
		return nil, final{fmt.Errorf("asked for [%d, %d), got [%d, %d) of %d bytes", from, to, c.off, c.off+c.size, c.total)}
	}
	data, err := readBody(c.body, to-from)
	if err != nil || to < c.off+c.size {
		return data, err
	}
	// At its end a client compares checksums, and lets the connection be used again.
	if _, err := c.body.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return data, nil
}

// Stat implements [Bucket].
func (r *remote) Stat(ctx context.Context, key string) (Object, error) {
	o, err := r.stat(ctx, key)
	return o, r.fail("stat", key, err)
}

func (r *remote) stat(ctx context.Context, key string) (o Object, err error) {
	err = r.try(ctx, &operation{class: classGet}, key, func(ctx context.Context, key string) error {
		o, err = r.cloud.stat(ctx, key)
		return err
	})
	o.Key = key
	return o, err
}

// List implements [Bucket].
func (r *remote) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		err := checkPrefix(prefix)
		if err == nil {
			err = r.list(ctx, prefix, false, func(o Object) bool {
				// A key that ends in '/' is no object of ours: consoles make them to show folders.
				return strings.HasSuffix(o.Key, "/") || yield(o, nil)
			})
		}
		if err != nil {
			yield(Object{}, r.fail("list", prefix, err))
		}
	}
}

// ListFolders implements [Bucket].
func (r *remote) ListFolders(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		err := checkFolder(prefix)
		if err == nil {
			err = r.list(ctx, prefix, true, func(o Object) bool {
				name, isFolder := strings.CutSuffix(strings.TrimPrefix(o.Key, prefix), "/")
				return !isFolder || name == "" || yield(name, nil)
			})
		}
		if err != nil {
			yield("", r.fail("list folders of", prefix, err))
		}
	}
}

// list yields what the cloud does, without the bucket's prefix. A listing that fails
// on its way begins again behind what was yielded.
func (r *remote) list(ctx context.Context, prefix string, folders bool, yield func(Object) bool) error {
	last := ""
	return r.try(ctx, &operation{class: classList}, prefix, func(ctx context.Context, prefix string) error {
		begin, after := last, ""
		if begin != "" {
			after = r.prefix + begin
		}
		var unordered error
		err := r.cloud.list(ctx, prefix, after, folders, func(o Object) bool {
			o.Key = strings.TrimPrefix(o.Key, r.prefix)
			switch {
			case begin != "" && o.Key <= begin:
				return true
			case last != "" && o.Key <= last:
				unordered = final{fmt.Errorf("key %q comes after %q", o.Key, last)}
				return false
			}
			last = o.Key
			return yield(o)
		})
		if unordered != nil {
			return unordered
		}
		return err
	})
}

// Delete implements [Bucket].
func (r *remote) Delete(ctx context.Context, key string) error {
	err := r.try(ctx, &operation{class: classDelete}, key, r.cloud.delete)
	if errors.Is(err, errAbsent) {
		return nil
	}
	return r.fail("delete", key, err)
}

// Now implements [Bucket].
func (r *remote) Now(ctx context.Context) (time.Time, error) {
	if now, known := r.clock.now(); known {
		return now, nil
	}
	_, err := r.stat(ctx, tempPrefix+"clock") // that it is there is not expected
	if now, known := r.clock.now(); known {
		return now, nil
	}
	if err == nil {
		err = errors.New("its answers carry no date")
	}
	return time.Time{}, fmt.Errorf("ask %s for the time: %w", r.name, err)
}

// CAS implements [Bucket].
func (r *remote) CAS() CAS { return CAS(r.cas.Load()) }

// Name implements [Bucket].
func (r *remote) Name() string { return r.name }

// try does one operation in as many attempts as may help, on the key with the bucket's
// prefix.
func (r *remote) try(ctx context.Context, o *operation, key string, do func(ctx context.Context, key string) error) error {
	if o.class != classList {
		if err := checkKey(key); err != nil {
			return err
		}
	}
	key = r.prefix + key
	if len(key) > maxKey {
		return fmt.Errorf("key %.80q… has %d bytes, more than %d", key, len(key), maxKey)
	}
	o.ledger = ledgerOf(ctx)
	ctx = context.WithValue(ctx, operationKey{}, o)
	var err error
	for n := range maxAttempts {
		if !pauseBefore(ctx, n) {
			if err != nil {
				return fmt.Errorf("%w, after: %w", ctx.Err(), err)
			}
			return ctx.Err()
		}
		o.sent.Store(false)
		err = do(ctx, key)
		if err == nil {
			return nil
		}
		again := false
		if err, again = o.judge(ctx, err, r.cloud.refusal(err)); !again {
			return err
		}
	}
	return fmt.Errorf("%d attempts: %w", maxAttempts, err)
}

func (r *remote) fail(op, key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s/%s: %w", op, r.name, key, err)
}

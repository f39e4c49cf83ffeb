package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
)

// role is what a process does.
type role int

const (
	uploading role = iota
	compacting
	merging
	reading
	finishing // after the run, and with nothing in its way
)

func (r role) mayCrash() bool { return r < reading }

// client is one process as the bucket sees it, from its start to its death. It is the
// bucket that the process sees.
type client struct {
	w    *world
	name string
	role role
	rng  *rand.Rand    // of the process's own choices
	skew time.Duration // what it believes the bucket's clock to be ahead of what it is

	ctx    context.Context // ends with the process
	cancel context.CancelFunc
	dead   bool // guarded by w.mu
	ids    uint64

	mu      sync.Mutex
	outputs map[place][]string // Arrow blocks written since the shard's last commit

	unwanted []string // outputs that a careless compactor is about to delete
}

// connect starts a process.
func (w *world) connect(name string, r role, rng *rand.Rand) *client {
	c := &client{w: w, name: name, role: r, rng: rng, outputs: map[place][]string{}}
	switch r {
	case uploading:
		c.skew = time.Duration(rng.IntN(80)-40) * time.Second
	case compacting:
		c.skew = time.Duration(rng.IntN(50)-25) * time.Second
	}
	c.ctx, c.cancel = context.WithCancel(w.over)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alive[c] = struct{}{}
	return c
}

// newID is [block.NewID] without chance.
func (c *client) newID(t time.Time) (id block.ID) {
	c.ids++
	_ = id.SetTime(uint64(t.UnixMilli())) // fails after 10889
	binary.BigEndian.PutUint64(id[6:], xxhash.Sum64String(c.name))
	binary.BigEndian.PutUint16(id[14:], uint16(c.ids))
	return id
}

// do has a request served.
func (c *client) do(ctx context.Context, r request) answer {
	r.from, r.reply = c, make(chan answer, 1)
	if err := ctx.Err(); err != nil {
		return answer{err: err}
	}
	if !c.w.park(&r) {
		return answer{err: errDead}
	}
	var a answer
	select {
	case a = <-r.reply:
	case <-ctx.Done():
		c.w.leave(&r)
		a.err = ctx.Err()
	}
	if a.err != nil {
		a.err = fmt.Errorf("%s %s: %w", r.op, r.key, a.err)
	}
	return a
}

var nobody = context.Background()

// Create implements [bucket.Bucket].
func (c *client) Create(ctx context.Context, key string, r io.Reader, size int64) error {
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return err
	}
	if k, err := block.ParseArrowKey(key); err == nil && k.Class != block.ClassR4 {
		c.mu.Lock()
		at := place{k.Tenant, k.Shard}
		c.outputs[at] = append(c.outputs[at], key)
		c.mu.Unlock()
	}
	return c.do(ctx, request{op: "create", key: key, write: true, do: func() answer {
		err := c.w.mem.Create(nobody, key, bytes.NewReader(data), size)
		if err == nil {
			c.w.created(key, data)
		}
		return answer{err: err}
	}}).err
}

// Replace implements [bucket.Bucket].
func (c *client) Replace(ctx context.Context, key string, data []byte, old bucket.Version) (bucket.Version, error) {
	data = bytes.Clone(data)
	a := c.do(ctx, request{op: "replace", key: key, write: true, do: func() answer {
		v, err := c.w.mem.Replace(nobody, key, data, old)
		if err == nil {
			c.w.laws.headWritten(c.w.now(), key, data)
		}
		return answer{version: v, err: err}
	}})
	return a.version, a.err
}

// Put implements [bucket.Bucket].
func (c *client) Put(ctx context.Context, key string, data []byte) error {
	data = bytes.Clone(data)
	return c.do(ctx, request{op: "put", key: key, write: true, do: func() answer {
		return answer{err: c.w.mem.Put(nobody, key, data)}
	}}).err
}

// Delete implements [bucket.Bucket].
func (c *client) Delete(ctx context.Context, key string) error {
	return c.do(ctx, request{op: "delete", key: key, write: true, do: func() answer {
		err := c.w.mem.Delete(nobody, key)
		c.w.laws.deleted(c.w.now(), key)
		return answer{err: err}
	}}).err
}

// Get implements [bucket.Bucket].
func (c *client) Get(ctx context.Context, key string) ([]byte, bucket.Version, error) {
	a := c.do(ctx, request{op: "get", key: key, do: func() answer {
		data, v, err := c.w.mem.Get(nobody, key)
		return answer{data: data, version: v, err: err}
	}})
	return a.data, a.version, a.err
}

// GetRange implements [bucket.Bucket].
func (c *client) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	a := c.do(ctx, request{op: "get range", key: key, detail: fmt.Sprint(off, n), do: func() answer {
		data, err := c.w.mem.GetRange(nobody, key, off, n)
		return answer{data: data, err: err}
	}})
	return a.data, a.err
}

// Stat implements [bucket.Bucket].
func (c *client) Stat(ctx context.Context, key string) (bucket.Object, error) {
	a := c.do(ctx, request{op: "stat", key: key, do: func() answer {
		o, err := c.w.mem.Stat(nobody, key)
		return answer{objects: []bucket.Object{o}, err: err}
	}})
	if a.err != nil {
		return bucket.Object{}, a.err
	}
	return a.objects[0], nil
}

// List implements [bucket.Bucket]. A listing is one request.
func (c *client) List(ctx context.Context, prefix string) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) {
		a := c.do(ctx, request{op: "list", key: prefix, do: func() answer {
			objects, err := gather(c.w.mem.List(nobody, prefix))
			return answer{objects: objects, err: err}
		}})
		spread(a.objects, a.err, yield)
	}
}

// ListFolders implements [bucket.Bucket].
func (c *client) ListFolders(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		a := c.do(ctx, request{op: "folders", key: prefix, do: func() answer {
			folders, err := gather(c.w.mem.ListFolders(nobody, prefix))
			return answer{folders: folders, err: err}
		}})
		spread(a.folders, a.err, yield)
	}
}

func gather[T any](all iter.Seq2[T, error]) ([]T, error) {
	var list []T
	for t, err := range all {
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

func spread[T any](list []T, err error, yield func(T, error) bool) {
	if err != nil {
		var none T
		yield(none, err)
		return
	}
	for _, t := range list {
		if !yield(t, nil) {
			return
		}
	}
}

// Now implements [bucket.Bucket]. It is what the process has learned from earlier answers,
// and so it costs no request and may be wrong.
func (c *client) Now(ctx context.Context) (time.Time, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, err
	}
	return c.w.now().Add(c.skew), nil
}

// CAS implements [bucket.Bucket].
func (c *client) CAS() bucket.CAS { return c.w.mem.CAS() }

// Name implements [bucket.Bucket].
func (c *client) Name() string { return "sim://" + c.name }

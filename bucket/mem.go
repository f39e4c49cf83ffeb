package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"
)

// Mem returns an empty bucket in memory. It behaves as S3 does, down to the
// versions: writing the same bytes again gives the same version again.
func Mem() *Memory { return &Memory{objects: map[string]memObject{}} }

// Memory is a bucket in memory, made by [Mem]. Its fields are set before first use.
type Memory struct {
	// Clock is the server's clock; nil is the machine's.
	Clock func() time.Time
	// Mode CASNone makes it a bucket without conditional writes.
	Mode CAS

	mu      sync.RWMutex
	objects map[string]memObject
	keys    []string // of objects, sorted
}

type memObject struct {
	data     []byte // never changed once stored
	version  Version
	modified time.Time
}

// contentVersion is the version of objects that have no other than their content.
func contentVersion(data []byte) Version {
	sum := sha256.Sum256(data)
	return Version(hex.EncodeToString(sum[:]))
}

// Create implements [Bucket].
func (m *Memory) Create(ctx context.Context, key string, r io.Reader, size int64) error {
	data, err := readBody(r, size)
	if err != nil {
		return m.fail("create", key, err)
	}
	if _, err := m.write(ctx, key, data, condition{absent: true}); err != nil {
		return m.fail("create", key, err)
	}
	return nil
}

// Replace implements [Bucket].
func (m *Memory) Replace(ctx context.Context, key string, data []byte, old Version) (Version, error) {
	v, err := m.write(ctx, key, bytes.Clone(data), ifStill(old))
	if err != nil {
		return "", m.fail("replace", key, asConflict(err))
	}
	return v, nil
}

// Put implements [Bucket].
func (m *Memory) Put(ctx context.Context, key string, data []byte) error {
	if _, err := m.write(ctx, key, bytes.Clone(data), condition{}); err != nil {
		return m.fail("put", key, err)
	}
	return nil
}

func (m *Memory) write(ctx context.Context, key string, data []byte, c condition) (Version, error) {
	if err := m.begin(ctx, key, classPut); err != nil {
		return "", err
	}
	ledgerOf(ctx).sent(int64(len(data)))
	version := contentVersion(data)
	m.mu.Lock()
	defer m.mu.Unlock()
	had, exists := m.objects[key]
	switch {
	case m.Mode == CASNone:
	case c.absent && exists:
		return "", ErrExist
	case c.match != "" && had.version != c.match:
		return "", ErrConflict
	}
	m.objects[key] = memObject{data, version, m.now()}
	if !exists {
		i, _ := slices.BinarySearch(m.keys, key)
		m.keys = slices.Insert(m.keys, i, key)
	}
	return version, nil
}

// Get implements [Bucket].
func (m *Memory) Get(ctx context.Context, key string) ([]byte, Version, error) {
	o, err := m.read(ctx, key)
	if err != nil {
		return nil, "", m.fail("get", key, err)
	}
	ledgerOf(ctx).received(int64(len(o.data)))
	return bytes.Clone(o.data), o.version, nil
}

// GetRange implements [Bucket].
func (m *Memory) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	o, err := m.read(ctx, key)
	if err != nil {
		return nil, m.fail("get range of", key, err)
	}
	from, to, err := span{off, n}.within(int64(len(o.data)))
	if err != nil {
		return nil, m.fail("get range of", key, err)
	}
	ledgerOf(ctx).received(to - from)
	return bytes.Clone(o.data[from:to]), nil
}

// Stat implements [Bucket].
func (m *Memory) Stat(ctx context.Context, key string) (Object, error) {
	o, err := m.read(ctx, key)
	if err != nil {
		return Object{}, m.fail("stat", key, err)
	}
	return Object{Key: key, Size: int64(len(o.data)), Modified: o.modified}, nil
}

func (m *Memory) read(ctx context.Context, key string) (memObject, error) {
	if err := m.begin(ctx, key, classGet); err != nil {
		return memObject{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	o, exists := m.objects[key]
	if !exists {
		return memObject{}, ErrNotExist
	}
	return o, nil
}

// List implements [Bucket]. It shows the bucket as it is when the walk begins.
func (m *Memory) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		if err := checkPrefix(prefix); err != nil {
			yield(Object{}, m.fail("list", prefix, err))
			return
		}
		ledgerOf(ctx).request(classList)
		for i, o := range m.under(prefix) {
			if err := ctx.Err(); err != nil {
				yield(Object{}, m.fail("list", prefix, err))
				return
			}
			if i > 0 && i%pageSize == 0 {
				ledgerOf(ctx).request(classList)
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}

// under returns the objects below prefix, by key.
func (m *Memory) under(prefix string) []Object {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var found []Object
	first, _ := slices.BinarySearch(m.keys, prefix)
	for _, key := range m.keys[first:] {
		if !strings.HasPrefix(key, prefix) {
			break
		}
		o := m.objects[key]
		found = append(found, Object{Key: key, Size: int64(len(o.data)), Modified: o.modified})
	}
	return found
}

// ListFolders implements [Bucket].
func (m *Memory) ListFolders(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := checkFolder(prefix); err != nil {
			yield("", m.fail("list folders of", prefix, err))
			return
		}
		ledgerOf(ctx).request(classList)
		last := ""
		for _, o := range m.under(prefix) {
			if err := ctx.Err(); err != nil {
				yield("", m.fail("list folders of", prefix, err))
				return
			}
			folder, _, below := strings.Cut(strings.TrimPrefix(o.Key, prefix), "/")
			if !below || folder == last {
				continue
			}
			if !yield(folder, nil) {
				return
			}
			last = folder
		}
	}
}

// Delete implements [Bucket].
func (m *Memory) Delete(ctx context.Context, key string) error {
	if err := m.begin(ctx, key, classDelete); err != nil {
		return m.fail("delete", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if i, exists := slices.BinarySearch(m.keys, key); exists {
		m.keys = slices.Delete(m.keys, i, i+1)
		delete(m.objects, key)
	}
	return nil
}

// Now implements [Bucket].
func (m *Memory) Now(ctx context.Context) (time.Time, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, fmt.Errorf("ask %s for the time: %w", m.Name(), err)
	}
	return m.now(), nil
}

// CAS implements [Bucket].
func (m *Memory) CAS() CAS { return m.Mode }

// Name implements [Bucket].
func (m *Memory) Name() string { return "mem://" }

func (m *Memory) now() time.Time {
	if m.Clock != nil {
		return m.Clock()
	}
	return time.Now()
}

// begin does what every operation does first.
func (m *Memory) begin(ctx context.Context, key string, c class) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ledgerOf(ctx).request(c)
	return nil
}

func (m *Memory) fail(op, key string, err error) error {
	return fmt.Errorf("%s %s%s: %w", op, m.Name(), key, err)
}

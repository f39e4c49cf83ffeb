package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A folder is a bucket in a local directory, for one or many processes of one machine.
// An object is a file at the path that its key says.
//
// A write goes to a file under .tmp, which is synced and then linked to its place, to
// create, or renamed to it, to replace: readers see an object whole or not at all, and
// a full disk or a crash leaves nothing but a temporary file, which a later process
// removes. What has to compare first holds a lock under .locks, which the kernel gives
// back when its holder dies.
//
// A version is the SHA-256 of the content, as S3's is its MD5: who replaces an object
// must give every version something of its own, as HEAD has its transaction.
//
// Unlike in S3 an object cannot lie "below" another: "a" and "a/b" exclude each other.
// A deletion is not synced; a power failure may undo it.
type folder struct {
	root string
}

const (
	tempFolder = ".tmp"
	lockFolder = ".locks"
)

func parseFolder(document []byte) (opener, error) {
	var config struct {
		Directory string `yaml:"directory"`
	}
	prefix, err := decode(document, &config)
	if err != nil {
		return nil, err
	}
	if config.Directory == "" {
		return nil, errors.New("directory: missing")
	}
	return func(context.Context) (Bucket, error) { return openFolder(filepath.Join(config.Directory, prefix)) }, nil
}

// openFolder makes the directory if it is not there.
func openFolder(dir string) (*folder, error) {
	root, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o777); err != nil {
		return nil, err
	}
	f := &folder{root: root}
	f.removeAbandoned(time.Now())
	return f, nil
}

// Create implements [Bucket].
func (f *folder) Create(ctx context.Context, key string, r io.Reader, size int64) error {
	err := f.write(ctx, key, r, size, func(temp, path string) error {
		return f.place(path, func() error { return link(temp, path) })
	})
	if err != nil {
		return f.fail("create", key, err)
	}
	return nil
}

// Replace implements [Bucket].
func (f *folder) Replace(ctx context.Context, key string, data []byte, old Version) (Version, error) {
	err := f.write(ctx, key, bytes.NewReader(data), int64(len(data)), func(temp, path string) error {
		if old == "" {
			return f.place(path, func() error { return link(temp, path) })
		}
		return f.locked(ctx, key, func() error {
			now, err := os.ReadFile(path)
			switch {
			case isAbsent(err):
				return ErrConflict
			case err != nil:
				return err
			case contentVersion(now) != old:
				return ErrConflict
			}
			return f.place(path, func() error { return os.Rename(temp, path) })
		})
	})
	if err != nil {
		return "", f.fail("replace", key, asConflict(err))
	}
	return contentVersion(data), nil
}

// Put implements [Bucket].
func (f *folder) Put(ctx context.Context, key string, data []byte) error {
	err := f.write(ctx, key, bytes.NewReader(data), int64(len(data)), func(temp, path string) error {
		return f.locked(ctx, key, func() error {
			return f.place(path, func() error { return os.Rename(temp, path) })
		})
	})
	if err != nil {
		return f.fail("put", key, err)
	}
	return nil
}

// write syncs a body to a temporary file and has publish bring that to its path.
func (f *folder) write(ctx context.Context, key string, r io.Reader, size int64, publish func(temp, path string) error) error {
	path, err := f.begin(ctx, key, classPut)
	if err != nil {
		return err
	}
	temp, err := f.writeTemp(ctx, r, size)
	if err != nil {
		return err
	}
	defer temp.remove()
	ledgerOf(ctx).sent(size)
	if err := ctx.Err(); err != nil {
		return err
	}
	return publish(temp.Name(), path)
}

// place calls move until path's parents stay there for as long as it takes, then syncs
// the parent: another process may be deleting the last object beside it.
func (f *folder) place(path string, move func() error) error {
	parent := filepath.Dir(path)
	err := move()
	for tries := 0; errors.Is(err, fs.ErrNotExist) && tries < 100; tries++ {
		if err := makeFolders(parent); err != nil {
			return err
		}
		err = move()
	}
	if err != nil {
		return err
	}
	return syncFolder(parent)
}

// link gives the file temp a second name, path, which must be free.
func link(temp, path string) error {
	err := os.Link(temp, path)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if stat, err := os.Lstat(path); err == nil && stat.IsDir() {
		return &fs.PathError{Op: "create", Path: path, Err: syscall.EISDIR}
	}
	return ErrExist
}

// Get implements [Bucket].
func (f *folder) Get(ctx context.Context, key string) ([]byte, Version, error) {
	file, size, err := f.open(ctx, key)
	if err != nil {
		return nil, "", f.fail("get", key, err)
	}
	defer file.Close()
	data, err := readBody(file, size)
	if err != nil {
		return nil, "", f.fail("get", key, err)
	}
	ledgerOf(ctx).received(size)
	return data, contentVersion(data), nil
}

// GetRange implements [Bucket].
func (f *folder) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	file, size, err := f.open(ctx, key)
	if err != nil {
		return nil, f.fail("get range of", key, err)
	}
	defer file.Close()
	from, to, err := span{off, n}.within(size)
	if err != nil {
		return nil, f.fail("get range of", key, err)
	}
	data, err := readBody(io.NewSectionReader(file, from, to-from), to-from)
	if err != nil {
		return nil, f.fail("get range of", key, err)
	}
	ledgerOf(ctx).received(to - from)
	return data, nil
}

// open opens an object, which stays what it is while the file is open: objects are
// never written in place.
func (f *folder) open(ctx context.Context, key string) (*os.File, int64, error) {
	path, err := f.begin(ctx, key, classGet)
	if err != nil {
		return nil, 0, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, asNotExist(err)
	}
	stat, err := file.Stat()
	if err == nil && !stat.Mode().IsRegular() {
		err = ErrNotExist
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, stat.Size(), nil
}

// Stat implements [Bucket].
func (f *folder) Stat(ctx context.Context, key string) (Object, error) {
	path, err := f.begin(ctx, key, classGet)
	if err != nil {
		return Object{}, f.fail("stat", key, err)
	}
	stat, err := os.Stat(path)
	if err == nil && !stat.Mode().IsRegular() {
		err = ErrNotExist
	}
	if err != nil {
		return Object{}, f.fail("stat", key, asNotExist(err))
	}
	return Object{Key: key, Size: stat.Size(), Modified: stat.ModTime()}, nil
}

// List implements [Bucket].
func (f *folder) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		if err := f.list(ctx, prefix, yield); err != nil {
			yield(Object{}, f.fail("list", prefix, err))
		}
	}
}

func (f *folder) list(ctx context.Context, prefix string, yield func(Object, error) bool) error {
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	ledgerOf(ctx).request(classList)
	seen := 0
	below, name := splitPrefix(prefix)
	_, err := f.walk(ctx, below, name, func(key string, entry fs.DirEntry) (bool, error) {
		stat, err := entry.Info()
		if err != nil {
			return true, onlyIfPresent(err)
		}
		if seen > 0 && seen%pageSize == 0 {
			ledgerOf(ctx).request(classList)
		}
		seen++
		return yield(Object{Key: key, Size: stat.Size(), Modified: stat.ModTime()}, nil), nil
	})
	return err
}

// walk visits the objects below a folder whose keys go on with name, in the order of
// their keys, until visit returns false.
func (f *folder) walk(ctx context.Context, below, name string, visit func(key string, entry fs.DirEntry) (bool, error)) (more bool, err error) {
	entries, err := f.entries(ctx, below)
	if err != nil {
		return false, err
	}
	for _, entry := range entries {
		key := below + entry.Name()
		if !strings.HasPrefix(entry.Name(), name) {
			continue
		}
		switch {
		case entry.IsDir():
			more, err = f.walk(ctx, key+"/", "", visit)
		case entry.Type().IsRegular():
			more, err = visit(key, entry)
		default:
			continue
		}
		if !more || err != nil {
			return more, err
		}
	}
	return true, nil
}

// entries reads one directory, in the order of keys: a directory's come where its
// name with a '/' stands.
func (f *folder) entries(ctx context.Context, below string) ([]fs.DirEntry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(f.root, below))
	if err != nil {
		return nil, onlyIfPresent(err)
	}
	if below == "" {
		entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
			return e.Name() == tempFolder || e.Name() == lockFolder
		})
	}
	sortName := func(e fs.DirEntry) string {
		if e.IsDir() {
			return e.Name() + "/"
		}
		return e.Name()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(sortName(a), sortName(b)) })
	return entries, nil
}

// ListFolders implements [Bucket].
func (f *folder) ListFolders(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := f.listFolders(ctx, prefix, yield); err != nil {
			yield("", f.fail("list folders of", prefix, err))
		}
	}
}

func (f *folder) listFolders(ctx context.Context, prefix string, yield func(string, error) bool) error {
	if err := checkFolder(prefix); err != nil {
		return err
	}
	ledgerOf(ctx).request(classList)
	entries, err := f.entries(ctx, prefix)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		// What a bucket has no object below does not exist.
		empty := true
		if _, err := f.walk(ctx, prefix+entry.Name()+"/", "", func(string, fs.DirEntry) (bool, error) {
			empty = false
			return false, nil
		}); err != nil {
			return err
		}
		if !empty && !yield(entry.Name(), nil) {
			return nil
		}
	}
	return nil
}

// Delete implements [Bucket]. Directories that it leaves empty go too.
func (f *folder) Delete(ctx context.Context, key string) error {
	path, err := f.begin(ctx, key, classDelete)
	if err != nil {
		return f.fail("delete", key, err)
	}
	err = f.locked(ctx, key, func() error {
		if stat, err := os.Lstat(path); err != nil || stat.IsDir() {
			return onlyIfPresent(err)
		}
		return onlyIfPresent(os.Remove(path))
	})
	if err != nil {
		return f.fail("delete", key, err)
	}
	for parent := filepath.Dir(path); parent != f.root; parent = filepath.Dir(parent) {
		if syscall.Rmdir(parent) != nil {
			break // not empty, most of all
		}
	}
	return nil
}

// Now implements [Bucket]: the server is this machine.
func (f *folder) Now(ctx context.Context) (time.Time, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, fmt.Errorf("ask %s for the time: %w", f.Name(), err)
	}
	return time.Now(), nil
}

// CAS implements [Bucket].
func (f *folder) CAS() CAS { return CASEnforced }

// Name implements [Bucket].
func (f *folder) Name() string { return "file://" + f.root }

// begin does what every operation does first, and returns the object's path.
func (f *folder) begin(ctx context.Context, key string, c class) (path string, err error) {
	if err := checkKey(key); err != nil {
		return "", err
	}
	if first, _, _ := strings.Cut(key, "/"); first == tempFolder || first == lockFolder {
		return "", fmt.Errorf("key %q: %s is reserved", key, first)
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	ledgerOf(ctx).request(c)
	return filepath.Join(f.root, filepath.FromSlash(key)), nil
}

func (f *folder) fail(op, key string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return fmt.Errorf("%s %s/%s: %w", op, f.Name(), key, err)
}

// isAbsent reports that nothing lies at a path, or that an object lies where one of
// its folders should.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// onlyIfPresent forgives that something is not there.
func onlyIfPresent(err error) error {
	if isAbsent(err) {
		return nil
	}
	return err
}

func asNotExist(err error) error {
	if isAbsent(err) {
		return ErrNotExist
	}
	return err
}

package bucket

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// A tempFile is locked for as long as its writer lives and needs it.
type tempFile struct{ *os.File }

// writeTemp writes size bytes of r to a new temporary file and syncs it.
func (f *folder) writeTemp(ctx context.Context, r io.Reader, size int64) (*tempFile, error) {
	if size < 0 {
		return nil, fmt.Errorf("size %d", size)
	}
	temp, err := f.createTemp()
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(temp, io.LimitReader(untilDone{ctx, r}, size))
	if err == nil && n != size {
		err = shortBody(n, size, nil)
	}
	if err == nil {
		err = temp.Sync()
	}
	if err != nil {
		temp.remove()
		return nil, err
	}
	return temp, nil
}

func (f *folder) createTemp() (*tempFile, error) {
	path := filepath.Join(f.root, tempFolder, rand.Text())
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeFolders(filepath.Dir(path)); err != nil {
			return nil, err
		}
		file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	}
	if err != nil {
		return nil, err
	}
	temp := &tempFile{file}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		temp.remove()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return temp, nil
}

// remove gives the name back; an object that was linked or renamed from it stays.
func (t *tempFile) remove() {
	_ = os.Remove(t.Name())
	_ = t.Close()
}

// abandonedAfter is how old a temporary file is before anyone looks whether its writer
// lives: longer than it takes from making it to locking it.
const abandonedAfter = time.Minute

// removeAbandoned removes the temporary files of writers that died. It does what it
// can: another process may be at the same, and a read-only folder has none.
func (f *folder) removeAbandoned(now time.Time) {
	entries, _ := os.ReadDir(filepath.Join(f.root, tempFolder))
	for _, entry := range entries {
		stat, err := entry.Info()
		if err != nil || now.Sub(stat.ModTime()) < abandonedAfter {
			continue
		}
		path := filepath.Join(f.root, tempFolder, entry.Name())
		file, err := os.Open(path)
		if err != nil {
			continue
		}
		if syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.Remove(path)
		}
		_ = file.Close()
	}
}

// locked calls do while no one else, in this process or another, holds the key's lock.
// There are 256 locks, so that deleting a million objects does not leave a million
// lock files; two keys that share one only wait for each other.
func (f *folder) locked(ctx context.Context, key string, do func() error) error {
	sum := sha256.Sum256([]byte(key))
	path := filepath.Join(f.root, lockFolder, fmt.Sprintf("%02x", sum[0]))
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeFolders(filepath.Dir(path)); err != nil {
			return err
		}
		file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	}
	if err != nil {
		return err
	}
	defer file.Close() // and unlock
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return do()
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for lock %s: %w", path, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// makeFolders is os.MkdirAll, and syncs what it changes.
func makeFolders(path string) error {
	for {
		err := os.Mkdir(path, 0o777)
		switch {
		case err == nil:
			return syncFolder(filepath.Dir(path))
		case errors.Is(err, fs.ErrExist):
			return folderAt(path)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		if err := makeFolders(filepath.Dir(path)); err != nil {
			return err
		}
	}
}

// folderAt fails if a file lies at path.
func folderAt(path string) error {
	stat, err := os.Stat(path)
	if err == nil && !stat.IsDir() {
		return &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
	}
	return onlyIfPresent(err) // a folder that went again is the caller's to make again
}

// syncFolder makes a directory's entries durable. One that another process has
// removed, being empty, has none.
func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return onlyIfPresent(err)
	}
	defer dir.Close()
	return dir.Sync()
}

// untilDone reads until its context is done.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

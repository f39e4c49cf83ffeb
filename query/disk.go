package query

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// diskCache keeps ranges of blocks as files of a folder, which outlive the process. Several processes may share
// the folder: a file appears whole or not at all, it is read with its checksum, and it may vanish at any
// time. What cannot be written is not kept, and nobody is told but the counters. nil is a cache that is off.
//
// A file is called HASH-OFFSET-LENGTH.range after the first 16 bytes of the SHA-256 of the object's key; in it are 8
// bytes of magic, the CRC-32C of the rest in 4 bytes little-endian, and the range.
type diskCache struct {
	dir      string
	capacity int64

	mu           sync.Mutex
	counted      bool  // used is known
	used         int64 // by the files of all processes when they were counted, and by what this one wrote since
	written      int64 // since then
	hits, misses int64
	pause        time.Time // until when nothing is written, since the disk refused
}

const (
	diskMagic  = "cfrange1"
	diskHeader = len(diskMagic) + 4
	// usedAnew is after how long a file that is used is noted as used, by its time.
	usedAnew = time.Minute
	// abandoned is after how long a file that nobody finished writing is removed.
	abandoned = time.Hour
	// diskPause is for how long nothing is written after a disk has refused.
	diskPause = 30 * time.Second
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newDiskCache(dir string, capacity int64) *diskCache {
	if dir == "" || capacity <= 0 {
		return nil
	}
	return &diskCache{dir: dir, capacity: capacity}
}

// prefix begins the names of an object's files.
func (*diskCache) prefix(key string) string {
	sum := sha256.Sum256([]byte(key))
	return fmt.Sprintf("%x-", sum[:16])
}

func (c *diskCache) path(r objectRange) string {
	return filepath.Join(c.dir, fmt.Sprintf("%s%d-%d.range", c.prefix(r.key), r.off, r.n))
}

// get returns a range. Whole objects, whose length the name does not tell, are not kept.
func (c *diskCache) get(r objectRange) (data []byte, ok bool) {
	if c == nil || r.n < 0 {
		return nil, false
	}
	path := c.path(r)
	if file, err := os.ReadFile(path); err == nil { //nolint:gosec // a name made of digits in the folder of the operator
		if data, ok = parseRange(file, r.n); ok {
			noteUse(path)
		} else {
			_ = os.Remove(path) // torn
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ok {
		c.hits++
	} else {
		c.misses++
	}
	return data, ok
}

func parseRange(file []byte, n int64) ([]byte, bool) {
	if int64(len(file)) != int64(diskHeader)+n || !bytes.HasPrefix(file, []byte(diskMagic)) {
		return nil, false
	}
	data := file[diskHeader:]
	return data, crc32.Checksum(data, castagnoli) == binary.LittleEndian.Uint32(file[len(diskMagic):])
}

func noteUse(path string) {
	if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > usedAnew {
		now := time.Now()
		_ = os.Chtimes(path, now, now)
	}
}

// put keeps a range, unless it is more than a quarter of what there is room for.
func (c *diskCache) put(r objectRange, data []byte) {
	if c == nil || r.n < 0 || int64(len(data)) > c.capacity/4 || c.paused() {
		return
	}
	if err := c.write(c.path(r), data); err != nil {
		c.mu.Lock()
		c.pause = time.Now().Add(diskPause)
		c.mu.Unlock()
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	size := int64(diskHeader + len(data))
	c.used, c.written = c.used+size, c.written+size
	// Others write too: all is counted anew before they and this one can have written much.
	if !c.counted || c.used > c.capacity || c.written > c.capacity/16 {
		c.makeRoom()
	}
}

func (c *diskCache) paused() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Before(c.pause)
}

// write makes the file appear at once. It need not survive the machine: a torn file is no use and no harm.
func (c *diskCache) write(path string, data []byte) (err error) {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(c.dir, "*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	header := binary.LittleEndian.AppendUint32([]byte(diskMagic), crc32.Checksum(data, castagnoli))
	_, err = f.Write(header)
	if err == nil {
		_, err = f.Write(data)
	}
	if err = cmp.Or(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// makeRoom counts what is in the folder and removes what was not used for longest, until an eighth is free.
func (c *diskCache) makeRoom() {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	type file struct {
		name string
		size int64
		used time.Time
	}
	var files []file
	c.counted, c.used, c.written = true, 0, 0
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // another process removed it
		}
		switch {
		case strings.HasSuffix(e.Name(), ".range"):
			files = append(files, file{e.Name(), info.Size(), info.ModTime()})
			c.used += info.Size()
		case strings.HasSuffix(e.Name(), ".tmp") && time.Since(info.ModTime()) > abandoned:
			_ = os.Remove(filepath.Join(c.dir, e.Name()))
		}
	}
	if c.used <= c.capacity {
		return
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.name, b.name)) })
	for _, f := range files {
		if c.used <= c.capacity-c.capacity/8 {
			break
		}
		if err := os.Remove(filepath.Join(c.dir, f.name)); err == nil || os.IsNotExist(err) {
			c.used -= f.size
		}
	}
}

// forget removes what is kept of an object.
func (c *diskCache) forget(key string) {
	if c == nil {
		return
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	prefix := c.prefix(key)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			_ = os.Remove(filepath.Join(c.dir, e.Name()))
		}
	}
}

func (c *diskCache) use() CacheUse {
	if c == nil {
		return CacheUse{Name: "disk"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.counted {
		c.makeRoom()
	}
	return CacheUse{Name: "disk", Hits: c.hits, Misses: c.misses, Bytes: c.used, Capacity: c.capacity}
}

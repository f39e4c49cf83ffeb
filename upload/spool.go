package upload

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/pprofblock"
)

// spool keeps blocks on disk. A file is a block, byte for byte, and can be opened as
// one. All else is in its name, so that it changes by a rename:
//
//	<free|tied>!<profiles>!<key, with ! for />
//
// A tied block may have been tried under the key. The minute of a free block says
// nothing. Blocks that are damaged are renamed to begin with "corrupt!" and stay until their room
// is needed. A nil spool has no files.
type spool struct {
	dir        string
	limitBytes int64
	lock       *os.File
	observer   Observer

	mu      sync.Mutex
	files   int
	bytes   int64
	corrupt []corruptFile
}

type corruptFile struct {
	name  string
	bytes int64
}

const (
	freePrefix    = "free!"
	tiedPrefix    = "tied!"
	corruptPrefix = "corrupt!"
	tempPrefix    = ".tmp-"
	lockFile      = ".lock"
)

// openSpool takes a folder into possession and returns the blocks it finds there, the
// oldest first.
func openSpool(dir string, limitBytes int64, observer Observer) (*spool, []*parcel, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, nil, fmt.Errorf("lock: %w: another process uses it", err)
	}
	s := &spool{dir: dir, limitBytes: limitBytes, lock: lock, observer: observer}
	found, err := s.load()
	if err != nil {
		s.close()
		return nil, nil, err
	}
	return s, found, nil
}

func (s *spool) load() ([]*parcel, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var found []*parcel
	for _, entry := range entries {
		name := entry.Name()
		info, err := entry.Info()
		if err != nil {
			return nil, err
		}
		switch {
		case name == lockFile:
		case strings.HasPrefix(name, tempPrefix):
			s.report(os.Remove(s.path(name)))
		case strings.HasPrefix(name, corruptPrefix):
			s.corrupt = append(s.corrupt, corruptFile{name, info.Size()})
			s.bytes += info.Size()
		default:
			p, err := parseFileName(name)
			if err != nil || !info.Mode().IsRegular() {
				s.observer.spoolFailed(fmt.Errorf("%s is not ours: %w", s.path(name), errors.Join(err, block.ErrCorrupt)))
				continue
			}
			p.size = info.Size()
			s.files, s.bytes = s.files+1, s.bytes+p.size
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b *parcel) int { return a.key.ID.Compare(b.key.ID) })
	return found, nil
}

func fileName(p *parcel, tied bool) string {
	prefix := freePrefix
	if tied {
		prefix = tiedPrefix
	}
	return fmt.Sprintf("%s%d!%s", prefix, p.profiles, strings.ReplaceAll(p.key.String(), "/", "!"))
}

func parseFileName(name string) (*parcel, error) {
	rest, tied := strings.CutPrefix(name, tiedPrefix)
	rest, free := strings.CutPrefix(rest, freePrefix)
	count, rest, _ := strings.Cut(rest, "!")
	profiles, err := strconv.Atoi(count)
	if err != nil || strconv.Itoa(profiles) != count || tied == free || profiles < 1 || profiles > pprofblock.MaxProfiles {
		return nil, fmt.Errorf("spooled file %.300q: %w", name, block.ErrCorrupt)
	}
	key, err := block.ParseL0Key(strings.ReplaceAll(rest, "!", "/"))
	if err != nil {
		return nil, err
	}
	return &parcel{key: key, profiles: profiles, file: name, tied: tied}, nil
}

func (s *spool) path(name string) string { return filepath.Join(s.dir, name) }

// close lets another process have the folder.
func (s *spool) close() { s.lock.Close() }

func (s *spool) size() (files int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files, s.bytes
}

// hasRoom says whether n more bytes may be written, and removes damaged files if that helps.
func (s *spool) hasRoom(n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n > s.limitBytes-s.bytes && len(s.corrupt) > 0 {
		s.report(os.Remove(s.path(s.corrupt[0].name)))
		s.bytes -= s.corrupt[0].bytes
		s.corrupt = s.corrupt[1:]
	}
	return n <= s.limitBytes-s.bytes
}

// write moves a parcel from memory to disk. When it returns nil the file will be
// there after a crash.
func (s *spool) write(p *parcel) error {
	temp, err := os.CreateTemp(s.dir, tempPrefix)
	if err != nil {
		return err
	}
	defer temp.Close()
	name := fileName(p, p.tied)
	_, err = temp.Write(p.data)
	if err == nil {
		err = temp.Sync()
	}
	if err == nil {
		err = os.Rename(temp.Name(), s.path(name))
	}
	if err == nil {
		err = s.sync()
	}
	if err != nil {
		_ = os.Remove(temp.Name())
		_ = os.Remove(s.path(name))
		return err
	}
	p.data, p.file = nil, name
	s.account(1, p.size)
	return nil
}

// read returns a parcel's block after checking every byte of it. One that is not
// what was written is set aside, and block.ErrCorrupt.
func (s *spool) read(p *parcel) ([]byte, error) {
	name := p.file
	data, err := os.ReadFile(s.path(name))
	if err == nil {
		err = verify(data, p)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%w: %w", err, block.ErrCorrupt)
		s.account(-1, -p.size)
		p.file = ""
	case errors.Is(err, block.ErrCorrupt):
		s.setAside(p)
	case err == nil:
		return data, nil
	}
	return nil, fmt.Errorf("spooled block %s: %w", name, err)
}

func verify(data []byte, p *parcel) error {
	r, err := pprofblock.Open(data, pprofblock.Limits{})
	if err != nil {
		return err
	}
	if r.Manifest().ID != p.key.ID || r.Len() != p.profiles || int64(len(data)) != p.size {
		return fmt.Errorf("holds %d bytes, block %s of %d profiles: %w", len(data), r.Manifest().ID, r.Len(), block.ErrCorrupt)
	}
	return r.Verify()
}

func (s *spool) setAside(p *parcel) {
	name := corruptPrefix + p.file
	s.report(os.Rename(s.path(p.file), s.path(name)))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files--
	s.corrupt = append(s.corrupt, corruptFile{name, p.size})
	p.file = ""
}

// tie renames a spooled block to what it is about to be tried under, and returns
// when a crash cannot undo that.
func (s *spool) tie(p *parcel) error {
	if p.file == "" {
		return nil
	}
	if err := s.rename(p, fileName(p, true)); err != nil {
		return err
	}
	return s.sync()
}

// untie frees a spooled block from a key under which it cannot have landed. If
// that fails or is lost the block is only less free than it could be.
func (s *spool) untie(p *parcel) {
	if p.file != "" {
		s.report(s.rename(p, fileName(p, false)))
	}
}

func (s *spool) rename(p *parcel, name string) error {
	err := os.Rename(s.path(p.file), s.path(name))
	if err == nil {
		p.file = name
	}
	return err
}

// remove deletes a parcel's file.
func (s *spool) remove(p *parcel) {
	s.report(os.Remove(s.path(p.file)))
	s.account(-1, -p.size)
	p.file = ""
}

// sync makes renames outlive a crash of the machine.
func (s *spool) sync() error {
	dir, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func (s *spool) account(files int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files += files
	s.bytes += bytes
}

func (s *spool) report(err error) {
	if err != nil {
		s.observer.spoolFailed(err)
	}
}

package agent

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coldframe/coldframe/agent/symbols"
	"github.com/coldframe/coldframe/bpf"
	"github.com/coldframe/coldframe/bpf/ehframe"
)

const vdsoName = "[vdso]"

// binaryFile is a file that processes run, known by its build ID where it has one. It is
// opened when a process that maps it is sampled for the first time, and kept closed in
// between: no descriptor of a container's file system outlives a few reads.
//
// Its fields belong to the agent's goroutine; that which writes windows sees a fileView.
type binaryFile struct {
	source
	contents
	id    string // key in binaries.byID
	path  string // as a process sees it
	place place
	state state
	tries int
	asked time.Time // when a process that maps it was last sampled for the first time
	bare  bool      // its table found no room
}

// contents is what opening a binary tells.
type contents struct {
	buildID  string
	segments []symbols.Segment
	isGo     bool
	table    bpf.TableID
	python   *symbols.Python // nil when it is not CPython
}

type state uint8

const (
	unopened state = iota
	opening
	opened
	failed // it is no ELF file, or nobody may read it
)

// place is where a binary can be opened: a mapping of a process.
type place struct {
	pid        uint32
	start, end uint64
}

// bias is what to subtract from a process' address for a mapping of the binary.
func (b *binaryFile) bias(start, offset uint64) (uint64, bool) {
	if b.state != opened {
		return 0, false
	}
	return symbols.Bias(b.segments, start, offset)
}

// binaries is the set of all that are mapped.
type binaries struct {
	config  Config
	tabs    *bpf.Tables
	byID    map[string]*binaryFile
	byInode map[inode]*binaryFile
	slots   chan struct{} // two files are read at a time: large ones need memory
	loaded  chan loading
	ctx     context.Context
	refused uint64
}

// inode names a file's content as long as nobody writes to it.
type inode struct{ device, number uint64 }

// loading is a binary on its way to being open.
type loading struct {
	b     *binaryFile
	place place
	path  string
	contents
	err error
}

func newBinaries(config Config, tables *bpf.Tables) *binaries {
	return &binaries{
		config: config, tabs: tables, byID: map[string]*binaryFile{}, byInode: map[inode]*binaryFile{},
		slots: make(chan struct{}, 2), loaded: make(chan loading), ctx: context.Background(),
	}
}

// start lets binaries be opened until stop.
func (bs *binaries) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	bs.ctx = ctx
	return cancel
}

// ofEvent is the binary that an event says is mapped.
func (bs *binaries) ofEvent(e bpf.Event) *binaryFile {
	switch {
	case e.Path == vdsoName:
		return bs.get(vdsoName, vdsoName)
	case len(e.BuildID) > 0:
		return bs.get(hex.EncodeToString(e.BuildID), e.Path)
	}
	return bs.atInode(inode{e.Device, e.Inode}, e.PID, e.Start, e.End, e.Path)
}

// ofInode is the binary of a line of /proc/PID/maps, or nil when it shows no file.
func (bs *binaries) ofInode(pid uint32, m mapsEntry) *binaryFile {
	switch {
	case m.path == vdsoName:
		return bs.get(vdsoName, vdsoName)
	case !strings.HasPrefix(m.path, "/") || m.inode == 0:
		return nil
	}
	return bs.atInode(inode{m.device, m.inode}, pid, m.start, m.end, m.path)
}

// atInode opens a file that was not seen before to learn its build ID, so that it is the
// same binary by whichever way it is met.
func (bs *binaries) atInode(at inode, pid uint32, start, end uint64, path string) *binaryFile {
	if b := bs.byInode[at]; b != nil {
		return b
	}
	id := fmt.Sprintf("inode %x:%d", at.device, at.number)
	if r, size, c, err := bs.open(place{pid, start, end}, path); err == nil {
		if f, err := symbols.NewBinary(r, size); err == nil {
			id = f.BuildID
		}
		_ = c.Close() // it was only read
	}
	b := bs.get(id, path)
	bs.byInode[at] = b
	return b
}

func (bs *binaries) get(id, path string) *binaryFile {
	b := bs.byID[id]
	if b == nil {
		b = &binaryFile{id: id, path: strings.TrimSuffix(path, " (deleted)")}
		b.source = source{kind: fromFile, file: b}
		bs.byID[id] = b
	}
	return b
}

// want begins to open a binary, which a process has mapped at m, unless that was done.
func (bs *binaries) want(b *binaryFile, pid uint32, m mapping) {
	if b == nil {
		return
	}
	b.place, b.asked = place{pid, m.start, m.end}, time.Now()
	const enough = 3
	if b.state == unopened && b.tries < enough {
		bs.begin(b, 0)
	}
}

// begin opens a binary in the background, after a while.
func (bs *binaries) begin(b *binaryFile, wait time.Duration) {
	b.state = opening
	b.tries++
	l := loading{b: b, place: b.place, path: b.path}
	ctx := bs.ctx
	go func() {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		select {
		case bs.slots <- struct{}{}:
			bs.load(&l)
			<-bs.slots
		case <-ctx.Done():
			return
		}
		select {
		case bs.loaded <- l:
		case <-ctx.Done():
		}
	}()
}

// load opens the binary, reads what it is and makes its unwind table.
func (bs *binaries) load(l *loading) {
	f, c, err := bs.openBinary(l.place, l.path, l.b.id)
	if err != nil {
		l.err = err
		return
	}
	defer c.Close()
	l.contents = contents{buildID: f.BuildID, segments: f.Segments, isGo: f.IsGo(), python: f.Python(l.path)}
	if bs.config.Unwind == UnwindAuto {
		l.table, l.err = bs.makeTable(f)
	}
}

var errNoBinary = errors.New("not a binary")

func (bs *binaries) makeTable(f *symbols.Binary) (bpf.TableID, error) {
	section, addr, err := f.Unwind()
	if err != nil {
		return 0, err
	}
	if section == nil {
		at := f.SignalReturn()
		if at == 0 {
			return 0, nil
		}
		// It returns to the first of two instructions, and is looked up by the byte before.
		return bs.tabs.Add(slices.Values([]ehframe.Row{{PC: at - 4, CFA: ehframe.Signal}, {PC: at + 8}}))
	}
	table, err := ehframe.Parse(section, addr, f.Machine)
	if err != nil {
		return 0, err
	}
	linkage, size := f.Linkage()
	return bs.tabs.Add(withLinkage(table.Rows(), linkage, size))
}

// withLinkage adds rules for arm64's linkage table of size bytes at addr, whose entries touch neither
// the stack nor the link register. The first, which calls the loader for all others, pushes a pair:
// stp x16, x30, [sp, #-16]!
func withLinkage(rows iter.Seq[ehframe.Row], addr, size uint64) iter.Seq[ehframe.Row] {
	if size == 0 {
		return rows
	}
	const instruction, first = 4, 32
	end := addr + size
	return func(yield func(ehframe.Row) bool) {
		jump := ehframe.Row{CFA: ehframe.FromSP, RA: ehframe.RAInLR}
		pushed := ehframe.Row{CFA: ehframe.FromSP, Offset: 16, RAOffset: -8}
		linkage := []ehframe.Row{jump, pushed, jump, {}}
		for i, at := range []uint64{0, instruction, first, size} {
			linkage[i].PC = addr + min(at, size)
		}
		for r := range rows {
			for len(linkage) > 0 && linkage[0].PC < r.PC {
				if !yield(linkage[0]) {
					return
				}
				linkage = linkage[1:]
			}
			if r.PC >= addr && r.PC < end {
				continue
			}
			if r.PC == end {
				linkage = nil // what follows says so itself
			}
			if !yield(r) {
				return
			}
		}
		for _, r := range linkage {
			if !yield(r) {
				return
			}
		}
	}
}

// finish takes over what was read. inUse is asked only when the tables are full.
func (bs *binaries) finish(l loading, inUse func() map[*binaryFile]bool) {
	b := l.b
	switch {
	case errors.Is(l.err, bpf.ErrTablesFull) && b.tries < 3 && bs.evict(inUse()):
		bs.begin(b, roomAfter)
		return
	case errors.Is(l.err, bpf.ErrTablesFull):
		bs.refused++
		b.bare = true
		bs.config.Observer.failed(fmt.Errorf("%s: %w", b.path, l.err))
	case errors.Is(l.err, errNoBinary):
		b.state = failed
		return
	case l.err != nil && l.buildID == "":
		// The process has gone before its binary could be read; the next may last longer.
		b.state = unopened
		return
	case l.err != nil:
		bs.config.Observer.failed(fmt.Errorf("%s: %w", b.path, l.err))
	}
	b.contents, b.state = l.contents, opened
}

// roomAfter is when the room of removed tables can be used again.
const roomAfter = bpf.Quarantine + 100*time.Millisecond

// evict removes the tables of binaries that no process maps, those first that were asked for
// longest ago, until a quarter of the room is free. Compilers come and go, and each needs a
// fifth of it.
func (bs *binaries) evict(used map[*binaryFile]bool) bool {
	var idle []*binaryFile
	for _, b := range bs.byID {
		if b.table != 0 && !used[b] {
			idle = append(idle, b)
		}
	}
	slices.SortFunc(idle, func(x, y *binaryFile) int { return x.asked.Compare(y.asked) })
	enough := bs.tabs.Rows() * 3 / 4
	for _, b := range idle {
		if bs.tabs.Rows() <= enough {
			break
		}
		bs.drop(b)
	}
	return len(idle) > 0
}

// drop takes a binary's table back; it is opened again when it is next asked for.
func (bs *binaries) drop(b *binaryFile) {
	bs.config.Observer.failed(bs.tabs.Remove(b.table))
	b.table, b.state, b.tries = 0, unopened, 0
}

// kept is how many unused binaries, of short-lived processes, are remembered.
const kept = 512

// sweep forgets unused binaries when there are too many, and tries those again whose tables
// found no room.
func (bs *binaries) sweep(used map[*binaryFile]bool) {
	for b := range used {
		if b.bare && b.state == opened {
			b.bare, b.tries = false, 0
			bs.begin(b, 0)
		}
	}
	if len(bs.byID)-len(used) <= kept {
		return
	}
	for id, b := range bs.byID {
		if used[b] || b.state == opening {
			continue
		}
		if b.table != 0 {
			bs.drop(b)
		}
		delete(bs.byID, id)
	}
	for at, b := range bs.byInode {
		if bs.byID[b.id] != b {
			delete(bs.byInode, at)
		}
	}
}

func (bs *binaries) tables() (n int) {
	for _, b := range bs.byID {
		if b.table != 0 {
			n++
		}
	}
	return n
}

// openBinary opens the binary that a process has mapped. Where the process has gone, another file
// may have its path: one whose build ID is not id is refused.
func (bs *binaries) openBinary(at place, path, id string) (*symbols.Binary, io.Closer, error) {
	r, size, c, err := bs.open(at, path)
	if err != nil {
		return nil, nil, err
	}
	f, err := symbols.NewBinary(r, size)
	switch {
	case err != nil:
		err = fmt.Errorf("%s: %w: %w", path, err, errNoBinary)
	case symbols.IsBuildID(id) && f.BuildID != id:
		err = fmt.Errorf("%s of process %d has the build ID %s, not %s", path, at.pid, f.BuildID, id)
	default:
		return f, c, nil
	}
	return nil, nil, errors.Join(err, c.Close())
}

// open opens the file that a process has mapped: the very inode where that is allowed,
// else by its path as the process sees it, else as the agent does.
func (bs *binaries) open(at place, path string) (io.ReaderAt, int64, io.Closer, error) {
	if path == vdsoName {
		return openVDSO()
	}
	path = strings.TrimSuffix(path, " (deleted)")
	var first error
	for _, p := range []string{
		procPath(at.pid, "map_files/"+strconv.FormatUint(at.start, 16)+"-"+strconv.FormatUint(at.end, 16)),
		procPath(at.pid, "root"+path),
		filepath.Join("/", bs.config.Root, path),
	} {
		f, size, err := openRegular(p)
		if err == nil {
			return f, size, f, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, 0, nil, fmt.Errorf("open %s of process %d: %w", path, at.pid, first)
}

// openRegular opens a file unless it is a device or a pipe, on which reading could hang.
func openRegular(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// openVDSO copies the agent's own vdso: the kernel maps the same into every process.
func openVDSO() (io.ReaderAt, int64, io.Closer, error) {
	maps, err := readMaps(uint32(os.Getpid()))
	if err != nil {
		return nil, 0, nil, err
	}
	for _, m := range maps {
		if m.path != vdsoName || m.end-m.start > 1<<20 {
			continue
		}
		mem, err := os.Open("/proc/self/mem")
		if err != nil {
			return nil, 0, nil, err
		}
		b := make([]byte, m.end-m.start)
		_, err = mem.ReadAt(b, int64(m.start))
		return bytes.NewReader(b), int64(len(b)), mem, err
	}
	return nil, 0, nil, errors.New("no vdso")
}

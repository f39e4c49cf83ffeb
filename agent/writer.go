package agent

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/coldframe/coldframe/agent/symbols"
	"github.com/coldframe/coldframe/profile"
)

// sealed is a window that has ended, with what is known now of the files in it.
type sealed struct {
	*window
	ended time.Time
	files map[*binaryFile]fileView
}

// fileView is a copy of what the agent's goroutine knows of a binary.
type fileView struct {
	binary *binaryFile
	place  place
	path   string
	opened bool
	contents
}

func (w *window) seal(now time.Time) sealed {
	s := sealed{window: w, ended: now, files: map[*binaryFile]fileView{}}
	for _, l := range w.locs {
		if b := l.src.file; b != nil {
			s.files[b] = fileView{binary: b, place: b.place, path: b.path, opened: b.state == opened, contents: b.contents}
		}
	}
	return s
}

// writer makes profiles of windows, beside the agent's goroutine: reading symbols of large
// files must not keep the rings waiting.
type writer struct {
	config  Config
	period  time.Duration
	namer   *namer
	sink    Sink
	windows chan sealed
	done    chan struct{}
	ctx     context.Context
	cancel  context.CancelFunc
	written atomic.Uint64
	lost    atomic.Uint64
	kernel  string       // build ID
	gzip    *gzip.Writer // one for all: each needs close to a megabyte
}

func newWriter(config Config, period time.Duration, bs *binaries, sink Sink) *writer {
	return &writer{
		config: config, period: period, namer: newNamer(bs), sink: sink,
		windows: make(chan sealed), done: make(chan struct{}), kernel: kernelBuildID(),
		gzip: gzip.NewWriter(nil),
	}
}

func kernelBuildID() string {
	b, err := os.ReadFile("/sys/kernel/notes")
	if err != nil {
		return ""
	}
	return hex.EncodeToString(symbols.FindBuildID(b))
}

// start writes windows until finish, even when ctx is done before.
func (w *writer) start(ctx context.Context) {
	w.ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(w.done)
		for s := range w.windows {
			w.write(w.ctx, s)
		}
	}()
}

// offer hands a window over unless the one before is still being written; then it goes on
// and covers the next one's time too.
func (w *writer) offer(s sealed) bool {
	select {
	case w.windows <- s:
		return true
	default:
		return false
	}
}

// finish writes the last window and waits until all are written, but not for long: a sink
// that hangs must not keep the agent from ending.
func (w *writer) finish(s sealed) {
	const grace = 10 * time.Second
	timer := time.AfterFunc(grace, w.cancel)
	defer timer.Stop()
	defer w.cancel()
	w.windows <- s
	close(w.windows)
	<-w.done
}

func (w *writer) write(ctx context.Context, s sealed) {
	names := w.resolve(s)
	for _, ws := range s.series {
		for kind, stacks := range ws.stacks {
			if len(stacks) == 0 {
				continue
			}
			p := Profile{
				Name: profileNames[kind], Labels: ws.labels, Samples: len(stacks),
				Range: profile.TimeRange{From: s.began, To: s.ended},
				Pprof: w.encode(s, names, profileKind(kind), stacks),
			}
			if err := w.sink.Write(ctx, p); err != nil {
				w.lost.Add(1)
				w.config.Observer.failed(fmt.Errorf("write a profile of %s: %w", ws.labels, err))
				continue
			}
			w.written.Add(1)
		}
	}
	w.namer.prune()
}

// resolved is where a location lies and what is there.
type resolved struct {
	addr      uint64 // in the file, where it is one
	mapping   int32  // position in resolution.mappings, -1 without
	frames    []symbols.Frame
	frameless bool
}

// resolution is the answer for all locations of a window.
type resolution struct {
	locs     []resolved
	mappings []pprofMapping
}

// resolve names all locations of a window, binary by binary.
func (w *writer) resolve(s sealed) resolution {
	r := resolution{locs: make([]resolved, len(s.locs))}
	byFile := map[*binaryFile][]uint64{}
	w.openAll(s)
	for i, l := range s.locs {
		r.locs[i] = resolved{addr: l.addr, mapping: -1}
		if l.src.kind != fromFile {
			continue
		}
		v := s.files[l.src.file]
		addr, ok := v.address(l.addr)
		r.locs[i].addr = addr
		if ok {
			byFile[v.binary] = append(byFile[v.binary], addr)
		}
	}
	leaves := s.leaves(r)
	names := map[*binaryFile]*fileNames{}
	for b, addrs := range byFile {
		names[b] = w.namer.learn(s.files[b], addrs, leaves[b])
	}
	at := map[mappingKey]int32{}
	for i, l := range s.locs {
		x := &r.locs[i]
		switch l.src.kind {
		case fromFile:
			v := s.files[l.src.file]
			if f := names[v.binary]; f != nil {
				x.frames, x.frameless = f.frames[x.addr], f.frameless[x.addr]
			}
			x.mapping = r.mappingOf(at, v.mapping(x.addr), x.frames)
		case fromKernel:
			x.frames = w.namer.kernelFrames(l.addr)
			x.mapping = r.mappingOf(at, pprofMapping{start: 1 << 63, limit: ^uint64(0), file: "[kernel.kallsyms]", buildID: w.kernel}, x.frames)
		case fromCode:
			x.frames = l.src.code.frames(l.addr)
		case fromPython:
			x.addr = 0
			x.frames = []symbols.Frame{s.named[l.addr]}
		}
	}
	return r
}

// openAll opens the files of which positions are to become addresses and that are not open yet.
func (w *writer) openAll(s sealed) {
	tried := map[*binaryFile]bool{}
	for _, l := range s.locs {
		b := l.src.file
		if b == nil || l.addr&unresolved == 0 || s.files[b].opened || tried[b] {
			continue
		}
		tried[b] = true
		s.files[b] = w.namer.headers(s.files[b])
	}
}

// leaves are the addresses of Go functions that may have no frame.
func (s sealed) leaves(r resolution) map[*binaryFile][]uint64 {
	found := map[*binaryFile][]uint64{}
	seen := map[uint32]bool{}
	for _, ws := range s.series {
		for _, stacks := range ws.stacks {
			for _, c := range stacks {
				if c.guess < 1 || seen[c.locs[c.guess-1]] {
					continue
				}
				leaf := c.locs[c.guess-1]
				seen[leaf] = true
				b := s.locs[leaf].src.file
				found[b] = append(found[b], r.locs[leaf].addr)
			}
		}
	}
	return found
}

// address turns a position in the file into an address, where that was not done before.
func (v fileView) address(addr uint64) (uint64, bool) {
	if addr&unresolved == 0 {
		return addr, true
	}
	offset := addr &^ unresolved
	if !v.opened {
		return offset, false
	}
	bias, ok := symbols.Bias(v.segments, offset, offset)
	return offset - bias, ok
}

// mapping is the segment of an address, as if the file were mapped where it was linked to:
// so stacks of all processes agree, and so the backend can ask its symbols for the address.
func (v fileView) mapping(addr uint64) pprofMapping {
	m := pprofMapping{file: v.path, buildID: v.buildID}
	if m.buildID == "" && symbols.IsBuildID(v.binary.id) {
		m.buildID = v.binary.id
	}
	if !v.opened {
		m.limit = unresolved // addresses are positions, as if the whole file were mapped at zero
		return m
	}
	for _, s := range v.segments {
		if addr >= s.Address && addr < s.Address+s.Size {
			m.start, m.limit, m.offset = s.Address, s.Address+s.Size, s.Offset
		}
	}
	return m
}

type mappingKey struct {
	start         uint64
	file, buildID string
}

func (r *resolution) mappingOf(at map[mappingKey]int32, m pprofMapping, frames []symbols.Frame) int32 {
	k := mappingKey{m.start, m.file, m.buildID}
	i, ok := at[k]
	if !ok {
		i = int32(len(r.mappings))
		at[k] = i
		r.mappings = append(r.mappings, m)
	}
	if len(frames) > 0 {
		known := &r.mappings[i]
		known.functions = true
		known.files = known.files || frames[0].File != ""
		known.lines = known.lines || frames[0].Line != 0
		known.inlined = known.inlined || len(frames) > 1
	}
	return i
}

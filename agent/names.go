package agent

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coldframe/coldframe/agent/symbols"
)

// source is what an address belongs to. Together they name a location.
type source struct {
	kind sourceKind
	file *binaryFile // fromFile
	code *jitCode    // fromCode
}

type sourceKind uint8

const (
	fromNowhere sourceKind = iota
	fromFile
	fromKernel
	fromCode   // what a just-in-time compiler made
	fromPython // interpreted; the address is a position in a list of frames
)

// loc is one address of a stack. For a file it is the address in the file.
type loc struct {
	src  *source
	addr uint64
}

// unresolved marks a position in a file that is to become an address once the file's
// headers are known. No address has this bit.
const unresolved = 1 << 63

// The sources of which there is one.
var (
	pythonSource = &source{kind: fromPython}
	kernelSource = &source{kind: fromKernel}
	nowhere      = &source{kind: fromNowhere} // outside all mappings
)

// namer gives names to locations and remembers them. It belongs to the goroutine that
// writes windows.
type namer struct {
	binaries *binaries
	files    map[*binaryFile]*fileNames
	kernel   *symbols.Kernel
	kernelAt time.Time
}

// fileNames are answers of one binary.
type fileNames struct {
	frames    map[uint64][]symbols.Frame // nil when there is no name
	frameless map[uint64]bool            // of Go's leaves
	asked     time.Time
}

const (
	// maxNames bounds the answers kept of one binary; beyond, all are asked for again.
	maxNames = 1 << 15
	// maxAllNames bounds those of all binaries together, which take some 20 MB then; beyond,
	// those of binaries that were not asked about for longest are dropped.
	maxAllNames = 1 << 16
	// forget is when the answers of a binary that nobody runs any more are dropped.
	forget = 5 * time.Minute
	// kernelTTL is how long a copy of kallsyms is good: modules and BPF programs come and go.
	kernelTTL = 5 * time.Minute
)

func newNamer(bs *binaries) *namer { return &namer{binaries: bs, files: map[*binaryFile]*fileNames{}} }

// kernelFrames names a kernel address.
func (n *namer) kernelFrames(addr uint64) []symbols.Frame {
	if n.kernel == nil || time.Since(n.kernelAt) > kernelTTL {
		n.kernelAt = time.Now()
		n.kernel = &symbols.Kernel{}
		if f, err := os.Open("/proc/kallsyms"); err == nil {
			if k, err := symbols.ReadKernel(f); err == nil {
				n.kernel = k
			}
			_ = f.Close() // it was only read
		}
	}
	return n.kernel.Resolve(addr)
}

// headers opens a binary of which positions were kept, because its processes had gone before it was
// open.
func (n *namer) headers(v fileView) fileView {
	f, c, err := n.binaries.openBinary(v.place, v.path, v.binary.id)
	if err != nil {
		return v
	}
	defer c.Close()
	v.opened, v.contents = true, contents{buildID: f.BuildID, segments: f.Segments}
	return v
}

// learn asks a binary's file for all addresses that have no answer yet, and whether there
// are frames at those of Go leaves.
func (n *namer) learn(v fileView, addrs, leaves []uint64) *fileNames {
	f := n.files[v.binary]
	if f == nil || len(f.frames)+len(addrs) > maxNames {
		f = &fileNames{frames: map[uint64][]symbols.Frame{}, frameless: map[uint64]bool{}}
		n.files[v.binary] = f
	}
	f.asked = time.Now()
	var missing []uint64
	for _, a := range addrs {
		if _, ok := f.frames[a]; !ok {
			missing = append(missing, a)
		}
	}
	var doubtful []uint64
	for _, a := range leaves {
		if _, ok := f.frameless[a]; !ok {
			doubtful = append(doubtful, a)
		}
	}
	if len(missing) == 0 && len(doubtful) == 0 {
		return f
	}
	file, c, err := n.binaries.openBinary(v.place, v.path, v.binary.id)
	if err != nil {
		return f // the backend has the build ID
	}
	defer c.Close()
	if v.buildID != "" && file.BuildID != v.buildID {
		return f
	}
	frames := file.Resolve(missing, filepath.Dir(v.path), debugOpener(v.place.pid))
	files := map[string]string{} // functions of one file share its name
	for i, a := range missing {
		for j := range frames[i] {
			share(files, &frames[i][j].File)
		}
		f.frames[a] = frames[i]
	}
	for _, a := range doubtful {
		f.frameless[a] = file.Frameless(a)
	}
	return f
}

func share(known map[string]string, text *string) {
	if first, ok := known[*text]; ok {
		*text = first
		return
	}
	known[*text] = *text
}

// prune drops the answers of binaries that were not asked about for long, and more where
// there are too many.
func (n *namer) prune() {
	byAge := slices.SortedFunc(maps.Keys(n.files), func(a, b *binaryFile) int {
		return n.files[b].asked.Compare(n.files[a].asked)
	})
	sum := 0
	for _, b := range byAge {
		f := n.files[b]
		sum += len(f.frames)
		if sum > maxAllNames || time.Since(f.asked) > forget {
			delete(n.files, b)
		}
	}
}

// debugOpener opens debug files where the process sees them, else where the agent does.
func debugOpener(pid uint32) symbols.OpenDebug {
	return func(path string) (io.ReaderAt, io.Closer, error) {
		for _, p := range []string{procPath(pid, "root"+path), path} {
			if d, _, err := openRegular(p); err == nil {
				return d, d, nil
			}
		}
		return nil, nil, os.ErrNotExist
	}
}

func isJITDump(path string) bool {
	name := filepath.Base(path)
	return strings.HasPrefix(name, "jit-") && strings.HasSuffix(name, ".dump")
}

// perfMapPaths are where a process' perf map may be: it writes under its own number in its
// own namespace, into its own /tmp.
func perfMapPaths(pid uint32) []string {
	inside := namespacePID(pid)
	return []string{
		procPath(pid, "root/tmp/perf-"+inside+".map"),
		"/tmp/perf-" + strconv.FormatUint(uint64(pid), 10) + ".map",
	}
}

// namespacePID is the number that a process has in its innermost PID namespace.
func namespacePID(pid uint32) string {
	own := strconv.FormatUint(uint64(pid), 10)
	b, err := os.ReadFile(procPath(pid, "status"))
	if err != nil {
		return own
	}
	_, rest, ok := strings.Cut(string(b), "\nNSpid:")
	line, _, _ := strings.Cut(rest, "\n")
	fields := strings.Fields(line)
	if !ok || len(fields) == 0 {
		return own
	}
	return fields[len(fields)-1]
}

// maxMap bounds what is read of a perf map or a jitdump file.
const maxMap = 256 << 20

// jitCode is what is known of the code that one process makes at run time.
type jitCode struct {
	pid uint32

	mu          sync.Mutex
	dumps       []string // jitdump files it has mapped
	trampolines bool     // CPython's, one for each Python function
	size        int64    // of the file that functions was read from
	functions   *symbols.Code
}

func newCode(pid uint32) *source {
	return &source{kind: fromCode, code: &jitCode{pid: pid}}
}

// look learns of jitdump files, and by the first lines of the perf map whether there are
// trampolines.
func (c *jitCode) look(p *process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dumps = c.dumps[:0]
	for _, m := range p.mappings {
		if isJITDump(m.path) {
			c.dumps = append(c.dumps, procPath(p.pid, "root"+m.path))
		}
	}
	if c.trampolines {
		return
	}
	for _, path := range perfMapPaths(c.pid) {
		f, _, err := openRegular(path)
		if err != nil {
			continue
		}
		b := make([]byte, 4096)
		n, _ := f.ReadAt(b, 0)
		_ = f.Close() // it was only read
		c.trampolines = strings.Contains(string(b[:n]), " py::")
		return
	}
}

func (c *jitCode) python() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trampolines
}

// frames names an address by the perf map or the jitdump file, which are read again when
// they have grown.
func (c *jitCode) frames(addr uint64) []symbols.Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, path := range append(perfMapPaths(c.pid), c.dumps...) {
		if c.read(path) {
			break
		}
	}
	if c.functions == nil {
		return nil
	}
	return c.functions.Resolve(addr)
}

func (c *jitCode) read(path string) bool {
	f, size, err := openRegular(path)
	if err != nil {
		return false
	}
	defer f.Close()
	if size == c.size && c.functions != nil {
		return true
	}
	parse := symbols.ReadPerfMap
	if isJITDump(path) {
		parse = symbols.ReadJITDump
	}
	functions, err := parse(io.LimitReader(f, maxMap))
	if err != nil {
		return false
	}
	c.functions, c.size = functions, size
	return true
}

package query

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/profile"
)

// Frame is what a node of a [Tree] stands for. A field that differs among the places
// that were merged into the frame, or that is not known, is zero.
type Frame struct {
	Name       string // what people read: the function's name, or BINARY+0xADDRESS where it has none
	SystemName string // the function's as the linker knows it
	File       string // the function's source file
	StartLine  int64  // where the function begins in its file
	Line       int64  // where in the file the frame is
	Mapping    string // the mapped file's path
	BuildID    string // of the mapped file
	Address    uint64 // relative to where the mapping starts; absolute without one
	Inlined    bool
	Kind       FrameKind
	Labels     profile.Labels // of a LabelFrame, those grouped by that its samples have
}

// Binary is the mapped file's last path element.
func (f *Frame) Binary() string {
	if f.Mapping == "" {
		return ""
	}
	return path.Base(f.Mapping)
}

// FrameKind says what a frame is.
type FrameKind uint8

// The kinds of frames.
const (
	FunctionFrame     FrameKind = iota // a function with a name
	UnsymbolizedFrame                  // an address whose function is not known
	KernelFrame                        // of the operating system, with or without a function
	LabelFrame                         // the labels that samples are grouped by
	RootFrame                          // above all others; only frame 0 is one
)

var frameKindWords = [...]string{"function", "unsymbolized", "kernel", "labels", "root"}

// String is the kind as openapi.yaml writes it.
func (k FrameKind) String() string {
	if int(k) < len(frameKindWords) {
		return frameKindWords[k]
	}
	return fmt.Sprintf("kind(%d)", k)
}

// isKernel says whether a mapped file is an operating system's kernel or a module of
// it, as profilers on Linux name them.
func isKernel(mapping string) bool {
	return strings.HasPrefix(mapping, "[kernel") || strings.HasPrefix(mapping, "[guest.kernel") ||
		strings.HasPrefix(path.Base(mapping), "vmlinux") || strings.HasSuffix(mapping, ".ko")
}

// frameID is what makes two frames one: the parts that a FrameKey has, zero the others.
type frameID struct {
	function      string
	file          string
	line          int64
	mapping       string
	buildID       string
	address       uint64
	unsymbolized  bool // address and binary stand for the function that is not known
	labels        string
	isLabelsFrame bool
}

// frameTable numbers frames. Frame 0 is the root.
type frameTable struct {
	key    FrameKey
	frames []Frame
	byName map[string]uint32 // frames that are nothing but a function's name
	byID   map[frameID]uint32
}

// newFrameTable makes room for some frames; more find room too.
func newFrameTable(key FrameKey, room int) *frameTable {
	if key == 0 {
		key = FrameByFunction
	}
	frames := append(make([]Frame, 0, room+room/4+1), Frame{Kind: RootFrame}) // functions, and addresses without one
	byName := map[string]uint32{}
	if key == FrameByFunction {
		byName = make(map[string]uint32, room)
	}
	return &frameTable{key, frames, byName, map[frameID]uint32{}}
}

// number is the number of a place's frame.
func (t *frameTable) number(f *Frame) uint32 {
	if t.key == FrameByFunction && f.Kind != UnsymbolizedFrame && f.Kind != LabelFrame && f.Name != "" {
		n, known := t.byName[f.Name]
		if !known {
			n = t.add(f)
			t.byName[f.Name] = n
			return n
		}
		t.frames[n].agree(f)
		return n
	}
	id := t.idOf(f)
	n, known := t.byID[id]
	if !known {
		n = t.add(f)
		t.byID[id] = n
		return n
	}
	t.frames[n].agree(f)
	return n
}

func (t *frameTable) add(f *Frame) uint32 {
	t.frames = append(t.frames, *f)
	added := &t.frames[len(t.frames)-1]
	if f.Kind != LabelFrame {
		added.Name = t.nameOf(f)
	}
	return uint32(len(t.frames) - 1)
}

func (t *frameTable) idOf(f *Frame) (id frameID) {
	if f.Kind == LabelFrame {
		return frameID{labels: f.Labels.String(), isLabelsFrame: true}
	}
	if t.key&FrameByFunction != 0 {
		id.function = f.Name
		id.unsymbolized = f.Name == ""
	}
	if t.key&(FrameByFile|FrameByLine) != 0 {
		id.file = f.File
	}
	if t.key&FrameByLine != 0 {
		id.line = f.Line
	}
	if t.key&FrameByBinary != 0 {
		id.mapping, id.buildID = f.Mapping, f.BuildID
	}
	switch {
	case t.key&FrameByAddress != 0:
		id.mapping, id.buildID, id.address = f.Mapping, f.BuildID, f.Address
	case id.unsymbolized: // by what its name will be made of
		id.function, id.address = f.Binary(), f.Address
	}
	return id
}

// unknown stands for what a place does not tell.
const unknown = "[unknown]"

// address is what a place without a function is called.
func (f *Frame) address() string {
	return fmt.Sprintf("%s+0x%x", cmp.Or(f.Binary(), unknown), f.Address)
}

// nameOf is what people read. A place without a function has no Name yet.
func (t *frameTable) nameOf(f *Frame) string {
	switch {
	case t.key&FrameByFunction != 0 && f.Name != "":
		return f.Name
	case t.key&(FrameByFunction|FrameByAddress) != 0:
		return f.address()
	case t.key&FrameByLine != 0:
		if f.File == "" {
			return unknown
		}
		return fmt.Sprintf("%s:%d", f.File, f.Line)
	case t.key&FrameByFile != 0:
		return cmp.Or(f.File, unknown)
	}
	return cmp.Or(f.Binary(), unknown)
}

// agree clears what another place of the frame says differently.
func (f *Frame) agree(g *Frame) {
	if f.SystemName != g.SystemName {
		f.SystemName = ""
	}
	if f.File != g.File {
		f.File = ""
	}
	if f.StartLine != g.StartLine {
		f.StartLine = 0
	}
	f.agreeOnPlace(g)
}

// agreeOnPlace is agree for what may differ between places of one function.
func (f *Frame) agreeOnPlace(g *Frame) {
	if f.Line != g.Line {
		f.Line = 0
	}
	if f.Mapping != g.Mapping {
		f.Mapping = ""
	}
	if f.BuildID != g.BuildID {
		f.BuildID = ""
	}
	if f.Address != g.Address {
		f.Address = 0
	}
	f.Inlined = f.Inlined && g.Inlined
	if f.Kind != g.Kind {
		f.Kind = FunctionFrame
	}
}

// compare orders frames by name; those of one name by what else tells them apart.
func (f *Frame) compare(g *Frame) int {
	if c := cmp.Compare(f.Name, g.Name); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(f.File, g.File), cmp.Compare(f.Line, g.Line), cmp.Compare(f.Mapping, g.Mapping),
		cmp.Compare(f.BuildID, g.BuildID), cmp.Compare(f.Address, g.Address))
}

// sorted orders the frames, the root's first, and tells where each went.
func (t *frameTable) sorted() (frames []Frame, rank []uint32) {
	type named struct { // a look at the name alone orders nearly all
		name string
		n    uint32
	}
	order := make([]named, len(t.frames))
	for i := range order {
		order[i] = named{t.frames[i].Name, uint32(i)}
	}
	slices.SortFunc(order[1:], func(a, b named) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return t.frames[a.n].compare(&t.frames[b.n])
	})
	frames, rank = make([]Frame, len(order)), make([]uint32, len(order))
	for to, from := range order {
		frames[to], rank[from.n] = t.frames[from.n], uint32(to)
	}
	return frames, rank
}

// placesOf calls f with the frames of a location that a sieve lets pass, the outermost caller
// first, and with their function in the sieve's symbols, -1 where there is none. Their Name is
// the function's. The frame is place, which f must not keep.
func placesOf(s *sieve, location *arrowblock.Frame, place *Frame, f func(place *Frame, function int)) {
	at := Frame{Address: location.Address}
	if location.Mapping >= 0 {
		m := &s.sym.Mappings()[location.Mapping]
		at.Mapping, at.BuildID = m.File, m.BuildID
	}
	kernel := isKernel(at.Mapping)
	emit := func(line int) {
		*place = at
		of := -1
		if line < len(location.Lines) {
			l := location.Lines[line]
			of = int(l.Function)
			function := s.sym.Function(l.Function)
			place.Name, place.SystemName = cmp.Or(function.Name, function.SystemName), function.SystemName
			place.File, place.StartLine, place.Line = function.Filename, function.StartLine, l.Line
			place.Inlined = line < len(location.Lines)-1
		}
		switch {
		case kernel:
			place.Kind = KernelFrame
		case place.Name == "":
			place.Kind = UnsymbolizedFrame
		}
		f(place, of)
	}
	if len(s.frames) > 0 {
		for _, line := range slices.Backward(s.linesOf(*location)) {
			emit(line)
		}
		return
	}
	for line := max(len(location.Lines), 1) - 1; line >= 0; line-- {
		emit(line)
	}
}

package perf

import (
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/coldframe/coldframe/agent/symbols"
	"github.com/coldframe/coldframe/profile/draft"
)

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// resolve names the places, binary by binary, where this machine has the binary that was
// recorded.
func (m *maker) resolve() [][]symbols.Frame {
	names := make([][]symbols.Frame, len(m.places))
	byFile := map[area][]int{} // of an area without its address
	var kernel *symbols.Kernel
	if m.options.Kernel != nil {
		kernel = m.options.Kernel(m.file.kernel)
	}
	for i, p := range m.places {
		switch {
		case p.area.kernel:
			if kernel != nil {
				names[i] = kernel.Resolve(p.address)
			}
		case strings.HasPrefix(p.area.file, "/") && m.options.Open != nil:
			key := area{file: p.area.file, buildID: p.area.buildID}
			byFile[key] = append(byFile[key], i)
		}
	}
	for key, places := range byFile {
		m.resolveFile(key, places, names)
	}
	return names
}

// resolveFile names the places in one binary. A binary that is not there, or no longer
// the one that was recorded, names none.
func (m *maker) resolveFile(key area, places []int, names [][]symbols.Frame) {
	f, err := m.options.Open(key.file)
	if err != nil {
		return
	}
	defer f.Close()
	b, err := symbols.NewBinary(f, f.Size())
	if err != nil || key.buildID != "" && b.BuildID != key.buildID && symbols.IsBuildID(b.BuildID) {
		return
	}
	var addresses []uint64
	var which []int
	for _, i := range places {
		p := m.places[i]
		if bias, ok := symbols.Bias(b.Segments, p.area.start, p.area.offset); ok {
			addresses = append(addresses, p.address-bias)
			which = append(which, i)
		}
	}
	frames := b.Resolve(addresses, filepath.Dir(key.file), func(path string) (io.ReaderAt, io.Closer, error) {
		debug, err := m.options.Open(path)
		return debug, debug, err
	})
	for j, i := range which {
		if j < len(frames) {
			names[i] = frames[j]
		}
	}
}

// location adds a place to a profile.
func (m *maker) location(d *draft.Draft, p place, frames []symbols.Frame) draft.LocationRef {
	var lines []draft.Line
	for _, f := range frames {
		function := d.Function(draft.Function{Name: f.Function, SystemName: f.System, File: f.File, StartLine: int64(f.StartLine)})
		lines = append(lines, draft.Line{Function: function, Line: int64(f.Line)})
	}
	mapping := draft.MappingRef(0)
	if p.area.file != "" {
		mapping = d.Mapping(draft.Mapping{
			Start: p.area.start, Limit: p.area.end, Offset: p.area.offset, File: p.area.file, BuildID: p.area.buildID,
		})
	}
	return d.Location(mapping, p.address, lines...)
}

package query

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/profile"
)

// A stack filter with a Path keeps the stacks that begin with it: what was called from one place of a call tree.

// pathWord begins such a filter's text; names follow, the root's callee first, with a semicolon between, as
// folded stacks are written. A semicolon or backslash in a name has a backslash before it.
const pathWord = "path="

// maxPath is how many names a Path may have: as many as a stack may have frames.
const maxPath = 1 << 16

var pathEscaper = strings.NewReplacer(`\`, `\\`, `;`, `\;`)

func writePath(path []string) string {
	names := make([]string, len(path))
	for i, name := range path {
		names[i] = pathEscaper.Replace(name)
	}
	return pathWord + strings.Join(names, ";")
}

func parsePath(text string) []string {
	path := []string{""}
	var escaped bool
	for _, r := range []byte(text) {
		switch name := &path[len(path)-1]; {
		case !escaped && r == '\\':
			escaped = true
			continue
		case !escaped && r == ';':
			path = append(path, "")
		default:
			*name += string([]byte{r})
		}
		escaped = false
	}
	return path
}

func (f Filter) validatePath() error {
	switch {
	case f.Frames:
		return fmt.Errorf("a path chooses among stacks, not frames: %w", profile.ErrInvalid)
	case len(f.Where) > 0:
		return fmt.Errorf("a path and conditions are filters of their own: %w", profile.ErrInvalid)
	case slices.Contains(f.Path, ""):
		return fmt.Errorf("%s: want names of functions, the first called first, with a semicolon between: %w", f, profile.ErrInvalid)
	case len(f.Path) > maxPath:
		return fmt.Errorf("a path of %d names, at most %d are allowed: %w", len(f.Path), maxPath, profile.ErrInvalid)
	}
	return nil
}

// pathsOf are the filters that have a path.
func pathsOf(filters []Filter) (paths [][]string) {
	for _, f := range filters {
		if len(f.Path) > 0 {
			paths = append(paths, f.Path)
		}
	}
	return paths
}

const astray = -1

// begun is how many names of each of some paths the stacks of a tree begin with, or astray, while its
// nodes are walked in preorder.
type begun struct {
	paths   [][]string
	byDepth [][]int
}

// enter goes to the next node, and says whether its stack begins with all paths.
func (b *begun) enter(sym *arrowblock.Symbols, depth int, frame arrowblock.FrameID) bool {
	if len(b.paths) == 0 {
		return true
	}
	if depth == len(b.byDepth) {
		b.byDepth = append(b.byDepth, make([]int, len(b.paths)))
	}
	all := true
	for k, path := range b.paths {
		n := 0
		if depth > 0 {
			if n = b.byDepth[depth-1][k]; n != astray && n < len(path) {
				n = follow(sym, path, n, frame)
			}
		}
		b.byDepth[depth][k] = n
		all = all && n == len(path)
	}
	return all
}

// follow is how much of a path is begun after a location, when n names were before.
func follow(sym *arrowblock.Symbols, path []string, n int, frame arrowblock.FrameID) int {
	location := sym.Frame(frame)
	if len(location.Lines) == 0 {
		place := Frame{Address: location.Address}
		if location.Mapping >= 0 {
			place.Mapping = sym.Mappings()[location.Mapping].File
		}
		return goOn(path, n, place.address())
	}
	for i := len(location.Lines) - 1; i >= 0 && n != astray && n < len(path); i-- {
		function := sym.Function(location.Lines[i].Function)
		n = goOn(path, n, cmp.Or(function.Name, function.SystemName))
	}
	return n
}

func goOn(path []string, n int, name string) int {
	if path[n] != name {
		return astray
	}
	return n + 1
}

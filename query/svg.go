package query

import (
	"bufio"
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// Measures of a flame graph, in pixels.
const (
	svgWidth     = 1200
	svgMargin    = 10
	svgRow       = 17
	svgHead      = 44
	svgLetter    = 6.7 // of the font below
	svgLeastNode = 0.2 // narrower ones cannot be seen
)

// WriteSVG draws the tree as a flame graph that hangs down from its root: a picture that
// needs no script, whose rectangles tell their names and values when pointed at. A comparison is
// coloured by what is more (red) and less (blue) than in the base.
func (t *Tree) WriteSVG(w io.Writer) error {
	out := bufio.NewWriter(w)
	deepest := uint32(0)
	drawn := t.drawn(func(node int, _, _ float64) { deepest = max(deepest, t.Depth[node]) })
	height := svgHead + int(deepest+1)*svgRow + svgMargin
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="monospace" font-size="11">`+"\n", svgWidth, height, svgWidth, height)
	fmt.Fprintf(out, `<rect width="100%%" height="100%%" fill="#fff"/>`+"\n")
	fmt.Fprintf(out, `<text x="%d" y="18" font-size="14">%s</text>`+"\n", svgMargin, escapeXML(cmp.Or(t.Type.String(), "nothing")))
	fmt.Fprintf(out, `<text x="%d" y="34" fill="#555">%s to %s, total %s</text>`+"\n", svgMargin, formatTime(t.Range.From), formatTime(t.Range.To), formatValue(t.total(), t.Type.Sample.Unit))
	drawn(func(node int, x, width float64) {
		name := t.Frames[t.Frame[node]].Name
		if node == 0 {
			name = "all"
		}
		y := svgHead + int(t.Depth[node])*svgRow
		fmt.Fprintf(out, `<g><title>%s</title><rect x="%.1f" y="%d" width="%.1f" height="%d" rx="1" fill="%s"/>`, escapeXML(t.tooltip(node, name)), x, y, width, svgRow-1, t.colour(node))
		if label := fit(name, width-4); label != "" {
			fmt.Fprintf(out, `<text x="%.1f" y="%d">%s</text>`, x+2, y+12, escapeXML(label))
		}
		fmt.Fprint(out, "</g>\n")
	})
	fmt.Fprint(out, "</svg>\n")
	return out.Flush()
}

func (t *Tree) total() int64 {
	if len(t.Total) == 0 {
		return 0
	}
	return t.Total[0]
}

// breadth is what a node's width stands for: its total, or in a comparison the larger of both.
func (t *Tree) breadth(node int) float64 { return float64(t.weight(node)) }

// drawn calls f with each node that is wide enough to be seen, where it begins and how wide it
// is; it returns a func that does so again.
func (t *Tree) drawn(f func(node int, x, width float64)) (again func(func(node int, x, width float64))) {
	walk := func(f func(node int, x, width float64)) {
		if len(t.Depth) == 0 {
			return
		}
		type open struct{ next, scale float64 } // where the next child begins; pixels a unit
		path := []open{{svgMargin, t.scaleWithin(0, svgWidth-2*svgMargin)}}
		closed := uint32(math.MaxUint32) // the depth of a node that is too narrow
		for i, depth := range t.Depth {
			if depth > closed {
				continue
			}
			closed = math.MaxUint32
			parent := &path[max(depth, 1)-1]
			if depth == 0 {
				f(0, svgMargin, svgWidth-2*svgMargin)
				continue
			}
			x, width := parent.next, t.breadth(i)*parent.scale
			parent.next += width
			if width < svgLeastNode {
				closed = depth
				continue
			}
			f(i, x, width)
			path = append(path[:depth], open{x, t.scaleWithin(i, width)})
		}
	}
	walk(f)
	return walk
}

// scaleWithin is how many pixels a unit a node's children get. In a comparison these may
// be broader together than their parent.
func (t *Tree) scaleWithin(node int, width float64) float64 {
	whole := t.breadth(node)
	if t.Compared() {
		sum := 0.0
		for i := node + 1; i < len(t.Depth) && t.Depth[i] > t.Depth[node]; i++ {
			if t.Depth[i] == t.Depth[node]+1 {
				sum += t.breadth(i)
			}
		}
		whole = max(whole, sum)
	}
	if whole == 0 {
		return 0
	}
	return width / whole
}

func (t *Tree) tooltip(node int, name string) string {
	unit := t.Type.Sample.Unit
	text := fmt.Sprintf("%s\n%s, %s of all; self %s", name, formatValue(t.Total[node], unit), formatShare(t.Total[node], t.Total[0]), formatValue(t.Self[node], unit))
	if c := t.Comparison(); c != nil {
		text += fmt.Sprintf("\nbase %s, %s of all; difference %s", formatValue(t.BaseTotal[node], unit), formatShare(t.BaseTotal[node], c.Total),
			formatSigned(c.Diff(t.Total[node], t.BaseTotal[node]), unit))
	}
	return text
}

// colour is one for each binary, or the package of a function that has none; warm for user
// code, cool for the kernel.
func (t *Tree) colour(node int) string {
	if c := t.Comparison(); c != nil {
		value, base := float64(t.Total[node])*c.Scale, float64(t.BaseTotal[node])*c.BaseScale
		share := 0.0
		if whole := max(math.Abs(value), math.Abs(base)); whole > 0 {
			share = (value - base) / whole
		}
		fade := int(255 - 150*math.Abs(share))
		if share < 0 {
			return fmt.Sprintf("rgb(%d,%d,255)", fade, fade)
		}
		return fmt.Sprintf("rgb(255,%d,%d)", fade, fade)
	}
	f := &t.Frames[t.Frame[node]]
	h := xxhash.Sum64String(cmp.Or(f.Binary(), f.Name[:strings.LastIndexAny(f.Name, "/.")+1])) ^ xxhash.Sum64String(f.Name)%16
	shade := int(h % 50)
	switch f.Kind {
	case RootFrame, LabelFrame:
		return "rgb(220,220,220)"
	case KernelFrame:
		return fmt.Sprintf("rgb(%d,%d,%d)", 120+shade, 175+shade, 235)
	case UnsymbolizedFrame:
		return fmt.Sprintf("rgb(%d,%d,%d)", 195+shade, 195+shade, 180)
	}
	return fmt.Sprintf("rgb(%d,%d,%d)", 235, 130+2*shade, 60+shade)
}

// fit is as much of a name as a width holds.
func fit(name string, width float64) string {
	letters := int(width / svgLetter)
	switch n := utf8.RuneCountInString(name); {
	case letters < 3:
		return ""
	case n <= letters:
		return name
	}
	return string([]rune(name)[:letters-1]) + "…"
}

func escapeXML(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder does not fail
	return b.String()
}

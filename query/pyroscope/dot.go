package pyroscope

import (
	"fmt"
	"slices"
	"strings"

	"github.com/coldframe/coldframe/query"
)

// dot is the call graph of a tree for Graphviz: the functions with the largest totals and
// the calls between them.
func dot(t *query.Tree, maxNodes int) string {
	functions, edges := t.Functions(), t.Edges()
	var shown []int
	for i := range functions {
		if functions[i].Total != 0 {
			shown = append(shown, i)
		}
	}
	slices.SortStableFunc(shown, func(a, b int) int {
		if functions[a].Total > functions[b].Total {
			return -1
		}
		return 1
	})
	shown = shown[:min(len(shown), maxNodes)]
	number := map[uint32]int{}
	var out strings.Builder
	fmt.Fprintf(&out, "digraph %q {\nnode [shape=box]\n", t.Type.String())
	for n, i := range shown {
		f := &functions[i]
		number[uint32(i)] = n + 1
		fmt.Fprintf(&out, "N%d [label=%q]\n", n+1, fmt.Sprintf("%s\n%d of %d", f.Name, f.Self, f.Total))
	}
	for _, e := range edges {
		if from, to := number[e.Caller], number[e.Callee]; from > 0 && to > 0 {
			fmt.Fprintf(&out, "N%d -> N%d [label=%q]\n", from, to, fmt.Sprint(e.Value))
		}
	}
	out.WriteString("}\n")
	return out.String()
}

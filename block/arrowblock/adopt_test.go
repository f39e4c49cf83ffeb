package arrowblock

import (
	"reflect"
	"testing"
)

// A tree that other symbols adopt is the same tree: frame by frame, in the same order, with the same values, and it
// merges with itself to twice its values.
func TestAdopt(t *testing.T) {
	inputs := randomInputs(t, 53, 40)
	b, _ := finish(t, buildOf(t, inputs))
	from, to := NewSymbols(), NewSymbols()
	other, _ := finish(t, buildOf(t, randomInputs(t, 54, 10)))
	if _, err := other.Stacks(t.Context(), to, 0); err != nil { // so that numbers differ
		t.Fatal(err)
	}
	for n := range b.Services() {
		stacks, err := b.Stacks(t.Context(), from, n)
		if err != nil {
			t.Fatal(err)
		}
		tree := NewTree(stacks[0], 1)
		for i := range tree.Self[0] {
			tree.Self[0][i] = int64(i + 1)
		}
		adopted := to.Adopt(from, tree)
		for i, id := range adopted.Frame {
			if id == 0 || tree.Frame[i] == 0 {
				if id != tree.Frame[i] {
					t.Fatalf("service %d, node %d: frame %d of %d", n, i, id, tree.Frame[i])
				}
				continue
			}
			if got, want := named(to, id), named(from, tree.Frame[i]); !reflect.DeepEqual(got, want) {
				t.Fatalf("service %d, node %d: %+v, want %+v", n, i, got, want)
			}
		}
		adopted.Self[0][0]++
		if tree.Self[0][0] != 1 {
			t.Error("values are shared")
		}
		adopted.Self[0][0]--
		twice := Merge(to, adopted, to.Adopt(from, tree))
		for i, v := range twice.Self[0] {
			if twice.Len() != tree.Len() || v != 2*tree.Self[0][i] {
				t.Fatalf("service %d: merged with itself it has %d nodes of %d, and %d at %d", n, twice.Len(), tree.Len(), v, i)
			}
		}
	}
}

// namedFrame is a frame without numbers that depend on its Symbols.
type namedFrame struct {
	frame     Frame
	functions []Function
	mapping   mappingKey
}

func named(s *Symbols, id FrameID) namedFrame {
	n := namedFrame{frame: s.Frame(id)}
	lines := append([]Line(nil), n.frame.Lines...)
	for i := range lines {
		n.functions = append(n.functions, s.Function(lines[i].Function))
		lines[i].Function = 0
	}
	n.frame.Lines = lines
	if n.frame.Mapping >= 0 {
		n.mapping, n.frame.Mapping = s.Mappings()[n.frame.Mapping].key(), 0
	}
	return n
}

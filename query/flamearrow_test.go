package query

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

// The Arrow form, as Arrow's own reader sees it, is the tree.
func TestTreeArrow(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 1))
	for i := range 20 {
		tree := treeOf(randomStacks(rng))
		last := len(tree.Depth) - 1
		if i%2 == 0 {
			tree.Self[last] = 1 << 40 // does not fit 32 bits
		}
		if i%3 == 0 {
			tree.BaseSelf, tree.BaseTotal = make([]int64, last+1), make([]int64, last+1)
			tree.BaseSelf[last], tree.BaseTotal[0] = -7, -7
		}
		tree.Frames[1] = Frame{Name: "malloc", SystemName: "_malloc", File: "m.c", StartLine: 10, Line: 12, Mapping: "/lib/libc.so", BuildID: "b1", Address: 1 << 63, Kind: KernelFrame}
		var b bytes.Buffer
		if err := tree.WriteArrow(&b); err != nil {
			t.Fatal(err)
		}
		checkArrow(t, tree, b.Bytes())
	}
}

func checkArrow(t *testing.T, tree *Tree, stream []byte) {
	t.Helper()
	r, err := ipc.NewReader(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	facts := r.Schema().Metadata()
	for key, want := range map[string]string{"type": tree.Type.String(), "unit": "nanoseconds", "total": strconv.FormatInt(tree.Total[0], 10), "from": "2026-08-21T10:00:00Z"} {
		if got, _ := facts.GetValue(key); got != want {
			t.Errorf("metadata %s is %q, want %q", key, got, want)
		}
	}
	if !r.Next() {
		t.Fatalf("no record batch: %v", r.Err())
	}
	batch := r.RecordBatch()
	column := func(name string) arrow.Array {
		at := r.Schema().FieldIndices(name)
		if len(at) != 1 {
			t.Fatalf("%d columns %s", len(at), name)
		}
		return batch.Column(at[0])
	}
	frame := column("frame").(*array.Dictionary)
	frames := frame.Dictionary().(*array.Struct)
	text := func(name string, i int) string {
		at, _ := frames.DataType().(*arrow.StructType).FieldIdx(name)
		return frames.Field(at).ValueStr(i)
	}
	for i := range tree.Depth {
		if got := column("depth").(*array.Uint32).Value(i); got != tree.Depth[i] {
			t.Fatalf("node %d: depth %d, want %d", i, got, tree.Depth[i])
		}
		if got := frame.GetValueIndex(i); got != int(tree.Frame[i]) {
			t.Fatalf("node %d: frame %d, want %d", i, got, tree.Frame[i])
		}
		for k, values := range tree.columns() {
			if got := column(valueColumns[k]).ValueStr(i); got != strconv.FormatInt((*values)[i], 10) {
				t.Fatalf("node %d: %s %s, want %d", i, valueColumns[k], got, (*values)[i])
			}
		}
	}
	for i, f := range tree.Frames {
		for name, want := range map[string]string{
			"name": f.Name, "kind": f.Kind.String(), "system_name": f.SystemName, "file": f.File, "binary": f.Binary(), "mapping": f.Mapping, "build_id": f.BuildID,
			"start_line": strconv.FormatInt(f.StartLine, 10), "line": strconv.FormatInt(f.Line, 10), "address": strconv.FormatUint(f.Address, 10),
		} {
			if got := text(name, i); got != want {
				t.Errorf("frame %d: %s %q, want %q", i, name, got, want)
			}
		}
	}
	if r.Next() {
		t.Error("a second record batch")
	}
}

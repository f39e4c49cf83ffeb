package arrowblock

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/coldframe/coldframe/block"
)

// table is a stream's content in a form that readers can agree on: numbers are
// strings, lists are []any, structs are maps.
type table map[string][]any

// members are the files that anybody's unzip finds in a block.
func members(t testing.TB, data []byte) map[string][]byte {
	t.Helper()
	zr, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, f := range zr.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if files[f.Name], err = io.ReadAll(r); err != nil { // checks the CRC32
			t.Fatalf("%s: %v", f.Name, err)
		}
	}
	return files
}

// readOurs reads a stream with this package.
func readOurs(t testing.TB, b *Block, name string, data []byte) table {
	t.Helper()
	s, err := parseStream(name, 0, data, b.zstd)
	if err != nil {
		t.Fatal(err)
	}
	out := table{}
	for i := range s.columns {
		out[s.columns[i].name] = ourValues(t, s, s.columns[i].name)
	}
	return out
}

func ourValues(t testing.TB, s *stream, path ...string) []any {
	t.Helper()
	c := s.column(path...)
	var out []any
	switch c.kind {
	case kindU8:
		out = stringsOf[uint8](t, s, path)
	case kindU16:
		out = stringsOf[uint16](t, s, path)
	case kindU32:
		out = stringsOf[uint32](t, s, path)
	case kindU64:
		out = stringsOf[uint64](t, s, path)
	case kindI64:
		out = stringsOf[int64](t, s, path)
	case kindText:
		view, err := s.decodeStrings(path...)
		if err != nil {
			t.Fatal(err)
		}
		for i := range view.len() {
			if view.null(i) {
				out = append(out, nil)
			} else {
				out = append(out, view.at(i))
			}
		}
	case kindList:
		offsets, err := s.decodeList(path...)
		if err != nil {
			t.Fatal(err)
		}
		items := ourValues(t, s, append(path[:len(path):len(path)], "item")...)
		for i := range c.rows {
			out = append(out, append([]any{}, items[offsets[i]:offsets[i+1]]...))
		}
	case kindStruct:
		for range c.rows {
			out = append(out, map[string]any{})
		}
		for _, child := range c.children {
			for i, v := range ourValues(t, s, append(path[:len(path):len(path)], child.name)...) {
				out[i].(map[string]any)[child.name] = v
			}
		}
	default:
		t.Fatalf("%v is of kind %d", path, c.kind)
	}
	return out
}

func stringsOf[T number](t testing.TB, s *stream, path []string) (out []any) {
	t.Helper()
	values, err := decodeNumbers[T](s, path...)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

// readArrowGo reads a stream with arrow-go.
func readArrowGo(t testing.TB, data []byte) (table, *arrow.Schema) {
	t.Helper()
	r, err := ipc.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	out := table{}
	for _, f := range r.Schema().Fields() {
		out[f.Name] = nil
	}
	for r.Next() {
		batch := r.RecordBatch()
		for i, f := range batch.Schema().Fields() {
			out[f.Name] = append(out[f.Name], arrowValues(t, batch.Column(i))...)
		}
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return out, r.Schema()
}

func arrowValues(t testing.TB, a arrow.Array) (out []any) {
	t.Helper()
	switch a := a.(type) {
	case *array.String:
		for i := range a.Len() {
			if a.IsNull(i) {
				out = append(out, nil)
			} else {
				out = append(out, a.Value(i))
			}
		}
	case *array.List:
		items := arrowValues(t, a.ListValues())
		for i := range a.Len() {
			from, to := a.ValueOffsets(i)
			out = append(out, append([]any{}, items[from:to]...))
		}
	case *array.Struct:
		for range a.Len() {
			out = append(out, map[string]any{})
		}
		for k := range a.NumField() {
			for i, v := range arrowValues(t, a.Field(k)) {
				out[i].(map[string]any)[a.DataType().(*arrow.StructType).Field(k).Name] = v
			}
		}
	default:
		for i := range a.Len() {
			out = append(out, a.ValueStr(i))
		}
	}
	return out
}

// blockOfEverything holds every kind of section, in both compressions.
func blocksOfEverything(t testing.TB) map[string][]byte {
	t.Helper()
	blocks := map[string][]byte{}
	for name, uncompressed := range map[string]bool{"zstd": false, "uncompressed": true} {
		b, err := NewBuilder(Config{Range: dayRange(), Uncompressed: uncompressed})
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range randomInputs(t, 29, 12) {
			add(t, b, in.key, in.body)
			in.key.Name = "wall"
			add(t, b, in.key, in.body)
		}
		b.AddSource(Source{ID: block.ID{1}, Day: block.DayOf(day)})
		b.AddSource(Source{ID: block.ID{2}, Day: block.DayOf(day), Profile: "0.pb.gz", Rejected: "why"})
		var buf bytes.Buffer
		if _, err := b.Finish(&buf); err != nil {
			t.Fatal(err)
		}
		blocks[name] = buf.Bytes()
	}
	return blocks
}

// arrow-go reads every section as we do.
func TestArrowGoReadsSections(t *testing.T) {
	for name, data := range blocksOfEverything(t) {
		t.Run(name, func(t *testing.T) {
			b, err := Open(t.Context(), block.Bytes(data), Tail{})
			if err != nil {
				t.Fatal(err)
			}
			files := members(t, data)
			if len(files) != len(b.sections)+1 {
				t.Errorf("%d members, %d sections and an index", len(files), len(b.sections))
			}
			for name, content := range files {
				want, schema := readArrowGo(t, content)
				if got := readOurs(t, b, name, content); !reflect.DeepEqual(got, want) {
					t.Errorf("%s: got %v, arrow-go reads %v", name, got, want)
				}
				s, _ := parseStream(name, 0, content, b.zstd)
				for _, f := range s.facts {
					if v, ok := schema.Metadata().GetValue(f.key); !ok || v != f.value {
						t.Errorf("%s: fact %s is %q, arrow-go reads %q", name, f.key, f.value, v)
					}
				}
			}
			if err := b.Verify(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// Arrow's JavaScript library reads every section as arrow-go does. It is looked for
// where ARROW_JS says:
//
//	npm install --prefix DIR apache-arrow@21.2.0 fzstd@0.1.1
//	ARROW_JS=DIR/node_modules go test -run JavaScript ./block/arrowblock
func TestArrowJavaScriptReadsSections(t *testing.T) {
	modules := os.Getenv("ARROW_JS")
	if modules == "" {
		t.Skip("ARROW_JS does not say where apache-arrow is")
	}
	for name, data := range blocksOfEverything(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			files := map[string][]byte{}
			for name, content := range members(t, data) {
				name = strings.ReplaceAll(name, "/", "_")
				files[name] = content
				if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), "node", "testdata/arrow.cjs", dir)
			cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			if len(lines) != len(files) {
				t.Fatalf("%d files read, want %d", len(lines), len(files))
			}
			for _, line := range lines {
				var got struct {
					File    string
					Columns table
				}
				if err := json.Unmarshal([]byte(line), &got); err != nil {
					t.Fatal(err)
				}
				want, _ := readArrowGo(t, files[got.File])
				for column, values := range want {
					if len(values) == 0 && len(got.Columns[column]) == 0 {
						continue
					}
					if !reflect.DeepEqual(got.Columns[column], values) {
						t.Errorf("%s, column %s: JavaScript reads %v, arrow-go %v", got.File, column, got.Columns[column], values)
					}
				}
			}
		})
	}
}

// unzip, which knows nothing of us, finds nothing wrong.
func TestUnzipTestsBlocks(t *testing.T) {
	unzip, err := exec.LookPath("unzip")
	if err != nil {
		t.Skip("no unzip here")
	}
	for name, data := range blocksOfEverything(t) {
		file := filepath.Join(t.TempDir(), "block.zip")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), unzip, "-tq", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// Columns take the smallest type that holds their values, and come back the same.
func TestNarrowColumns(t *testing.T) {
	for _, tt := range []struct {
		values []int64
		want   kind
	}{
		{nil, kindU8},
		{[]int64{0, 255}, kindU8},
		{[]int64{0, 256}, kindU16},
		{[]int64{1 << 16}, kindU32},
		{[]int64{math.MaxUint32}, kindU32},
		{[]int64{math.MaxUint32 + 1}, kindI64},
		{[]int64{-1}, kindI64},
		{[]int64{math.MinInt64, math.MaxInt64}, kindI64},
	} {
		c := narrow("x", tt.values)
		if c.kind != tt.want || c.rows != len(tt.values) {
			t.Errorf("%v: kind %d of %d rows, want %d", tt.values, c.kind, c.rows, tt.want)
		}
		enc, err := newEncoder(false)
		if err != nil {
			t.Fatal(err)
		}
		data, err := enc.stream(nil, c)
		if err != nil {
			t.Fatal(err)
		}
		opened, _ := Open(t.Context(), block.Bytes(blocksOfEverything(t)["zstd"]), Tail{})
		s, err := parseStream("x", 0, data, opened.zstd)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeNarrow[int64](s, "x")
		if err != nil || len(got) != len(tt.values) {
			t.Fatalf("%v: %v, %v", tt.values, got, err)
		}
		for i, v := range got {
			if strconv.FormatInt(v, 10) != strconv.FormatInt(tt.values[i], 10) {
				t.Errorf("got %d, want %d", v, tt.values[i])
			}
		}
	}
}

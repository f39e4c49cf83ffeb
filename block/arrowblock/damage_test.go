package arrowblock

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/profile"
)

// smallBlock is a block of all kinds of sections in a few kilobytes.
func smallBlock(t testing.TB) []byte {
	t.Helper()
	b := newBuilder(t)
	for _, in := range randomInputs(t, 31, 2) {
		add(t, b, in.key, in.body)
	}
	b.AddSource(Source{ID: block.ID{1}, Day: block.DayOf(day)})
	data, _ := finishWith(t, b, []Rollup{{BySeries, time.Hour}, {ByService, 24 * time.Hour}})
	return data
}

// tableBlock is a block whose rows are so many that they have a table of tuples.
func tableBlock(t testing.TB) []byte {
	t.Helper()
	b := newBuilder(t)
	r := rand.New(rand.NewPCG(1, 1))
	add(t, b, Key{Name: "many"}, encode(t, manyRows(r, 1600, 1, func() int64 { return 1 + r.Int64N(3) })))
	opened, data := finish(t, b)
	if opened.raw[0].chunks[0].tuples == nil {
		t.Fatal("rows have no table")
	}
	return data
}

// readAll reads everything that a block gives to its readers and writes it down.
func readAll(ctx context.Context, data []byte) (string, error) {
	b, err := Open(ctx, block.Bytes(data), Tail{})
	if err != nil {
		return "", err
	}
	var out strings.Builder
	fmt.Fprintln(&out, b.Info(), b.Groups(), b.Services(), b.Series(), b.Mappings(), b.LabelNames())
	headers, err := b.Headers(ctx)
	if err != nil {
		return "", err
	}
	sources, err := b.Sources(ctx)
	if err != nil {
		return "", err
	}
	fmt.Fprintln(&out, headers, sources)
	for n := range b.Groups() {
		totals, err := b.Totals(ctx, n, Span{0, uint64(len(b.Series()))})
		if err != nil {
			return "", err
		}
		fmt.Fprintln(&out, totals)
		for _, r := range b.Rollups() {
			if err := readRollup(ctx, &out, b, r, n); err != nil {
				return "", err
			}
		}
	}
	err = Dump(ctx, &out, b, DumpConfig{Limit: -1})
	return out.String(), err
}

func readRollup(ctx context.Context, out *strings.Builder, b *Block, r Rollup, group int) error {
	cells, err := b.Cells(ctx, r, group, Span{0, math.MaxUint32})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, r, cells)
	span := Span{cells.FirstRow[0], cells.FirstRow[cells.Len()]}
	for rows, err := range b.RollupRows(ctx, r, group, []Span{span}, []int{0}) {
		if err != nil {
			return err
		}
		fmt.Fprintln(out, rows.Stack, rows.Values(nil, 0))
	}
	return nil
}

func checkDamage(t *testing.T, what string, damaged []byte, want string) {
	t.Helper()
	got, err := readAll(t.Context(), damaged)
	switch {
	case err != nil && !errors.Is(err, block.ErrCorrupt):
		t.Errorf("%s: %v, want ErrCorrupt", what, err)
	case err == nil && got != want:
		t.Errorf("%s: other data is read", what)
	case err == nil: // what no reader looks at is damaged: Verify sees it
		b, err := Open(t.Context(), block.Bytes(damaged), Tail{})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Verify(t.Context()); !errors.Is(err, block.ErrCorrupt) {
			t.Errorf("%s: Verify = %v, want ErrCorrupt", what, err)
		}
	}
}

// Whatever byte is changed, readers find the damage or do not touch it, and Verify finds it.
func TestEveryFlippedByteIsFound(t *testing.T) {
	data := smallBlock(t)
	want, err := readAll(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	step := 1
	if testing.Short() {
		step = 37
	}
	for i := 0; i < len(data); i += step {
		damaged := slices.Clone(data)
		damaged[i] ^= 1 << (i % 8)
		checkDamage(t, fmt.Sprintf("byte %d of %d flipped", i, len(data)), damaged, want)
	}
}

// The same of rows with a table of tuples.
func TestEveryFlippedByteOfRowsIsFound(t *testing.T) {
	data := tableBlock(t)
	want, err := readAll(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	chunk := openBytes(t, data).raw[0].chunks[0]
	for i := chunk.rows.off; i < chunk.tuples.end(); i += 7 {
		damaged := slices.Clone(data)
		damaged[i] ^= 1 << (i % 8)
		checkDamage(t, fmt.Sprintf("byte %d of %d flipped", i, len(data)), damaged, want)
	}
}

func TestTruncatedAndForeignBytesAreFound(t *testing.T) {
	data := smallBlock(t)
	want, err := readAll(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(data); i += 13 {
		checkDamage(t, fmt.Sprintf("first %d bytes", i), data[:i], want)
		checkDamage(t, fmt.Sprintf("last %d bytes", len(data)-i-1), data[i+1:], want)
	}
	for name, foreign := range map[string][]byte{
		"nothing":    nil,
		"zeros":      make([]byte, 100_000),
		"twice":      append(slices.Clone(data), data...),
		"one more":   append(slices.Clone(data), 0),
		"empty ZIP":  append([]byte("PK\x05\x06"), make([]byte, 18)...),
		"end only":   data[len(data)-zipEndBytes-trailerBytes:],
		"no trailer": []byte(strings.Repeat("coldframe arrow block 1, ", 100)),
	} {
		checkDamage(t, name, foreign, want)
	}
}

// An error says which section is broken and where it lies.
func TestDamageIsNamed(t *testing.T) {
	data := smallBlock(t)
	b, err := Open(t.Context(), block.Bytes(data), Tail{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range b.sections {
		s := &b.sections[i]
		damaged := slices.Clone(data)
		damaged[s.off+s.length/2] ^= 0x10
		_, err := readAll(t.Context(), damaged)
		if err == nil {
			continue
		}
		for _, part := range []string{s.name, fmt.Sprint("at ", s.off)} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("damage in %s at %d: error %q does not say %q", s.name, s.off, err, part)
			}
		}
	}
}

// A source that fails is not a broken block, and a cancelled read says so.
func TestSourceErrorsPass(t *testing.T) {
	data := smallBlock(t)
	b, err := Open(t.Context(), block.Bytes(data), Tail{})
	if err != nil {
		t.Fatal(err)
	}
	gone := errors.New("gone")
	b.src = failingSource{block.Bytes(data), gone}
	if _, err := b.Totals(t.Context(), 0, Span{0, 100}); !errors.Is(err, gone) || errors.Is(err, block.ErrCorrupt) {
		t.Errorf("Totals: %v, want the source's error", err)
	}
	if _, err := b.Stacks(t.Context(), NewSymbols(), 0); !errors.Is(err, gone) {
		t.Errorf("Stacks: %v, want the source's error", err)
	}
	for _, err := range b.Rows(t.Context(), 0, []Span{{0, 1}}, Columns{}) {
		if !errors.Is(err, gone) {
			t.Errorf("Rows: %v, want the source's error", err)
		}
	}
}

type failingSource struct {
	block.Bytes
	err error
}

func (s failingSource) ReadRange(context.Context, int64, int64) ([]byte, error) { return nil, s.err }

// FuzzOpen reads all of any bytes. With mend, checksums are made right first, so that
// what lies behind them is tried too.
func FuzzOpen(f *testing.F) {
	data := smallBlock(f)
	f.Add(data, false)
	f.Add(data, true)
	f.Add(tableBlock(f), true)
	_, alone := finishWith(f, buildOf(f, randomInputs(f, 2, 3)), dayRollups)
	f.Add(alone, true)
	for _, data := range blocksOfEverything(f) {
		f.Add(data, true)
	}
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, data []byte, mend bool) {
		if mend {
			data = mended(slices.Clone(data))
		}
		if _, err := readAll(t.Context(), data); err != nil && !errors.Is(err, block.ErrCorrupt) {
			t.Fatalf("%v, want ErrCorrupt", err)
		}
		if b, err := Open(t.Context(), block.Bytes(data), Tail{}); err == nil {
			if err := b.Verify(t.Context()); err != nil && !errors.Is(err, block.ErrCorrupt) {
				t.Fatalf("Verify: %v, want ErrCorrupt", err)
			}
		}
	})
}

// FuzzAddPprof builds a block of whatever decodes: it must be a block in which
// everything is right, and hold the profile's sums.
func FuzzAddPprof(f *testing.F) {
	for _, in := range randomInputs(f, 37, 4) {
		f.Add(in.body)
	}
	f.Add(encode(f, tiny()))
	f.Fuzz(func(t *testing.T, body []byte) {
		b := newBuilder(t)
		key := Key{Name: "x", Labels: labels(t, "job", "a"), Time: day}
		switch added, err := b.AddPprof(key, body); {
		case errors.Is(err, profile.ErrInvalid):
			return
		case err != nil || !added:
			t.Fatalf("AddPprof = %v, %v", added, err)
		}
		if added, err := b.AddPprof(key, body); err != nil || added {
			t.Fatalf("again: AddPprof = %v, %v", added, err)
		}
		opened, _ := finish(t, b)
		if err := opened.Verify(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// mended sets the checksums of a damaged block to those of the bytes it has, as far
// as its index can be read.
func mended(data []byte) []byte {
	end := len(data)
	index, ok := parseTrailer(data)
	if !ok || index.off < 0 || index.length < 0 || index.off > int64(end)-index.length {
		return data
	}
	content := data[index.off:index.end()]
	b, err := Open(context.Background(), block.Bytes(data), Tail{})
	if err == nil || b != nil {
		return data
	}
	dec := &Block{index: index}
	if dec.zstd, err = newDecoder(); err != nil {
		return data
	}
	s, err := parseStream(indexName, index.off, content, dec.zstd)
	if err != nil || dec.readDirectory(s, &index) != nil {
		return data
	}
	var crcs []uint32
	for i := range dec.sections {
		s := &dec.sections[i]
		crcs = append(crcs, castagnoli(data[s.off:s.end()]))
	}
	// The index is written anew behind everything else, so that its length may change.
	facts := s.facts
	enc, err := newEncoder(true)
	if err != nil {
		return data
	}
	var columns []column
	for i := range s.columns {
		c := &s.columns[i]
		if c.name == "crc32c" {
			columns = append(columns, numbers("crc32c", crcs))
			continue
		}
		switch c.kind {
		case kindText:
			view, err := s.decodeStrings(c.name)
			if err != nil {
				return data
			}
			var column texts
			for i := range view.len() {
				column.add(view.at(i))
			}
			columns = append(columns, column.column(c.name))
		case kindU32:
			values, _ := decodeNumbers[uint32](s, c.name)
			columns = append(columns, numbers(c.name, values))
		case kindU64:
			values, _ := decodeNumbers[uint64](s, c.name)
			columns = append(columns, numbers(c.name, values))
		default:
			return data
		}
	}
	fresh, err := enc.stream(facts, columns...)
	if err != nil {
		return data
	}
	at := len(data)
	data = append(data, fresh...)
	data = append(data, zipEnd...)
	data = append(data, make([]byte, zipEndBytes-len(zipEnd))...)
	return fmt.Appendf(data, trailerFormat, at, len(fresh), castagnoli(fresh))
}

package arrowblock

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/internal/corpus"
	"github.com/coldframe/coldframe/profile"
)

// mergeOf merges blocks and returns what was written and how much was repeated.
func mergeOf(tb testing.TB, blocks ...*Block) ([]byte, int64) {
	tb.Helper()
	var buf bytes.Buffer
	meta, repeated, err := MergeBlocks(tb.Context(), Output{Block: &buf}, blocks...)
	if err != nil {
		tb.Fatal(err)
	}
	opened, err := Open(tb.Context(), block.Bytes(buf.Bytes()), Tail{meta.Tail, meta.CRC})
	if err != nil {
		tb.Fatal(err)
	}
	if info := opened.Info(); info.Rows != meta.Rows || info.Profiles != meta.Profiles || meta.Size != int64(buf.Len()) ||
		info.MinTime != meta.MinTime || info.MaxTime != meta.MaxTime {
		tb.Fatalf("meta %+v of a block %+v", meta, info)
	}
	return buf.Bytes(), repeated
}

// The block merged of others is, byte by byte, the block built of all their profiles:
// however they were dealt out, in whatever order and in however many steps they are
// merged, and with profiles that are in several of them.
func TestMergedIsAsBuilt(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 7))
		inputs := randomInputs(t, seed, 1+r.IntN(60))
		whole := buildOf(t, inputs)
		dealt := make([]*Builder, 1+r.IntN(5))
		for i := range dealt {
			dealt[i] = newBuilder(t)
		}
		again := int64(0)
		for n, in := range inputs {
			first := r.IntN(len(dealt))
			add(t, dealt[first], in.key, in.body)
			if second := r.IntN(len(dealt)); second != first && n%4 == 0 {
				add(t, dealt[second], in.key, in.body)
				again++
			}
		}
		for i, d := range dealt {
			source := Source{ID: block.ID{byte(i)}, Day: block.DayOf(day)}
			d.AddSource(source)
			whole.AddSource(source)
		}
		blocks := make([]*Block, len(dealt))
		for i, d := range dealt {
			blocks[i], _ = finish(t, d)
		}
		_, want := finish(t, whole)

		got, repeated := mergeOf(t, blocks...)
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d: merged of %d, %d bytes, differs from built, %d bytes", seed, len(blocks), len(got), len(want))
		}
		if got := mergeWithLittle(t, blocks...); !bytes.Equal(got, want) {
			t.Fatalf("seed %d: the memory that is allowed makes a difference", seed)
		}
		if repeated != again {
			t.Errorf("seed %d: %d repeated, want %d", seed, repeated, again)
		}
		slices.Reverse(blocks)
		if got, _ := mergeOf(t, blocks...); !bytes.Equal(got, want) {
			t.Fatalf("seed %d: the order of blocks makes a difference", seed)
		}
		half, _ := mergeOf(t, blocks[:(len(blocks)+1)/2]...)
		rest := append([]*Block{openBytes(t, half)}, blocks[(len(blocks)+1)/2:]...)
		if got, _ := mergeOf(t, rest...); !bytes.Equal(got, want) {
			t.Fatalf("seed %d: merging in two steps makes a difference", seed)
		}
	}
}

// mergeWithLittle merges with as little of the stacks in memory as can be.
func mergeWithLittle(tb testing.TB, blocks ...*Block) []byte {
	tb.Helper()
	var buf bytes.Buffer
	m, err := newMerging(Output{Block: &buf}, blocks)
	if err != nil {
		tb.Fatal(err)
	}
	m.nodesAtATime, m.mostSymbolBytes = 1, 1
	if _, _, err := m.write(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func openBytes(tb testing.TB, data []byte) *Block {
	tb.Helper()
	b, err := Open(tb.Context(), block.Bytes(data), Tail{})
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// The same with more nodes, rows and profiles than fit a chunk.
func TestMergedChunksAreAsBuilt(t *testing.T) {
	if testing.Short() {
		t.Skip("140,000 profiles")
	}
	r := rand.New(rand.NewPCG(1, 2))
	whole, halves := newBuilder(t), [2]*Builder{newBuilder(t), newBuilder(t)}
	put := func(half int, service string, at time.Duration, body []byte) {
		key := Key{Name: "cpu", Labels: labels(t, "service_name", service), Time: day.Add(at)}
		add(t, whole, key, body)
		add(t, halves[half], key, body)
	}
	for half, body := range [...][]byte{stacksBetween(t, 0, 70000), stacksBetween(t, 30000, 100000)} {
		for n := range 3 {
			put(half, "large", time.Duration(n)*time.Minute, body) // 210,000 rows
		}
	}
	one := stacksBetween(t, 0, 1)
	for i := range 140000 {
		put(r.IntN(2), "many", time.Duration(i)*7*time.Millisecond, one)
	}
	_, want := finish(t, whole)
	a, _ := finish(t, halves[0])
	b, _ := finish(t, halves[1])
	got, repeated := mergeOf(t, a, b)
	if !bytes.Equal(got, want) || repeated != 0 {
		t.Errorf("merged, %d bytes, differs from built, %d bytes; %d repeated", len(got), len(want), repeated)
	}
	if err := openBytes(t, got).Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// stacksBetween is a pprof with a sample at each of the addresses.
func stacksBetween(tb testing.TB, from, to uint64) []byte {
	tb.Helper()
	p := &pprof.Profile{SampleType: []*pprof.ValueType{{Type: "samples", Unit: "count"}}}
	for i := from; i < to; i++ {
		l := &pprof.Location{ID: i + 1, Address: 16 * i}
		p.Location = append(p.Location, l)
		p.Sample = append(p.Sample, &pprof.Sample{Value: []int64{int64(i%7) + 1}, Location: []*pprof.Location{l}})
	}
	return encode(tb, p)
}

// A damaged input is told by its number, wherever the damage is, and no other is blamed.
func TestMergeTellsWhichInputIsDamaged(t *testing.T) {
	blocks := make([]*Block, 3)
	var data []byte
	for i := range blocks {
		blocks[i], data = finish(t, buildOf(t, randomInputs(t, uint64(i), 20)))
	}
	last := blocks[2]
	for i := range last.sections {
		s := &last.sections[i]
		damaged := slices.Clone(data)
		damaged[s.off+s.length/2] ^= 1
		opened, err := Open(t.Context(), block.Bytes(damaged), Tail{})
		if err != nil {
			continue // in the tail, or made anew
		}
		_, _, err = MergeBlocks(t.Context(), Output{Block: io.Discard}, blocks[0], opened, blocks[1])
		var in *InputError
		if !errors.As(err, &in) || in.Input != 1 || !errors.Is(err, block.ErrCorrupt) {
			t.Errorf("damage in %s: %v", s.name, err)
		}
	}
	if _, _, err := MergeBlocks(t.Context(), Output{Block: io.Discard}); !errors.Is(err, profile.ErrInvalid) {
		t.Errorf("merge of nothing: %v", err)
	}
	other, err := NewBuilder(Config{Range: block.DayOf(day.AddDate(0, 0, 1)).Range()})
	if err != nil {
		t.Fatal(err)
	}
	tomorrow, _ := finish(t, other)
	if _, _, err := MergeBlocks(t.Context(), Output{Block: io.Discard}, blocks[0], tomorrow); !errors.Is(err, profile.ErrInvalid) {
		t.Errorf("merge over midnight: %v", err)
	}
}

// BenchmarkMergeBlocks merges five blocks of a minute each into one, what a compactor
// does from level 1 to level 2.
func BenchmarkMergeBlocks(b *testing.B) {
	for name, profiles := range corpus.Sets() {
		b.Run(name, func(b *testing.B) {
			byMinute := map[time.Time][]corpus.Profile{}
			for _, p := range profiles() {
				at := p.Time.Truncate(time.Minute)
				byMinute[at] = append(byMinute[at], p)
			}
			var sources []block.Bytes
			var bytesIn int64
			nodes, rows := int64(0), int64(0)
			for _, ps := range byMinute {
				data, _ := corpusBlock(b, ps)
				sources = append(sources, data)
				bytesIn += int64(len(data))
				info := openBytes(b, data).Info()
				nodes, rows = nodes+info.Nodes, rows+info.Rows
			}
			var written int64
			before := corpus.CPUTime()
			for b.Loop() {
				blocks := make([]*Block, len(sources))
				for i, s := range sources {
					blocks[i] = openBytes(b, s)
				}
				meta, _, err := MergeBlocks(b.Context(), Output{Block: io.Discard}, blocks...)
				if err != nil {
					b.Fatal(err)
				}
				written = meta.Size
			}
			used := (corpus.CPUTime() - before).Seconds() / float64(b.N)
			b.ReportMetric(float64(bytesIn)/used/1e6, "MB-in/cpu-s")
			b.ReportMetric(float64(nodes)/used/1e6, "Mnodes/cpu-s")
			b.ReportMetric(float64(rows)/used/1e6, "Mrows/cpu-s")
			b.ReportMetric(float64(bytesIn)/float64(written), "x-smaller")
		})
	}
}

package arrowblock

import (
	"bytes"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/internal/corpus"
	"github.com/coldframe/coldframe/profile"
)

// corpusBuilder is a Builder with the profiles of a corpus, as they are or uncompressed.
func corpusBuilder(tb testing.TB, profiles []corpus.Profile, uncompressed ...[]byte) *Builder {
	tb.Helper()
	b, err := NewBuilder(Config{Range: block.DayOf(profiles[0].Time).Range()})
	if err != nil {
		tb.Fatal(err)
	}
	for i, p := range profiles {
		body := p.Body
		if uncompressed != nil {
			body = uncompressed[i]
		}
		if _, err := b.AddPprof(Key{Name: p.Name, Labels: p.Labels, Time: p.Time}, body); err != nil {
			tb.Fatal(err)
		}
	}
	return b
}

// corpusBlock is that block, and how it opens.
func corpusBlock(tb testing.TB, profiles []corpus.Profile) ([]byte, Tail) {
	tb.Helper()
	var buf bytes.Buffer
	meta, err := corpusBuilder(tb, profiles).Finish(&buf)
	if err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes(), Tail{meta.Tail, meta.CRC}
}

// BenchmarkBuild makes one block of 800 profiles: whole is all of it, from gzip to the
// last byte, the others are what that consists of. google is the peer, google/pprof, which
// parses the same files and merges those of each name and service in memory. finish
// reports how small the block is.
func BenchmarkBuild(b *testing.B) {
	for name, profiles := range corpus.Sets() {
		b.Run(name, func(b *testing.B) {
			ps := profiles()
			var d profile.Decoder
			raws := make([][]byte, len(ps))
			for i, p := range ps {
				raw, err := d.Uncompress(p.Body)
				if err != nil {
					b.Fatal(err)
				}
				raws[i] = bytes.Clone(raw)
			}
			step := func(name string, do func(b *testing.B)) {
				b.Run(name, func(b *testing.B) {
					defer corpus.ReportCPU(b, len(ps))()
					for b.Loop() {
						do(b)
					}
				})
			}
			step("google", func(b *testing.B) { mergeWithGoogle(b, ps) })
			step("whole", func(b *testing.B) { corpusBlock(b, ps) })
			step("gunzip", func(*testing.B) {
				for _, p := range ps {
					_, _ = d.Uncompress(p.Body)
				}
			})
			step("decode", func(*testing.B) {
				for _, raw := range raws {
					_, _ = d.DecodeUncompressed(raw)
				}
			})
			step("decode+add", func(b *testing.B) { corpusBuilder(b, ps, raws...) })
			b.Run("finish", func(b *testing.B) { benchmarkFinish(b, ps, raws) })
		})
	}
}

// mergeWithGoogle reads profiles and merges those of each name and service.
func mergeWithGoogle(b *testing.B, profiles []corpus.Profile) {
	b.Helper()
	groups := map[string][]*pprof.Profile{}
	for _, p := range profiles {
		parsed, err := pprof.ParseData(p.Body)
		if err != nil {
			b.Fatal(err)
		}
		key := p.Name + " " + p.Labels.Service()
		groups[key] = append(groups[key], parsed)
	}
	for _, g := range groups {
		if _, err := pprof.Merge(g); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkFinish(b *testing.B, profiles []corpus.Profile, raws [][]byte) {
	var buf bytes.Buffer
	used := time.Duration(0)
	for b.Loop() {
		b.StopTimer()
		builder := corpusBuilder(b, profiles, raws...)
		buf.Reset()
		before := corpus.CPUTime()
		b.StartTimer()
		if _, err := builder.Finish(&buf); err != nil {
			b.Fatal(err)
		}
		used += corpus.CPUTime() - before
	}
	b.ReportMetric(used.Seconds()*1e3/float64(b.N)/float64(len(profiles)), "cpu-ms/profile")
	b.ReportMetric(float64(corpus.Bytes(profiles))/float64(buf.Len()), "gzip/block")
	reportSizes(b, buf.Bytes())
}

// reportSizes says what a row of each kind costs in the block.
func reportSizes(b *testing.B, data []byte) {
	b.Helper()
	opened, err := Open(b.Context(), block.Bytes(data), Tail{})
	if err != nil {
		b.Fatal(err)
	}
	bytesOf := map[string]int64{}
	rowsOf := map[string]int64{}
	add := func(kind string, s *section) {
		bytesOf[kind] += s.length
		rowsOf[kind] += int64(s.rows)
	}
	for g, table := range opened.raw {
		for _, c := range table.chunks {
			bytesOf[opened.groups[g].Name+"-row"] += c.bytes()
			rowsOf[opened.groups[g].Name+"-row"] += int64(c.rows.rows)
		}
	}
	for _, c := range opened.chunks {
		add("node", c.nodes)
		add("frame", c.frames)
		add("function", c.functions)
	}
	for kind, n := range bytesOf {
		b.ReportMetric(float64(n)/float64(rowsOf[kind]), "B/"+kind)
	}
}

// flameGraph is what a query does with a block: the tree of some services and one sample
// type, all its profiles together, cumulative.
func flameGraph(tb testing.TB, b *Block, group string, sampleType int, services ...int) (*Tree, []int64) {
	tb.Helper()
	ctx := tb.Context()
	sym := NewSymbols()
	stacks, err := b.Stacks(ctx, sym, services...)
	if err != nil {
		tb.Fatal(err)
	}
	trees := make([]*Tree, len(services))
	treeOf := make([]*Tree, len(b.Services()))
	for i, n := range services {
		trees[i] = NewTree(stacks[i], 1)
		treeOf[n] = trees[i]
	}
	for g := range b.Groups() {
		if b.Groups()[g].Name != group {
			continue
		}
		totals, err := b.Totals(ctx, g, Span{0, uint64(len(b.Series()))})
		if err != nil {
			tb.Fatal(err)
		}
		var spans []Span
		var service []int
		for i, s := range totals.Series {
			n := b.Series()[s].Service
			if treeOf[n] == nil {
				continue
			}
			if last := len(spans) - 1; last >= 0 && spans[last].To == totals.FirstRow[i] && service[last] == n {
				spans[last].To = totals.FirstRow[i+1]
				continue
			}
			spans = append(spans, Span{totals.FirstRow[i], totals.FirstRow[i+1]})
			service = append(service, n)
		}
		for rows, err := range b.Rows(ctx, g, spans, Columns{Values: []int{sampleType}}) {
			if err != nil {
				tb.Fatal(err)
			}
			n := service[rows.Span]
			if err := rows.AddTo(treeOf[n].Self[0], b.Services()[n].Nodes.From, sampleType); err != nil {
				tb.Fatal(err)
			}
		}
	}
	for _, t := range trees {
		t.Prune()
	}
	tree := Merge(sym, trees...)
	return tree, tree.Totals(0)
}

// BenchmarkFlameGraph opens the block of 800 profiles and makes a flame graph of it.
func BenchmarkFlameGraph(b *testing.B) {
	for name, profiles := range corpus.Sets() {
		data, tail := corpusBlock(b, profiles())
		opened, err := Open(b.Context(), block.Bytes(data), tail)
		if err != nil {
			b.Fatal(err)
		}
		var all []int
		largest := 0
		for n, s := range opened.Services() {
			all = append(all, n)
			if s.Nodes.Len() > opened.Services()[largest].Nodes.Len() {
				largest = n
			}
		}
		for _, bench := range []struct {
			name     string
			services []int
		}{{"one", []int{largest}}, {"all", all}} {
			b.Run(name+"/"+bench.name, func(b *testing.B) {
				before := corpus.CPUTime()
				nodes := 0
				for b.Loop() {
					opened, err := Open(b.Context(), block.Bytes(data), tail)
					if err != nil {
						b.Fatal(err)
					}
					tree, _ := flameGraph(b, opened, "process_cpu", 1, bench.services...)
					nodes = tree.Len()
				}
				b.ReportMetric((corpus.CPUTime()-before).Seconds()*1e3/float64(b.N), "cpu-ms/query")
				b.ReportMetric(float64(nodes), "nodes")
			})
		}
	}
}

// BenchmarkMergeStacks merges the stacks of two blocks, the first and second half of the
// corpus, service by service.
func BenchmarkMergeStacks(b *testing.B) {
	for name, profiles := range corpus.Sets() {
		ps := profiles()
		sym := NewSymbols()
		byService := map[string][]*Stacks{}
		for _, half := range [][]corpus.Profile{ps[:len(ps)/2], ps[len(ps)/2:]} {
			data, tail := corpusBlock(b, half)
			opened, err := Open(b.Context(), block.Bytes(data), tail)
			if err != nil {
				b.Fatal(err)
			}
			for n, s := range opened.Services() {
				stacks, err := opened.Stacks(b.Context(), sym, n)
				if err != nil {
					b.Fatal(err)
				}
				byService[s.Name] = append(byService[s.Name], stacks[0])
			}
		}
		run := func(what string, merge func(x, y *Stacks)) {
			b.Run(name+"/"+what, func(b *testing.B) {
				before := corpus.CPUTime()
				nodes := 0
				for b.Loop() {
					nodes = 0
					for _, s := range byService {
						if len(s) == 2 {
							merge(s[0], s[1])
							nodes += s[0].Len() + s[1].Len()
						}
					}
				}
				b.ReportMetric(float64(nodes)*float64(b.N)/(corpus.CPUTime()-before).Seconds()/1e6, "Mnodes/cpu-s")
				b.ReportMetric(float64(nodes), "nodes")
			})
		}
		var dst Stacks
		var ofA, ofB []uint32
		run("stacks", func(x, y *Stacks) { ofA, ofB = MergeStacks(sym, &dst, x, y, ofA, ofB) })
		trees := map[*Stacks]*Tree{}
		for _, s := range byService {
			for _, s := range s {
				trees[s] = NewTree(s, 1)
			}
		}
		run("trees", func(x, y *Stacks) { Merge(sym, trees[x], trees[y]) })
	}
}

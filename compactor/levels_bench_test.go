package compactor

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/internal/corpus"
)

// halfAnHour is what 80 instances of 14 services send in 30 minutes: 4,800 profiles.
var halfAnHour = sync.OnceValue(func() []corpus.Profile {
	return slices.Collect(corpus.All(corpus.Config{Window: 30 * time.Minute}))
})

// BenchmarkL0ToB4 takes half an hour of uploads up all levels: a b1 of each minute, a b2 of each
// quarter of an hour, a b3 of these, and a b4 of that. A day's data goes the same way, and
// is written as often.
func BenchmarkL0ToB4(b *testing.B) {
	all := halfAnHour()
	mem, l0s := uploadCorpus(b, all)
	c := New(catalog.New(mem, catalog.Config{}), mem, Config{Jobs: 1})
	var minutes [][]catalog.L0
	slices.SortFunc(l0s, func(x, y catalog.L0) int { return x.MinTime.Compare(y.MinTime) })
	for len(l0s) > 0 {
		n := 1
		for n < len(l0s) && l0s[n].MinTime.Truncate(time.Minute).Equal(l0s[0].MinTime.Truncate(time.Minute)) {
			n++
		}
		minutes, l0s = append(minutes, l0s[:n]), l0s[n:]
	}
	var b2, b4 block.Meta
	var used [block.L4 + 1]time.Duration
	for b.Loop() {
		before := corpus.CPUTime()
		var blocks []block.Meta
		for _, l0s := range minutes {
			out, err := c.merge(b.Context(), shard{tenant: tenant}, &Job{}, l0s)
			if err != nil {
				b.Fatal(err)
			}
			blocks = append(blocks, out...)
		}
		used[block.L1] += corpus.CPUTime() - before
		for level := block.L2; level <= block.L4; level++ {
			before := corpus.CPUTime()
			blocks = mergeWindows(b, c, blocks, level)
			used[level] += corpus.CPUTime() - before
			if level == block.L2 {
				b2 = blocks[0]
			}
		}
		b4 = blocks[0]
		b.StopTimer()
		reportSizes(b, kindsOf(b, mem, b2), kindsOf(b, mem, b4))
		empty(b, mem)
		b.StartTimer()
	}
	sum := time.Duration(0)
	for level := block.L1; level <= block.L4; level++ {
		sum += used[level]
		b.ReportMetric(used[level].Seconds()*1e3/float64(b.N)/float64(len(all)), fmt.Sprintf("cpu-ms/profile-b%d", level))
	}
	b.ReportMetric(float64(corpus.Bytes(all))*float64(b.N)/1e6/sum.Seconds(), "MB/cpu-s")
	b.ReportMetric(float64(corpus.Bytes(all))/float64(b4.Size), "gzip/block")
}

func kindsOf(b *testing.B, mem *bucket.Memory, m block.Meta) map[string]arrowblock.KindSize {
	b.Helper()
	opened, err := openBlock(b.Context(), mem, catalog.Block{Meta: m})
	if err != nil {
		b.Fatal(err)
	}
	return opened.Kinds()
}

// reportSizes says what a row and a node take in a b4, and how much larger a b2 is for its
// rollups. (Of half an hour, a b4's rollups of an hour and of a day are the same thing twice.)
func reportSizes(b *testing.B, b2, b4 map[string]arrowblock.KindSize) {
	rollups, rest := int64(0), int64(0)
	for kind, k := range b2 {
		if strings.HasPrefix(kind, "rs/") || strings.HasPrefix(kind, "rv/") {
			rollups += k.Bytes
		} else {
			rest += k.Bytes
		}
	}
	b.ReportMetric(100*float64(rollups)/float64(rest), "%-rollups")
	b.ReportMetric(float64(b4["raw"].Bytes+b4["raw/tuples"].Bytes)/float64(b4["raw"].Rows), "B/row")
	b.ReportMetric(float64(b4["st/nodes"].Bytes)/float64(b4["st/nodes"].Rows), "B/node")
}

// mergeWindows merges the blocks of each window of a level.
func mergeWindows(b *testing.B, c *Compactor, blocks []block.Meta, level block.Level) (merged []block.Meta) {
	b.Helper()
	slices.SortFunc(blocks, func(x, y block.Meta) int { return int(x.MinTime - y.MinTime) })
	for _, in := range windowsOf(blocks, level) {
		out, err := c.mergeBlocks(b.Context(), shard{tenant: tenant}, merge{level, in}, &Job{})
		if err != nil {
			b.Fatal(err)
		}
		merged = append(merged, out)
	}
	return merged
}

// empty deletes all Arrow blocks.
func empty(b *testing.B, mem *bucket.Memory) {
	b.Helper()
	for _, class := range blockClasses {
		for o, err := range mem.List(b.Context(), class.Prefix()) {
			if err == nil {
				err = mem.Delete(b.Context(), o.Key)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

package compactor

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/internal/corpus"
	"github.com/coldframe/coldframe/profile"
)

// BenchmarkMergeDay merges eight blocks of three hours into that of their day and its rollups, and
// tells how much memory the process takes at most, with ever more profiles of the same instances. What more
// profiles cost is to be seen from one step to the next.
func BenchmarkMergeDay(b *testing.B) {
	for _, profiles := range []int{8_000, 16_000, 32_000, 64_000, 128_000} {
		b.Run(fmt.Sprintf("%d_profiles", profiles), func(b *testing.B) {
			files := dayInFiles(b, corpus.FiveMinutes(), profiles)
			var most memory
			used := time.Duration(0)
			for b.Loop() {
				runtime.GC()
				stop := watchMemory(&most)
				before := corpus.CPUTime()
				var blocks []*arrowblock.Block
				for _, f := range files {
					opened, err := arrowblock.Open(b.Context(), f, arrowblock.Tail{})
					if err != nil {
						b.Fatal(err)
					}
					blocks = append(blocks, opened)
				}
				to := newOutput(block.L4, b.TempDir(), 0).to()
				to.Block, to.RollupsAlone = io.Discard, io.Discard
				if _, _, err := arrowblock.MergeBlocks(b.Context(), to, blocks...); err != nil {
					b.Fatal(err)
				}
				used += corpus.CPUTime() - before
				stop()
			}
			b.ReportMetric(float64(most.heap)/(1<<20), "MiB-peak")
			b.ReportMetric(float64(most.live)/(1<<20), "MiB-live")
			b.ReportMetric(used.Seconds()*1e3/float64(b.N)/float64(profiles), "cpu-ms/profile")
		})
	}
}

// dayInFiles writes eight blocks of three hours each, with so many profiles in all: the
// given ones, each instance's at even distances through the day.
func dayInFiles(b *testing.B, all []corpus.Profile, profiles int) (files []file) {
	b.Helper()
	day := block.DayOf(all[0].Time)
	var d profile.Decoder
	for n := range 8 {
		builder, err := arrowblock.NewBuilder(arrowblock.Config{Range: day.Range()})
		if err != nil {
			b.Fatal(err)
		}
		for i := n * profiles / 8; i < (n+1)*profiles/8; i++ {
			p := all[i%len(all)]
			decoded, err := d.Decode(p.Body)
			if err != nil {
				b.Fatal(err)
			}
			at := day.Range().From.Add(24 * time.Hour / time.Duration(profiles) * time.Duration(i))
			if _, err := builder.Add(arrowblock.Key{Name: p.Name, Labels: p.Labels, Time: at}, decoded, uint64(i)); err != nil {
				b.Fatal(err)
			}
		}
		f, err := os.Create(filepath.Join(b.TempDir(), "block"))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = f.Close() })
		meta, err := builder.FinishTo(arrowblock.Output{Block: f, Rollups: rollupsOf[block.L3]})
		if err != nil {
			b.Fatal(err)
		}
		files = append(files, file{f, meta.Size})
	}
	return files
}

// file is a block on disk.
type file struct {
	*os.File
	size int64
}

func (f file) Size() int64 { return f.size }

func (f file) ReadRange(_ context.Context, off, n int64) ([]byte, error) {
	data := make([]byte, n)
	_, err := f.ReadAt(data, off)
	return data, err
}

// memory is the largest that the heap has been, with what the garbage collector has not yet
// taken, and the largest that it was after a collection.
type memory struct{ heap, live uint64 }

// watchMemory keeps most up to date until stop is called.
func watchMemory(most *memory) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}}
		for tick := time.NewTicker(2 * time.Millisecond); ; {
			select {
			case <-tick.C:
				metrics.Read(sample)
				most.heap, most.live = max(most.heap, sample[0].Value.Uint64()), max(most.live, sample[1].Value.Uint64())
			case <-end:
				return
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

package query

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A query of all services over 30 days takes no more memory than it is allowed, whatever that is: it answers
// within it, or refuses with what to narrow. Every stack is distinct, the worst that there is.
func TestMemoryOfAMonth(t *testing.T) {
	h := newHouse()
	month := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	for day := range 30 {
		s := distinctStacks(t, fmt.Sprintf("service-%d", day%3), month.AddDate(0, 0, day).Add(time.Hour), 1500+day)
		h.putArrow(t, s)
	}
	req := TreeRequest{Request: request(t, "{}", "process_cpu/cpu", month, month.AddDate(0, 0, 31))}
	ask := func(bound int64) (peak uint64, err error) {
		q := h.querier(h.bkt, Config{SnapshotTTL: -1, IndexCacheBytes: -1, RangeCacheBytes: -1, SumCacheBytes: -1, TailCacheBytes: -1, MemoryBytes: bound})
		before := liveBytes()
		var most atomic.Uint64
		done, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				most.Store(max(most.Load(), liveBytes()))
				select {
				case <-done:
					return
				default:
				}
			}
		}()
		tree, err := q.Tree(t.Context(), req)
		close(done)
		<-stopped
		if err == nil && (tree.Stats.Partial() || tree.Stats.Profiles != 30) {
			t.Fatalf("%+v", tree.Stats)
		}
		runtime.KeepAlive(tree)
		return most.Load() - min(before, most.Load()), err
	}
	refused := 0
	for bound := int64(1 << 20); ; bound *= 4 {
		// Beside what is counted there are buffers of reads at work and what the runtime needs.
		const slack = 24 << 20
		peak, err := ask(bound)
		t.Logf("with %d MiB: %d KiB, %v", bound>>20, peak>>10, err)
		if peak > uint64(bound)+slack {
			t.Errorf("with %d bytes allowed it held %d", bound, peak)
		}
		if err == nil {
			break
		}
		refused++
		if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "a shorter range or a narrower selector") || bound > 1<<30 {
			t.Fatalf("with %d bytes: %v", bound, err)
		}
	}
	if refused < 2 {
		t.Errorf("%d bounds were too small; the query takes next to nothing", refused)
	}
}

// liveBytes is what the heap holds that is in use, by a collection made for it.
func liveBytes() uint64 {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

package agent

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/coldframe/coldframe/bpf"
	"github.com/coldframe/coldframe/bpf/ehframe"
	"github.com/coldframe/coldframe/internal/machine"
)

// Where unwind tables have no room, those that were asked for longest ago and that nobody maps
// give way, and their room can be used a moment later. What is in use stays.
func TestTablesGiveWay(t *testing.T) {
	machine.Sampled(t, bpf.Inspect().Refused)
	const room = 100
	s, err := bpf.Open(bpf.Config{TableBytes: 8 * room})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	add := func(rows int) (bpf.TableID, error) {
		return s.Tables().Add(func(yield func(ehframe.Row) bool) {
			for i := range rows {
				if !yield(ehframe.Row{PC: uint64(0x1000 + i), CFA: ehframe.FromSP, Offset: int64(8 * i), RAOffset: -8}) {
					return
				}
			}
		})
	}
	bs := newBinaries(Config{}, s.Tables())
	began := time.Now()
	for i := range 10 {
		b := bs.get(fmt.Sprint(i), "/binary")
		b.state, b.asked = opened, began.Add(time.Duration(i)*time.Second)
		if b.table, err = add(room / 10); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := add(room / 10); !errors.Is(err, bpf.ErrTablesFull) {
		t.Fatalf("full tables answer %v", err)
	}
	inUse := map[*binaryFile]bool{bs.byID["0"]: true}
	if !bs.evict(inUse) {
		t.Fatal("nothing gave way")
	}
	for i := range 10 {
		b := bs.byID[fmt.Sprint(i)]
		if gone := b.table == 0; gone != (i >= 1 && i <= 3) {
			t.Errorf("binary %d: its table is gone: %t", i, gone)
		}
	}
	time.Sleep(roomAfter)
	if _, err := add(room * 3 / 10); err != nil {
		t.Errorf("the room of those that gave way: %v", err)
	}
}

package catalog

import (
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
)

// fullHead is as large as a HEAD becomes: 128 KiB, with the commits of an hour and a half.
func fullHead(tb testing.TB) Head {
	tb.Helper()
	h := Head{Live: []block.Meta{}}
	for minute := Minute(0); ; minute++ {
		n, err := next(h, Seal{From: minute, To: minute + 1, Out: []block.Meta{meta(midnight.Add(time.Duration(minute) * time.Minute))}}, block.NewID(midnight), midnight, 1<<40)
		if err != nil {
			tb.Fatal(err)
		}
		n.Swept = max(0, n.Sealed-90)
		n.forget(0)
		if data, err := n.encode(); err != nil {
			tb.Fatal(err)
		} else if len(data) > 128<<10 {
			return h
		}
		h = n
	}
}

// BenchmarkParseHead is what a query pays for each shard when its snapshot is too old.
func BenchmarkParseHead(b *testing.B) {
	data, err := fullHead(b).encode()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseHead(data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCommit is a seal of one block into a full HEAD, in memory.
func BenchmarkCommit(b *testing.B) {
	h := fullHead(b)
	data, err := h.encode()
	if err != nil {
		b.Fatal(err)
	}
	mem := bucket.Mem()
	c := New(mem, Config{Window: 1000 * time.Hour, MaxHeadBytes: 1 << 20})
	var account bucket.Account
	ctx := bucket.WithAccount(b.Context(), &account)
	b.ReportAllocs()
	for b.Loop() {
		if err := mem.Put(b.Context(), headKey, data); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Commit(ctx, tenant, shard, Seal{From: h.Sealed, To: h.Sealed + 1, Out: []block.Meta{meta(midnight)}}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(account.Usage().Requests())/float64(b.N), "requests/op")
}

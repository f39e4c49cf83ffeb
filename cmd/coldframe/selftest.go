package main

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/compactor"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/upload"
)

// How much a self-test does: some hundred milliseconds of CPU, which then are also
// the first thing that a fresh dev has to show in its own CPU profile.
const (
	selfTestProfiles = 120
	selfTestPushers  = 4
)

// selfTest takes heap profiles of this process the whole way on this machine, push,
// compaction, query, in a bucket in memory, and compares the sum that is found with
// the sum that went in, before compaction and after it.
func selfTest(ctx context.Context) error {
	bkt := bucket.Mem()
	cat := catalog.New(bkt, catalog.Config{})
	up, err := upload.New(bkt, upload.Config{Agent: agentID("selftest"), PushDelay: 20 * time.Millisecond})
	if err != nil {
		return err
	}
	began := time.Now()
	sums := make([]int64, selfTestProfiles)
	group, pushing := errgroup.WithContext(ctx)
	group.SetLimit(selfTestPushers)
	for i := range sums {
		group.Go(func() (err error) {
			sums[i], err = pushHeap(pushing, up, i)
			return err
		})
	}
	err = group.Wait()
	if closeErr := up.Close(context.WithoutCancel(ctx)); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("pushing: %w", err)
	}
	var want int64
	for _, sum := range sums {
		want += sum
	}
	if err := selfTestSum(ctx, cat, bkt, began, want); err != nil {
		return fmt.Errorf("before compaction: %w", err)
	}
	if err := compactor.New(cat, bkt, compactor.Config{SealNow: true}).RunOnce(ctx); err != nil {
		return fmt.Errorf("compacting: %w", err)
	}
	if err := selfTestSum(ctx, cat, bkt, began, want); err != nil {
		return fmt.Errorf("after compaction: %w", err)
	}
	return nil
}

// pushHeap pushes a heap profile and returns the sum of its allocated bytes.
func pushHeap(ctx context.Context, up *upload.Uploader, i int) (sum int64, err error) {
	var body bytes.Buffer
	if err := pprof.Lookup("allocs").WriteTo(&body, 0); err != nil {
		return 0, err
	}
	var d profile.Decoder
	p, err := d.Decode(body.Bytes())
	if err != nil {
		return 0, err
	}
	for s := range p.NumSamples() {
		sum += p.SampleValues(s)[1] // alloc_objects, alloc_space, inuse_objects, inuse_space
	}
	labels, err := profile.NewLabels(profile.Label{Name: "job", Value: "selftest"}, profile.Label{Name: "instance", Value: fmt.Sprint(i)})
	if err != nil {
		return 0, err
	}
	return sum, up.Push(ctx, profile.DefaultTenant, upload.Profile{Name: "memory", Labels: labels, Body: body.Bytes()})
}

func selfTestSum(ctx context.Context, cat *catalog.Catalog, bkt bucket.Bucket, began time.Time, want int64) error {
	sel, err := profile.ParseSelector(`{__name__="memory/alloc_space", job="selftest"}`)
	if err != nil {
		return err
	}
	tree, err := query.New(cat, bkt, query.Config{SnapshotTTL: -1}).Tree(ctx, query.TreeRequest{Request: query.Request{
		Tenant: profile.DefaultTenant, Selector: sel, Strict: true,
		Range: profile.TimeRange{From: began.Add(-time.Second), To: time.Now().Add(time.Second)},
	}})
	if err != nil {
		return err
	}
	if got := tree.Total[0]; got != want {
		return fmt.Errorf("found %d bytes of allocations in %d profiles, %d bytes in %d went in", got, tree.Stats.Profiles, want, selfTestProfiles)
	}
	return nil
}

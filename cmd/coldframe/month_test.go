package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/compactor"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
)

// A month of many services is a block a day. Its answers say what they cost; a HEAD that is
// lost is made again and gives the same answers; of a damaged block and one that is gone each
// costs its day, and is named by answers and by fsck. A HEAD that is made again after that knows
// the damaged block, too, and in place of the one that is gone what it was merged of.
func TestMonth(t *testing.T) {
	const services, days = 20, 30
	today := time.Now().UTC().Truncate(24 * time.Hour)
	p := newPast(t, today.AddDate(0, 0, -days))
	sent := map[string]int64{}
	for p.time.Before(today) {
		for range 3 {
			p.time = p.time.Add(6 * time.Hour)
			p.push(services, sent)
			p.time = p.time.Add(20 * time.Minute)
			p.compact(compactor.Config{})
		}
		p.time = p.time.Truncate(24 * time.Hour).Add(24 * time.Hour)
	}
	p.time = today.Add(2 * time.Hour)
	p.compact(compactor.Config{})

	h, err := catalog.New(p, catalog.Config{}).Head(t.Context(), profile.DefaultTenant, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Live) != days {
		t.Fatalf("%d live blocks of %d days", len(h.Live), days)
	}
	answers := func() map[string]int64 {
		t.Helper()
		return byStack(get(t, p.config(), "--type", "work"))
	}
	if got := answers(); !maps.Equal(got, sent) {
		t.Fatalf("%d stacks are answered, %d were sent", len(got), len(sent))
	}
	stats := p.month(today).Stats
	if stats.Requests == 0 || stats.Bytes == 0 || stats.Blocks < days || stats.Partial() {
		t.Errorf("the price of a month: %+v", stats)
	}
	t.Logf("a month of %d services: %d requests, %d bytes, %d blocks", services, stats.Requests, stats.Bytes, stats.Blocks)

	p.remove(block.HeadKey(profile.DefaultTenant, 0))
	must(t, "fsck", "--bucket-config", p.config(), "--rebuild-head")
	if got := answers(); !maps.Equal(got, sent) {
		t.Errorf("with the HEAD that was made again: %d stacks are answered, %d were sent", len(got), len(sent))
	}

	corrupt, gone := h.Live[days/3], h.Live[days/2]
	p.spoil(corrupt.Key(profile.DefaultTenant, 0))
	p.remove(gone.Key(profile.DefaultTenant, 0))
	of := func(days ...block.Meta) (sum int64) {
		for stack, value := range sent {
			if slices.ContainsFunc(days, func(m block.Meta) bool { return strings.HasSuffix(stack, m.Day.String()) }) {
				sum += value
			}
		}
		return sum
	}
	whole := of(h.Live...)
	tree := p.month(today)
	if got := len(tree.Stats.Missing); got != 2 || tree.Stats.Missing[0].Key != corrupt.Key(profile.DefaultTenant, 0) || tree.Stats.Missing[1].Key != gone.Key(profile.DefaultTenant, 0) {
		t.Errorf("missing %+v, want %s and %s", tree.Stats.Missing, corrupt.ID, gone.ID)
	}
	if got, want := tree.Total[0], whole-of(corrupt, gone); got != want {
		t.Errorf("the other days sum up to %d, want %d of %d", got, want, whole)
	}
	status, out, _ := command(t, "fsck", "--bucket-config", p.config())
	if status != exitPartial || !strings.Contains(out, "corrupt "+corrupt.Key(profile.DefaultTenant, 0)) || !strings.Contains(out, "missing "+gone.Key(profile.DefaultTenant, 0)) || !strings.Contains(out, "2 damaged") {
		t.Errorf("fsck: status %d\n%s", status, out)
	}

	p.remove(block.HeadKey(profile.DefaultTenant, 0))
	if status, out, _ := command(t, "fsck", "--bucket-config", p.config(), "--rebuild-head"); status != exitPartial || !strings.Contains(out, "1 damaged") {
		t.Errorf("fsck --rebuild-head of a damaged bucket: status %d\n%s", status, out)
	}
	// What it asks of the damaged block may be whole; what is not, it names.
	tree = p.month(today)
	want := whole
	for _, m := range tree.Stats.Missing {
		if m.Key != corrupt.Key(profile.DefaultTenant, 0) {
			t.Errorf("missing %+v", m)
		}
		want = whole - of(corrupt)
	}
	if tree.Total[0] != want {
		t.Errorf("made again after the damage, the days sum up to %d, want %d of %d; missing %+v", tree.Total[0], want, whole, tree.Stats.Missing)
	}
}

// month asks for the flame graph of everything.
func (p *past) month(today time.Time) *query.Tree {
	p.t.Helper()
	sel, err := profile.ParseSelector(`{__name__="work/samples"}`)
	if err != nil {
		p.t.Fatal(err)
	}
	tree, err := query.New(catalog.New(p, catalog.Config{}), p, query.Config{}).Tree(p.t.Context(), query.TreeRequest{Request: query.Request{
		Tenant: profile.DefaultTenant, Selector: sel,
		Range: profile.TimeRange{From: today.AddDate(0, 0, -31), To: today.AddDate(0, 0, 1)},
	}})
	if err != nil {
		p.t.Fatal(err)
	}
	return tree
}

// remove deletes an object.
func (p *past) remove(key string) {
	p.t.Helper()
	if err := os.Remove(filepath.Join(p.dir, key)); err != nil {
		p.t.Fatal(err)
	}
}

// spoil turns a bit in the middle of an object.
func (p *past) spoil(key string) {
	p.t.Helper()
	path := filepath.Join(p.dir, key)
	data, err := os.ReadFile(path)
	if err == nil {
		data[len(data)/4] ^= 1
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// As time goes by, days that are past their retention vanish from answers to the
// instant, and from the folder as whole days; what is kept stays whole.
func TestClockThroughRetention(t *testing.T) {
	start := time.Date(2026, 8, 3, 0, 0, 0, 0, time.UTC)
	p := newPast(t, start)
	cat := catalog.New(p, catalog.Config{})
	if _, err := cat.ChangeSettings(t.Context(), profile.DefaultTenant, func(s *catalog.Settings) { s.Retention, _ = catalog.ParseRetention("4d") }); err != nil {
		t.Fatal(err)
	}
	lifecycle := catalog.Lifecycle(catalog.Retentions{})
	type taken struct {
		at    time.Time
		value int64
	}
	var all []taken
	for p.time.Before(start.AddDate(0, 0, 12)) {
		before := map[string]int64{}
		p.push(3, before)
		var sum int64
		for _, value := range before {
			sum += value
		}
		all = append(all, taken{p.time, sum})
		p.time = p.time.Add(4*time.Hour + 10*time.Minute)
		p.compact(compactor.Config{Delete: true})
		if _, err := bucket.PlayLifecycle(t.Context(), p, lifecycle); err != nil {
			t.Fatal(err)
		}
		var want int64
		for _, a := range all {
			if p.time.Sub(a.at) <= 4*24*time.Hour {
				want += a.value
			}
		}
		if got := p.total(cat); got != want {
			t.Fatalf("at %s: the answer is %d, want %d of the last four days", p.time, got, want)
		}
	}
	kept := block.DayOf(p.time.AddDate(0, 0, -4).Add(-5 * time.Hour)) // the last rounds expire, and delete an hour later
	for o, err := range p.List(t.Context(), "v1/") {
		if err != nil {
			t.Fatal(err)
		}
		if k, err := block.ParseArrowKey(o.Key); err == nil && k.Day < kept {
			t.Errorf("%s is still there at %s", o.Key, p.time)
		}
		if k, err := block.ParseL0Key(o.Key); err == nil && p.time.Sub(k.Minute) > 24*time.Hour {
			t.Errorf("%s is still there at %s", o.Key, p.time)
		}
	}
}

// total is the sum of all that is answered at the folder's time.
func (p *past) total(cat *catalog.Catalog) int64 {
	p.t.Helper()
	sel, err := profile.ParseSelector(`{__name__="work/samples"}`)
	if err != nil {
		p.t.Fatal(err)
	}
	tree, err := query.New(cat, p, query.Config{SnapshotTTL: -1, Retention: retentionOf(cat)}).Tree(p.t.Context(), query.TreeRequest{Request: query.Request{
		Tenant: profile.DefaultTenant, Selector: sel,
		Range: profile.TimeRange{From: p.time.AddDate(0, -1, 0), To: p.time.AddDate(0, 0, 1)},
	}})
	if err != nil || tree.Stats.Partial() {
		p.t.Fatalf("%v, missing %v", err, tree.Stats.Missing)
	}
	return tree.Total[0]
}

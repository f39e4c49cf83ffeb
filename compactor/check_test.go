package compactor

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/bucket/buckettest"
	"github.com/coldframe/coldframe/catalog"
)

// compacted is a fleet with a few blocks in shard 0, some of them in arch parts.
func compacted(t *testing.T) *fleet {
	f := newFleet(t)
	c := New(catalog.New(f.mem, catalog.Config{MaxHeadBytes: 7 << 10}), f.mem, Config{})
	for range 12 {
		f.upload(0, f.now(), f.now().Add(-24*time.Hour))
		f.advance(2 * time.Minute)
		mustRun(t, c)
	}
	if len(f.head(0).Arch) == 0 {
		t.Fatal("no arch part")
	}
	return f
}

func (f *fleet) check(b bucket.Bucket) (found []string, checked Checked) {
	f.t.Helper()
	checked, err := f.compactor(b, Config{}).Check(f.t.Context(), func(finding Finding) { found = append(found, finding.String()) })
	if err != nil {
		f.t.Fatal(err)
	}
	return found, checked
}

func TestCheckOfASoundBucket(t *testing.T) {
	f := compacted(t)
	found, checked := f.check(f.mem)
	if len(found) > 0 {
		t.Errorf("found %q", found)
	}
	want := Checked{Shards: 1, Blocks: 21, Bytes: checked.Bytes, L0s: 12, Sources: 24}
	if checked != want || checked.Bytes == 0 {
		t.Errorf("checked %+v, want %+v", checked, want)
	}
}

// Whatever is wrong is found, under its name and key, and what is not damage is told apart.
func TestCheckFinds(t *testing.T) {
	newest := func(f *fleet) string {
		live := f.head(0).Live
		return live[len(live)-1].Key(tenant, 0)
	}
	rollups := func(f *fleet) string {
		for _, m := range f.head(0).Live {
			if m.R4 != nil {
				return m.RollupKey(tenant, 0)
			}
		}
		return ""
	}
	tests := []struct {
		name    string
		harm    func(t *testing.T, f *fleet) (found string) // the beginning of the one finding
		damaged int
	}{
		{"a HEAD that is none", func(t *testing.T, f *fleet) string {
			if err := f.mem.Put(t.Context(), block.HeadKey(tenant, 0), []byte("{}")); err != nil {
				t.Fatal(err)
			}
			return "unreadable " + block.HeadKey(tenant, 0) + ": "
		}, 1},
		{"an arch part that is gone", func(t *testing.T, f *fleet) string {
			key := block.ArchKey(tenant, 0, f.head(0).Arch[0].ID)
			if err := f.mem.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			return "missing " + key + ": "
		}, 1},
		{"an arch part that is damaged", func(t *testing.T, f *fleet) string {
			key := block.ArchKey(tenant, 0, f.head(0).Arch[0].ID)
			f.flip(key, 500)
			return "unreadable " + key + ": "
		}, 1},
		{"a block that is gone", func(t *testing.T, f *fleet) string {
			if err := f.mem.Delete(t.Context(), newest(f)); err != nil {
				t.Fatal(err)
			}
			return "missing " + newest(f)
		}, 1},
		{"a block with a bit turned near its beginning", func(_ *testing.T, f *fleet) string {
			f.flip(newest(f), 400)
			return "corrupt " + newest(f) + ": "
		}, 1},
		{"a block with a bit turned in its last byte", func(_ *testing.T, f *fleet) string {
			f.flip(newest(f), -1)
			return "corrupt " + newest(f) + ": "
		}, 1},
		{"a block that was cut", func(t *testing.T, f *fleet) string {
			data, _, err := f.mem.Get(t.Context(), newest(f))
			if err != nil {
				t.Fatal(err)
			}
			if err := f.mem.Put(t.Context(), newest(f), data[:len(data)-7]); err != nil {
				t.Fatal(err)
			}
			return "corrupt " + newest(f) + ": "
		}, 1},
		{"rollups that are gone", func(t *testing.T, f *fleet) string {
			if err := f.mem.Delete(t.Context(), rollups(f)); err != nil {
				t.Fatal(err)
			}
			return "missing " + rollups(f)
		}, 1},
		{"rollups with a bit turned", func(_ *testing.T, f *fleet) string {
			f.flip(rollups(f), 400)
			return "corrupt " + rollups(f) + ": "
		}, 1},
		{"sources that count twice", func(t *testing.T, f *fleet) string {
			live := f.head(0).Live
			twin := live[len(live)-1]
			data, _, err := f.mem.Get(t.Context(), twin.Key(tenant, 0))
			if err != nil {
				t.Fatal(err)
			}
			twin.ID = block.NewID(f.now().Add(time.Hour))
			f.put(twin.Key(tenant, 0), data)
			if _, err := catalog.New(f.mem, catalog.Config{}).Commit(t.Context(), tenant, 0, catalog.Merge{Out: []block.Meta{twin}}); err != nil {
				t.Fatal(err)
			}
			return "repeated " + twin.Key(tenant, 0) + ": source "
		}, 1},
		{"a pprof block that came too late", func(_ *testing.T, f *fleet) string {
			return "unread " + f.uploadTo(f.mem, 0, noon.Add(-3*time.Hour), noon).String() + ": "
		}, 1},
		{"a straggler", func(_ *testing.T, f *fleet) string {
			return "straggler " + f.uploadTo(f.mem, 0, noon, noon).String()
		}, 0},
		{"a damaged pprof block", func(t *testing.T, f *fleet) string {
			f.spoil(noon, truncated, 0)
			mustRun(t, f.compactor(f.mem, Config{}))
			return "rejected " + block.ClassB1.DayPrefix(tenant, 0, block.DayOf(noon))
		}, 0},
		{"a block that nobody names", func(_ *testing.T, f *fleet) string {
			orphan := block.ArrowKey{Class: block.ClassB1, Tenant: tenant, Day: block.DayOf(noon), ID: block.NewID(noon)}.String()
			f.put(orphan, []byte("?"))
			f.advance(2 * time.Hour)
			return "orphan " + orphan + ": 1 bytes, written 2h0m0s ago"
		}, 0},
		{"a block that will perhaps be named", func(_ *testing.T, f *fleet) string {
			f.put(block.ArrowKey{Class: block.ClassB1, Tenant: tenant, Day: block.DayOf(noon), ID: block.NewID(noon)}.String(), []byte("?"))
			f.advance(time.Minute)
			return ""
		}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := compacted(t)
			want := tt.harm(t, f)
			found, checked := f.check(f.mem)
			if want == "" {
				if len(found) > 0 {
					t.Errorf("found %q", found)
				}
				return
			}
			found = slices.DeleteFunc(found, func(s string) bool { return want[0] != 'o' && strings.HasPrefix(s, "orphan ") })
			if len(found) != 1 || !strings.HasPrefix(found[0], want) {
				t.Errorf("found\n%s\nwant\n%s", strings.Join(found, "\n"), want)
			}
			if checked.Damaged != tt.damaged {
				t.Errorf("%d of them are damage, want %d", checked.Damaged, tt.damaged)
			}
		})
	}
}

// flip turns a bit of an object's byte, counted from its end if negative.
func (f *fleet) flip(key string, at int) {
	f.t.Helper()
	data, _, err := f.mem.Get(f.t.Context(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	data[(at+len(data))%len(data)] ^= 4
	if err := f.mem.Put(f.t.Context(), key, data); err != nil {
		f.t.Fatal(err)
	}
}

// What could not be looked at is an error and not a finding.
func TestCheckThatCannotRead(t *testing.T) {
	f := compacted(t)
	for _, class := range []string{"v1/b1/", "v1/man/"} {
		b := buckettest.Corrupt(f.mem, func(key string) bool { return strings.HasPrefix(key, class) }, buckettest.Unreadable)
		found := 0
		if _, err := f.compactor(b, Config{}).Check(t.Context(), func(Finding) { found++ }); err == nil || found > 0 {
			t.Errorf("%s: %d findings, %v", class, found, err)
		}
	}
}

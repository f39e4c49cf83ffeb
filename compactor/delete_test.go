package compactor

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/bucket/buckettest"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// keys are those of a fleet's bucket below a prefix.
func (f *fleet) keys(prefix string) []string {
	f.t.Helper()
	var keys []string
	for o, err := range f.mem.List(f.t.Context(), prefix) {
		if err != nil {
			f.t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

// forHours uploads every few minutes and compacts at once.
func (f *fleet) forHours(c *Compactor, hours int) {
	f.t.Helper()
	for range hours * 10 {
		f.upload(0, f.now())
		f.advance(6 * time.Minute)
		if err := c.RunDue(f.t.Context()); err != nil {
			f.t.Fatal(err)
		}
	}
}

// Who deletes keeps what is live, what was retired within the last hour, and little else.
func TestDelete(t *testing.T) {
	f := newFleet(t)
	var deleted Deletion
	c := f.compactor(f.mem, Config{Delete: true, Observer: Observer{Deleted: func(_ profile.Tenant, _ block.Shard, d Deletion) {
		deleted.Retired += d.Retired
		deleted.L0s += d.L0s
	}}})
	f.forHours(c, 12)
	f.mustBeWhole("while much is deleted")
	h := f.head(0)
	objects := len(f.keys("v1/b1/")) + len(f.keys("v1/b2/")) + len(f.keys("v1/b3/"))
	if most := len(h.Live) + 25; objects > most {
		t.Errorf("%d Arrow blocks of which %d are live; an hour makes about 20", objects, len(h.Live))
	}
	if l0s := len(f.keys("v1/l0/")); l0s > 35 {
		t.Errorf("%d pprof blocks after 12 hours of 10 each", l0s)
	}
	if deleted.Retired < 80 || deleted.L0s < 80 {
		t.Errorf("deleted %+v", deleted)
	}
	found, checked := f.check(f.mem)
	if checked.Damaged > 0 || len(found) > 0 {
		t.Errorf("check finds %q", found)
	}
}

// A reader with a HEAD that is not an hour old finds all that it names.
func TestDeleteGivesGrace(t *testing.T) {
	f := newFleet(t)
	c := f.compactor(f.mem, Config{Delete: true})
	type old struct {
		at   time.Time
		head catalog.Head
	}
	var olds []old
	for range 60 {
		f.upload(0, f.now())
		f.advance(3 * time.Minute)
		if err := c.RunDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		olds = append(olds, old{f.now(), f.head(0)})
		for _, o := range olds {
			if f.now().Sub(o.at) >= time.Hour {
				continue
			}
			for _, m := range o.head.Live {
				if _, err := f.mem.Stat(t.Context(), m.Key(tenant, 0)); err != nil {
					t.Fatalf("a HEAD of %s ago: %v", f.now().Sub(o.at), err)
				}
			}
		}
	}
}

// A failed or unheard write of deletion is made up for by the next round.
func TestDeleteSurvivesFailingWrites(t *testing.T) {
	for _, landed := range []bool{false, true} {
		for n := 1; ; n++ {
			f := newFleet(t)
			c := f.compactor(f.mem, Config{Delete: true})
			for range 4 {
				f.upload(0, f.now())
				f.advance(20 * time.Minute)
				mustRun(t, f.compactor(f.mem, Config{}))
			}
			f.advance(70 * time.Minute)
			failing := buckettest.FailNth(f.mem, n, landed)
			_ = f.compactor(failing, Config{Delete: true}).RunOnce(t.Context())
			f.mustBeWhole("after a failure")
			mustRun(t, c)
			f.mustBeWhole("after another round")
			if h := f.head(0); len(h.Retired) > 2 {
				t.Errorf("write %d, landed %v: still retired: %v", n, landed, h.Retired)
			}
			if !failing.Failed() {
				break
			}
		}
	}
}

// What lands too late to be merged is told, and is not deleted as if it had been.
func TestTooLateStays(t *testing.T) {
	f := newFleet(t)
	var audits []Audit
	c := f.compactor(f.mem, Config{Delete: true, Observer: Observer{Audited: func(_ profile.Tenant, _ block.Shard, a Audit) { audits = append(audits, a) }}})
	f.forHours(c, 3)
	late := f.uploadTo(f.mem, 0, noon, noon)
	f.sent = map[identity]sent{}
	f.forHours(c, 24)
	if len(f.keys(late.String())) == 0 {
		t.Error("it is deleted")
	}
	if n := len(audits); n < 2 || audits[n-1].TooLate != 1 {
		t.Errorf("audits: %+v", audits)
	}
}

// What nobody names goes when its class's life ends.
func TestDeleteOrphans(t *testing.T) {
	f := newFleet(t)
	c := f.compactor(f.mem, Config{Delete: true})
	f.forHours(c, 1)
	orphan := catalog.RetiredBlock{Class: block.ClassB2, Day: block.DayOf(noon), ID: block.NewID(noon)}.Key(tenant, 0)
	f.put(orphan, []byte("left behind"))
	f.put(block.ArchKey(tenant, 0, block.NewID(noon)), []byte("left behind"))
	for range 6 {
		f.advance(24 * time.Hour)
		if err := c.RunDue(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.keys(orphan)) == 0 {
		t.Error("deleted before its time")
	}
	f.advance(25 * time.Hour)
	if err := c.RunDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := append(f.keys(orphan), f.keys("v1/man/default/00/arch")...); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	f.mustBeWhole("after orphans are deleted")
}

// Days that are past their tenant's retention leave HEAD and the bucket, arch parts too.
func TestExpire(t *testing.T) {
	for _, headBytes := range []int{0, 3000} {
		f := newFleet(t)
		cat := catalog.New(f.mem, catalog.Config{MaxHeadBytes: headBytes})
		if _, err := cat.ChangeSettings(t.Context(), tenant, func(s *catalog.Settings) {
			s.Retention, _ = catalog.ParseRetention("5d")
		}); err != nil {
			t.Fatal(err)
		}
		first := block.DayOf(f.now())
		c := New(cat, f.mem, Config{Delete: true})
		for range 12 {
			f.upload(0, f.now(), f.now().Add(-3*time.Hour))
			f.advance(12 * time.Hour)
			mustRun(t, c)
		}
		for range 2 {
			f.advance(2 * time.Hour)
			mustRun(t, c)
		}
		keep := block.DayOf(f.now().Add(-5 * 24 * time.Hour))
		var days []string
		for _, key := range append(f.keys("v1/b4/"), f.keys("v1/b1/")...) {
			k, err := block.ParseArrowKey(key)
			if err != nil {
				t.Fatal(err)
			}
			if k.Day < keep {
				days = append(days, key)
			}
		}
		if keep <= first || len(days) > 0 {
			t.Errorf("head of %d bytes: of days before %s there is %q", headBytes, keep, days)
		}
		for id := range f.sent {
			if block.DayOfMillis(id.ms) < keep {
				delete(f.sent, id)
			}
		}
		f.mustBeWhole("after days expired")
	}
}

// Without leave to delete, entries stay until the bucket's own lifecycle has deleted what they name.
func TestExpireWithTheLifecycle(t *testing.T) {
	f := newFleet(t)
	cat := catalog.New(f.mem, catalog.Config{})
	retention, _ := catalog.ParseRetention("5d")
	if err := cat.SetDefaults(t.Context(), catalog.Retentions{Raw: retention}); err != nil {
		t.Fatal(err)
	}
	f.upload(0, f.now())
	day := 24 * time.Hour
	for _, c := range []struct {
		after time.Duration
		live  int
	}{{day, 1}, {5 * day, 1}, {day, 1}, {day, 0}} {
		f.advance(c.after)
		mustRun(t, f.compactor(f.mem, Config{}))
		if h := f.head(0); len(h.Live) != c.live {
			t.Errorf("at %s: %d live, want %d", f.now(), len(h.Live), c.live)
		}
	}
	if len(f.keys("v1/b4/")) == 0 {
		t.Error("the object was deleted by a compactor that may not")
	}
}

// Where HEAD may step back nothing is deleted, whatever is asked for.
func TestNothingIsDeletedWithoutConditions(t *testing.T) {
	f := newFleet(t)
	f.mem.Mode = bucket.CASNone
	c := f.compactor(f.mem, Config{Delete: true})
	f.forHours(c, 6)
	f.mustBeWhole("without conditional writes")
	if l0s := len(f.keys("v1/l0/")); l0s != 60 {
		t.Errorf("%d of 60 pprof blocks are there", l0s)
	}
}

// Two compactors of one shard cost work where HEAD is written without condition, but never truth.
func TestTwoCompactorsWithoutConditions(t *testing.T) {
	f := newFleet(t)
	f.mem.Mode = bucket.CASNone
	for range 20 {
		f.upload(0, f.now())
		f.advance(time.Minute)
		done := make(chan error, 2)
		for range 2 {
			go func() { done <- f.compactor(f.mem, Config{}).RunOnce(t.Context()) }()
		}
		for range 2 {
			if err := <-done; err != nil && !errors.Is(err, catalog.ErrConflict) {
				t.Fatal(err)
			}
		}
		f.mustNotRepeat("two compactors", f.read(f.mem))
	}
	f.advance(time.Minute)
	for range 2 {
		mustRun(t, f.compactor(f.mem, Config{}))
	}
	f.mustBeWhole("in the end")
}

// A tenant that is deleted has nothing left, and those who do not know it yet bring nothing back.
func TestDeleteTenant(t *testing.T) {
	f := newFleet(t)
	c := f.compactor(f.mem, Config{})
	f.forHours(c, 2)
	f.upload(0, f.now())
	f.advance(2 * time.Minute)

	// A compactor that was about to commit: it has read its pprof blocks, and merged them.
	var erased int
	slow := &interrupted{Bucket: f.mem, at: "v1/b1/", during: func() {
		sizes, err := c.MeasureTenant(t.Context(), tenant)
		if err != nil {
			t.Fatal(err)
		}
		want := 0
		for _, s := range sizes {
			want += s.Objects
		}
		if err := f.compactor(f.mem, Config{}).DeleteTenant(t.Context(), tenant, func(s ClassSize) { erased += s.Objects }); err != nil {
			t.Fatal(err)
		}
		if erased != want || erased < 20 {
			t.Errorf("%d objects deleted, %d were announced", erased, want)
		}
	}}
	if err := f.compactor(slow, Config{}).RunOnce(t.Context()); err != nil {
		t.Errorf("a compactor that was cut off: %v", err)
	}
	if erased == 0 {
		t.Fatal("nothing was deleted")
	}
	f.upload(0, f.now()) // by a host that knows of nothing
	f.advance(2 * time.Minute)
	mustRun(t, f.compactor(f.mem, Config{}))
	if a := f.read(f.mem); len(a.count) > 1 || len(f.head(0).Live) > 0 {
		t.Errorf("%d profiles are there, %d blocks are live", len(a.count), len(f.head(0).Live))
	}
	// The next call takes what was left behind.
	if err := f.compactor(f.mem, Config{}).DeleteTenant(t.Context(), tenant, func(ClassSize) {}); err != nil {
		t.Fatal(err)
	}
	if left := strings.Join(f.keys(""), " "); left != "v1/man/default/00/HEAD v1/meta/default/tenant.json" {
		t.Errorf("left: %s", left)
	}
}

// interrupted is a bucket in which something happens just before the first object is created
// below a prefix.
type interrupted struct {
	bucket.Bucket
	at     string
	during func()
}

func (i *interrupted) Create(ctx context.Context, key string, r io.Reader, size int64) error {
	if i.during != nil && strings.HasPrefix(key, i.at) {
		during := i.during
		i.during = nil
		during()
	}
	return i.Bucket.Create(ctx, key, r, size)
}

// Rollups that are kept longer outlive their day's profiles: the block goes, its r4 stays and
// is named, until it expires too.
func TestRollupsOutliveTheirBlock(t *testing.T) {
	f := newFleet(t)
	cat := catalog.New(f.mem, catalog.Config{})
	if _, err := cat.ChangeSettings(t.Context(), tenant, func(s *catalog.Settings) {
		s.Retention, _ = catalog.ParseRetention("2d")
		s.RollupRetention, _ = catalog.ParseRetention("5d")
	}); err != nil {
		t.Fatal(err)
	}
	c := New(cat, f.mem, Config{Delete: true})
	f.upload(0, f.now())
	state := func(after time.Duration) (live, expired, b4, r4 int) {
		f.advance(after)
		for range 2 { // what is retired goes an hour later
			mustRun(t, c)
			f.advance(61 * time.Minute)
			mustRun(t, c)
		}
		for _, m := range f.head(0).Live {
			live++
			if m.Expired {
				expired++
			}
		}
		if found, _ := f.check(f.mem); len(found) > 0 {
			t.Errorf("check finds %q", found)
		}
		return live, expired, len(f.keys("v1/b4/")), len(f.keys("v1/r4/"))
	}
	day := 24 * time.Hour
	for _, want := range []struct {
		after                 time.Duration
		live, expired, b4, r4 int
	}{{day, 1, 0, 1, 1}, {2 * day, 1, 1, 0, 1}, {3 * day, 0, 0, 0, 0}} {
		live, expired, b4, r4 := state(want.after)
		if live != want.live || expired != want.expired || b4 != want.b4 || r4 != want.r4 {
			t.Errorf("at %s: %d live, %d of them expired, %d b4 and %d r4 objects; want %+v", f.now(), live, expired, b4, r4, want)
		}
	}
}

// Package sim runs whole houses in a bucket that goes wrong, and looks on.
//
// A run has uploaders, compactors, readers and who deletes: the product's own code on a
// bucket in memory. One seed owns the clock, the order of requests and what befalls each:
// lost, unheard, late, slow or repeated; crashes of processes, outages, damage. The same seed gives
// the same run. After every commit and every read the laws are checked: what was
// acknowledged counts once, or, for a while after it landed, not yet; nothing ever
// counts twice; and in the end all is there.
//
// How strong the laws are is measured by taking away one guard of the protocol at a
// time: see [guard] and the tests with the build tag mutations.
package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/internal/guard"
	"github.com/coldframe/coldframe/profile"
)

// Outcome is how a run ended.
type Outcome struct {
	Broken error  // the law that was broken, or nil
	Story  string // of a run that broke one, what came before
	Trace  uint64 // the same for the same run, and for no other
	Counts
}

// Run is one run. It takes some tens of milliseconds.
func Run(t *testing.T, seed uint64) (o Outcome) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		w := newWorld(seed)
		w.live()
		o = Outcome{Broken: w.laws.broken, Trace: w.trace.Sum64(), Counts: w.laws.counts}
		o.Requests = w.applied
		if o.Broken != nil {
			o.Story = fmt.Sprintf("%+v\n%+v\n%s", w.shape, w.weather, w.story())
		}
	})
	return o
}

func newWorld(seed uint64) *world {
	s, weather := draw(seed)
	w := &world{
		shape:   s,
		weather: weather,
		rng:     rand.New(rand.NewPCG(seed, 2)),
		mem:     bucket.Mem(),
		arrived: make(chan struct{}, 1),
		alive:   map[*client]struct{}{},
	}
	w.trace.Reset()
	if guard.Removed(guard.Version) {
		w.mem.Mode = bucket.CASNone
	}
	w.mem.Clock = w.now
	w.laws = newLaws(w)
	w.over, w.stop = context.WithCancel(context.Background())
	settings := catalog.New(w.mem, catalog.Config{})
	for t := range w.tenants {
		for n := range w.shards {
			w.places = append(w.places, place{tenantName(t), block.Shard(n)})
		}
		if _, err := settings.ChangeSettings(w.over, tenantName(t), func(s *catalog.Settings) {
			s.Retention, s.RollupRetention = w.retention.Raw, w.retention.Rollups
		}); err != nil {
			w.laws.breakWith("settings of a tenant: %w", err)
		}
	}
	return w
}

func tenantName(n int) profile.Tenant { return profile.Tenant(fmt.Sprint("tenant", n)) }

func (w *world) randomShard(rng *rand.Rand) place { return w.places[rng.IntN(len(w.places))] }

// live lets time pass: first with faults, then without, until all is in order.
func (w *world) live() {
	adding, stopAdding := context.WithCancel(w.over)
	defer stopAdding()
	var uploaders atomic.Int64
	for t := range w.tenants {
		for n := range w.uploaders {
			uploaders.Add(1)
			name := fmt.Sprintf("upload%d-%d", t, n)
			w.process(adding, name, uploading, func(c *client) { c.upload(adding, tenantName(t), name) }, func() { uploaders.Add(-1) })
		}
	}
	for n := range w.compactors {
		w.process(w.over, fmt.Sprint("compact", n), compacting, (*client).compact, nil)
	}
	for n := range w.mergers {
		w.process(w.over, fmt.Sprint("merge", n), merging, (*client).merge, nil)
	}
	for n := range w.readers {
		w.process(w.over, fmt.Sprint("read", n), reading, (*client).read, nil)
	}

	begin := w.now()
	w.drive(func() bool { return w.now().Sub(begin) >= w.length })
	w.calm = true
	stopAdding()
	w.drive(func() bool { return uploaders.Load() == 0 && len(w.late) == 0 })
	calm := w.now()
	w.drive(func() bool { return w.now().Sub(calm) >= 3*time.Minute })
	w.stop()
	w.killAll(func(*client) bool { return true })
	w.actors.Wait()
	if !w.laws.isBroken() {
		w.finish()
	}
}

// finish compacts and sweeps once more, and looks at what there is.
func (w *world) finish() {
	w.over, w.stop = context.WithCancel(context.Background())
	defer w.stop()
	c := w.connect("finish", finishing, rand.New(rand.NewPCG(w.seed, 3)))
	var finished atomic.Bool
	w.actors.Go(func() {
		defer finished.Store(true)
		for range 2 {
			if err := c.newCompactor(0).RunOnce(c.ctx); err != nil {
				w.laws.breakWith("in the end: %v", err)
			}
		}
		for t := range w.tenants {
			v, err := c.look(c.catalog(), tenantName(t))
			if err != nil {
				w.laws.breakWith("in the end: %v", err)
				return
			}
			w.laws.final(v)
		}
	})
	w.drive(finished.Load)
	w.killAll(func(*client) bool { return true })
	w.actors.Wait()
}

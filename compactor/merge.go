package compactor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/internal/guard"
)

// merge writes the profiles of pprof blocks as Arrow blocks and returns what HEAD is to
// say of these: for each UTC day one, or several where memory asks for it. Together
// they name every pprof block as a source, and each profile is in them once.
func (c *Compactor) merge(ctx context.Context, s shard, job *Job, l0s []catalog.L0) ([]block.Meta, error) {
	share := c.cfg.MemoryBytes / int64(c.cfg.Jobs)
	m := merger{
		c:         c,
		shard:     s,
		job:       job,
		mostBytes: share / 2,
		days:      map[block.Day]*arrowblock.Builder{},
		touched:   map[block.Day]bool{},
		seen:      map[identity]struct{}{},
	}
	r := reading{
		bkt:         c.bkt,
		readers:     c.cfg.Readers,
		decoders:    runtime.GOMAXPROCS(0),
		aheadBytes:  share / 8,
		decodeBytes: share / 4,
		mostBytes:   max(share/2, largeL0),
	}
	for d, err := range r.deliveries(ctx, l0s) {
		if err == nil {
			err = m.take(ctx, d)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, day := range slices.Sorted(maps.Keys(m.days)) {
		if err := m.write(ctx, day); err != nil {
			return nil, err
		}
	}
	return m.out, nil
}

// largeL0 is how large, in bytes, a pprof block may always be. Uploads are flushed at
// 8 MiB and hold at most one profile more, of 64 MiB.
const largeL0 = 256 << 20

// mostDays is how many days the profiles of a pprof block may belong to: a year of
// daily profiles. Each has a block open, which takes about 70 KB however little is in it.
const mostDays = 400

// merger is the state of a merge.
type merger struct {
	c         *Compactor
	shard     shard
	job       *Job
	mostBytes int64 // that the open builders may hold

	days    map[block.Day]*arrowblock.Builder
	touched map[block.Day]bool    // by the pprof block at hand
	seen    map[identity]struct{} // over all blocks of the job: a builder knows only its own
	out     []block.Meta
}

// identity is what makes two profiles the same one, sent twice.
type identity struct {
	series uint64 // hash of the name and the labels
	ms     int64
	hash   uint64 // of the content
}

func identityOf(d delivery) identity {
	const separator = "\xff" // is in no UTF-8
	var h xxhash.Digest
	h.Reset()
	_, _ = h.WriteString(d.entry.Name) // a Digest's writes do not fail
	for _, l := range d.entry.Labels {
		_, _ = h.WriteString(separator)
		_, _ = h.WriteString(l.Name)
		_, _ = h.WriteString(separator)
		_, _ = h.WriteString(l.Value)
	}
	return identity{h.Sum64(), d.entry.MinTime.UnixMilli(), d.hash}
}

// take adds a profile to the block of its day, or ends a pprof block.
func (m *merger) take(ctx context.Context, d delivery) error {
	if d.entry == nil {
		return m.end(ctx, d)
	}
	day := block.DayOf(d.entry.MinTime)
	if !m.touched[day] && len(m.touched) == mostDays {
		d.err = fmt.Errorf("the pprof block has profiles of %d days before it came to %s", mostDays, day)
		day = block.DayOf(d.l0.Minute)
	}
	b, err := m.builder(day)
	if err != nil {
		return err
	}
	m.touched[day] = true
	if d.err == nil {
		d.err = m.add(b, d)
	}
	if d.err != nil {
		m.reject(b, d, arrowblock.Source{ID: d.l0.ID, Day: day, Profile: d.entry.File})
	}
	return nil
}

func (m *merger) add(b *arrowblock.Builder, d delivery) error {
	id := identityOf(d)
	if _, again := m.seen[id]; again && !guard.Removed(guard.SentTwice) {
		m.job.Repeated++
		return nil
	}
	added, err := b.Add(arrowblock.Key{Name: d.entry.Name, Labels: d.entry.Labels, Time: d.entry.MinTime}, d.profile, d.hash)
	if err != nil {
		return err
	}
	m.seen[id] = struct{}{}
	if added {
		m.job.Profiles++
	} else {
		m.job.Repeated++
	}
	return nil
}

// end names the pprof block as a source in the blocks of all days that it had
// profiles of. Blocks are cut only here: a pprof block's profiles of one day are
// all in one Arrow block, so that the pair is in the sources of one.
func (m *merger) end(ctx context.Context, d delivery) error {
	uploaded := block.DayOf(d.l0.Minute)
	if len(m.touched) == 0 {
		b, err := m.builder(uploaded)
		if err != nil {
			return err
		}
		if d.err != nil {
			m.reject(b, d, arrowblock.Source{ID: d.l0.ID, Day: uploaded})
			return nil
		}
		m.touched[uploaded] = true
	}
	for day := range m.touched {
		m.days[day].AddSource(arrowblock.Source{ID: d.l0.ID, Day: day})
	}
	clear(m.touched)
	return m.cut(ctx)
}

// reject names what cannot be used in the block that lacks it, so that it is not
// gathered again.
func (m *merger) reject(b *arrowblock.Builder, d delivery, source arrowblock.Source) {
	source.Rejected = shorten(d.err)
	b.AddSource(source)
	m.job.Rejected++
	m.c.cfg.Observer.rejected(d.l0.String(), source.Profile, source.Rejected)
}

// shorten gives an error's text as blocks and HEADs keep it.
func shorten(err error) string {
	const most = 500 // bytes
	reason := err.Error()
	return strings.ToValidUTF8(reason[:min(len(reason), most)], "")
}

func (m *merger) builder(day block.Day) (*arrowblock.Builder, error) {
	if b, ok := m.days[day]; ok {
		return b, nil
	}
	b, err := arrowblock.NewBuilder(arrowblock.Config{Range: day.Range()})
	if err != nil {
		return nil, err
	}
	m.days[day] = b
	return b, nil
}

// cut writes the largest blocks while they hold too much memory together.
func (m *merger) cut(ctx context.Context) error {
	for {
		var total, most int64
		var largest block.Day
		for day, b := range m.days {
			size := b.SizeBytes()
			total += size
			if size > most {
				most, largest = size, day
			}
		}
		if total <= m.mostBytes {
			return nil
		}
		if err := m.write(ctx, largest); err != nil {
			return err
		}
	}
}

// write finishes a day's block and puts it into the bucket.
func (m *merger) write(ctx context.Context, day block.Day) (err error) {
	b := m.days[day]
	delete(m.days, day)
	now, err := m.c.bkt.Now(ctx)
	if err != nil {
		return err
	}
	o := newOutput(levelOf(day, now), m.c.cfg.TempDir, m.mostBytes/8)
	defer func() { err = errors.Join(err, o.close()) }()
	meta, err := b.FinishTo(o.to())
	if err != nil {
		return fmt.Errorf("write a block of %s: %w", day, err)
	}
	if err := m.c.put(ctx, m.shard, o, &meta); err != nil {
		return err
	}
	m.out = append(m.out, meta)
	m.job.Blocks++
	m.job.BytesOut += o.bytes()
	return nil
}

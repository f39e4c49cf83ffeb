package query

import (
	"context"
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/profile"
)

// part is a block's share of an answer.
type part struct {
	key  string // "" for pprof blocks decoded into memory
	meta block.Meta

	blk    *arrowblock.Block
	series []uint32 // that the selector matches, ascending
	picks  []pick

	headers []arrowblock.Header // of the block, once they were read

	samples  map[string]bool            // names that the query looks at and that samples of the block have
	sets     [][]arrowblock.SampleLabel // of the block, once they were read
	contests contests
	classes  []rowClass
	classOf  map[uint32]int // by series
}

// pick is what was chosen of a group: some of the profiles of its totals.
type pick struct {
	group  int // in blk.Groups
	totals *arrowblock.Totals
	chosen []uint32 // positions in totals, ascending
	found  int      // how many there were before repeated ones were dropped
	sifted []worth  // what the chosen ones count with; nil: their totals

	windows []windows // sums of others
}

// profiles is how many were chosen.
func (k *pick) profiles() int {
	n := len(k.chosen)
	for i := range k.windows {
		n += k.windows[i].profiles()
	}
	return n
}

func (p *part) name() string { return p.key }

// parts are the planned Arrow blocks, not open yet.
func (r *run) parts(p *plan) []*part {
	parts := make([]*part, len(p.blocks))
	for i, b := range p.blocks {
		parts[i] = objectOf(r.req.Tenant, b)
	}
	return parts
}

// objectOf is the part that a live block is: the block itself, or when its profiles have
// expired the block of its rollups.
func objectOf(tenant profile.Tenant, b catalog.Block) *part {
	if !b.Expired {
		return &part{key: b.Key(tenant, b.Shard), meta: b.Meta}
	}
	m := b.Meta
	m.Size, m.Tail, m.CRC = m.R4.Size, m.R4.Tail, m.R4.CRC
	return &part{key: b.RollupKey(tenant, b.Shard), meta: m}
}

// profileRange is which times profiles are chosen of one by one, counted as T of a part.
func (r *run) profileRange(p *part) (from, to int64) {
	first := r.within.From
	if first.Before(r.profilesFrom) {
		first = r.profilesFrom
	}
	return ceilMillis(first) - p.start(), ceilMillis(r.within.To) - p.start()
}

// openBlock opens a part's block and finds the series that are asked for.
func (r *run) openBlock(ctx context.Context, p *part) error {
	if p.meta.Bad != "" {
		return fmt.Errorf("known to be damaged: %s: %w", p.meta.Bad, block.ErrCorrupt)
	}
	src := r.sourceOf(p)
	blk, cached := r.indexes.get(p.key)
	if cached {
		countHit(ctx, p.meta.Tail)
	} else {
		var err error
		if blk, err = arrowblock.Open(ctx, src, arrowblock.Tail{Bytes: p.meta.Tail, CRC: p.meta.CRC}); err != nil {
			return err
		}
		r.indexes.put(p.key, blk.ReadFrom(src.forever()), blk.SizeBytes())
	}
	if err := r.reserve(blk.SizeBytes(), "the blocks' indexes"); err != nil {
		return err
	}
	return r.match(ctx, p, blk.ReadFrom(src))
}

// match finds the series that are asked for in a part's open block.
func (r *run) match(ctx context.Context, p *part, blk *arrowblock.Block) (err error) {
	p.blk = blk
	p.samples, p.sets, err = r.sampleNames(ctx, blk)
	p.series = matchSeries(blk, r.req.Selector, p.samples)
	if len(r.own) > 0 && len(p.samples) > 0 {
		own := profile.Selector{Matchers: r.own}
		p.series = slices.DeleteFunc(p.series, func(s uint32) bool { return !own.Matches(blk.Series()[s].Labels) })
	}
	return err
}

// matchSeries finds the series that a selector matches, by type and labels.
//
// Matchers that an absent label does not satisfy are looked up in the postings, a
// regular expression being tried once for each value; the others are tried for each
// series that is left.
//
// Of ofSamples, names of labels that samples have, a series that lacks one is left to its samples.
func matchSeries(blk *arrowblock.Block, sel profile.Selector, ofSamples map[string]bool) []uint32 {
	all := blk.Series()
	var found []uint32
	var rest profile.Selector
	narrowed := false
	for _, m := range sel.Matchers {
		if m.Matches("") || ofSamples[m.Name] {
			rest.Matchers = append(rest.Matchers, m)
			continue
		}
		matched := postings(blk, m)
		if narrowed {
			matched = intersect(found, matched)
		}
		found, narrowed = matched, true
	}
	if !narrowed {
		found = make([]uint32, len(all))
		for i := range found {
			found[i] = uint32(i)
		}
	}
	wanted := make([]bool, len(blk.Groups()))
	for i, g := range blk.Groups() {
		wanted[i] = slices.ContainsFunc(g.Types(), sel.Type.Matches)
	}
	return slices.DeleteFunc(found, func(s uint32) bool {
		return !wanted[all[s].Group] || slices.ContainsFunc(rest.Matchers, func(m *profile.Matcher) bool {
			v := all[s].Labels.Get(m.Name)
			return !m.Matches(v) && (v != "" || !ofSamples[m.Name])
		})
	})
}

// postings are the series with a value that m accepts, ascending; a slice of the
// caller's own.
func postings(blk *arrowblock.Block, m *profile.Matcher) []uint32 {
	if m.Type == labels.MatchEqual {
		return slices.Clone(blk.Postings(m.Name, m.Value))
	}
	var found []uint32
	for _, value := range blk.LabelValues(m.Name) {
		if m.Matches(value) {
			found = append(found, blk.Postings(m.Name, value)...)
		}
	}
	slices.Sort(found) // a series has one value of a label, so none is there twice
	return found
}

// intersect keeps of a what is in b as well; both are ascending.
func intersect(a, b []uint32) []uint32 {
	kept := a[:0]
	for _, v := range a {
		i, ok := slices.BinarySearch(b, v)
		if ok {
			kept = append(kept, v)
		}
		b = b[i:]
	}
	return kept
}

// choose reads which profiles there are of the part's series, and picks those in the
// range.
func (r *run) choose(ctx context.Context, p *part) error {
	series := p.blk.Series()
	for from := 0; from < len(p.series); {
		group := series[p.series[from]].Group
		to := from
		for to < len(p.series) && series[p.series[to]].Group == group {
			to++
		}
		if err := r.chooseOf(ctx, p, group, p.series[from:to]); err != nil {
			return err
		}
		from = to
	}
	if len(p.picks) == 0 && p.key != "" {
		progressOf(ctx).finish(1) // nothing is read of it
	}
	return nil
}

// totalsBytes is what a profile takes in Totals, and in what is made of it.
const totalsBytes = 80

func (r *run) chooseOf(ctx context.Context, p *part, group int, series []uint32) error {
	k := pick{group: group, totals: &arrowblock.Totals{}}
	c := &cover{}
	if (r.sums != nil || !p.blk.Info().Raw) && len(p.samples) == 0 && len(p.blk.Rollups()) > 0 {
		var err error
		if c, err = r.coverOf(ctx, p, group, series); err != nil {
			return err
		}
		k.windows, series = c.windows, c.rest(series)
	}
	switch {
	case len(series) == 0:
	case !p.blk.Info().Raw:
		r.noProfiles(p)
	default:
		if err := r.chooseProfiles(ctx, p, &k, series, c); err != nil {
			return err
		}
	}
	if k.profiles() > 0 {
		p.picks = append(p.picks, k)
	}
	return nil
}

// chooseProfiles chooses those of some series that lie in the range and in none of a cover's windows.
func (r *run) chooseProfiles(ctx context.Context, p *part, k *pick, series []uint32, c *cover) (err error) {
	first, last := series[0], series[len(series)-1]
	if k.totals, err = p.blk.Totals(ctx, k.group, arrowblock.Span{From: uint64(first), To: uint64(last) + 1}); err != nil {
		return err
	}
	if err := r.reserve(totalsBytes*int64(k.totals.Len()), "the list of profiles"); err != nil {
		return err
	}
	wanted := make([]bool, last-first+1)
	for _, s := range series {
		wanted[s-first] = true
	}
	from, to := r.profileRange(p)
	for i, s := range k.totals.Series {
		if t := int64(k.totals.T[i]); wanted[s-first] && from <= t && t < to && !c.covers(s, k.totals.T[i]) {
			k.chosen = append(k.chosen, uint32(i))
		}
	}
	k.found = len(k.chosen)
	return nil
}

// start is when T is 0, in milliseconds since 1970.
func (p *part) start() int64 { return p.blk.Info().Range.From.UnixMilli() }

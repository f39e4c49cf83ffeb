package query

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/coldframe/coldframe/block/pprofblock"
	"github.com/coldframe/coldframe/profile"
)

// TypeList is the profile types that there are.
type TypeList struct {
	Types []profile.Type // sorted
	Stats Stats
}

// WordList is label names, or the values of one label.
type WordList struct {
	Label string   // whose values Words are; "" when they are names
	Words []string // sorted
	// OfSamples are those of Words that samples have; some of them series may have too.
	OfSamples []string
	Stats     Stats
}

// Types lists the types of the selected profiles. Like the lists of labels it reads
// blocks' indexes, and the profiles' times only of blocks that are not wholly in the range.
func (q *Querier) Types(ctx context.Context, req Request) (*TypeList, error) {
	found, stats, err := gather(ctx, q, "types", req, func(_ profile.Labels, types []profile.Type, add func(profile.Type)) {
		for _, t := range types {
			if req.Selector.Type.Matches(t) {
				add(t)
			}
		}
	})
	return &TypeList{slices.SortedFunc(maps.Keys(found), profile.Type.Compare), stats}, err
}

// LabelNames lists the names of the selected profiles' labels, and names that samples of the
// newest blocks have.
func (q *Querier) LabelNames(ctx context.Context, req Request) (*WordList, error) {
	return q.words(ctx, "labels", req, "", func(ls profile.Labels, add func(string)) {
		for _, l := range ls {
			add(l.Name)
		}
	})
}

// LabelValues lists the values that a label has among the selected profiles, and those that it has among
// samples of the newest blocks where no series has it.
func (q *Querier) LabelValues(ctx context.Context, req Request, name string) (*WordList, error) {
	return q.words(ctx, "label values", req, name, func(ls profile.Labels, add func(string)) {
		if v := ls.Get(name); v != "" {
			add(v)
		}
	})
}

// words lists names, or the values of a label that is not "".
func (q *Querier) words(ctx context.Context, what string, req Request, label string, visit func(ls profile.Labels, add func(string))) (*WordList, error) {
	if err := noFilters(req.Filters); err != nil {
		return &WordList{Label: label}, err
	}
	var mu sync.Mutex
	var found, ofSamples map[string]bool
	stats, err := q.answer(ctx, what, req, func(ctx context.Context, r *run) error {
		found, ofSamples = map[string]bool{}, map[string]bool{}
		parts, err := r.eachSeries(ctx, func(ls profile.Labels, _ []profile.Type) {
			mu.Lock()
			defer mu.Unlock()
			visit(ls, func(word string) { found[word] = true })
		})
		if err == nil {
			err = r.addSampleWords(ctx, parts, label, ofSamples)
		}
		return err
	})
	for word := range ofSamples {
		found[word] = true
	}
	return &WordList{label, slices.Sorted(maps.Keys(found)), slices.Sorted(maps.Keys(ofSamples)), stats}, err
}

// LabelSetList is the label sets that there are.
type LabelSetList struct {
	Sets  []LabelSet // by labels
	Stats Stats
}

// LabelSet is the labels of series, and the types of their profiles.
type LabelSet struct {
	Labels profile.Labels
	Types  []profile.Type // sorted
}

// LabelSets lists the label sets of the selected profiles, reduced to the labels of these
// names; no names mean all labels.
func (q *Querier) LabelSets(ctx context.Context, req Request, names []string) (*LabelSetList, error) {
	type member struct {
		set string
		typ profile.Type
	}
	labels := map[string]profile.Labels{}
	found, stats, err := gather(ctx, q, "label sets", req, func(ls profile.Labels, types []profile.Type, add func(member)) {
		if len(names) > 0 {
			ls = slices.DeleteFunc(slices.Clone(ls), func(l profile.Label) bool { return !slices.Contains(names, l.Name) })
		}
		set := ls.String()
		labels[set] = ls
		for _, t := range types {
			if req.Selector.Type.Matches(t) {
				add(member{set, t})
			}
		}
	})
	types := map[string][]profile.Type{}
	for m := range found {
		types[m.set] = append(types[m.set], m.typ)
	}
	list := &LabelSetList{Stats: stats}
	for set, of := range types {
		slices.SortFunc(of, profile.Type.Compare)
		list.Sets = append(list.Sets, LabelSet{labels[set], of})
	}
	slices.SortFunc(list.Sets, func(a, b LabelSet) int { return a.Labels.Compare(b.Labels) })
	return list, err
}

// gather shows each series that has a selected profile to visit, which adds to the set
// what it wants of it.
func gather[T comparable](ctx context.Context, q *Querier, what string, req Request, visit func(ls profile.Labels, types []profile.Type, add func(T))) (map[T]bool, Stats, error) {
	if err := noFilters(req.Filters); err != nil {
		return nil, Stats{}, err
	}
	var mu sync.Mutex
	var found map[T]bool
	locked := func(ls profile.Labels, types []profile.Type) {
		mu.Lock()
		defer mu.Unlock()
		visit(ls, types, func(v T) { found[v] = true })
	}
	stats, err := q.answer(ctx, what, req, func(ctx context.Context, r *run) error {
		found = map[T]bool{}
		_, err := r.eachSeries(ctx, locked)
		return err
	})
	return found, stats, err
}

// eachSeries calls visit with the labels and types of what is selected, more than
// once for what lies in several blocks. It returns the Arrow blocks that it read.
func (r *run) eachSeries(ctx context.Context, visit func(profile.Labels, []profile.Type)) ([]*part, error) {
	p, err := r.plan(ctx)
	if err != nil {
		return nil, err
	}
	parts, err := each(ctx, r.ledger, r.cfg.Concurrency, r.parts(p), (*part).name, func(ctx context.Context, p *part) error {
		if err := r.openBlock(ctx, p); err != nil {
			return err
		}
		if err := r.dropAbsent(ctx, p); err != nil {
			return err
		}
		groups, series := p.blk.Groups(), p.blk.Series()
		for _, s := range p.series {
			visit(series[s].Labels, groups[series[s].Group].Types())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	_, err = r.eachL0(ctx, p.l0s, func(_ context.Context, _ string, rd *pprofblock.Reader) error {
		for i := range rd.Manifest().Profiles {
			if e := &rd.Manifest().Profiles[i]; r.wants(e, false) {
				visit(e.Labels, e.Types())
			}
		}
		return nil
	})
	return parts, err
}

// dropAbsent drops from a part's series those without a profile in the range.
func (r *run) dropAbsent(ctx context.Context, p *part) error {
	info := p.blk.Info()
	if ceilMillis(r.within.From) <= info.MinTime && r.profilesFrom.UnixMilli() <= info.MinTime && info.MaxTime < ceilMillis(r.within.To) {
		return nil
	}
	if err := r.choose(ctx, p); err != nil {
		return err
	}
	var present []uint32
	for _, k := range p.picks {
		for _, row := range k.chosen {
			present = append(present, k.totals.Series[row])
		}
		for _, w := range k.windows { // of series each: r.sums is nil
			for _, i := range w.chosen {
				present = append(present, w.cells.Key[i])
			}
		}
	}
	slices.Sort(present)
	p.series = slices.Compact(present)
	return nil
}

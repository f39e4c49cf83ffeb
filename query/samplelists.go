package query

import (
	"cmp"
	"context"
	"slices"

	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/profile"
)

// Labels of samples are told with those of series, as far as that is cheap: a block has one table of all sets of
// labels that its samples have, which is small where labels say what a program does, and as large as the samples
// where they count requests or spans. So lists have the labels of the newest blocks whose tables are short, of
// all services in them. Pprof blocks, which no compactor has seen yet, are not decoded for it. Who may see some
// series only is told none, for the table does not say whose they are.
const (
	sampleListBlocks = 16
	sampleListBytes  = 64 << 10
)

// addSampleWords adds names that samples of the parts have, or the values of one that is not "" and that no
// series of the block has.
func (r *run) addSampleWords(ctx context.Context, parts []*part, label string, words map[string]bool) error {
	if r.restricted() || isServiceLabel(label) {
		return nil
	}
	parts = slices.DeleteFunc(slices.Clone(parts), func(p *part) bool {
		return len(p.series) == 0 || p.blk.NumSampleLabels() <= 1 || p.blk.SampleLabelsBytes() > sampleListBytes ||
			label != "" && len(p.blk.LabelValues(label)) > 0
	})
	slices.SortFunc(parts, func(a, b *part) int {
		return cmp.Or(cmp.Compare(b.blk.Info().MaxTime, a.blk.Info().MaxTime), cmp.Compare(a.key, b.key))
	})
	parts, err := each(ctx, r.ledger, r.cfg.Concurrency, parts[:min(len(parts), sampleListBlocks)], (*part).name, func(ctx context.Context, p *part) (err error) {
		if p.sets == nil {
			p.sets, err = p.blk.SampleLabels(ctx)
		}
		return err
	})
	for _, p := range parts {
		for _, set := range p.sets {
			addWords(words, set, label)
		}
	}
	return err
}

// addWords leaves out what cannot be a label of a selector.
func addWords(words map[string]bool, set []arrowblock.SampleLabel, label string) {
	for _, l := range set {
		if label != "" && l.Key != label || isServiceLabel(l.Key) {
			continue
		}
		value := sampleLabel(set, l.Key)
		if _, err := profile.NewLabels(profile.Label{Name: l.Key, Value: value}); err != nil || value == "" {
			continue
		}
		if label == "" {
			words[l.Key] = true
		} else {
			words[value] = true
		}
	}
}

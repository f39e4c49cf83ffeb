package arrowblock

import (
	"cmp"
	"slices"

	"github.com/coldframe/coldframe/profile"
)

// labelSets numbers distinct sets of sample labels. Number 0 is the empty set.
type labelSets struct {
	numbered[[]SampleLabel]
	texts arena
	key   []byte
	size  int64 // estimate of the memory held, in bytes
}

func newLabelSets() labelSets {
	var s labelSets
	s.add(nil, nil)
	return s
}

// compareLabelNames orders labels as google/pprof keeps them: by key, strings before numbers,
// and in the order of the pprof where these are equal.
func compareLabelNames(a, b SampleLabel) int {
	return cmp.Or(cmp.Compare(a.Key, b.Key), compareBools(a.IsNum, b.IsNum))
}

func (l SampleLabel) compare(m SampleLabel) int {
	return cmp.Or(
		compareLabelNames(l, m),
		cmp.Compare(l.Str, m.Str),
		cmp.Compare(l.Num, m.Num),
		cmp.Compare(l.Unit, m.Unit),
	)
}

// intern returns the number of a set of labels sorted by compareLabelNames. The labels and their
// strings need not outlive the call.
func (s *labelSets) intern(labels []SampleLabel) uint32 {
	key := s.key[:0]
	for i := range labels {
		l := &labels[i]
		key = appendText(appendText(appendText(key, l.Key), l.Str), l.Unit)
		key = append(appendNumber(key, uint64(l.Num)), bit(l.IsNum))
	}
	s.key = key
	if n, ok := s.find(key); ok {
		return n
	}
	set := slices.Clone(labels)
	for i := range set {
		l := &set[i]
		l.Key, l.Str, l.Unit = s.texts.keep(l.Key), s.texts.keep(l.Str), s.texts.keep(l.Unit)
	}
	s.size += int64(len(key)*2 + len(set)*64 + 80)
	return s.add(key, set)
}

// labelsOf is the number of the label set of a sample.
func (in *inbox) labelsOf(labels []profile.SampleLabel) uint32 {
	if len(labels) == 0 {
		return 0
	}
	if slices.Equal(labels, in.labels) {
		return in.labelSet
	}
	list := in.labelList[:0]
	for _, l := range labels {
		switch {
		case l.Str != 0:
			list = append(list, SampleLabel{Key: in.p.Strings[l.Key], Str: in.p.Strings[l.Str]})
		case l.Num != 0 || l.NumUnit != 0: // else it says nothing, and google/pprof does not see it either
			list = append(list, SampleLabel{Key: in.p.Strings[l.Key], Num: l.Num, Unit: in.p.Strings[l.NumUnit], IsNum: true})
		}
	}
	slices.SortStableFunc(list, compareLabelNames)
	in.labelList, in.labels = list, labels
	in.labelSet = in.b.labels.intern(list)
	return in.labelSet
}

// NumSampleLabels is how many sets SampleLabels has, the empty one included.
func (b *Block) NumSampleLabels() int {
	s, err := b.named(sampleLabelsName)
	if err != nil { // Open has seen that it is there
		return 1
	}
	return s.rows
}

// SampleLabelsBytes is how many bytes the sets take in the block, compressed.
func (b *Block) SampleLabelsBytes() int64 {
	s, err := b.named(sampleLabelsName)
	if err != nil {
		return 0
	}
	return s.length
}

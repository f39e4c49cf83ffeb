package agent

import (
	"cmp"
	"slices"

	"github.com/coldframe/coldframe/bpf"
)

// order merges samples and events by time. They come from a ring for each CPU and one for
// all, read one after the other; what is old enough has arrived in all of them.
type order struct {
	waiting []happening
}

// happening is a sample or an event.
type happening struct {
	time   uint64
	sample *bpf.Sample
	event  bpf.Event
}

func (o *order) addSample(s *bpf.Sample) {
	o.waiting = append(o.waiting, happening{time: s.Time, sample: s})
}

func (o *order) addEvent(e bpf.Event) {
	o.waiting = append(o.waiting, happening{time: e.Time, event: e})
}

// until hands out what happened up to cut, in order of time. At the same instant an event
// comes before a sample.
func (o *order) until(cut uint64, event func(bpf.Event), sample func(*bpf.Sample)) {
	slices.SortStableFunc(o.waiting, func(a, b happening) int {
		if c := cmp.Compare(a.time, b.time); c != 0 {
			return c
		}
		switch {
		case a.sample == nil && b.sample != nil:
			return -1
		case a.sample != nil && b.sample == nil:
			return 1
		}
		return 0
	})
	n := 0
	for ; n < len(o.waiting) && o.waiting[n].time <= cut; n++ {
		if h := o.waiting[n]; h.sample != nil {
			sample(h.sample)
		} else {
			event(h.event)
		}
	}
	rest := copy(o.waiting, o.waiting[n:])
	clear(o.waiting[rest:])
	o.waiting = o.waiting[:rest]
}

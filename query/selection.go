package query

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/profile"
)

// selection is the profiles that an answer is made of, in open blocks.
type selection struct {
	parts []*part
	types map[profile.Type]bool // that are known to who asks, selected or not
}

// selectProfiles opens what has to be read and picks the profiles asked for, each once.
func (r *run) selectProfiles(ctx context.Context) (*selection, error) {
	p, err := r.plan(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.checkBytes(p); err != nil {
		return nil, err
	}
	parts, err := r.open(ctx, p)
	if err != nil {
		return nil, err
	}
	if r.sums != nil {
		findContests(parts)
	}
	if parts, err = each(ctx, r.ledger, r.cfg.Concurrency, parts, (*part).name, r.choose); err != nil {
		return nil, err
	}
	dropRepeated(parts)
	for _, part := range parts {
		part.picks = slices.DeleteFunc(part.picks, func(k pick) bool { return k.profiles() == 0 })
	}
	s := &selection{parts, p.types}
	if r.restricted() {
		s.types, err = nil, nil
		if len(s.groups()) == 0 {
			s.types, err = r.visibleTypes(ctx)
		}
	}
	return s, err
}

// visibleTypes are the types of all that a token with a selector may see in the range.
func (r *run) visibleTypes(ctx context.Context) (map[profile.Type]bool, error) {
	var mu sync.Mutex
	types := map[profile.Type]bool{}
	_, err := r.base(Request{Range: r.req.Range}).eachSeries(ctx, func(_ profile.Labels, of []profile.Type) {
		mu.Lock()
		defer mu.Unlock()
		for _, t := range of {
			types[t] = true
		}
	})
	return types, err
}

// open opens the planned Arrow blocks and decodes the planned pprof blocks.
func (r *run) open(ctx context.Context, p *plan) ([]*part, error) {
	var parts, decoded []*part
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		parts, err = each(gctx, r.ledger, r.cfg.Concurrency, r.parts(p), (*part).name, r.openBlock)
		return err
	})
	g.Go(func() (err error) {
		decoded, err = r.decodeL0s(gctx, p)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return append(parts, decoded...), nil
}

// identity is what makes two profiles the same, in whatever blocks they lie.
type identity struct {
	series uint32 // name and labels
	t      int64  // milliseconds since 1970
	hash   uint64 // of the content
}

// dropRepeated leaves of profiles that lie in several parts only the first. Within a
// block there are none, so that only times are looked at which several blocks cover.
func dropRepeated(parts []*part) {
	shared := overlaps(parts)
	if len(shared) == 0 {
		return
	}
	seen := map[identity]bool{}
	numbers := map[string]uint32{} // of series, by name and labels
	for _, p := range parts {
		series := p.blk.Series()
		for i := range p.picks {
			k := &p.picks[i]
			name := p.blk.Groups()[k.group].Name
			last, number := uint32(0), uint32(0)
			known := false
			k.chosen = slices.DeleteFunc(k.chosen, func(row uint32) bool {
				t := p.start() + int64(k.totals.T[row])
				if !covers(shared, t) {
					return false
				}
				if s := k.totals.Series[row]; !known || s != last {
					last, known = s, true
					number = numberOf(numbers, name+series[s].Labels.String())
				}
				id := identity{number, t, k.totals.Hash[row]}
				repeated := seen[id]
				seen[id] = true
				return repeated
			})
		}
	}
}

func numberOf(numbers map[string]uint32, key string) uint32 {
	n, ok := numbers[key]
	if !ok {
		n = uint32(len(numbers))
		numbers[key] = n
	}
	return n
}

// interval is of milliseconds since 1970, both ends included.
type interval struct{ first, last int64 }

// overlaps are the times that more than one part's profiles cover, disjoint and
// ascending.
func overlaps(parts []*part) []interval {
	covered := make([]interval, len(parts))
	for i, p := range parts {
		info := p.blk.Info()
		covered[i] = interval{info.MinTime, info.MaxTime}
	}
	slices.SortFunc(covered, func(a, b interval) int { return cmp.Compare(a.first, b.first) })
	var shared []interval
	reached := int64(-1) << 62
	for _, c := range covered {
		if c.first <= reached {
			o := interval{c.first, min(reached, c.last)}
			if n := len(shared); n > 0 && o.first <= shared[n-1].last {
				shared[n-1].last = max(shared[n-1].last, o.last)
			} else {
				shared = append(shared, o)
			}
		}
		reached = max(reached, c.last)
	}
	return shared
}

func covers(intervals []interval, t int64) bool {
	_, found := slices.BinarySearchFunc(intervals, t, func(i interval, t int64) int {
		switch {
		case i.last < t:
			return -1
		case i.first > t:
			return 1
		}
		return 0
	})
	return found
}

// keep drops what is not of the chosen types.
func (s *selection) keep(c *choice) {
	for _, p := range s.parts {
		p.picks = slices.DeleteFunc(p.picks, func(k pick) bool { return !c.holds(p.blk.Groups()[k.group]) })
	}
	s.parts = slices.DeleteFunc(s.parts, func(p *part) bool { return len(p.picks) == 0 })
}

// profiles is how many there are.
func (s *selection) profiles() int {
	n := 0
	for _, p := range s.parts {
		for _, k := range p.picks {
			n += k.profiles()
		}
	}
	return n
}

// groups are those of the chosen profiles, and how many profiles each has.
func (s *selection) groups() []counted {
	var all []counted
	for _, p := range s.parts {
		for _, k := range p.picks {
			g := p.blk.Groups()[k.group]
			i, found := slices.BinarySearchFunc(all, g, func(c counted, g arrowblock.Group) int { return c.group.Compare(g) })
			if !found {
				all = slices.Insert(all, i, counted{group: g})
			}
			all[i].profiles += k.profiles()
		}
	}
	return all
}

// counted is a group and how many profiles of it were chosen.
type counted struct {
	group    arrowblock.Group
	profiles int
}

// ceilMillis is the first millisecond that is not before t, since 1970: a profile's
// milliseconds lie in [from, to) when they are not below from's and below to's.
func ceilMillis(t time.Time) int64 {
	ms := t.UnixMilli()
	if t.Nanosecond()%int(time.Millisecond) != 0 {
		ms++
	}
	return ms
}

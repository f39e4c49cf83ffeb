package query

import (
	"cmp"
	"context"
	"maps"
	"slices"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/block/arrowblock"
	"github.com/coldframe/coldframe/profile"
)

// Pprof is the selected profiles merged into one.
type Pprof struct {
	Name    string // the first part of the profiles' type; "" when nothing was selected
	Profile *pprof.Profile
	Stats   Stats
}

// Pprof merges the selected profiles as google/pprof's Merge does: with all their
// sample types or the one that is asked for, labels, mappings, addresses, inlined
// lines, comments. Profiles that have only some of the sample types count as having
// zeros of the others.
func (q *Querier) Pprof(ctx context.Context, req Request) (*Pprof, error) {
	answer := &Pprof{}
	if err := validateFilters(req.Filters); err != nil {
		return nil, err
	}
	stats, err := q.answer(ctx, "pprof", req, func(ctx context.Context, r *run) error {
		s, err := r.selectProfiles(ctx)
		if err != nil {
			return err
		}
		c, err := s.chooseTypes(req.Selector.Type)
		if err != nil {
			return err
		}
		if c == nil {
			answer.Name, answer.Profile = "", emptyProfile(s.types, req.Selector.Type)
			return nil
		}
		s.keep(c)
		m, err := r.merge(ctx, s, c, true)
		if err != nil {
			return err
		}
		heads := s.heads()
		answer.Name = c.name
		answer.Profile = heads.profile(c)
		newPprofWriter(m, answer.Profile, heads.main, newSieve(req.Filters, m.sym)).samples()
		return nil
	})
	answer.Stats = stats
	return answer, err
}

// emptyProfile is what a selection of nothing gives. go tool pprof takes no profile
// without a sample type: it has those of the pattern, or else a count of samples.
func emptyProfile(types map[profile.Type]bool, pattern profile.TypePattern) *pprof.Profile {
	p := &pprof.Profile{PeriodType: &pprof.ValueType{}}
	for _, t := range slices.SortedFunc(maps.Keys(types), profile.Type.Compare) {
		if !pattern.IsZero() && pattern.Matches(t) {
			p.SampleType = append(p.SampleType, &pprof.ValueType{Type: t.Sample.Type, Unit: t.Sample.Unit})
			p.PeriodType = &pprof.ValueType{Type: t.Period.Type, Unit: t.Period.Unit}
		}
	}
	if len(p.SampleType) == 0 {
		p.SampleType = []*pprof.ValueType{{Type: "samples", Unit: "count"}}
	}
	return p
}

// heads is what profiles say beside their samples, of all chosen ones.
type heads struct {
	timeNanos, durationNanos, period int64
	headers                          []arrowblock.Header // distinct ones, that of the earliest profile first
	main                             *arrowblock.Mapping // of the first header that has one
}

// heads gathers what merge has read.
func (s *selection) heads() *heads {
	h := &heads{}
	type dated struct {
		arrowblock.Header
		main      *arrowblock.Mapping
		timeNanos int64
	}
	var all []dated
	for _, p := range s.parts {
		for id, earliest := range h.add(p) {
			d := dated{Header: p.headers[id], timeNanos: earliest}
			if d.Main >= 0 {
				d.main = &p.blk.Mappings()[d.Main]
			}
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b dated) int {
		return cmp.Or(cmp.Compare(a.timeNanos, b.timeNanos), slices.Compare(a.Comments, b.Comments),
			cmp.Compare(a.DocURL, b.DocURL), cmp.Compare(a.DropFrames, b.DropFrames), cmp.Compare(a.KeepFrames, b.KeepFrames))
	})
	for _, d := range all {
		h.headers = append(h.headers, d.Header)
		h.main = cmp.Or(h.main, d.main)
	}
	return h
}

// add counts a part's profiles in, and returns the headers they have and the time of
// the earliest profile of each.
func (h *heads) add(p *part) map[uint32]int64 {
	earliest := map[uint32]int64{}
	for _, k := range p.picks {
		for _, w := range k.windows {
			h.addWindows(p, w)
		}
		for _, row := range k.chosen {
			t := (p.start()+int64(k.totals.T[row]))*1e6 + int64(k.totals.Nanos[row])
			if h.timeNanos == 0 || t < h.timeNanos {
				h.timeNanos = t
			}
			h.durationNanos += k.totals.DurationNanos[row]
			h.period = max(h.period, k.totals.Period[row])
			id := k.totals.Header[row]
			if first, known := earliest[id]; !known || t < first {
				earliest[id] = t
			}
		}
	}
	return earliest
}

// addWindows counts in what is left of profiles that have expired.
func (h *heads) addWindows(p *part, w windows) {
	for _, i := range w.chosen {
		if t := (p.start() + int64(w.cells.FirstT[i])) * 1e6; h.timeNanos == 0 || t < h.timeNanos {
			h.timeNanos = t
		}
		h.durationNanos += w.cells.DurationNanos[i]
		h.period = max(h.period, w.cells.Period[i])
	}
}

// profile is a profile without samples.
func (h *heads) profile(c *choice) *pprof.Profile {
	p := &pprof.Profile{
		TimeNanos:     h.timeNanos,
		DurationNanos: h.durationNanos,
		Period:        h.period,
		PeriodType:    &pprof.ValueType{Type: c.period.Type, Unit: c.period.Unit},
	}
	for _, v := range c.samples {
		p.SampleType = append(p.SampleType, &pprof.ValueType{Type: v.Type, Unit: v.Unit})
	}
	if c.declared {
		p.DefaultSampleType = c.samples[c.def].Type
	}
	for _, header := range h.headers {
		for _, comment := range header.Comments {
			if !slices.Contains(p.Comments, comment) {
				p.Comments = append(p.Comments, comment)
			}
		}
		p.DropFrames = cmp.Or(p.DropFrames, header.DropFrames)
		p.KeepFrames = cmp.Or(p.KeepFrames, header.KeepFrames)
		p.DocURL = cmp.Or(p.DocURL, header.DocURL)
	}
	return p
}

// pprofWriter adds merged samples to a profile, and what they refer to.
type pprofWriter struct {
	*merged
	profile   *pprof.Profile
	sieve     *sieve
	locations []*pprof.Location // by FrameID, made when met; noLocation: filtered out
	functions []*pprof.Function // by number in the Symbols
	mappings  []*pprof.Mapping
}

// newPprofWriter puts the main mapping first, where tools look for the program.
func newPprofWriter(m *merged, p *pprof.Profile, main *arrowblock.Mapping, s *sieve) *pprofWriter {
	w := &pprofWriter{
		merged:    m,
		profile:   p,
		sieve:     s,
		locations: make([]*pprof.Location, m.sym.Len()),
		functions: make([]*pprof.Function, m.sym.NumFunctions()),
		mappings:  make([]*pprof.Mapping, len(m.sym.Mappings())),
	}
	if main == nil {
		return w
	}
	same := func(o arrowblock.Mapping) bool {
		return o.BuildID == main.BuildID && o.Offset == main.Offset && (main.BuildID != "" || o.File == main.File)
	}
	if i := slices.IndexFunc(m.sym.Mappings(), same); i >= 0 {
		w.mapping(i)
	} else {
		w.addMapping(*main)
	}
	return w
}

// samples adds the samples in the order of the tree, those with labels after the one
// without of the same stack.
func (w *pprofWriter) samples() {
	labelled := slices.SortedFunc(maps.Keys(w.labelled), func(a, b labelledKey) int {
		return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(w.sets.keys[a.set], w.sets.keys[b.set]))
	})
	var path []arrowblock.FrameID // from the root
	values := make([]int64, len(w.tree.Self))
	pass := w.sieve.passing(&w.tree.Stacks)
	for node := range uint32(w.tree.Len()) {
		if depth := int(w.tree.Depth[node]); depth > 0 {
			path = append(path[:depth-1], w.tree.Frame[node])
		}
		for len(labelled) > 0 && labelled[0].node < node { // of a stack that was filtered out
			labelled = labelled[1:]
		}
		if pass != nil && !pass[node] {
			continue
		}
		for k := range values {
			values[k] = w.tree.Self[k][node]
		}
		w.sample(path, values, nil)
		for len(labelled) > 0 && labelled[0].node == node {
			w.sample(path, w.labelled[labelled[0]], w.sets.sets[labelled[0].set])
			labelled = labelled[1:]
		}
	}
}

// sample adds one, unless all its values are 0.
func (w *pprofWriter) sample(path []arrowblock.FrameID, values []int64, labels []arrowblock.SampleLabel) {
	if !slices.ContainsFunc(values, func(v int64) bool { return v != 0 }) {
		return
	}
	s := &pprof.Sample{Value: slices.Clone(values), Location: make([]*pprof.Location, 0, len(path))}
	for _, id := range slices.Backward(path) {
		if l := w.location(id); l != noLocation {
			s.Location = append(s.Location, l)
		}
	}
	for _, l := range labels {
		switch {
		case !l.IsNum:
			if s.Label == nil {
				s.Label = map[string][]string{}
			}
			s.Label[l.Key] = append(s.Label[l.Key], l.Str)
		default:
			if s.NumLabel == nil {
				s.NumLabel, s.NumUnit = map[string][]int64{}, map[string][]string{}
			}
			s.NumLabel[l.Key] = append(s.NumLabel[l.Key], l.Num)
			s.NumUnit[l.Key] = append(s.NumUnit[l.Key], l.Unit)
		}
	}
	w.profile.Sample = append(w.profile.Sample, s)
}

// noLocation stands for one of which frame filters keep nothing.
var noLocation = &pprof.Location{}

func (w *pprofWriter) location(id arrowblock.FrameID) *pprof.Location {
	if w.locations[id] != nil {
		return w.locations[id]
	}
	frame := w.sym.Frame(id)
	kept := w.sieve.linesOf(frame)
	if len(kept) == 0 {
		w.locations[id] = noLocation
		return noLocation
	}
	l := &pprof.Location{ID: uint64(len(w.profile.Location) + 1), Address: frame.Address, IsFolded: frame.Folded}
	if frame.Mapping >= 0 {
		l.Mapping = w.mapping(frame.Mapping)
		l.Address += l.Mapping.Start
	}
	for _, i := range kept {
		if i == len(frame.Lines) { // there are none
			break
		}
		line := frame.Lines[i]
		l.Line = append(l.Line, pprof.Line{Function: w.function(line.Function), Line: line.Line, Column: line.Column})
	}
	w.locations[id] = l
	w.profile.Location = append(w.profile.Location, l)
	return l
}

func (w *pprofWriter) function(id uint32) *pprof.Function {
	if w.functions[id] == nil {
		f := w.sym.Function(id)
		w.functions[id] = &pprof.Function{
			ID: uint64(len(w.profile.Function) + 1), Name: f.Name, SystemName: f.SystemName, Filename: f.Filename, StartLine: f.StartLine,
		}
		w.profile.Function = append(w.profile.Function, w.functions[id])
	}
	return w.functions[id]
}

func (w *pprofWriter) mapping(i int) *pprof.Mapping {
	if w.mappings[i] == nil {
		w.mappings[i] = w.addMapping(w.sym.Mappings()[i])
	}
	return w.mappings[i]
}

func (w *pprofWriter) addMapping(m arrowblock.Mapping) *pprof.Mapping {
	mapping := &pprof.Mapping{
		ID: uint64(len(w.profile.Mapping) + 1), Start: m.Start, Limit: m.Limit, Offset: m.Offset, File: m.File, BuildID: m.BuildID,
		HasFunctions: m.HasFunctions, HasFilenames: m.HasFilenames, HasLineNumbers: m.HasLineNumbers, HasInlineFrames: m.HasInlineFrames,
	}
	w.profile.Mapping = append(w.profile.Mapping, mapping)
	return mapping
}

package pyroscope

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	querierv1 "github.com/grafana/pyroscope/api/gen/proto/go/querier/v1"
	typesv1 "github.com/grafana/pyroscope/api/gen/proto/go/types/v1"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/serve"
)

// maxMatchers is how many selectors a list may be asked by; each is a query.
const maxMatchers = 16

// sets calls visit with the label sets and types that any of the selectors selects. Sets
// have the labels of these names, all when none are given; the service is among them,
// whatever label names it.
func (a *API) sets(ctx context.Context, matchers []string, start, end int64, names []string, visit func(profile.Labels, []profile.Type)) error {
	tenant, err := query.TenantOf(ctx)
	if err != nil {
		return err
	}
	if len(matchers) > maxMatchers {
		return serve.Field("matchers", fmt.Errorf("%d of them, at most %d are allowed: %w", len(matchers), maxMatchers, profile.ErrInvalid))
	}
	if len(matchers) == 0 {
		matchers = []string{"{}"}
	}
	read := names
	if len(names) > 0 {
		read = slices.Concat(names, profile.ServiceLabels[:])
	}
	for _, text := range matchers {
		sel, asked, err := selectorOf(text)
		if err != nil {
			return err
		}
		err = list(start, end, func(r profile.TimeRange) error {
			found, err := a.q.LabelSets(ctx, query.Request{Tenant: tenant, Selector: sel, Range: r}, read)
			if err != nil {
				return err
			}
			query.Tell(ctx, found.Stats)
			for _, set := range found.Sets {
				kept := slices.DeleteFunc(set.Types, func(t profile.Type) bool { return !asked.keepType(t) })
				if len(kept) > 0 && asked.keepService(set.Labels) {
					visit(withService(set.Labels, names), kept)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// withService is a label set with the service's name, reduced to these names if there are any.
func withService(ls profile.Labels, names []string) profile.Labels {
	if ls.Get(serviceLabel) == "" {
		ls = append(slices.Clone(ls), profile.Label{Name: serviceLabel, Value: ls.Service()})
		slices.SortFunc(ls, func(a, b profile.Label) int { return cmp.Compare(a.Name, b.Name) })
	}
	if len(names) == 0 {
		return ls
	}
	return slices.DeleteFunc(slices.Clone(ls), func(l profile.Label) bool { return !slices.Contains(names, l.Name) })
}

func (a *API) profileTypes(ctx context.Context, m *querierv1.ProfileTypesRequest) (*querierv1.ProfileTypesResponse, error) {
	tenant, err := query.TenantOf(ctx)
	if err != nil {
		return nil, err
	}
	res := &querierv1.ProfileTypesResponse{}
	return res, list(m.GetStart(), m.GetEnd(), func(r profile.TimeRange) error {
		types, err := a.q.Types(ctx, query.Request{Tenant: tenant, Range: r})
		if err != nil {
			return err
		}
		query.Tell(ctx, types.Stats)
		known := map[string]bool{}
		for _, t := range types.Types {
			id := typeID(t)
			if known[id] {
				continue
			}
			known[id] = true
			res.ProfileTypes = append(res.ProfileTypes, &typesv1.ProfileType{
				ID: id, Name: t.Name, SampleType: t.Sample.Type, SampleUnit: t.Sample.Unit, PeriodType: t.Period.Type, PeriodUnit: t.Period.Unit,
			})
		}
		return nil
	})
}

func (a *API) labelNames(ctx context.Context, m *typesv1.LabelNamesRequest) (*typesv1.LabelNamesResponse, error) {
	names := map[string]bool{}
	err := a.sets(ctx, m.GetMatchers(), m.GetStart(), m.GetEnd(), nil, func(ls profile.Labels, _ []profile.Type) {
		for _, l := range ls {
			names[l.Name] = true
		}
	})
	if err == nil {
		err = a.ofSamples(ctx, m.GetMatchers(), m.GetStart(), m.GetEnd(), "", names)
	}
	if len(names) > 0 {
		for name := range typeLabels {
			names[name] = true
		}
	}
	return &typesv1.LabelNamesResponse{Names: slices.Sorted(maps.Keys(names))}, err
}

func (a *API) labelValues(ctx context.Context, m *typesv1.LabelValuesRequest) (*typesv1.LabelValuesResponse, error) {
	if m.GetName() == "" {
		return nil, serve.Field("name", fmt.Errorf("it must be given: %w", profile.ErrInvalid))
	}
	of := typeLabels[m.GetName()]
	values := map[string]bool{}
	err := a.sets(ctx, m.GetMatchers(), m.GetStart(), m.GetEnd(), []string{m.GetName()}, func(ls profile.Labels, types []profile.Type) {
		if of == nil {
			values[ls.Get(m.GetName())] = true
			return
		}
		for _, t := range types {
			values[of(t)] = true
		}
	})
	delete(values, "")
	if err == nil && of == nil && m.GetName() != serviceLabel {
		err = a.ofSamples(ctx, m.GetMatchers(), m.GetStart(), m.GetEnd(), m.GetName(), values)
	}
	return &typesv1.LabelValuesResponse{Names: slices.Sorted(maps.Keys(values))}, err
}

// ofSamples adds the names of labels that samples have, or the values of one that is not "".
func (a *API) ofSamples(ctx context.Context, matchers []string, start, end int64, label string, words map[string]bool) error {
	tenant, err := query.TenantOf(ctx)
	if err != nil {
		return err
	}
	if len(matchers) == 0 {
		matchers = []string{"{}"}
	}
	for _, text := range matchers {
		sel, _, err := selectorOf(text)
		if err != nil {
			return err
		}
		err = list(start, end, func(r profile.TimeRange) error {
			req := query.Request{Tenant: tenant, Selector: sel, Range: r}
			var found *query.WordList
			if label == "" {
				found, err = a.q.LabelNames(ctx, req)
			} else {
				found, err = a.q.LabelValues(ctx, req, label)
			}
			if err != nil {
				return err
			}
			query.Tell(ctx, found.Stats)
			for _, word := range found.OfSamples {
				words[word] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// series lists label sets, those of a type among them.
func (a *API) series(ctx context.Context, m *querierv1.SeriesRequest) (*querierv1.SeriesResponse, error) {
	names := m.GetLabelNames()
	all := map[string]*typesv1.Labels{}
	err := a.sets(ctx, m.GetMatchers(), m.GetStart(), m.GetEnd(), names, func(ls profile.Labels, types []profile.Type) {
		for _, t := range types {
			set := labelsOf(ls, t, names)
			key := ""
			for _, l := range set.GetLabels() {
				key += fmt.Sprintf("%q=%q,", l.GetName(), l.GetValue())
			}
			all[key] = set
		}
	})
	res := &querierv1.SeriesResponse{}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		res.LabelsSet = append(res.LabelsSet, all[key])
	}
	return res, err
}

// labelsOf are a set's labels and those of a type; of the latter only the ones that names
// has, if it has any.
func labelsOf(ls profile.Labels, t profile.Type, names []string) *typesv1.Labels {
	set := pairs(ls)
	for name, of := range typeLabels {
		if len(names) == 0 || slices.Contains(names, name) {
			set = append(set, &typesv1.LabelPair{Name: name, Value: of(t)})
		}
	}
	slices.SortFunc(set, func(a, b *typesv1.LabelPair) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return &typesv1.Labels{Labels: set}
}

func pairs(ls profile.Labels) []*typesv1.LabelPair {
	var set []*typesv1.LabelPair
	for _, l := range ls {
		set = append(set, &typesv1.LabelPair{Name: l.Name, Value: l.Value})
	}
	return set
}

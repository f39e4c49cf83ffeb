package parca

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	profilestorev1alpha1 "github.com/coldframe/coldframe/api/parca/profilestore/v1alpha1"
	pb "github.com/coldframe/coldframe/api/parca/query/v1alpha1"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/serve"
)

// unboundedFallback is how far back lists without a start look when all there is
// would be too much to look at.
const unboundedFallback = 24 * time.Hour

// list asks f for a range of which either end may be left out, as Parca's clients do.
func list(start, end *timestamppb.Timestamp, f func(profile.TimeRange) error) error {
	r := profile.TimeRange{From: time.UnixMilli(0), To: time.Now().Add(unboundedFallback)}
	bounded := start != nil && (start.GetSeconds() != 0 || start.GetNanos() != 0)
	var err error
	if bounded {
		if r.From, err = timeOf("start", start); err != nil {
			return err
		}
	}
	if end != nil && (end.GetSeconds() != 0 || end.GetNanos() != 0) {
		if r.To, err = timeOf("end", end); err != nil {
			return err
		}
		r.To = r.To.Add(1)
	}
	if err := r.Validate(); err != nil {
		return serve.Field("end", fmt.Errorf("start timestamp must be before end: %w", err))
	}
	err = f(r)
	if !bounded && errors.Is(err, query.ErrTooLarge) {
		r.From = r.To.Add(-2 * unboundedFallback)
		err = f(r)
	}
	return err
}

// ProfileTypes lists the types that there are.
func (a *API) ProfileTypes(ctx context.Context, m *pb.ProfileTypesRequest) (*pb.ProfileTypesResponse, error) {
	res := &pb.ProfileTypesResponse{}
	return res, a.listOf(ctx, nil, "", m.GetStart(), m.GetEnd(), func(req query.Request) (query.Stats, error) {
		types, err := a.q.Types(ctx, req)
		if err != nil {
			return types.Stats, err
		}
		for _, t := range types.Types {
			res.Types = append(res.Types, &pb.ProfileType{
				Name: t.Name, SampleType: t.Sample.Type, SampleUnit: t.Sample.Unit, PeriodType: t.Period.Type, PeriodUnit: t.Period.Unit, Delta: t.Delta,
			})
		}
		return types.Stats, nil
	})
}

// Labels lists the names of labels.
func (a *API) Labels(ctx context.Context, m *pb.LabelsRequest) (*pb.LabelsResponse, error) {
	res := &pb.LabelsResponse{}
	return res, a.listOf(ctx, m.GetMatch(), m.GetProfileType(), m.GetStart(), m.GetEnd(), func(req query.Request) (query.Stats, error) {
		names, err := a.q.LabelNames(ctx, req)
		res.LabelNames, res.Warnings = names.Words, warnings(names.Stats)
		return names.Stats, err
	})
}

// Values lists the values of a label.
func (a *API) Values(ctx context.Context, m *pb.ValuesRequest) (*pb.ValuesResponse, error) {
	if m.GetLabelName() == "" {
		return nil, serve.Field("label_name", fmt.Errorf("it must be given: %w", profile.ErrInvalid))
	}
	res := &pb.ValuesResponse{}
	return res, a.listOf(ctx, m.GetMatch(), m.GetProfileType(), m.GetStart(), m.GetEnd(), func(req query.Request) (query.Stats, error) {
		values, err := a.q.LabelValues(ctx, req, m.GetLabelName())
		res.LabelValues, res.Warnings = values.Words, warnings(values.Stats)
		return values.Stats, err
	})
}

// Series lists label sets. Parca's own server has never answered it.
func (a *API) Series(ctx context.Context, m *pb.SeriesRequest) (*pb.SeriesResponse, error) {
	res := &pb.SeriesResponse{}
	return res, a.listOf(ctx, m.GetMatch(), "", m.GetStart(), m.GetEnd(), func(req query.Request) (query.Stats, error) {
		sets, err := a.q.LabelSets(ctx, req, nil)
		if err != nil {
			return sets.Stats, err
		}
		for _, set := range sets.Sets {
			res.Series = append(res.Series, labelSet(set.Labels))
		}
		return sets.Stats, nil
	})
}

// HasProfileData says whether there is anything at all.
func (a *API) HasProfileData(ctx context.Context, _ *pb.HasProfileDataRequest) (*pb.HasProfileDataResponse, error) {
	types, err := a.ProfileTypes(ctx, &pb.ProfileTypesRequest{})
	return &pb.HasProfileDataResponse{HasData: len(types.GetTypes()) > 0}, err
}

// listOf asks f for what matches, and tells the price.
func (a *API) listOf(ctx context.Context, match []string, typ string, start, end *timestamppb.Timestamp, f func(query.Request) (query.Stats, error)) error {
	tenant, err := query.TenantOf(ctx)
	if err != nil {
		return err
	}
	sel, err := matching(match, typ)
	if err != nil {
		return err
	}
	return list(start, end, func(r profile.TimeRange) error {
		stats, err := f(query.Request{Tenant: tenant, Selector: sel, Range: r})
		if err != nil {
			return query.WithStatus(err)
		}
		query.Tell(ctx, stats)
		return nil
	})
}

// matching reads selectors, whole or without their braces, of which all hold.
func matching(match []string, typ string) (profile.Selector, error) {
	var all profile.Selector
	for _, text := range match {
		if !strings.Contains(text, "{") && strings.ContainsAny(text, "=~") {
			text = "{" + text + "}"
		}
		if strings.HasPrefix(strings.TrimSpace(text), "{") {
			sel, err := profile.ParseSelector(text)
			if err != nil {
				return all, serve.Field("match", err)
			}
			all.Matchers = append(all.Matchers, sel.Matchers...)
			if !sel.Type.IsZero() {
				all.Type = sel.Type
			}
			continue
		}
		sel, err := selectorOf(text)
		if err != nil {
			return all, serve.Field("match", err)
		}
		all.Type, all.Matchers = sel.Type, append(all.Matchers, sel.Matchers...)
	}
	pattern, err := profile.ParseTypePattern(typ)
	if err != nil {
		return all, serve.Field("profile_type", err)
	}
	if !pattern.IsZero() {
		all.Type = pattern
	}
	return all, nil
}

func warnings(s query.Stats) []string {
	if s.Partial() {
		return []string{"something could not be read: " + s.Reason()}
	}
	return nil
}

func labelSet(ls profile.Labels) *profilestorev1alpha1.LabelSet {
	set := &profilestorev1alpha1.LabelSet{}
	for _, l := range ls {
		set.Labels = append(set.Labels, &profilestorev1alpha1.Label{Name: l.Name, Value: l.Value})
	}
	return set
}

package pyroscope

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/serve"
)

// maxMillis is the last time that a request may name: in the year 9999.
const maxMillis = 253402300799999

// rangeOf reads milliseconds since 1970. Both ends belong to the range.
func rangeOf(start, end int64) (profile.TimeRange, error) {
	for name, ms := range map[string]int64{"start": start, "end": end} {
		if ms < 0 || ms > maxMillis {
			return profile.TimeRange{}, serve.Field(name, fmt.Errorf("%d: want milliseconds since 1970: %w", ms, profile.ErrInvalid))
		}
	}
	r := profile.TimeRange{From: time.UnixMilli(start), To: time.UnixMilli(end + 1)}
	if start > end {
		return r, serve.Field("end", fmt.Errorf("start must be before end: %w", r.Validate()))
	}
	return r, nil
}

// unboundedFallback is how far back lists without a range look when all there is would
// be too much to look at.
const unboundedFallback = 24 * time.Hour

// list asks f for a range. None at all means everything.
func list(start, end int64, f func(profile.TimeRange) error) error {
	if start != 0 || end != 0 {
		r, err := rangeOf(start, end)
		if err != nil {
			return err
		}
		return f(r)
	}
	now := time.Now()
	err := f(profile.TimeRange{From: time.UnixMilli(0), To: now.Add(unboundedFallback)})
	if errors.Is(err, query.ErrTooLarge) {
		err = f(profile.TimeRange{From: now.Add(-unboundedFallback), To: now.Add(unboundedFallback)})
	}
	return err
}

// selectorOf reads {label="value"}. What is asked of labels that are made here, those of
// a type and of the service, is taken out.
func selectorOf(text string) (profile.Selector, made, error) {
	var asked made
	sel, err := profile.ParseSelector(text)
	if err != nil {
		return sel, asked, serve.Field("label_selector", err)
	}
	if pattern := sel.Type; !pattern.IsZero() { // TYPE{…}, as /pyroscope/render has it, or {__name__="NAME"}
		asked.types = append(asked.types, func(t profile.Type) bool { return pattern.Matches(t) || matchesID(t, pattern.String()) })
		sel.Type = profile.TypePattern{}
	}
	kept := sel.Matchers[:0]
	for _, m := range sel.Matchers {
		of, ofType := typeLabels[m.Name]
		switch {
		case ofType:
			asked.types = append(asked.types, func(t profile.Type) bool { return m.Matches(of(t)) })
		case m.Name == serviceLabel:
			asked.services = append(asked.services, m)
		default:
			kept = append(kept, m)
		}
	}
	sel.Matchers = kept
	return sel, asked, nil
}

// made is what a selector asks of labels that profiles do not have as such. All of it holds.
type made struct {
	types    []func(profile.Type) bool
	services []*profile.Matcher // of service_name, which what was scraped has as job or comm
}

func (m made) keepType(t profile.Type) bool {
	for _, holds := range m.types {
		if !holds(t) {
			return false
		}
	}
	return true
}

func (m made) keepService(ls profile.Labels) bool {
	for _, matcher := range m.services {
		if !matcher.Matches(ls.Service()) {
			return false
		}
	}
	return true
}

// serviceLabel is the label by which Pyroscope's clients tell services apart.
const serviceLabel = "service_name"

// typeLabels are the labels that Pyroscope makes of a profile's type.
var typeLabels = map[string]func(profile.Type) string{
	"__profile_type__": typeID,
	"__name__":         func(t profile.Type) string { return t.Name },
	"__type__":         func(t profile.Type) string { return t.Sample.Type },
	"__unit__":         func(t profile.Type) string { return t.Sample.Unit },
	"__period_type__":  func(t profile.Type) string { return t.Period.Type },
	"__period_unit__":  func(t profile.Type) string { return t.Period.Unit },
}

// typeID is Pyroscope's name for a type: Parca's without the word delta.
func typeID(t profile.Type) string {
	t.Delta = false
	return t.String()
}

func matchesID(t profile.Type, id string) bool { return typeID(t) == id || t.String() == id }

// request reads what one merged profile is asked by.
func (a *API) request(ctx context.Context, id, selector string, start, end int64) (req query.Request, err error) {
	if req.Tenant, err = query.TenantOf(ctx); err != nil {
		return req, err
	}
	var asked made
	if req.Selector, asked, err = selectorOf(selector); err != nil {
		return req, err
	}
	if req.Range, err = rangeOf(start, end); err != nil {
		return req, err
	}
	if id == "" && len(asked.types) == 0 {
		return req, serve.Field("profile_typeID", fmt.Errorf("it must be given, as process_cpu:cpu:nanoseconds:cpu:nanoseconds: %w", profile.ErrInvalid))
	}
	if id != "" {
		if _, err := profile.ParseType(id); err != nil {
			return req, serve.Field("profile_typeID", err)
		}
		asked.types = append(asked.types, func(t profile.Type) bool { return matchesID(t, id) })
	}
	return a.typed(ctx, req, id, asked)
}

// typed settles which type is meant, for an ID does not tell whether it is a delta. Where
// both are there, it is the delta.
func (a *API) typed(ctx context.Context, req query.Request, id string, asked made) (query.Request, error) {
	if t, err := profile.ParseType(id); err == nil { // all of that name, so that a range without any is no error
		if req.Selector.Type, err = profile.ParseTypePattern(t.Name + "/" + t.Sample.Type); err != nil {
			return req, serve.Field("profile_typeID", err)
		}
	}
	others := req.Selector.Matchers
	req.Selector.Matchers = slices.Concat(others, asked.services)
	known, err := a.q.Types(ctx, req)
	if err == nil && len(known.Types) == 0 && len(asked.services) > 0 {
		req.Selector.Matchers = others
		if req.Selector.Matchers, err = a.otherService(ctx, req, asked); err == nil {
			known, err = a.q.Types(ctx, req)
		}
	}
	if err != nil {
		return req, err
	}
	var meant *profile.Type
	for i, t := range known.Types {
		if !asked.keepType(t) {
			continue
		}
		if meant != nil && typeID(*meant) != typeID(t) {
			return req, serve.Field("label_selector", fmt.Errorf("it selects several types, as %s and %s: %w", typeID(*meant), typeID(t), profile.ErrInvalid))
		}
		meant = &known.Types[i] // a delta comes after its like
	}
	switch {
	case meant != nil:
		req.Selector.Type, err = profile.ParseTypePattern(meant.String())
	case len(known.Types) > 0 && id != "":
		req.Selector.Type, err = profile.ParseTypePattern(id)
	}
	return req, err
}

// otherService gives matchers for a service whose series have no service_name: by the
// label that does name it, which is the same for all or else the first one's.
func (a *API) otherService(ctx context.Context, req query.Request, asked made) ([]*profile.Matcher, error) {
	sets, err := a.q.LabelSets(ctx, req, profile.ServiceLabels[:])
	if err != nil {
		return nil, err
	}
	matchers := slices.Concat(req.Selector.Matchers, asked.services)
	for _, set := range sets.Sets {
		if !asked.keepService(set.Labels) {
			continue
		}
		text := "{"
		for _, name := range profile.ServiceLabels {
			text += fmt.Sprintf("%s=%q,", name, set.Labels.Get(name))
			if set.Labels.Get(name) != "" {
				break
			}
		}
		named, err := profile.ParseSelector(strings.TrimSuffix(text, ",") + "}")
		return slices.Concat(req.Selector.Matchers, named.Matchers), err
	}
	return matchers, nil
}

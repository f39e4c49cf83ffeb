package parca

import (
	"fmt"

	pb "github.com/coldframe/coldframe/api/parca/query/v1alpha1"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/serve"
)

// filtersOf reads all that leaves stacks or frames out, in its old forms too.
func filtersOf(m *pb.QueryRequest) ([]query.Filter, error) {
	var filters []query.Filter
	if text := m.GetFilterQuery(); text != "" {
		filters = append(filters, aboutFunction(query.Contains, text))
	}
	for i, f := range m.GetFilter() {
		filter, err := filterOf(f)
		if err != nil {
			return nil, serve.Field("filter", fmt.Errorf("number %d: %w", i+1, err))
		}
		filters = append(filters, filter)
	}
	return filters, nil
}

func aboutFunction(op query.Op, text string) query.Filter {
	return query.Filter{Where: []query.Condition{{Field: query.FunctionName, Op: op, Text: text}}}
}

func filterOf(f *pb.Filter) (query.Filter, error) {
	if s := f.GetStackFilter(); s != nil {
		if old := s.GetFunctionNameStackFilter(); old != nil {
			if old.GetExclude() {
				return aboutFunction(query.NotContains, old.GetFunctionToFilter()), nil
			}
			return aboutFunction(query.Contains, old.GetFunctionToFilter()), nil
		}
		return criteriaOf(s.GetCriteria(), false)
	}
	s := f.GetFrameFilter()
	old := s.GetBinaryFrameFilter()
	switch names := old.GetIncludeBinaries(); {
	case old == nil:
		return criteriaOf(s.GetCriteria(), true)
	case len(names) != 1:
		return query.Filter{}, fmt.Errorf("include_binaries has %d names, want one: %w", len(names), profile.ErrInvalid)
	default:
		return query.Filter{Frames: true, Where: []query.Condition{{Field: query.Binary, Op: query.Equal, Text: names[0]}}}, nil
	}
}

// criteriaOf reads conditions, all of which hold.
func criteriaOf(c *pb.FilterCriteria, frames bool) (query.Filter, error) {
	f := query.Filter{Frames: frames}
	for _, text := range []struct {
		field     query.Field
		condition *pb.StringCondition
	}{
		{query.FunctionName, c.GetFunctionName()},
		{query.SystemName, c.GetSystemName()},
		{query.Binary, c.GetBinary()},
		{query.Filename, c.GetFilename()},
	} {
		if condition, ok := textCondition(text.condition); ok {
			condition.Field = text.field
			f.Where = append(f.Where, condition)
		}
	}
	for _, number := range []struct {
		field     query.Field
		condition *pb.NumberCondition
	}{
		{query.Address, c.GetAddress()},
		{query.LineNumber, c.GetLineNumber()},
	} {
		if condition, ok := numberCondition(number.condition); ok {
			condition.Field = number.field
			f.Where = append(f.Where, condition)
		}
	}
	if len(f.Where) == 0 {
		return f, fmt.Errorf("it has no criteria: %w", profile.ErrInvalid)
	}
	return f, nil
}

func textCondition(c *pb.StringCondition) (query.Condition, bool) {
	switch c := c.GetCondition().(type) {
	case *pb.StringCondition_Equal:
		return query.Condition{Op: query.Equal, Text: c.Equal}, true
	case *pb.StringCondition_NotEqual:
		return query.Condition{Op: query.NotEqual, Text: c.NotEqual}, true
	case *pb.StringCondition_Contains:
		return query.Condition{Op: query.Contains, Text: c.Contains}, true
	case *pb.StringCondition_NotContains:
		return query.Condition{Op: query.NotContains, Text: c.NotContains}, true
	case *pb.StringCondition_StartsWith:
		return query.Condition{Op: query.StartsWith, Text: c.StartsWith}, true
	case *pb.StringCondition_NotStartsWith:
		return query.Condition{Op: query.NotStartsWith, Text: c.NotStartsWith}, true
	}
	return query.Condition{}, false
}

func numberCondition(c *pb.NumberCondition) (query.Condition, bool) {
	switch c := c.GetCondition().(type) {
	case *pb.NumberCondition_Equal:
		return query.Condition{Op: query.Equal, Number: c.Equal}, true
	case *pb.NumberCondition_NotEqual:
		return query.Condition{Op: query.NotEqual, Number: c.NotEqual}, true
	}
	return query.Condition{}, false
}

package parca

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/coldframe/coldframe/api/parca/query/v1alpha1"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/serve"
)

// selectorOf reads TYPE{matchers}. The type is taken as it stands, so that types whose
// names are no names of metrics can be asked for too.
func selectorOf(text string) (profile.Selector, error) {
	typ, matchers := text, ""
	if brace := strings.IndexByte(text, '{'); brace >= 0 {
		typ, matchers = text[:brace], text[brace:]
	}
	sel, err := profile.ParseSelector(matchers)
	if err != nil {
		return sel, serve.Field("query", err)
	}
	pattern, err := profile.ParseTypePattern(strings.TrimSpace(typ))
	switch {
	case err != nil:
		return sel, serve.Field("query", err)
	case pattern.IsZero() && sel.Type.IsZero():
		return sel, serve.Field("query", fmt.Errorf("%q has no profile type; want TYPE{label=\"value\"}, TYPE as ProfileTypes lists it: %w", text, profile.ErrInvalid))
	case !pattern.IsZero() && !sel.Type.IsZero() && pattern != sel.Type:
		return sel, serve.Field("query", fmt.Errorf("%q has two profile types: %w", text, profile.ErrInvalid))
	case !pattern.IsZero():
		sel.Type = pattern
	}
	return sel, nil
}

// timeOf reads a time that must be given.
func timeOf(field string, t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, serve.Field(field, fmt.Errorf("it must be given: %w", profile.ErrInvalid))
	}
	if err := t.CheckValid(); err != nil {
		return time.Time{}, serve.Field(field, fmt.Errorf("%w: %w", err, profile.ErrInvalid))
	}
	return t.AsTime(), nil
}

// rangeOf reads a range, whose end belongs to it in Parca.
func rangeOf(start, end *timestamppb.Timestamp) (profile.TimeRange, error) {
	from, err := timeOf("start", start)
	if err != nil {
		return profile.TimeRange{}, err
	}
	to, err := timeOf("end", end)
	if err != nil {
		return profile.TimeRange{}, err
	}
	r := profile.TimeRange{From: from, To: to.Add(1)}
	if err := r.Validate(); err != nil {
		return r, serve.Field("end", fmt.Errorf("start timestamp must be before end: %w", err))
	}
	return r, nil
}

// mergeOf reads which profiles to merge.
func mergeOf(m *pb.MergeProfile) (req query.Request, err error) {
	if req.Selector, err = selectorOf(m.GetQuery()); err != nil {
		return req, err
	}
	req.Range, err = rangeOf(m.GetStart(), m.GetEnd())
	return req, err
}

// singleOf reads which profile is meant: those of one millisecond.
func singleOf(s *pb.SingleProfile) (req query.Request, err error) {
	if req.Selector, err = selectorOf(s.GetQuery()); err != nil {
		return req, err
	}
	at, err := timeOf("time", s.GetTime())
	at = at.Truncate(time.Millisecond)
	req.Range = profile.TimeRange{From: at, To: at.Add(time.Millisecond)}
	return req, err
}

func sideOf(name string, s *pb.ProfileDiffSelection) (req query.Request, err error) {
	switch {
	case s.GetMode() == pb.ProfileDiffSelection_MODE_MERGE && s.GetMerge() != nil:
		req, err = mergeOf(s.GetMerge())
	case s.GetMode() == pb.ProfileDiffSelection_MODE_SINGLE_UNSPECIFIED && s.GetSingle() != nil:
		req, err = singleOf(s.GetSingle())
	default:
		err = fmt.Errorf("mode is %s, and its selection is missing: %w", s.GetMode(), profile.ErrInvalid)
	}
	if err != nil {
		err = serve.Field("diff."+name, err)
	}
	return req, err
}

// treeOf reads which profiles a request is about and how they are to be shown.
func treeOf(m *pb.QueryRequest) (req query.TreeRequest, err error) {
	switch {
	case m.GetMode() == pb.QueryRequest_MODE_MERGE && m.GetMerge() != nil:
		req.Request, err = mergeOf(m.GetMerge())
	case m.GetMode() == pb.QueryRequest_MODE_SINGLE_UNSPECIFIED && m.GetSingle() != nil:
		req.Request, err = singleOf(m.GetSingle())
	case m.GetMode() == pb.QueryRequest_MODE_DIFF && m.GetDiff() != nil:
		var base query.Request
		if base, err = sideOf("a", m.GetDiff().GetA()); err == nil {
			req.Base = &base
			req.Request, err = sideOf("b", m.GetDiff().GetB())
		}
	default:
		err = serve.Field("mode", fmt.Errorf("it is %s, and the options are not: %w", m.GetMode(), profile.ErrInvalid))
	}
	if err != nil {
		return req, err
	}
	if req.Filters, err = filtersOf(m); err != nil {
		return req, err
	}
	if req.Base != nil {
		req.Base.Filters = req.Filters
	}
	req.Sandwich, req.Invert = m.GetSandwichByFunction(), m.GetInvertCallStack()
	return req, groupBy(&req.View, m)
}

// groupBy reads what keeps frames apart. Functions always do.
func groupBy(v *query.View, m *pb.QueryRequest) error {
	v.Frames = query.FrameByFunction
	for _, field := range m.GetGroupBy().GetFields() {
		label, isLabel := strings.CutPrefix(field, "labels.")
		switch {
		case isLabel && label != "":
			v.Labels = append(v.Labels, label)
		case field == "function_name":
		case field == "function_file_name":
			v.Frames |= query.FrameByFile
		case field == "location_address":
			v.Frames |= query.FrameByAddress
		case field == "mapping_file":
			v.Frames |= query.FrameByBinary
		case field == "timestamp" && m.GetReportType() == pb.QueryRequest_REPORT_TYPE_FLAMECHART:
		default:
			return serve.Field("group_by", fmt.Errorf("invalid group by field: %q: want labels.NAME, function_name, function_file_name, location_address or mapping_file: %w", field, profile.ErrInvalid))
		}
	}
	return nil
}

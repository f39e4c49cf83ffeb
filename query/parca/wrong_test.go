package parca_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/coldframe/coldframe/api/parca/query/v1alpha1"
	"github.com/coldframe/coldframe/internal/apitest"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/query/parca"
)

// What is wrong in a request is refused with the code of gRPC that says so and a sentence
// that names what, and never with a name of another tenant.
func TestWrongInput(t *testing.T) {
	h := open(t)
	c := client(t, h)
	start, end := timestamppb.New(h.Start), timestamppb.New(h.End)
	good := selection(h, apitest.CPU)
	merged := func(m *pb.MergeProfile, change ...func(*pb.QueryRequest)) *pb.QueryRequest {
		req := &pb.QueryRequest{Mode: pb.QueryRequest_MODE_MERGE, ReportType: pb.QueryRequest_REPORT_TYPE_FLAMEGRAPH_ARROW, Options: &pb.QueryRequest_Merge{Merge: m}}
		for _, f := range change {
			f(req)
		}
		return req
	}
	ranged := func(m *pb.QueryRangeRequest) *pb.QueryRangeRequest {
		if m.GetQuery() == "" {
			m.Query = apitest.CPU
		}
		return m
	}
	for name, call := range map[string]struct {
		do   func() error
		code connect.Code
		says string
	}{
		"no query":        {ask(t.Context(), c, merged(&pb.MergeProfile{Start: start, End: end})), connect.CodeInvalidArgument, "query: \"\" has no profile type"},
		"no type":         {ask(t.Context(), c, merged(&pb.MergeProfile{Query: `{pod="a"}`, Start: start, End: end})), connect.CodeInvalidArgument, "has no profile type"},
		"half a type":     {ask(t.Context(), c, merged(&pb.MergeProfile{Query: "process_cpu:cpu", Start: start, End: end})), connect.CodeInvalidArgument, "NAME:SAMPLE_TYPE"},
		"unknown type":    {ask(t.Context(), c, merged(&pb.MergeProfile{Query: "wall:wall:nanoseconds:wall:nanoseconds", Start: start, End: end})), connect.CodeNotFound, "there are only goroutine:"},
		"other's type":    {ask(t.Context(), c, merged(&pb.MergeProfile{Query: "secret:cpu:nanoseconds:cpu:nanoseconds:delta", Start: start, End: end})), connect.CodeNotFound, "there are only goroutine:"},
		"bad selector":    {ask(t.Context(), c, merged(&pb.MergeProfile{Query: apitest.CPU + `{pod=}`, Start: start, End: end})), connect.CodeInvalidArgument, "query: selector"},
		"bad regexp":      {ask(t.Context(), c, merged(&pb.MergeProfile{Query: apitest.CPU + `{pod=~"("}`, Start: start, End: end})), connect.CodeInvalidArgument, "missing closing )"},
		"two types":       {ask(t.Context(), c, merged(&pb.MergeProfile{Query: apitest.CPU + `{__name__="memory"}`, Start: start, End: end})), connect.CodeInvalidArgument, "two profile types"},
		"no start":        {ask(t.Context(), c, merged(&pb.MergeProfile{Query: apitest.CPU, End: end})), connect.CodeInvalidArgument, "start: it must be given"},
		"no end":          {ask(t.Context(), c, merged(&pb.MergeProfile{Query: apitest.CPU, Start: start})), connect.CodeInvalidArgument, "end: it must be given"},
		"reversed":        {ask(t.Context(), c, merged(&pb.MergeProfile{Query: apitest.CPU, Start: end, End: start})), connect.CodeInvalidArgument, "end: start timestamp must be before end"},
		"no time at all":  {ask(t.Context(), c, merged(&pb.MergeProfile{Query: apitest.CPU, Start: &timestamppb.Timestamp{Seconds: 1 << 60}, End: end})), connect.CodeInvalidArgument, "start:"},
		"nothing there":   {ask(t.Context(), c, merged(selection(h, apitest.CPU+`{pod="none"}`))), connect.CodeNotFound, "no profiles match"},
		"no options":      {ask(t.Context(), c, &pb.QueryRequest{Mode: pb.QueryRequest_MODE_MERGE}), connect.CodeInvalidArgument, "mode: it is MODE_MERGE"},
		"other options":   {ask(t.Context(), c, merged(good, func(r *pb.QueryRequest) { r.Mode = pb.QueryRequest_MODE_DIFF })), connect.CodeInvalidArgument, "mode: it is MODE_DIFF"},
		"unknown mode":    {ask(t.Context(), c, merged(good, func(r *pb.QueryRequest) { r.Mode = 77 })), connect.CodeInvalidArgument, "mode: it is 77"},
		"unknown report":  {ask(t.Context(), c, merged(good, func(r *pb.QueryRequest) { r.ReportType = 77 })), connect.CodeInvalidArgument, "report_type: there is no report 77"},
		"half a diff":     {ask(t.Context(), c, &pb.QueryRequest{Mode: pb.QueryRequest_MODE_DIFF, Options: &pb.QueryRequest_Diff{Diff: &pb.DiffProfile{}}}), connect.CodeInvalidArgument, "diff.a"},
		"no single time":  {ask(t.Context(), c, &pb.QueryRequest{Options: &pb.QueryRequest_Single{Single: &pb.SingleProfile{Query: apitest.CPU}}}), connect.CodeInvalidArgument, "time: it must be given"},
		"bad group":       {ask(t.Context(), c, merged(good, func(r *pb.QueryRequest) { r.GroupBy = &pb.GroupBy{Fields: []string{"color"}} })), connect.CodeInvalidArgument, `invalid group by field: "color"`},
		"many groups":     {ask(t.Context(), c, merged(good, func(r *pb.QueryRequest) { r.GroupBy = &pb.GroupBy{Fields: many("labels.x%d", 1000)} })), connect.CodeInvalidArgument, "at most"},
		"empty filter":    {ask(t.Context(), c, merged(good, func(r *pb.QueryRequest) { r.Filter = []*pb.Filter{{}} })), connect.CodeInvalidArgument, "filter: number 1: it has no criteria"},
		"many filters":    {ask(t.Context(), c, merged(good, func(r *pb.QueryRequest) { r.Filter = manyFilters(1000) })), connect.CodeInvalidArgument, "1000 filters, at most"},
		"no source":       {ask(t.Context(), c, merged(good, func(r *pb.QueryRequest) { r.ReportType = pb.QueryRequest_REPORT_TYPE_SOURCE })), connect.CodeInvalidArgument, "source_reference"},
		"chart of a diff": {ask(t.Context(), c, &pb.QueryRequest{Mode: pb.QueryRequest_MODE_DIFF, ReportType: pb.QueryRequest_REPORT_TYPE_FLAMECHART, Options: diffOf(good, good)}), connect.CodeInvalidArgument, "a flame chart cannot compare"},
		"two units":       {ask(t.Context(), c, &pb.QueryRequest{Mode: pb.QueryRequest_MODE_DIFF, Options: diffOf(good, selection(h, apitest.Heap))}), connect.CodeInvalidArgument, "cannot be compared"},
		"negative step":   {askRange(t.Context(), c, ranged(&pb.QueryRangeRequest{Start: start, End: end, Step: durationpb.New(-time.Second)})), connect.CodeInvalidArgument, "step"},
		"tiny step":       {askRange(t.Context(), c, ranged(&pb.QueryRangeRequest{Start: timestamppb.New(h.Start.AddDate(-10, 0, 0)), End: end, Step: durationpb.New(time.Millisecond)})), connect.CodeInvalidArgument, "at most 11000 are allowed"},
		"broken step":     {askRange(t.Context(), c, ranged(&pb.QueryRangeRequest{Start: start, End: end, Step: &durationpb.Duration{Seconds: 1 << 60}})), connect.CodeInvalidArgument, "step"},
		"range of none":   {askRange(t.Context(), c, ranged(&pb.QueryRangeRequest{Query: apitest.CPU + `{pod="none"}`, Start: start, End: end, Limit: 1<<32 - 1})), connect.CodeNotFound, "no profiles match"},
		"labels reversed": {func() error { _, err := c.Labels(t.Context(), &pb.LabelsRequest{Start: end, End: start}); return err }, connect.CodeInvalidArgument, "end:"},
		"labels of what":  {func() error { _, err := c.Labels(t.Context(), &pb.LabelsRequest{Match: []string{"pod~"}}); return err }, connect.CodeInvalidArgument, "match:"},
		"no label":        {func() error { _, err := c.Values(t.Context(), &pb.ValuesRequest{}); return err }, connect.CodeInvalidArgument, "label_name"},
		"values of what": {func() error {
			_, err := c.Values(t.Context(), &pb.ValuesRequest{LabelName: "pod", ProfileType: new(":")})
			return err
		}, connect.CodeInvalidArgument, "profile_type"},
		"no share": {func() error { _, err := c.ShareProfile(t.Context(), &pb.ShareProfileRequest{}); return err }, connect.CodeFailedPrecondition, "--profile-share-server"},
	} {
		err := call.do()
		if connect.CodeOf(err) != call.code || !strings.Contains(err.Error(), call.says) {
			t.Errorf("%s: %v, want %s with %q", name, err, call.code, call.says)
		}
		if err != nil && name != "other's type" && strings.Contains(err.Error(), apitest.Secret) {
			t.Errorf("%s: %v tells of another tenant", name, err)
		}
	}
}

func ask(ctx context.Context, c pb.QueryServiceClient, m *pb.QueryRequest) func() error {
	return func() error {
		_, err := c.Query(ctx, m)
		return err
	}
}

func askRange(ctx context.Context, c pb.QueryServiceClient, m *pb.QueryRangeRequest) func() error {
	return func() error {
		_, err := c.QueryRange(ctx, m)
		return err
	}
}

func many(format string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(format, i)
	}
	return all
}

func manyFilters(n int) []*pb.Filter {
	all := make([]*pb.Filter, n)
	for i := range all {
		all[i] = stacks(&pb.FilterCriteria{FunctionName: text("!=", "x")})
	}
	return all
}

func diffOf(a, b *pb.MergeProfile) *pb.QueryRequest_Diff {
	side := func(m *pb.MergeProfile) *pb.ProfileDiffSelection {
		return &pb.ProfileDiffSelection{Mode: pb.ProfileDiffSelection_MODE_MERGE, Options: &pb.ProfileDiffSelection_Merge{Merge: m}}
	}
	return &pb.QueryRequest_Diff{Diff: &pb.DiffProfile{A: side(a), B: side(b)}}
}

// Bytes that are no message, tenants that are none, and bodies that are too large are
// refused in every protocol, in its own words.
func TestGarbage(t *testing.T) {
	h := open(t)
	const call = pb.QueryServiceQueryProcedure
	for name, c := range map[string]struct {
		contentType, tenant, body string
		status                    int
		says                      string
	}{
		"Connect":           {"application/proto", "", "\xff\xff\xff", 400, `"invalid_argument"`},
		"Connect in JSON":   {"application/json", "", `{"mode":`, 400, `"invalid_argument"`},
		"Connect tenant":    {"application/json", "../x", `{}`, 400, `X-Scope-OrgID`},
		"Connect too large": {"application/json", "", `{"filterQuery":"` + strings.Repeat("x", 2<<20) + `"}`, 429, `"resource_exhausted"`},
		"gRPC-Web":          {"application/grpc-web+proto", "", "\x00\x00\x00\x00\x03\xff\xff\xff", 200, "grpc-status: 3"},
		"gRPC-Web cut":      {"application/grpc-web+proto", "", "\x00\x00\x00\x00\x03\xff", 200, "grpc-status: 3"},
		"unknown form":      {"application/cbor", "", "", 415, ""},
	} {
		status, body := h.Do(t, http.MethodPost, call, c.body, "Content-Type", c.contentType, "X-Scope-OrgID", c.tenant)
		if status != c.status || !strings.Contains(strings.ToLower(body), strings.ToLower(c.says)) && c.contentType != "application/grpc-web+proto" {
			t.Errorf("%s: %d %q, want %d and %q", name, status, body, c.status, c.says)
		}
	}
	bad := pb.NewQueryServiceClient(&http.Client{Transport: ofTenant("../x")}, h.URL, connect.WithGRPCWeb())
	if _, err := bad.ProfileTypes(t.Context(), &pb.ProfileTypesRequest{}); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "X-Scope-OrgID") {
		t.Errorf("a tenant that is none: %v", err)
	}
	if status, body := h.Get(t, "/api/profiles/types", "X-Scope-OrgID", "../x"); status != 400 || !strings.Contains(body, `"code":3`) {
		t.Errorf("a tenant that is none in JSON: %d %s", status, body)
	}
}

// No answer to one tenant has a name that only another one has.
func TestTenantsAreApart(t *testing.T) {
	h := open(t)
	at := fmt.Sprintf("start=%s&end=%s", h.Start.UTC().Format(time.RFC3339), h.End.UTC().Format(time.RFC3339))
	in := "merge." + strings.Replace(at, "&", "&merge.", 1)
	for _, path := range []string{
		"/api/profiles/types", "/api/profiles/types?" + at, "/api/profiles/labels", "/api/profiles/series", "/api/profiles/labels/service_name/values",
		"/api/profiles/labels/" + apitest.Secret + "/values",
		"/api/profiles/query_range?query=process_cpu/cpu%7B%7D&" + at, "/api/profiles/query?mode=2&report_type=2&merge.query=process_cpu/cpu&" + in,
	} {
		status, body := h.Get(t, path)
		if status != http.StatusOK || strings.Contains(body, apitest.Secret) {
			t.Errorf("%s: %d %s", path, status, body)
		}
		if strings.Contains(path, "query") || strings.Contains(path, apitest.Secret) {
			continue
		}
		if status, body := h.Get(t, path, "X-Scope-OrgID", apitest.Other); status != http.StatusOK || !strings.Contains(body, apitest.Secret) || strings.Contains(body, `"pod"`) {
			t.Errorf("%s of its tenant: %d %s", path, status, body)
		}
	}
}

// A query that is too large says what to narrow.
func TestTooLarge(t *testing.T) {
	h := apitest.Open(t, query.Config{MaxBlocks: 1, MemoryBytes: 1}, func(q *query.Querier, handle func(string, http.Handler)) {
		parca.New(q, parca.Config{}).Routes(handle)
	})
	_, err := client(t, h).Query(t.Context(), merge(h, pb.QueryRequest_REPORT_TYPE_FLAMEGRAPH_ARROW))
	if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "a shorter range or a narrower selector takes less") {
		t.Errorf("got %v", err)
	}
}

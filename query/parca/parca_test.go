package parca_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	pprof "github.com/google/pprof/profile"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/coldframe/coldframe/api/parca/query/v1alpha1"
	sharev1alpha1 "github.com/coldframe/coldframe/api/parca/share/v1alpha1"
	"github.com/coldframe/coldframe/internal/apitest"
	"github.com/coldframe/coldframe/internal/truth"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/query/parca"
)

func open(t testing.TB) *apitest.House {
	t.Helper()
	return apitest.Open(t, query.Config{}, func(q *query.Querier, handle func(string, http.Handler)) {
		parca.New(q, parca.Config{}).Routes(handle)
	})
}

func client(t testing.TB, h *apitest.House) pb.QueryServiceClient {
	return pb.NewQueryServiceClient(apitest.HTTP2(t), h.URL, connect.WithGRPC())
}

// merge asks for a report of all CPU time.
func merge(h *apitest.House, report pb.QueryRequest_ReportType) *pb.QueryRequest {
	return &pb.QueryRequest{
		Mode: pb.QueryRequest_MODE_MERGE, ReportType: report,
		Options: &pb.QueryRequest_Merge{Merge: selection(h, apitest.CPU+"{}")},
	}
}

func selection(h *apitest.House, text string) *pb.MergeProfile {
	return &pb.MergeProfile{Query: text, Start: timestamppb.New(h.Start), End: timestamppb.New(h.End)}
}

// Every generated client gets the same answer from the same port.
func TestEveryProtocol(t *testing.T) {
	h := open(t)
	for name, c := range map[string]pb.QueryServiceClient{
		"gRPC":     client(t, h),
		"gRPC-Web": pb.NewQueryServiceClient(http.DefaultClient, h.URL+"/api", connect.WithGRPCWeb()),
		"Connect":  pb.NewQueryServiceClient(http.DefaultClient, h.URL),
		"JSON":     pb.NewQueryServiceClient(http.DefaultClient, h.URL, connect.WithProtoJSON()),
	} {
		ctx, call := connect.NewClientContext(t.Context())
		res, err := c.Query(ctx, merge(h, pb.QueryRequest_REPORT_TYPE_FLAMEGRAPH_ARROW))
		_, total := apitest.Paths(h.CPU, "cpu")
		if err != nil || res.GetTotal() != total[""] {
			t.Errorf("%s: total %d and %v, want %d", name, res.GetTotal(), err, total[""])
			continue
		}
		var price query.Stats
		if err := json.Unmarshal([]byte(call.ResponseHeader().Get(query.StatsHeader)), &struct {
			Profiles *int `json:"profiles"`
		}{&price.Profiles}); err != nil || price.Profiles != len(h.CPU) {
			t.Errorf("%s: the price says %d profiles, %v", name, price.Profiles, err)
		}
	}
}

func TestLists(t *testing.T) {
	h := open(t)
	c := client(t, h)
	start, end := timestamppb.New(h.Start), timestamppb.New(h.End)

	types, err := c.ProfileTypes(t.Context(), &pb.ProfileTypesRequest{})
	var names []string
	for _, p := range types.GetTypes() {
		names = append(names, fmt.Sprintf("%s:%s:%s:%s:%s:%t", p.GetName(), p.GetSampleType(), p.GetSampleUnit(), p.GetPeriodType(), p.GetPeriodUnit(), p.GetDelta()))
	}
	want := []string{
		"goroutine:goroutine:count:goroutine:count:false", "memory:inuse_objects:count:space:bytes:false", "memory:inuse_space:bytes:space:bytes:false",
		"process_cpu:cpu:nanoseconds:cpu:nanoseconds:true", "process_cpu:samples:count:cpu:nanoseconds:true",
	}
	if err != nil || !slices.Equal(names, want) {
		t.Errorf("types %v and %v, want %v", names, err, want)
	}
	for _, req := range []*pb.LabelsRequest{
		{}, {Start: start, End: end}, {Start: start, End: end, Match: []string{`{pod="a"}`}}, {Match: []string{`pod="a"`, `{service_name=~"a.."}`}}, {ProfileType: new(apitest.CPU)},
	} {
		res, err := c.Labels(t.Context(), req)
		if err != nil || !slices.Contains(res.GetLabelNames(), "pod") || !slices.Contains(res.GetLabelNames(), "service_name") {
			t.Errorf("%v: labels %v and %v", req, res.GetLabelNames(), err)
		}
	}
	for _, v := range []struct {
		req  *pb.ValuesRequest
		want []string
	}{
		{&pb.ValuesRequest{LabelName: "pod"}, []string{"a", "b"}},
		{&pb.ValuesRequest{LabelName: "pod", Start: start, End: end}, []string{"a", "b"}},
		{&pb.ValuesRequest{LabelName: "pod", Match: []string{`{pod!="a"}`}}, []string{"b"}},
		{&pb.ValuesRequest{LabelName: "pod", Match: []string{apitest.CPU + `{pod!="a"}`}}, []string{"b"}},
		{&pb.ValuesRequest{LabelName: "none"}, nil},
		{&pb.ValuesRequest{LabelName: "pod", Start: timestamppb.New(h.End.Add(time.Minute)), End: timestamppb.New(h.End.Add(time.Hour))}, nil},
	} {
		res, err := c.Values(t.Context(), v.req)
		if err != nil || !slices.Equal(res.GetLabelValues(), v.want) {
			t.Errorf("%v: values %v and %v, want %v", v.req, res.GetLabelValues(), err, v.want)
		}
	}
	series, err := c.Series(t.Context(), &pb.SeriesRequest{Match: []string{`{pod="a"}`}, Start: start, End: end})
	if err != nil || len(series.GetSeries()) != 1 || len(series.GetSeries()[0].GetLabels()) != 2 {
		t.Errorf("series %v and %v", series, err)
	}
	if has, err := c.HasProfileData(t.Context(), &pb.HasProfileDataRequest{}); err != nil || !has.GetHasData() {
		t.Errorf("has data: %v and %v", has, err)
	}
	nobody := pb.NewQueryServiceClient(&http.Client{Transport: ofTenant("nobody")}, h.URL)
	if has, err := nobody.HasProfileData(t.Context(), &pb.HasProfileDataRequest{}); err != nil || has.GetHasData() {
		t.Errorf("nobody has data: %v and %v", has, err)
	}
}

// ofTenant asks as a tenant.
type ofTenant string

func (o ofTenant) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Scope-OrgID", string(o))
	return http.DefaultTransport.RoundTrip(r)
}

// Values over time are those of the profiles, added up by google/pprof's reading of them.
func TestQueryRange(t *testing.T) {
	h := open(t)
	c := client(t, h)
	ask := func(typ string, step time.Duration, limit uint32, by ...string) []*pb.MetricsSeries {
		t.Helper()
		res, err := c.QueryRange(t.Context(), &pb.QueryRangeRequest{
			Query: typ + "{}", Start: timestamppb.New(h.Start), End: timestamppb.New(h.End), Step: durationpb.New(step), Limit: limit, SumBy: by,
		})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetSeries()
	}
	all := ask(apitest.CPU, apitest.Every, 0)
	if len(all) != 1 || len(all[0].GetSamples()) != apitest.Rounds || all[0].GetSampleType().GetUnit() != "nanoseconds" {
		t.Fatalf("got %v", all)
	}
	for i, s := range all[0].GetSamples() {
		at := h.Start.Add(time.Duration(i) * apitest.Every)
		_, total := apitest.Paths(apitest.Between(h.CPU, at, at.Add(1)), "cpu")
		want := float64(total[""]) / float64(apitest.Every)
		if !s.GetTimestamp().AsTime().Equal(at) || s.GetValue() != total[""] || s.GetCount() != 2 || s.GetValuePerSecond() != want || s.GetDuration() != int64(apitest.Every) {
			t.Errorf("sample %d is %v, want %d and %f a second", i, s, total[""], want)
		}
	}
	if minute := ask(apitest.CPU, time.Minute, 0); len(minute[0].GetSamples()) != 2 || minute[0].GetSamples()[0].GetDuration() != int64(time.Minute) || minute[0].GetSamples()[0].GetCount() != 12 {
		t.Errorf("by the minute: %v", minute)
	}
	if pods := ask(apitest.CPU, apitest.Every, 0, "pod"); len(pods) != 2 || pods[0].GetLabelset().GetLabels()[0].GetValue() != "a" {
		t.Errorf("by pod: %v", pods)
	}
	if one := ask(apitest.CPU, apitest.Every, 1, "pod"); len(one) != 1 || one[0].GetLabelset().GetLabels()[0].GetValue() != "a" {
		t.Errorf("the larger pod: %v", one)
	}
	// Levels: the latest of each step, by all labels or summed by some.
	heap := ask(apitest.Heap, time.Minute, 0)
	if len(heap) != 2 || heap[0].GetSamples()[0].GetValue() != 7<<20 || heap[0].GetSamples()[0].GetValuePerSecond() != 7<<20 {
		t.Errorf("heap: %v", heap)
	}
	if sum := ask(apitest.Heap, time.Minute, 0, "service_name"); len(sum) != 1 || sum[0].GetSamples()[0].GetValue() != 14<<20 {
		t.Errorf("heap by service: %v", sum)
	}
}

func TestReportsAgreeWithPprof(t *testing.T) {
	h := open(t)
	c := client(t, h)
	query := func(m *pb.QueryRequest) *pb.QueryResponse {
		t.Helper()
		res, err := c.Query(t.Context(), m)
		if err != nil {
			t.Fatalf("%s: %v", m.GetReportType(), err)
		}
		return res
	}
	self, total := apitest.Paths(h.CPU, "cpu")

	res := query(merge(h, pb.QueryRequest_REPORT_TYPE_FLAMEGRAPH_ARROW))
	got := readFlame(t, res.GetFlamegraphArrow().GetRecord())
	if !maps.Equal(got.totals(), total) || res.GetTotal() != total[""] || res.GetFlamegraphArrow().GetUnit() != "nanoseconds" || res.GetFlamegraphArrow().GetHeight() != 5 {
		t.Errorf("flame graph in Arrow: %v, want %v", got.totals(), total)
	}
	if !maps.Equal(got.selves(), self) {
		t.Errorf("self values %v, want %v", got.selves(), self)
	}

	legacy := query(merge(h, pb.QueryRequest_REPORT_TYPE_FLAMEGRAPH_UNSPECIFIED)).GetFlamegraph()
	if paths := nestedPaths(legacy, inline); !maps.Equal(paths, total) {
		t.Errorf("nested flame graph: %v, want %v", paths, total)
	}
	tables := query(merge(h, pb.QueryRequest_REPORT_TYPE_FLAMEGRAPH_TABLE)).GetFlamegraph()
	if paths := nestedPaths(tables, indexed); !maps.Equal(paths, total) {
		t.Errorf("flame graph with tables: %v, want %v", paths, total)
	}

	p, err := pprof.ParseData(query(merge(h, pb.QueryRequest_REPORT_TYPE_PPROF)).GetPprof())
	if err != nil {
		t.Fatal(err)
	}
	if _, paths := apitest.Paths([]*pprof.Profile{p}, "cpu"); !maps.Equal(paths, total) || len(p.SampleType) != 1 || p.DurationNanos == 0 || p.TimeNanos != h.Start.UnixNano() {
		t.Errorf("pprof: %v, want %v", paths, total)
	}

	// main.parse calls itself: its stacks count once.
	flat, cum := byFunction(h.CPU, "cpu")
	top := query(merge(h, pb.QueryRequest_REPORT_TYPE_TOP)).GetTop()
	for _, n := range top.GetList() {
		name := cmp.Or(n.GetMeta().GetFunction().GetName(), fmt.Sprintf("0x%x", n.GetMeta().GetLocation().GetAddress()))
		if n.GetCumulative() != cum[name] || n.GetFlat() != flat[name] {
			t.Errorf("top: %s is %d of %d, want %d of %d", name, n.GetFlat(), n.GetCumulative(), flat[name], cum[name])
		}
	}
	if len(top.GetList()) != len(cum) || int(top.GetReported()) != len(cum) || top.GetList()[0].GetMeta().GetFunction().GetName() != "main.main" {
		t.Errorf("top has %d functions, want %d", len(top.GetList()), len(cum))
	}
	table := readTable(t, query(merge(h, pb.QueryRequest_REPORT_TYPE_TABLE_ARROW)).GetTableArrow().GetRecord())
	if len(table) != len(cum) || !slices.Equal(table["main.serve"].callers, []string{"main.main"}) ||
		!slices.Equal(table["main.serve"].callees, []string{"main.page", "main.parse"}) || !slices.Equal(table["main.parse"].callers, []string{"main.parse", "main.serve"}) {
		t.Errorf("table: %+v", table)
	}
	for name, row := range table {
		if row.flat != flat[name] || row.cumulative != cum[name] {
			t.Errorf("table: %s is %d of %d, want %d of %d", name, row.flat, row.cumulative, flat[name], cum[name])
		}
	}
	graph := query(merge(h, pb.QueryRequest_REPORT_TYPE_CALLGRAPH)).GetCallgraph()
	if len(graph.GetNodes()) != len(cum) || len(graph.GetEdges()) != 6 {
		t.Errorf("call graph: %v", graph)
	}
	meta := query(merge(h, pb.QueryRequest_REPORT_TYPE_PROFILE_METADATA)).GetProfileMetadata()
	if !slices.Equal(meta.GetMappingFiles(), []string{"/usr/bin/app", "/usr/lib/libc.so.6"}) || !slices.Contains(meta.GetLabels(), "pod") {
		t.Errorf("metadata: %v", meta)
	}
	source := merge(h, pb.QueryRequest_REPORT_TYPE_SOURCE)
	source.SourceReference = &pb.SourceReference{BuildId: "b1d", Filename: "main.go"}
	if res := query(source); res.GetSource() == nil || res.GetSource().GetSource() != "" || len(arrowColumns(t, res.GetSource().GetRecord())) != 4 {
		t.Errorf("source: %v", res)
	}
}

// byFunction is what a function has itself and with what it called.
func byFunction(profiles []*pprof.Profile, typ string) (flat, cum map[string]int64) {
	flat, cum = map[string]int64{}, map[string]int64{}
	self, _ := apitest.Paths(profiles, typ)
	for path, value := range self {
		names := strings.Split(path, ";")
		flat[names[len(names)-1]] += value
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			cum[name] += value
		}
	}
	return flat, cum
}

func inline(_ *pb.Flamegraph, m *pb.FlamegraphNodeMeta) string {
	return cmp.Or(m.GetFunction().GetName(), fmt.Sprintf("0x%x", m.GetLocation().GetAddress()))
}

func indexed(g *pb.Flamegraph, m *pb.FlamegraphNodeMeta) string {
	at := g.GetLocations()[m.GetLocationIndex()-1]
	if len(at.GetLines()) == 0 {
		return fmt.Sprintf("0x%x", at.GetAddress())
	}
	return g.GetStringTable()[g.GetFunction()[at.GetLines()[m.GetLineIndex()].GetFunctionIndex()-1].GetNameStringIndex()]
}

func nestedPaths(g *pb.Flamegraph, name func(*pb.Flamegraph, *pb.FlamegraphNodeMeta) string) map[string]int64 {
	paths := map[string]int64{"": g.GetRoot().GetCumulative()}
	var walk func(path string, nodes []*pb.FlamegraphNode)
	walk = func(path string, nodes []*pb.FlamegraphNode) {
		for _, n := range nodes {
			at := strings.TrimPrefix(path+";"+name(g, n.GetMeta()), ";")
			paths[at] += n.GetCumulative()
			walk(at, n.GetChildren())
		}
	}
	walk("", g.GetRoot().GetChildren())
	return paths
}

// A single profile is the one of that millisecond, and no other.
func TestSingle(t *testing.T) {
	h := open(t)
	c := client(t, h)
	at := h.Start.Add(3 * apitest.Every)
	req := &pb.QueryRequest{
		Mode: pb.QueryRequest_MODE_SINGLE_UNSPECIFIED, ReportType: pb.QueryRequest_REPORT_TYPE_FLAMEGRAPH_ARROW,
		Options: &pb.QueryRequest_Single{Single: &pb.SingleProfile{Query: apitest.CPU + `{pod="a"}`, Time: timestamppb.New(at)}},
	}
	res, err := c.Query(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	_, want := apitest.Paths(apitest.Between(h.CPU, at, at.Add(1))[:1], "cpu")
	if got := readFlame(t, res.GetFlamegraphArrow().GetRecord()).totals(); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	req.GetSingle().Time = timestamppb.New(at.Add(time.Millisecond))
	if _, err := c.Query(t.Context(), req); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("a millisecond later: %v", err)
	}
}

// A comparison has b's values and how much more they are than a's, which are scaled up
// when it is relative.
func TestDiff(t *testing.T) {
	h := open(t)
	c := client(t, h)
	half := h.Start.Add(apitest.Rounds / 2 * apitest.Every)
	side := func(from, to time.Time) *pb.ProfileDiffSelection {
		return &pb.ProfileDiffSelection{Mode: pb.ProfileDiffSelection_MODE_MERGE, Options: &pb.ProfileDiffSelection_Merge{
			Merge: &pb.MergeProfile{Query: apitest.CPU, Start: timestamppb.New(from), End: timestamppb.New(to.Add(-1))},
		}}
	}
	_, a := apitest.Paths(apitest.Between(h.CPU, h.Start, half), "cpu")
	_, b := apitest.Paths(apitest.Between(h.CPU, half, h.End), "cpu")
	for _, absolute := range []bool{true, false} {
		req := &pb.QueryRequest{
			Mode: pb.QueryRequest_MODE_DIFF, ReportType: pb.QueryRequest_REPORT_TYPE_FLAMEGRAPH_ARROW,
			Options: &pb.QueryRequest_Diff{Diff: &pb.DiffProfile{A: side(h.Start, half), B: side(half, h.End), Absolute: &absolute}},
		}
		res, err := c.Query(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		scale := 1.0
		if !absolute {
			scale = float64(b[""]) / float64(a[""])
		}
		got := readFlame(t, res.GetFlamegraphArrow().GetRecord())
		for path, row := range got.byPath() {
			want := b[path] - int64(float64(a[path])*scale+0.5)
			if got.cumulative[row] != b[path] || got.diff[row] < want-1 || got.diff[row] > want+1 {
				t.Errorf("absolute %t, %s: %d (%+d), want %d (%+d)", absolute, path, got.cumulative[row], got.diff[row], b[path], want)
			}
		}
		req.ReportType = pb.QueryRequest_REPORT_TYPE_PPROF
		if res, err = c.Query(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		p, err := pprof.ParseData(res.GetPprof())
		if err != nil {
			t.Fatal(err)
		}
		_, both := apitest.Paths([]*pprof.Profile{p}, "cpu")
		if want := b[""] - int64(float64(a[""])*scale+0.5); both[""] < want-100 || both[""] > want+100 {
			t.Errorf("absolute %t: the pprof adds up to %d, want %d", absolute, both[""], want)
		}
	}
}

func text(op string, s string) *pb.StringCondition {
	switch op {
	case "=":
		return &pb.StringCondition{Condition: &pb.StringCondition_Equal{Equal: s}}
	case "!=":
		return &pb.StringCondition{Condition: &pb.StringCondition_NotEqual{NotEqual: s}}
	case "*=":
		return &pb.StringCondition{Condition: &pb.StringCondition_Contains{Contains: s}}
	case "!*=":
		return &pb.StringCondition{Condition: &pb.StringCondition_NotContains{NotContains: s}}
	case "^=":
		return &pb.StringCondition{Condition: &pb.StringCondition_StartsWith{StartsWith: s}}
	}
	return &pb.StringCondition{Condition: &pb.StringCondition_NotStartsWith{NotStartsWith: s}}
}

func stacks(c *pb.FilterCriteria) *pb.Filter {
	return &pb.Filter{Filter: &pb.Filter_StackFilter{StackFilter: &pb.StackFilter{Filter: &pb.StackFilter_Criteria{Criteria: c}}}}
}

func frames(c *pb.FilterCriteria) *pb.Filter {
	return &pb.Filter{Filter: &pb.Filter_FrameFilter{FrameFilter: &pb.FrameFilter{Filter: &pb.FrameFilter_Criteria{Criteria: c}}}}
}

// Filters leave stacks and frames out; what they leave out is told.
func TestFilters(t *testing.T) {
	h := open(t)
	c := client(t, h)
	self, _ := apitest.Paths(h.CPU, "cpu")
	keep := func(f func(path string) string) (total map[string]int64) {
		total = map[string]int64{}
		for path, v := range self {
			to := f(path)
			if to == "-" {
				continue
			}
			total[""] += v
			at := ""
			for name := range strings.SplitSeq(to, ";") {
				at = strings.TrimPrefix(at+";"+name, ";")
				if at != "" {
					total[at] += v
				}
			}
		}
		return total
	}
	has := func(name string) func(string) string {
		return func(path string) string {
			if strings.Contains(path, name) {
				return path
			}
			return "-"
		}
	}
	hasNot := func(name string) func(string) string {
		return func(path string) string {
			if strings.Contains(path, name) {
				return "-"
			}
			return path
		}
	}
	without := func(names ...string) func(string) string {
		return func(path string) string {
			kept := slices.DeleteFunc(strings.Split(path, ";"), func(n string) bool { return slices.Contains(names, n) })
			return strings.Join(kept, ";")
		}
	}
	for name, f := range map[string]struct {
		filters []*pb.Filter
		want    func(string) string
	}{
		"function contains":    {[]*pb.Filter{stacks(&pb.FilterCriteria{FunctionName: text("*=", "PARSE")})}, has("main.parse")},
		"function equals":      {[]*pb.Filter{stacks(&pb.FilterCriteria{FunctionName: text("=", "main.render")})}, has("main.render")},
		"without a function":   {[]*pb.Filter{stacks(&pb.FilterCriteria{FunctionName: text("!*=", "parse")})}, hasNot("main.parse")},
		"binary":               {[]*pb.Filter{stacks(&pb.FilterCriteria{Binary: text("^=", "libc")})}, has("0x1234")},
		"not the binary":       {[]*pb.Filter{stacks(&pb.FilterCriteria{Binary: text("!^=", "libc")})}, hasNot("0x1234")},
		"address":              {[]*pb.Filter{stacks(&pb.FilterCriteria{Address: &pb.NumberCondition{Condition: &pb.NumberCondition_Equal{Equal: apitest.Unsymbolize}}})}, has("0x1234")},
		"line":                 {[]*pb.Filter{stacks(&pb.FilterCriteria{LineNumber: &pb.NumberCondition{Condition: &pb.NumberCondition_Equal{Equal: 23}}})}, has("main.render")},
		"not the line":         {[]*pb.Filter{stacks(&pb.FilterCriteria{LineNumber: &pb.NumberCondition{Condition: &pb.NumberCondition_NotEqual{NotEqual: 23}}})}, hasNot("main.render")},
		"file and system name": {[]*pb.Filter{stacks(&pb.FilterCriteria{Filename: text("*=", "main.go"), SystemName: text("=", "main.page")})}, has("main.page")},
		"two filters": {[]*pb.Filter{
			stacks(&pb.FilterCriteria{FunctionName: text("=", "main.serve")}), stacks(&pb.FilterCriteria{FunctionName: text("!=", "main.parse")}),
		}, func(p string) string {
			if strings.Contains(p, "serve") && !strings.Contains(p, "parse") {
				return p
			}
			return "-"
		}},
		"frames": {[]*pb.Filter{frames(&pb.FilterCriteria{FunctionName: text("!=", "main.serve")})}, without("main.serve")},
		"old function": {[]*pb.Filter{{Filter: &pb.Filter_StackFilter{StackFilter: &pb.StackFilter{Filter: &pb.StackFilter_FunctionNameStackFilter{
			FunctionNameStackFilter: &pb.FunctionNameStackFilter{FunctionToFilter: "parse", Exclude: true},
		}}}}}, hasNot("main.parse")},
		"old binary": {[]*pb.Filter{{Filter: &pb.Filter_FrameFilter{FrameFilter: &pb.FrameFilter{Filter: &pb.FrameFilter_BinaryFrameFilter{
			BinaryFrameFilter: &pb.BinaryFrameFilter{IncludeBinaries: []string{"app"}},
		}}}}}, without("0x1234")},
	} {
		req := merge(h, pb.QueryRequest_REPORT_TYPE_FLAMEGRAPH_ARROW)
		req.Filter = f.filters
		res, err := c.Query(t.Context(), req)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := keep(f.want)
		if got := readFlame(t, res.GetFlamegraphArrow().GetRecord()).totals(); !maps.Equal(got, want) {
			t.Errorf("%s:\n got %v\nwant %v", name, got, want)
		}
		_, all := apitest.Paths(h.CPU, "cpu")
		if res.GetTotal()+res.GetFiltered() != all[""] {
			t.Errorf("%s: %d and %d filtered out, want %d together", name, res.GetTotal(), res.GetFiltered(), all[""])
		}
	}
}

func TestViews(t *testing.T) {
	h := open(t)
	c := client(t, h)
	ask := func(change func(*pb.QueryRequest)) (*pb.QueryResponse, *flame) {
		t.Helper()
		req := merge(h, pb.QueryRequest_REPORT_TYPE_FLAMEGRAPH_ARROW)
		change(req)
		res, err := c.Query(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		return res, readFlame(t, res.GetFlamegraphArrow().GetRecord())
	}
	flat, cum := byFunction(h.CPU, "cpu")

	_, inverted := ask(func(r *pb.QueryRequest) { r.InvertCallStack = new(true) })
	for _, row := range inverted.children[0] {
		if name := inverted.name(int(row)); inverted.cumulative[row] != flat[name] {
			t.Errorf("inverted: %s has %d, want %d", name, inverted.cumulative[row], flat[name])
		}
	}
	res, sandwich := ask(func(r *pb.QueryRequest) { r.SandwichByFunction = new("main.serve") })
	if top := sandwich.children[0]; len(top) != 1 || sandwich.name(int(top[0])) != "main.serve" || sandwich.cumulative[top[0]] != cum["main.serve"] || res.GetFiltered() != cum["main.main"]-cum["main.serve"] {
		t.Errorf("sandwich: %v, %d filtered", sandwich.totals(), res.GetFiltered())
	}
	_, grouped := ask(func(r *pb.QueryRequest) { r.GroupBy = &pb.GroupBy{Fields: []string{"labels.pod", "function_name"}} })
	if len(grouped.children[0]) != 2 || !grouped.labelsOnly[grouped.children[0][0]] || grouped.labels["labels.pod"][grouped.children[0][0]] != "a" ||
		grouped.labels["labels.pod"][grouped.children[grouped.children[0][1]][0]] != "b" {
		t.Errorf("by pod: %v of %v", grouped.totals(), grouped.labels)
	}
	for _, field := range []string{"function_file_name", "location_address", "mapping_file"} {
		if _, g := ask(func(r *pb.QueryRequest) { r.GroupBy = &pb.GroupBy{Fields: []string{field}} }); g.cumulative[0] != cum["main.main"] {
			t.Errorf("by %s: %v", field, g.totals())
		}
	}
	// Children of no more than half their parent go; their value stays in it.
	res, trimmed := ask(func(r *pb.QueryRequest) { r.NodeTrimThreshold = new(float32(50)) })
	_, total := apitest.Paths(h.CPU, "cpu")
	for path, value := range trimmed.totals() {
		parent := path[:max(strings.LastIndexByte(path, ';'), 0)]
		if value != total[path] || path != "" && value <= total[parent]/2 {
			t.Errorf("trimmed: %s has %d of %d", path, value, total[parent])
		}
	}
	if res.GetFlamegraphArrow().GetTrimmed() == 0 || res.GetTotal() != total[""] {
		t.Errorf("trimmed %d of %d", res.GetFlamegraphArrow().GetTrimmed(), res.GetTotal())
	}
	// A flame chart has the same in all, and says when.
	chartRes, chart := ask(func(r *pb.QueryRequest) { r.ReportType = pb.QueryRequest_REPORT_TYPE_FLAMECHART })
	if chartRes.GetTotal() != total[""] || len(chart.children[0]) != apitest.Rounds || !maps.Equal(chart.totals(), total) {
		t.Errorf("flame chart: %d stretches, %v, want %v", len(chart.children[0]), chart.totals(), total)
	}
	for i, row := range chart.children[0] {
		if want := h.Start.Add(time.Duration(i) * apitest.Every).UnixNano(); chart.timestamp[row] != want {
			t.Errorf("stretch %d is at %d, want %d", i, chart.timestamp[row], want)
		}
	}
}

// Every JSON path answers with the names of grpc-gateway.
func TestJSONPaths(t *testing.T) {
	h := open(t)
	at := fmt.Sprintf("start=%s&end=%s", h.Start.UTC().Format(time.RFC3339), h.End.UTC().Format(time.RFC3339))
	in := "merge." + strings.Replace(at, "&", "&merge.", 1)
	cpu := strings.ReplaceAll(apitest.CPU, ":", "%3A")
	for path, want := range map[string][]string{
		"/api/profiles/query_range?query=" + cpu + "&step=10s&" + at:  {`"series"`, `"valuePerSecond"`, `"duration":"10000000000"`, `"labelset"`},
		"/api/profiles/query_range?query=" + cpu + "&sumBy=pod&" + at: {`"name":"pod"`},
		"/api/profiles/types?" + at:                                   {`"sampleType":"cpu"`, `"delta":true`, `"delta":false`},
		"/api/profiles/types":                                         {`"name":"process_cpu"`},
		"/api/profiles/labels?" + at:                                  {`"labelNames":[`, `"pod"`, `"warnings":[]`},
		"/api/profiles/labels/pod/values?" + at:                       {`"labelValues":["a","b"]`},
		"/api/profiles/labels/pod/values?match=%7Bpod!%3D%22a%22%7D":  {`"labelValues":["b"]`},
		"/api/profiles/series?" + at:                                  {`"series":[`, `"value":"a"`},
		"/api/profiles/has_profile_data":                              {`"hasData":true`},
		"/api/profiles/query?mode=MODE_MERGE&report_type=REPORT_TYPE_TOP&merge.query=" + cpu + "&" + in:                   {`"top":{`, `"main.parse"`, `"cumulative":"`},
		"/api/profiles/query?mode=2&reportType=5&merge.query=" + cpu + "&" + in:                                           {`"flamegraphArrow":{`, `"record":"`},
		"/api/profiles/query?mode=2&reportType=REPORT_TYPE_PPROF&merge.query=" + cpu + "&" + in + "&invertCallStack=true": {`"pprof":"H4sI`},
	} {
		status, body := h.Get(t, path)
		if status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, body)
			continue
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(body)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		for _, part := range want {
			if !strings.Contains(compact.String(), part) {
				t.Errorf("%s has no %s: %.500s", path, part, compact.String())
			}
		}
	}
	body := fmt.Sprintf(`{"mode":"MODE_MERGE","reportType":"REPORT_TYPE_TOP","merge":{"query":%q,"start":%q,"end":%q},
		"filter":[{"stackFilter":{"criteria":{"functionName":{"contains":"parse"}}}}]}`, apitest.CPU, h.Start.Format(time.RFC3339), h.End.Format(time.RFC3339))
	if status, answer := h.Do(t, http.MethodPost, "/api/profiles/query", body); status != http.StatusOK || !strings.Contains(answer, "main.parse") || strings.Contains(answer, "main.render") {
		t.Errorf("a filter in JSON: %d %.500s", status, answer)
	}
}

// keeper is who keeps shared profiles.
type keeper struct{ got []byte }

func (k *keeper) Upload(_ context.Context, r *sharev1alpha1.UploadRequest) (*sharev1alpha1.UploadResponse, error) {
	if r.GetDescription() == "refuse" {
		return nil, connect.NewError(connect.CodePermissionDenied, errors.New("no"))
	}
	k.got = r.GetProfile()
	return &sharev1alpha1.UploadResponse{Id: "x", Link: "https://pprof.example/x"}, nil
}

func TestShare(t *testing.T) {
	k := &keeper{}
	mux := http.NewServeMux()
	mux.Handle(sharev1alpha1.NewShareServiceHandler(k))
	server := httptest.NewUnstartedServer(mux)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	h := apitest.Open(t, query.Config{}, func(q *query.Querier, handle func(string, http.Handler)) {
		parca.New(q, parca.Config{Share: parca.ShareWith(server.Client(), server.URL)}).Routes(handle)
	})
	c := client(t, h)
	res, err := c.ShareProfile(t.Context(), &pb.ShareProfileRequest{QueryRequest: merge(h, 0)})
	if err != nil || res.GetLink() != "https://pprof.example/x" {
		t.Fatalf("%v and %v", res, err)
	}
	shared, err := pprof.ParseData(k.got)
	if err != nil {
		t.Fatal(err)
	}
	want, err := pprof.Merge(h.CPU)
	if err != nil {
		t.Fatal(err)
	}
	want.SampleType = want.SampleType[1:]
	for _, s := range want.Sample {
		s.Value = s.Value[1:]
	}
	if difference := truth.Difference(truth.Samples(shared), truth.Samples(want)); difference != "" {
		t.Error(difference)
	}
	if _, err := c.ShareProfile(t.Context(), &pb.ShareProfileRequest{QueryRequest: merge(h, 0), Description: new("refuse")}); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("a refusal gives %v", err)
	}
	if _, err := c.ShareProfile(t.Context(), &pb.ShareProfileRequest{}); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("nothing to share gives %v", err)
	}
	if _, err := client(t, open(t)).ShareProfile(t.Context(), &pb.ShareProfileRequest{QueryRequest: merge(h, 0)}); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("sharing that is off gives %v", err)
	}
}

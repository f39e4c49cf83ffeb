package pyroscope_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	pprof "github.com/google/pprof/profile"
	googlev1 "github.com/grafana/pyroscope/api/gen/proto/go/google/v1"
	querierv1 "github.com/grafana/pyroscope/api/gen/proto/go/querier/v1"
	settingsv1 "github.com/grafana/pyroscope/api/gen/proto/go/settings/v1"
	typesv1 "github.com/grafana/pyroscope/api/gen/proto/go/types/v1"

	"github.com/coldframe/coldframe/internal/apitest"
	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/query/pyroscope"
)

const (
	cpu    = "process_cpu:cpu:nanoseconds:cpu:nanoseconds" // as Pyroscope calls it
	heap   = "memory:inuse_space:bytes:space:bytes"
	prefix = "/querier.v1.QuerierService/"
)

func open(t testing.TB) *apitest.House {
	t.Helper()
	return apitest.Open(t, query.Config{}, func(q *query.Querier, handle func(string, http.Handler)) {
		pyroscope.New(q).Routes(handle)
		handle("/api/v1/", q.Handler())
	})
}

// call asks a procedure as Grafana does: over Connect.
func call[Req, Res any](t testing.TB, h *apitest.House, procedure string, req *Req, options ...connect.ClientOption) (*Res, error) {
	t.Helper()
	res, err := connect.NewClient[Req, Res](http.DefaultClient, h.URL+procedure, options...).CallUnary(t.Context(), connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

func must[Req, Res any](t testing.TB, h *apitest.House, procedure string, req *Req) *Res {
	t.Helper()
	res, err := call[Req, Res](t, h, prefix+procedure, req)
	if err != nil {
		t.Fatalf("%s: %v", procedure, err)
	}
	return res
}

func all(h *apitest.House, id string) *querierv1.SelectMergeStacktracesRequest {
	return &querierv1.SelectMergeStacktracesRequest{ProfileTypeID: id, LabelSelector: "{}", Start: h.Start.UnixMilli(), End: h.End.UnixMilli()}
}

func TestLists(t *testing.T) {
	h := open(t)
	start, end := h.Start.UnixMilli(), h.End.UnixMilli()
	for _, r := range [][2]int64{{0, 0}, {start, end}} {
		types := must[querierv1.ProfileTypesRequest, querierv1.ProfileTypesResponse](t, h, "ProfileTypes", &querierv1.ProfileTypesRequest{Start: r[0], End: r[1]})
		var ids []string
		for _, p := range types.GetProfileTypes() {
			ids = append(ids, p.GetID())
		}
		if want := []string{"goroutine:goroutine:count:goroutine:count", "memory:inuse_objects:count:space:bytes", heap, cpu, "process_cpu:samples:count:cpu:nanoseconds"}; !slices.Equal(ids, want) {
			t.Errorf("types %v, want %v", ids, want)
		}
	}
	names := must[typesv1.LabelNamesRequest, typesv1.LabelNamesResponse](t, h, "LabelNames", &typesv1.LabelNamesRequest{Start: start, End: end, Matchers: []string{`{__profile_type__="` + cpu + `"}`}})
	for _, name := range []string{"__name__", "__period_type__", "__period_unit__", "__profile_type__", "__type__", "__unit__", "pod", "service_name"} {
		if !slices.Contains(names.GetNames(), name) {
			t.Errorf("label names %v have no %s", names.GetNames(), name)
		}
	}
	for _, v := range []struct {
		name, matcher string
		want          []string
	}{
		{"service_name", `{__profile_type__="` + cpu + `"}`, []string{"api"}},
		{"service_name", `{__profile_type__="none"}`, nil},
		{"pod", "", []string{"a", "b"}},
		{"pod", `{pod="b"}`, []string{"b"}},
		{"__profile_type__", `{__type__=~"cpu|inuse_space"}`, []string{heap, cpu}},
		{"__name__", "{}", []string{"goroutine", "memory", "process_cpu"}},
		{"service_name", "{}", []string{"api", "scraped"}},
		{"__name__", `{service_name="scraped"}`, []string{"goroutine"}},
		{"__unit__", `{__name__="memory"}`, []string{"bytes", "count"}},
	} {
		req := &typesv1.LabelValuesRequest{Name: v.name, Start: start, End: end}
		if v.matcher != "" {
			req.Matchers = []string{v.matcher}
		}
		if got := must[typesv1.LabelValuesRequest, typesv1.LabelValuesResponse](t, h, "LabelValues", req).GetNames(); !slices.Equal(got, v.want) {
			t.Errorf("values of %s where %s: %v, want %v", v.name, v.matcher, got, v.want)
		}
	}
	// What Drilldown opens with: services and their types.
	series := must[querierv1.SeriesRequest, querierv1.SeriesResponse](t, h, "Series", &querierv1.SeriesRequest{Start: start, End: end, LabelNames: []string{"service_name", "__profile_type__"}})
	if len(series.GetLabelsSet()) != 5 || fmt.Sprint(labels(series.GetLabelsSet()[0])) != "map[__profile_type__:goroutine:goroutine:count:goroutine:count service_name:scraped]" {
		t.Errorf("series %v", series)
	}
	if whole := must[querierv1.SeriesRequest, querierv1.SeriesResponse](t, h, "Series", &querierv1.SeriesRequest{Matchers: []string{`{pod="a"}`, `{pod="b"}`}}); len(whole.GetLabelsSet()) != 8 || labels(whole.GetLabelsSet()[0])["__name__"] != "memory" {
		t.Errorf("all series %v", whole)
	}
	stats := must[typesv1.GetProfileStatsRequest, typesv1.GetProfileStatsResponse](t, h, "GetProfileStats", &typesv1.GetProfileStatsRequest{})
	if !stats.GetDataIngested() || stats.GetOldestProfileTime() != start || stats.GetNewestProfileTime() < start {
		t.Errorf("stats %v", stats)
	}
	analysis := must[querierv1.AnalyzeQueryRequest, querierv1.AnalyzeQueryResponse](t, h, "AnalyzeQuery", &querierv1.AnalyzeQueryRequest{Start: start, End: end, Query: cpu + `{pod="a"}`})
	if analysis.GetQueryImpact().GetTotalQueriedSeries() != 1 || analysis.GetQueryScopes()[0].GetBlockCount() == 0 || analysis.GetQueryScopes()[0].GetProfileBytes() == 0 {
		t.Errorf("analysis %v", analysis)
	}
	if settings, err := call[settingsv1.GetSettingsRequest, settingsv1.GetSettingsResponse](t, h, "/settings.v1.SettingsService/Get", &settingsv1.GetSettingsRequest{}); err != nil || len(settings.GetSettings()) != 0 {
		t.Errorf("settings %v and %v", settings, err)
	}
}

func labels(set *typesv1.Labels) map[string]string {
	m := map[string]string{}
	for _, l := range set.GetLabels() {
		m[l.GetName()] = l.GetValue()
	}
	return m
}

// paths reads a flamebearer as Grafana does: a node's parent is the one above it whose
// stretch holds it.
func paths(t *testing.T, names []string, levels [][]int64) (total, self map[string]int64) {
	t.Helper()
	type node struct {
		path       string
		begin, end int64
	}
	total, self = map[string]int64{}, map[string]int64{}
	var above []node
	for depth, level := range levels {
		var here []node
		end := int64(0)
		for n := range slices.Chunk(level, 4) {
			begin := end + n[0]
			end = begin + n[1]
			path := ""
			if depth > 0 {
				i := slices.IndexFunc(above, func(p node) bool { return p.begin <= begin && end <= p.end })
				if i < 0 {
					t.Fatalf("level %d: [%d, %d) of %s lies in no parent", depth, begin, end, names[n[3]])
				}
				path = strings.TrimPrefix(above[i].path+";"+names[n[3]], ";")
			} else if names[n[3]] != "total" {
				t.Errorf("the root is called %s", names[n[3]])
			}
			total[path] += n[1]
			if n[2] != 0 {
				self[path] += n[2]
			}
			here = append(here, node{path, begin, end})
		}
		above = here
	}
	return total, self
}

func levelsOf(levels []*querierv1.Level) (all [][]int64) {
	for _, l := range levels {
		all = append(all, l.GetValues())
	}
	return all
}

// named calls an address as our trees do.
func named(m map[string]int64) map[string]int64 {
	to := map[string]int64{}
	for path, v := range m {
		to[strings.ReplaceAll(path, "0x1234", "libc.so.6+0x1234")] = v
	}
	return to
}

func TestFlamegraph(t *testing.T) {
	h := open(t)
	self, total := apitest.Paths(h.CPU, "cpu")
	for name, options := range map[string][]connect.ClientOption{"Connect": nil, "gRPC-Web": {connect.WithGRPCWeb()}} {
		res, err := call[querierv1.SelectMergeStacktracesRequest, querierv1.SelectMergeStacktracesResponse](t, h, prefix+"SelectMergeStacktraces", all(h, cpu), options...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		g := res.GetFlamegraph()
		gotTotal, gotSelf := paths(t, g.GetNames(), levelsOf(g.GetLevels()))
		if !maps.Equal(gotTotal, named(total)) || !maps.Equal(gotSelf, named(self)) || g.GetTotal() != total[""] || g.GetMaxSelf() != slices.Max(slices.Collect(maps.Values(self))) {
			t.Errorf("%s: %v, want %v", name, gotTotal, named(total))
		}
	}
	// What does not fit is a node of its own, so that nothing is lost.
	few := all(h, cpu)
	few.MaxNodes = new(int64(3))
	g := must[querierv1.SelectMergeStacktracesRequest, querierv1.SelectMergeStacktracesResponse](t, h, "SelectMergeStacktraces", few).GetFlamegraph()
	got, gotSelf := paths(t, g.GetNames(), levelsOf(g.GetLevels()))
	sum := int64(0)
	for _, v := range gotSelf {
		sum += v
	}
	if sum != total[""] || got["main.main;other"] != total["main.main;0x1234"] || len(got) > 5 {
		t.Errorf("of 3 nodes: %v, self %v", got, gotSelf)
	}
	if g := must[querierv1.SelectMergeStacktracesRequest, querierv1.SelectMergeStacktracesResponse](t, h, "SelectMergeStacktraces", &querierv1.SelectMergeStacktracesRequest{
		ProfileTypeID: cpu, LabelSelector: `{pod="none"}`, Start: h.Start.UnixMilli(), End: h.End.UnixMilli(),
	}).GetFlamegraph(); g.GetTotal() != 0 || len(g.GetLevels()) != 1 {
		t.Errorf("of nothing: %v", g)
	}
	graph := all(h, cpu)
	graph.Format = querierv1.ProfileFormat_PROFILE_FORMAT_DOT
	if text := must[querierv1.SelectMergeStacktracesRequest, querierv1.SelectMergeStacktracesResponse](t, h, "SelectMergeStacktraces", graph).GetDot(); !strings.Contains(text, "main.parse") || !strings.Contains(text, "->") {
		t.Errorf("dot: %s", text)
	}
	at := all(h, cpu)
	at.StackTraceSelector = &typesv1.StackTraceSelector{CallSite: []*typesv1.Location{{Name: "main.main"}, {Name: "main.serve"}}}
	g = must[querierv1.SelectMergeStacktracesRequest, querierv1.SelectMergeStacktracesResponse](t, h, "SelectMergeStacktraces", at).GetFlamegraph()
	got, _ = paths(t, g.GetNames(), levelsOf(g.GetLevels()))
	if _, other := got["main.main;libc.so.6+0x1234"]; other || g.GetTotal() != total["main.main;main.serve"] || got["main.main;main.serve;main.parse"] != total["main.main;main.serve;main.parse"] {
		t.Errorf("below a call site: %v", got)
	}
}

// Targets that were scraped have no service_name; they are found by the service that their
// other labels name.
func TestServiceByAnotherLabel(t *testing.T) {
	h := open(t)
	for selector, want := range map[string]int64{`{service_name="scraped"}`: apitest.Goroutines, `{service_name=~"scrap.*"}`: apitest.Goroutines, `{service_name="api"}`: 0, `{service_name!="api"}`: apitest.Goroutines, `{service_name="none"}`: 0} {
		req := all(h, "goroutine:goroutine:count:goroutine:count")
		req.LabelSelector = selector
		if got := must[querierv1.SelectMergeStacktracesRequest, querierv1.SelectMergeStacktracesResponse](t, h, "SelectMergeStacktraces", req).GetFlamegraph().GetTotal(); got != want {
			t.Errorf("%s: %d, want %d", selector, got, want)
		}
	}
}

func TestSpan(t *testing.T) {
	h := open(t)
	ask := func(span string) (*querierv1.SelectMergeSpanProfileResponse, error) {
		return call[querierv1.SelectMergeSpanProfileRequest, querierv1.SelectMergeSpanProfileResponse](t, h, prefix+"SelectMergeSpanProfile", &querierv1.SelectMergeSpanProfileRequest{
			ProfileTypeID: cpu, LabelSelector: `{service_name="api"}`, SpanSelector: []string{span}, Start: h.Start.UnixMilli(), End: h.End.UnixMilli(),
		})
	}
	_, total := apitest.Paths(h.CPU, "cpu")
	res, err := ask(apitest.Span)
	if err != nil {
		t.Fatal(err)
	}
	g := res.GetFlamegraph()
	if got, _ := paths(t, g.GetNames(), levelsOf(g.GetLevels())); g.GetTotal() != total["main.main;main.serve;main.page"] || got["main.main;main.serve;main.page;main.render"] != g.GetTotal() {
		t.Errorf("span: %v", got)
	}
	if res, err := ask("0000000000000000"); err != nil || res.GetFlamegraph().GetTotal() != 0 {
		t.Errorf("another span: %v and %v", res, err)
	}
	if _, err := ask("x|.*"); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "16 hexadecimal digits") {
		t.Errorf("no span: %v", err)
	}
}

func TestDiff(t *testing.T) {
	h := open(t)
	half := h.Start.Add(apitest.Rounds / 2 * apitest.Every)
	left, right := all(h, cpu), all(h, cpu)
	left.End, right.Start = half.UnixMilli()-1, half.UnixMilli()
	g := must[querierv1.DiffRequest, querierv1.DiffResponse](t, h, "Diff", &querierv1.DiffRequest{Left: left, Right: right}).GetFlamegraph()
	_, a := apitest.Paths(apitest.Between(h.CPU, h.Start, half), "cpu")
	_, b := apitest.Paths(apitest.Between(h.CPU, half, h.End), "cpu")
	if g.GetLeftTicks() != a[""] || g.GetRightTicks() != b[""] || g.GetTotal() != a[""]+b[""] {
		t.Errorf("ticks %d and %d of %d, want %d and %d", g.GetLeftTicks(), g.GetRightTicks(), g.GetTotal(), a[""], b[""])
	}
	for side, want := range []map[string]int64{named(a), named(b)} {
		var levels [][]int64
		for _, l := range g.GetLevels() {
			var level []int64
			for n := range slices.Chunk(l.GetValues(), 7) {
				level = append(level, n[side*3], n[side*3+1], n[side*3+2], n[6])
			}
			levels = append(levels, level)
		}
		if got, _ := paths(t, g.GetNames(), levels); !maps.Equal(got, want) {
			t.Errorf("side %d: %v, want %v", side, got, want)
		}
	}
	site := &typesv1.StackTraceSelector{CallSite: []*typesv1.Location{{Name: "main.main"}, {Name: "main.serve"}}}
	left.StackTraceSelector, right.StackTraceSelector = site, site
	g = must[querierv1.DiffRequest, querierv1.DiffResponse](t, h, "Diff", &querierv1.DiffRequest{Left: left, Right: right}).GetFlamegraph()
	if at := "main.main;main.serve"; g.GetLeftTicks() != a[at] || g.GetRightTicks() != b[at] {
		t.Errorf("at a call site ticks are %d and %d, want %d and %d", g.GetLeftTicks(), g.GetRightTicks(), a[at], b[at])
	}
}

func TestSelectSeries(t *testing.T) {
	h := open(t)
	ask := func(id string, step float64, average bool, limit int64, by ...string) []*typesv1.Series {
		t.Helper()
		req := &querierv1.SelectSeriesRequest{ProfileTypeID: id, LabelSelector: "{}", Start: h.Start.UnixMilli(), End: h.End.UnixMilli() - 1, Step: step, GroupBy: by}
		if average {
			req.Aggregation = typesv1.TimeSeriesAggregationType_TIME_SERIES_AGGREGATION_TYPE_AVERAGE.Enum()
		}
		if limit > 0 {
			req.Limit = &limit
		}
		return must[querierv1.SelectSeriesRequest, querierv1.SelectSeriesResponse](t, h, "SelectSeries", req).GetSeries()
	}
	series := ask(cpu, 10, false, 0)
	if len(series) != 1 || len(series[0].GetPoints()) != apitest.Rounds {
		t.Fatalf("got %v", series)
	}
	for i, p := range series[0].GetPoints() {
		at := h.Start.Add(time.Duration(i) * apitest.Every)
		_, total := apitest.Paths(apitest.Between(h.CPU, at, at.Add(1)), "cpu")
		if p.GetTimestamp() != at.UnixMilli() || p.GetValue() != float64(total[""]) {
			t.Errorf("point %d: %v, want %d", i, p, total[""])
		}
	}
	if pods := ask(cpu, 60, false, 0, "pod"); len(pods) != 2 || len(pods[0].GetPoints()) != 2 || pods[1].GetLabels()[0].GetValue() != "b" {
		t.Errorf("by pod: %v", pods)
	}
	if top := ask(cpu, 60, false, 1, "pod"); len(top) != 1 || top[0].GetLabels()[0].GetValue() != "a" {
		t.Errorf("the larger pod: %v", top)
	}
	if levels := ask(heap, 60, false, 0); levels[0].GetPoints()[0].GetValue() != 14<<20 {
		t.Errorf("heap: %v", levels)
	}
	for name, site := range map[string][]string{"main.main;main.serve": {"main.main", "main.serve"}, "main.serve": {"main.serve"}, "main.main;0x1234": {"main.main", "libc.so.6+0x1234"}} {
		req := &querierv1.SelectSeriesRequest{ProfileTypeID: cpu, LabelSelector: "{}", Start: h.Start.UnixMilli(), End: h.End.UnixMilli() - 1, Step: 3600, StackTraceSelector: &typesv1.StackTraceSelector{}}
		for _, function := range site {
			req.StackTraceSelector.CallSite = append(req.StackTraceSelector.CallSite, &typesv1.Location{Name: function})
		}
		got := 0.0
		for _, s := range must[querierv1.SelectSeriesRequest, querierv1.SelectSeriesResponse](t, h, "SelectSeries", req).GetSeries() {
			for _, p := range s.GetPoints() {
				got += p.GetValue()
			}
		}
		if _, total := apitest.Paths(h.CPU, "cpu"); got != float64(total[name]) || got == 0 && len(site) > 1 {
			t.Errorf("at %s: %g, want %d", name, got, total[name])
		}
	}
	if average := ask(heap, 60, true, 0); math.Abs(average[0].GetPoints()[0].GetValue()-4.5*(1<<20)) > 1 {
		t.Errorf("heap on average: %v", average)
	}
}

// A pprof comes as a message, whole or as Go's compiler wants it.
func TestSelectMergeProfile(t *testing.T) {
	h := open(t)
	ask := func(s *typesv1.StackTraceSelector) *pprof.Profile {
		t.Helper()
		m := must[querierv1.SelectMergeProfileRequest, googlev1.Profile](t, h, "SelectMergeProfile", &querierv1.SelectMergeProfileRequest{
			ProfileTypeID: cpu, LabelSelector: "{}", Start: h.Start.UnixMilli(), End: h.End.UnixMilli(), StackTraceSelector: s,
		})
		raw, err := m.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		p, err := pprof.ParseData(raw)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	_, total := apitest.Paths(h.CPU, "cpu")
	if _, got := apitest.Paths([]*pprof.Profile{ask(nil)}, "cpu"); !maps.Equal(got, total) {
		t.Errorf("got %v, want %v", got, total)
	}
	_, got := apitest.Paths([]*pprof.Profile{ask(&typesv1.StackTraceSelector{CallSite: []*typesv1.Location{{Name: "main.main"}, {Name: "main.serve"}, {Name: "main.page"}}})}, "cpu")
	if got[""] != total["main.main;main.serve;main.page"] || got["main.main;main.serve;main.page;main.render"] != got[""] {
		t.Errorf("of a call site: %v", got)
	}
	pgo := ask(&typesv1.StackTraceSelector{GoPgo: &typesv1.GoPGO{KeepLocations: 2, AggregateCallees: true}})
	for _, s := range pgo.Sample {
		if len(s.Location) > 2 || len(s.Label) > 0 {
			t.Errorf("for PGO: %v", s)
		}
	}
	if _, got := apitest.Paths([]*pprof.Profile{pgo}, "cpu"); got[""] != total[""] || got["main.parse;main.parse"] == 0 {
		t.Errorf("for PGO: %v", got)
	}
}

func TestRender(t *testing.T) {
	h := open(t)
	at := fmt.Sprintf("&from=%d&until=%d", h.Start.UnixMilli(), h.End.UnixMilli()-1)
	var got struct {
		Version     int
		Flamebearer struct {
			Names             []string
			Levels            [][]int64
			NumTicks, MaxSelf int64
		}
		Metadata struct{ Format, Units, Name string }
		Timeline struct {
			StartTime, DurationDelta int64
			Samples                  []int64
		}
		Groups                map[string]struct{ Samples []int64 }
		LeftTicks, RightTicks int64
	}
	read := func(path string) {
		t.Helper()
		status, body := h.Get(t, path)
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", path, status, body)
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
	}
	_, total := apitest.Paths(h.CPU, "cpu")
	read("/pyroscope/render?query=" + cpu + `%7Bservice_name%3D%22api%22%7D&groupBy=pod` + at)
	if paths, _ := paths(t, got.Flamebearer.Names, got.Flamebearer.Levels); !maps.Equal(paths, named(total)) || got.Flamebearer.NumTicks != total[""] || got.Metadata.Format != "single" || got.Version != 1 {
		t.Errorf("render: %+v", got)
	}
	sum := int64(0)
	for _, v := range got.Timeline.Samples {
		sum += v
	}
	if sum != total[""] || got.Timeline.DurationDelta != 10 || len(got.Groups) != 2 {
		t.Errorf("timeline: %+v, groups %v", got.Timeline, got.Groups)
	}
	read("/pyroscope/render-diff?leftQuery=" + cpu + "%7B%7D&rightQuery=" + cpu + "%7Bpod%3D%22a%22%7D" +
		strings.NewReplacer("from", "leftFrom", "until", "leftUntil").Replace(at) + strings.NewReplacer("from", "rightFrom", "until", "rightUntil").Replace(at))
	if got.Metadata.Format != "double" || got.LeftTicks != total[""] || got.RightTicks == 0 || got.RightTicks >= got.LeftTicks {
		t.Errorf("render-diff: %+v", got)
	}
	if status, body := h.Get(t, "/pyroscope/render?format=dot&query="+cpu+at); status != http.StatusOK || !strings.HasPrefix(body, "digraph") {
		t.Errorf("dot: %d %s", status, body)
	}
	if status, body := h.Get(t, "/pyroscope/label-values?label=pod"+at); status != http.StatusOK || strings.TrimSpace(body) != `["a","b"]` {
		t.Errorf("label values: %d %s", status, body)
	}
}

// What is wrong in a request is refused with the protocol's code and a sentence, and
// without a name of another tenant.
func TestWrongInput(t *testing.T) {
	h := open(t)
	start, end := h.Start.UnixMilli(), h.End.UnixMilli()
	for name, c := range map[string]struct {
		procedure, body string
		code            connect.Code
		says            string
	}{
		"no type":         {"SelectMergeStacktraces", fmt.Sprintf(`{"start":%d,"end":%d}`, start, end), connect.CodeInvalidArgument, "profile_typeID: it must be given"},
		"half a type":     {"SelectMergeStacktraces", fmt.Sprintf(`{"profileTypeID":"cpu","start":%d,"end":%d}`, start, end), connect.CodeInvalidArgument, "profile_typeID: profile type"},
		"unknown type":    {"SelectMergeStacktraces", fmt.Sprintf(`{"profileTypeID":"a:b:c:d:e","start":%d,"end":%d}`, start, end), connect.CodeNotFound, "there are only goroutine:"},
		"other's type":    {"SelectSeries", fmt.Sprintf(`{"profileTypeID":"secret:cpu:nanoseconds:cpu:nanoseconds","start":%d,"end":%d}`, start, end), connect.CodeNotFound, "there are only goroutine:"},
		"several types":   {"SelectSeries", fmt.Sprintf(`{"labelSelector":"{__name__=\"memory\"}","start":%d,"end":%d}`, start, end), connect.CodeInvalidArgument, "it selects several types"},
		"bad selector":    {"SelectMergeProfile", fmt.Sprintf(`{"profileTypeID":%q,"labelSelector":"{pod","start":%d,"end":%d}`, cpu, start, end), connect.CodeInvalidArgument, "label_selector: selector"},
		"bad regexp":      {"SelectSeries", fmt.Sprintf(`{"profileTypeID":%q,"labelSelector":"{pod=~\"(\"}","start":%d,"end":%d}`, cpu, start, end), connect.CodeInvalidArgument, "missing closing )"},
		"reversed":        {"SelectSeries", fmt.Sprintf(`{"profileTypeID":%q,"start":%d,"end":%d}`, cpu, end, start), connect.CodeInvalidArgument, "end: start must be before end"},
		"before time":     {"Series", `{"start":-1,"end":5}`, connect.CodeInvalidArgument, "start: -1: want milliseconds since 1970"},
		"after time":      {"Series", `{"start":1,"end":"9223372036854775807"}`, connect.CodeInvalidArgument, "end: 9223372036854775807"},
		"negative step":   {"SelectSeries", fmt.Sprintf(`{"profileTypeID":%q,"step":-1,"start":%d,"end":%d}`, cpu, start, end), connect.CodeInvalidArgument, "step"},
		"step of nothing": {"SelectSeries", fmt.Sprintf(`{"profileTypeID":%q,"step":"NaN","start":%d,"end":%d}`, cpu, start, end), connect.CodeInvalidArgument, "step"},
		"tiny step":       {"SelectSeries", fmt.Sprintf(`{"profileTypeID":%q,"step":0.001,"start":1,"end":%d}`, cpu, end), connect.CodeInvalidArgument, "at most 11000 are allowed"},
		"tree":            {"SelectMergeStacktraces", fmt.Sprintf(`{"profileTypeID":%q,"format":"PROFILE_FORMAT_TREE","start":%d,"end":%d}`, cpu, start, end), connect.CodeInvalidArgument, "want a flame graph or dot"},
		"IDs":             {"SelectMergeStacktraces", fmt.Sprintf(`{"profileTypeID":%q,"profileIdSelector":["x"],"start":%d,"end":%d}`, cpu, start, end), connect.CodeInvalidArgument, "profiles have no IDs"},
		"half a diff":     {"Diff", `{}`, connect.CodeInvalidArgument, "left: "},
		"two units":       {"Diff", fmt.Sprintf(`{"left":{"profileTypeID":%q,"start":%d,"end":%d},"right":{"profileTypeID":%q,"start":%d,"end":%d}}`, cpu, start, end, heap, start, end), connect.CodeInvalidArgument, "cannot be compared"},
		"no span":         {"SelectMergeSpanProfile", fmt.Sprintf(`{"profileTypeID":%q,"start":%d,"end":%d}`, cpu, start, end), connect.CodeInvalidArgument, "span_selector"},
		"no label":        {"LabelValues", `{}`, connect.CodeInvalidArgument, "name: it must be given"},
		"many matchers":   {"LabelNames", `{"matchers":[` + strings.TrimSuffix(strings.Repeat(`"{}",`, 100), ",") + `]}`, connect.CodeInvalidArgument, "at most 16"},
		"garbage":         {"LabelNames", `{"matchers":`, connect.CodeInvalidArgument, ""},
		"bad analysis":    {"AnalyzeQuery", `{"query":"{"}`, connect.CodeInvalidArgument, "label_selector"},
		"too large":       {"LabelNames", `{"matchers":["` + strings.Repeat("x", 2<<20) + `"]}`, connect.CodeResourceExhausted, ""},
		"not there":       {"SelectHeatmap", `{}`, connect.CodeUnimplemented, ""},
	} {
		status, body := h.Do(t, http.MethodPost, prefix+c.procedure, c.body, "Content-Type", "application/json")
		if status == http.StatusNotFound && c.code == connect.CodeUnimplemented {
			continue // clients take it for that
		}
		var told struct{ Code, Message string }
		if err := json.Unmarshal([]byte(body), &told); err != nil || told.Code != c.code.String() || !strings.Contains(told.Message, c.says) {
			t.Errorf("%s: %d %s, want %s with %q", name, status, body, c.code, c.says)
		}
		if name != "other's type" && strings.Contains(body, apitest.Secret) {
			t.Errorf("%s tells of another tenant: %s", name, body)
		}
	}
	for path, says := range map[string]string{
		"/pyroscope/render": "query: it must be given", "/pyroscope/render?query=" + cpu + "%7B": "label_selector", "/pyroscope/render?query=" + cpu + "&from=yesterday": "from: time",
		"/pyroscope/render?query=" + cpu + "&max-nodes=many": "max-nodes", "/pyroscope/render?query=" + cpu + "&format=png": "want json or dot",
		"/pyroscope/render?query=" + cpu + "&from=now&until=now-1h": "start must be before end", "/pyroscope/render-diff?leftQuery=" + cpu: "rightQuery: it must be given",
		"/pyroscope/label-values": "label: it must be given",
	} {
		if status, body := h.Get(t, path); status != http.StatusBadRequest || !strings.Contains(body, says) {
			t.Errorf("%s: %d %s, want %q", path, status, body, says)
		}
	}
	for _, procedure := range []string{"ProfileTypes", "LabelNames", "Series", "GetProfileStats"} {
		if status, body := h.Do(t, http.MethodPost, prefix+procedure, "{}", "Content-Type", "application/json"); status != http.StatusOK || strings.Contains(body, apitest.Secret) {
			t.Errorf("%s: %d %s", procedure, status, body)
		}
		if status, body := h.Do(t, http.MethodPost, prefix+procedure, "{}", "Content-Type", "application/json", "X-Scope-OrgID", "../x"); status != http.StatusBadRequest || !strings.Contains(body, "X-Scope-OrgID") {
			t.Errorf("%s of no tenant: %d %s", procedure, status, body)
		}
	}
}

// go tool pprof reads from our URL, compares two of them, and draws.
func TestGoToolPprof(t *testing.T) {
	h := open(t)
	url := func(from, to time.Time, selector string) string {
		return fmt.Sprintf("%s/api/v1/pprof?type=process_cpu&query=%s&from=%d&to=%d", h.URL, selector, from.Unix(), to.Unix())
	}
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", append([]string{"tool", "pprof", "-symbolize=none"}, args...)...)
		cmd.Env = append(os.Environ(), "PPROF_TMPDIR="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go tool pprof %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	half := h.Start.Add(apitest.Rounds / 2 * apitest.Every)
	if out := run("-top", "-sample_index=cpu", "-unit=ms", url(h.Start, h.End, "%7B%7D")); !strings.Contains(out, "main.render") || !strings.Contains(out, "main.parse") {
		t.Errorf("-top: %s", out)
	}
	if out := run("-dot", url(h.Start, h.End, "%7B%7D")); !strings.Contains(out, "digraph") || !strings.Contains(out, "main.serve") {
		t.Errorf("-dot: %s", out)
	}
	// The later half has more of main.page, and of nothing else: its stacks alone grow.
	out := run("-top", "-sample_index=cpu", "-unit=ns", "-diff_base", url(h.Start, half, "%7B%7D"), url(half, h.End, "%7B%7D"))
	_, a := apitest.Paths(apitest.Between(h.CPU, h.Start, half), "cpu")
	_, b := apitest.Paths(apitest.Between(h.CPU, half, h.End), "cpu")
	if want := fmt.Sprintf("%dns", b[""]-a[""]); !strings.Contains(out, want) || !strings.Contains(out, "main.render") {
		t.Errorf("-diff_base has no %s: %s", want, out)
	}
}

// go build takes a profile that was fetched from us, in our form and in Pyroscope's for PGO.
func TestGoBuildPGO(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the runtime anew, with a profile")
	}
	h := open(t)
	dir := t.TempDir()
	program := "package main\n\nfunc main() { serve() }\n\n//go:noinline\nfunc serve() { println(parse(3)) }\n\nfunc parse(n int) int {\n\tif n == 0 {\n\t\treturn 1\n\t}\n\treturn n * parse(n-1)\n}\n"
	for name, text := range map[string]string{"go.mod": "module app\n\ngo 1.24\n", "main.go": program} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	status, ours := h.Get(t, fmt.Sprintf("/api/v1/pprof?type=process_cpu&from=%d&to=%d", h.Start.Unix(), h.End.Unix()))
	if status != http.StatusOK {
		t.Fatal(ours)
	}
	m := must[querierv1.SelectMergeProfileRequest, googlev1.Profile](t, h, "SelectMergeProfile", &querierv1.SelectMergeProfileRequest{
		ProfileTypeID: cpu, LabelSelector: "{}", Start: h.Start.UnixMilli(), End: h.End.UnixMilli(),
		StackTraceSelector: &typesv1.StackTraceSelector{GoPgo: &typesv1.GoPGO{KeepLocations: 5, AggregateCallees: true}},
	})
	theirs, err := m.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string][]byte{"ours.pgo": []byte(ours), "theirs.pgo": theirs} {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	run("build", "-pgo=ours.pgo", "-o", "app", ".")
	if out := run("version", "-m", "app"); !strings.Contains(out, "-pgo=") {
		t.Errorf("the binary does not say that it was built with a profile:\n%s", out)
	}
	// The compiler's own reader of profiles finds the calls in the other.
	run("tool", "preprofile", "-i", "theirs.pgo", "-o", "calls")
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil || !strings.Contains(string(calls), "main.serve\nmain.parse\n") {
		t.Errorf("calls: %v\n%s", err, calls)
	}
}

package query

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
)

// named is a profile in which everything has a name of its own; samples may have a label.
func named(t *testing.T, at time.Time, name string, sampleLabel map[string][]string, labels ...string) sent {
	t.Helper()
	p := &pprof.Profile{
		SampleType:    []*pprof.ValueType{{Type: name + "_samples", Unit: "count"}},
		PeriodType:    &pprof.ValueType{Type: name + "_period", Unit: "count"},
		TimeNanos:     at.UnixNano(),
		DurationNanos: 1e9,
		Comments:      []string{name + "_comment"},
		Mapping:       []*pprof.Mapping{{ID: 1, Start: 1, Limit: 9, File: "/bin/" + name}},
		Function:      []*pprof.Function{{ID: 1, Name: name + "_function", Filename: name + ".go"}},
	}
	p.Location = []*pprof.Location{{ID: 1, Mapping: p.Mapping[0], Address: 2, Line: []pprof.Line{{Function: p.Function[0], Line: 1}}}}
	p.Sample = []*pprof.Sample{{Location: p.Location, Value: []int64{5}, Label: sampleLabel}}
	return sent{name, mustLabels(labels...), at, write(t, p)}
}

// A token with a selector learns nothing of series that it may not see: not from answers, lists,
// plans and statistics, and not from what is said about a wrong question.
func TestRestrictedTokensLearnNothing(t *testing.T) {
	const secret = "secret"
	h := newHouse()
	mine := []sent{
		named(t, start, "mine", nil, "service_name", "api", "env", "prod"),
		named(t, start.Add(time.Second), "mine", nil, "service_name", "api", "env", "prod"),
	}
	theirs := []sent{
		named(t, start, secret, nil, "service_name", secret, "env", "test", secret+"_label", secret),
		// A label of samples opens no door: the series has none.
		named(t, start, secret, map[string][]string{"env": {"prod"}}, "service_name", secret, secret+"_label", secret),
	}
	h.putArrow(t, append(mine[:1:1], theirs...)...)
	h.putL0(t, append(mine[1:2:2], theirs[0], named(t, start.Add(2*time.Second), secret, map[string][]string{"env": {"prod"}}, "service_name", secret))...)
	selector, err := profile.ParseSelector(`{env="prod"}`)
	if err != nil {
		t.Fatal(err)
	}
	w := shareAll(h, 2)
	access := &serve.Access{Name: "half", Tenant: profile.DefaultTenant, Rights: []serve.Right{serve.Read}, Matchers: selector.Matchers}
	ask := func(path string, access *serve.Access) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		if access != nil {
			r = r.WithContext(serve.WithAccess(r.Context(), access))
		}
		rec := httptest.NewRecorder()
		h.q.Handler().ServeHTTP(rec, r)
		return rec
	}
	trees, others := []string{"pprof", "flamegraph", "top", "series", "debuginfo/missing"}, []string{"types", "labels", "label/service_name/values", "label/secret_label/values", "label/env/values"}
	for _, c := range []struct {
		routes []string
		params string
		status int
		says   string // beside the first route
	}{
		{trees, "", 200, ""},
		{trees, "&type=mine", 200, ""},
		{trees, "&type=secret", 404, "there are only mine:"},
		{trees, "&type=nothing", 404, "there are only mine:"},
		{trees, "&type=secret&query={service_name=%22nobody%22}", 404, "there are only mine:"},
		{trees, "&type=mine&query={service_name=%22secret%22}", 200, ""},
		{trees, "&query={service_name=%22secret%22}", 200, ""},
		{trees, "&query={env=~%22.*%22}", 200, ""},
		{trees, "&query={env!=%22prod%22}", 200, ""},
		{trees, "&query={env=%22test%22}", 200, ""},
		{trees, "&query={secret_label=~%22.%2B%22}", 200, ""},
		{trees[:4], "&filter=function*=e", 200, ""},
		{trees, "&explain=1", 200, ""},
		{trees[1:3], "&group_by=service_name,secret_label,env", 200, ""},
		{trees[1:3], "&base_query={env=%22test%22}", 200, ""},
		{trees[1:3], "&base_query=secret{}", 404, "there are only mine:"},
		{[]string{"series"}, "&by=service_name,secret_label,env", 200, ""},
		{others, "", 200, ""},
		{others, "&type=secret", 200, ""},
		{others, "&query={env=%22test%22}", 200, ""},
		{[]string{"blocks"}, "", 403, "token"},
		{[]string{"label/secret", ""}, "", 404, "there is no"},
		{append(trees, others...), "&query={env", 400, "selector"},
	} {
		for _, route := range c.routes {
			path := "/api/v1/" + route + "?" + during[1:] + c.params
			rec := ask(path, access)
			answer := rec.Body.String()
			if p, err := pprof.ParseData(rec.Body.Bytes()); err == nil {
				answer = p.String()
			}
			for name, values := range rec.Header() {
				answer += name + strings.Join(values, " ")
			}
			asked := strings.NewReplacer(`"secret"`, "", `type \"secret\"`, "", "secret{}", "", "/api/v1/label/secret", "", `"name":"secret_label"`, "").Replace(answer)
			if rec.Code != c.status || !strings.Contains(answer, c.says) {
				t.Errorf("%s: %d %s, want %d and %q", path, rec.Code, answer, c.status, c.says)
			}
			if strings.Contains(asked, secret) {
				t.Errorf("%s tells of others: %s", path, answer)
			}
		}
	}
	// The rest is there, for who may see it.
	if rec := ask("/api/v1/types?"+during[1:], nil); !strings.Contains(rec.Body.String(), secret) {
		t.Errorf("types of all: %s", rec.Body)
	}
	if rec := ask("/api/v1/series?type=mine"+during, access); !strings.Contains(rec.Body.String(), `,10]`) && !strings.Contains(rec.Body.String(), `,5]`) {
		t.Errorf("one's own series: %s", rec.Body)
	}
	if w.asked == 0 {
		t.Error("no part was shared")
	}
}

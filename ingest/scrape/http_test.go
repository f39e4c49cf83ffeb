package scrape

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect"

	scrapev1 "github.com/coldframe/coldframe/api/parca/scrape/v1alpha1"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
)

// What is scraped is shown in our words and in Parca's, to those who may read it.
func TestRoutes(t *testing.T) {
	fine := program(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.RawQuery, "bad") {
			http.Error(w, "no", http.StatusTeapot)
			return
		}
		fmt.Fprint(w, "x")
	})
	s := start(t, &counting{}, Settings{Tenant: "team"}, parse(t, `scrape_configs:
  - {job_name: good, static_configs: [{targets: [%q], labels: {env: prod}}, {targets: [gone]}], relabel_configs: [{source_labels: [__address__], regex: gone, action: drop}], %s}
  - {job_name: bad, params: {bad: ["1"]}, static_configs: [{targets: [%q]}], %s}`, fine, only, fine, only))
	until(t, "both are scraped", func() bool {
		scraped := 0
		for _, st := range s.Targets() {
			if st.Health != Unknown {
				scraped++
			}
		}
		return scraped == 2
	})
	mux := http.NewServeMux()
	s.Routes(mux.Handle)
	var access *serve.Access
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if access != nil {
			r = r.WithContext(serve.WithAccess(r.Context(), access))
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	fetch := func(path, tenant string, into any) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(serve.TenantHeader, tenant)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}

	type ours struct{ Targets []targetJSON }
	var got ours
	fetch("/api/v1/targets", "team", &got)
	text := ""
	for _, st := range got.Targets {
		text += fmt.Sprintf("%s %s %s %s %t %t\n", st.Job, st.State, st.Health, st.Labels["env"], st.Err != "", st.Last != nil && st.Duration != nil)
	}
	if want := "bad active down  true true\ngood active up prod false true\ngood dropped unknown  false false\n"; text != want {
		t.Errorf("got\n%swant\n%s", text, want)
	}
	var none ours
	if fetch("/api/v1/targets", "another", &none); len(none.Targets) != 0 {
		t.Errorf("another tenant sees %v", none.Targets)
	}

	var parca struct {
		Targets map[string]struct {
			Targets []struct{ URL, Health, LastError, LastScrape string }
		}
	}
	fetch("/api/targets?state=STATE_ACTIVE", "team", &parca)
	if len(parca.Targets) != 2 || len(parca.Targets["good"].Targets) != 1 || parca.Targets["good"].Targets[0].Health != "HEALTH_GOOD" ||
		parca.Targets["bad"].Targets[0].Health != "HEALTH_BAD" || !strings.Contains(parca.Targets["bad"].Targets[0].LastError, "418") || parca.Targets["bad"].Targets[0].LastScrape == "" {
		t.Errorf("got %+v", parca)
	}
	client := scrapev1.NewScrapeServiceClient(http.DefaultClient, server.URL, connect.WithGRPCWeb())
	ctx, call := connect.NewClientContext(context.WithoutCancel(t.Context()))
	call.RequestHeader().Set(serve.TenantHeader, "team")
	res, err := client.Targets(ctx, &scrapev1.TargetsRequest{State: scrapev1.TargetsRequest_STATE_DROPPED})
	if err != nil || len(res.GetTargets()) != 1 || len(res.GetTargets()["good"].GetTargets()) != 1 {
		t.Errorf("%v, %v", res, err)
	}

	sel, err := profile.ParseSelector(`{env="prod"}`)
	if err != nil {
		t.Fatal(err)
	}
	access = &serve.Access{Name: "n", Tenant: "team", Rights: []serve.Right{serve.Read}, Matchers: sel.Matchers}
	var some ours
	if fetch("/api/v1/targets", "", &some); len(some.Targets) != 1 || some.Targets[0].Job != "good" {
		t.Errorf("a token for env=prod sees %+v", some)
	}
	access = &serve.Access{Name: "n", Tenant: "team", Rights: []serve.Right{serve.Write}}
	if status := fetch("/api/v1/targets", "", &some); status != http.StatusForbidden {
		t.Errorf("a token that may not read: %d", status)
	}
}

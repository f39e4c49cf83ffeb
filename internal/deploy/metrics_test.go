package deploy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"gopkg.in/yaml.v3"
)

// composed are the metrics whose names the code puts together: in which file, by what the part is
// found that differs, and what stands around it.
var composed = []struct{ file, part, before, after string }{
	{"agentmetrics_linux.go", `\tcounter\("([a-z_]+)", .*agent\.Stats`, "coldframe_agent_", "_total"},
	{"agentmetrics_linux.go", `\tgauge\("([a-z_]+)", .*agent\.Stats`, "coldframe_agent_", ""},
	{"agentmetrics_linux.go", `:= counter\("([a-z_]+)"`, "coldframe_agent_remote_", "_total"},
	{"caches.go", `= cacheDesc\("([a-z_]+)"`, "coldframe_query_cache_", ""},
	{"upload.go", `(?m)^\t\t"([a-z_]+)": +\{"`, "coldframe_upload_", ""},
}

// metricsOfCode are the names of all metrics that coldframe has of its own.
func metricsOfCode(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, dir := range []string{"cmd/coldframe", "query", "serve", "ingest"} {
		for _, m := range regexp.MustCompile(`"(coldframe_[a-z0-9_]*[a-z0-9])"`).FindAllStringSubmatch(goSources(t, dir), -1) {
			all[m[1]] = true
		}
	}
	for _, c := range composed {
		parts := regexp.MustCompile(c.part).FindAllStringSubmatch(read(t, "cmd/coldframe/"+c.file), -1)
		if len(parts) == 0 {
			t.Errorf("%s: no metric of %s…%s is found any longer", c.file, c.before, c.after)
		}
		for _, m := range parts {
			all[c.before+m[1]+c.after] = true
		}
	}
	return all
}

// expressions are those of the dashboards and the alerts, by where they are.
func expressions(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	dashboards, err := filepath.Glob(filepath.Join(root, "infra/observability/*.json"))
	if err != nil || len(dashboards) < 5 {
		t.Fatal(dashboards, err)
	}
	uids := map[string]bool{}
	for _, file := range dashboards {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var dashboard struct {
			UID    string
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(text, &dashboard); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if dashboard.UID == "" || uids[dashboard.UID] {
			t.Errorf("%s: uid %q is none, or another dashboard's", file, dashboard.UID)
		}
		uids[dashboard.UID] = true
		for _, p := range dashboard.Panels {
			where := filepath.Base(file) + ": " + p.Title
			for _, target := range p.Targets {
				all[where] = append(all[where], target.Expr)
			}
		}
	}
	var alerts struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "infra/observability/alerts.yaml")), &alerts); err != nil {
		t.Fatal(err)
	}
	for _, g := range alerts.Groups {
		for _, r := range g.Rules {
			all["alerts.yaml: "+r.Alert] = []string{r.Expr}
		}
	}
	return all
}

// The dashboards and the alerts ask for metrics that exist, in expressions that are PromQL, and
// every metric that exists is on one of them.
func TestDashboardsAndAlerts(t *testing.T) {
	existing, shown := metricsOfCode(t), map[string]bool{}
	for where, exprs := range expressions(t) {
		for _, expr := range exprs {
			if _, err := parser.NewParser(parser.Options{}).ParseExpr(expr); err != nil {
				t.Errorf("%s: %s: %v", where, expr, err)
			}
			for _, name := range regexp.MustCompile(`coldframe_[a-z0-9_]+`).FindAllString(expr, -1) {
				plain := strings.TrimSuffix(name, "_bucket")
				shown[plain] = true
				if !existing[plain] {
					t.Errorf("%s: there is no metric %s", where, name)
				}
			}
		}
	}
	for name := range existing {
		if !shown[name] {
			t.Errorf("%s is on no dashboard and in no alert", name)
		}
	}
}

package scrape

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"

	"github.com/coldframe/coldframe/profile"
)

// What relabelling sees and what comes of it, for one endpoint of one address.
func TestTargets(t *testing.T) {
	only := `profiling_config: {pprof_config: {memory: {path: /m}, block: {enabled: false}, mutex: {enabled: false}, goroutine: {enabled: false}, process_cpu: {enabled: false}}}`
	for _, c := range []struct {
		name, job string
		want      string // URL, labels, name; or why not
	}{
		{"defaults", ``, `http://a:80/m {instance="a:80", job="j", zone="z"} memory`},
		{"https", `scheme: https`, `https://a:443/m {instance="a:443", job="j", zone="z"} memory`},
		{"dropped", `relabel_configs: [{source_labels: [zone], regex: z, action: drop}]`, "dropped"},
		{"kept", `relabel_configs: [{source_labels: [__meta_x], regex: "1", action: keep}]`, `http://a:80/m {instance="a:80", job="j", zone="z"} memory`},
		{"meta labels are gone afterwards, __ labels are not stored", `relabel_configs: [{source_labels: [__meta_x], target_label: x}, {target_label: __tmp, replacement: y}]`, `http://a:80/m {instance="a:80", job="j", x="1", zone="z"} memory`},
		{"address, path, scheme and parameters", `relabel_configs: [{target_label: __address__, replacement: "b:9"}, {target_label: __profile_path__, replacement: "n"}, {target_label: __scheme__, replacement: https}, {target_label: __param_gc, replacement: "1"}]`, `https://b:9/n?gc=1 {instance="b:9", job="j", zone="z"} memory`},
		{"the name", `relabel_configs: [{target_label: __name__, replacement: heap}]`, `http://a:80/m {instance="a:80", job="j", zone="z"} heap`},
		{"params", `params: {debug: ["0"], gc: ["1", "2"]}`, `http://a:80/m?debug=0&gc=1&gc=2 {instance="a:80", job="j", zone="z"} memory`},
		{"a parameter is visible and changed", `params: {gc: ["1"]}, relabel_configs: [{source_labels: [__param_gc], regex: "1", target_label: __param_gc, replacement: "0"}]`, `http://a:80/m?gc=0 {instance="a:80", job="j", zone="z"} memory`},
		{"job can be set", `relabel_configs: [{target_label: job, replacement: k}, {target_label: instance, replacement: i}]`, `http://a:80/m {instance="i", job="k", zone="z"} memory`},
		{"hashmod", `relabel_configs: [{source_labels: [__address__], modulus: 1, target_label: __shard, action: hashmod}, {source_labels: [__shard], regex: "0", action: keep}]`, `http://a:80/m {instance="a:80", job="j", zone="z"} memory`},
		{"labelmap", `relabel_configs: [{regex: "__meta_(.+)", action: labelmap}]`, `http://a:80/m {instance="a:80", job="j", x="1", zone="z"} memory`},
		{"no address left", `relabel_configs: [{target_label: __address__, replacement: ""}]`, `no address`},
		{"an address with a path", `relabel_configs: [{target_label: __address__, replacement: "http://a/x"}]`, `"http://a/x" is not a valid hostname`},
		{"a scheme that is none", `relabel_configs: [{target_label: __scheme__, replacement: ftp}]`, `invalid scheme: "ftp"`},
		{"no name left", `relabel_configs: [{action: labeldrop, regex: __name__}]`, `cannot be a profile's name`},
	} {
		t.Run(c.name, func(t *testing.T) {
			extra := c.job
			if extra != "" {
				extra = ", " + extra
			}
			config := parse(t, "scrape_configs: [{job_name: j, %s%s}]", only, extra)
			group := &targetgroup.Group{
				Targets: []model.LabelSet{{"__address__": "a", "__meta_x": "1"}},
				Labels:  model.LabelSet{"zone": "z"},
			}
			all := config.Jobs[0].targets([]*targetgroup.Group{group, nil}, nil)
			if len(all) != 1 {
				t.Fatalf("%d targets", len(all))
			}
			got := all[0]
			var is string
			switch {
			case got.dropped:
				is = "dropped"
			case got.err != nil:
				is = got.err.Error()
			default:
				is = fmt.Sprintf("%s %s %s", got.status().URL, got.labels, got.name)
			}
			if is != c.want && (got.err == nil || !strings.Contains(is, c.want)) {
				t.Errorf("got  %s\nwant %s", is, c.want)
			}
			if got.discovered.Get("__meta_x") != "1" || got.discovered.Get("__profile_path__") != "/m" || got.discovered.Get("__name__") != "memory" {
				t.Errorf("before relabelling: %s", got.discovered)
			}
		})
	}
}

// External labels go where there is none of that name.
func TestExternalLabels(t *testing.T) {
	c := parse(t, "{external_labels: {region: eu, job: not}, scrape_configs: [{job_name: j, static_configs: [{targets: [a], labels: {region: us}}, {targets: [b]}]}]}")
	job := &c.Jobs[0]
	got := map[string]int{}
	for _, target := range job.targets(job.static(), c.External) {
		got[target.labels.String()]++
	}
	if len(got) != 2 || got[`{instance="a:80", job="j", region="us"}`] != 5 || got[`{instance="b:80", job="j", region="eu"}`] != 5 {
		t.Errorf("got %v", got)
	}
}

// No target's request changes another's: Parca shares one map among all of them.
func TestParametersAreNotShared(t *testing.T) {
	c := parse(t, `scrape_configs: [{job_name: j, params: {foo: [bar]}, static_configs: [{targets: [a, b]}]}]`)
	job := &c.Jobs[0]
	all := job.targets(job.static(), nil)
	for _, target := range all {
		target.query.Set("seconds", "10")
		target.query["foo"][0] = "x"
	}
	again := job.targets(job.static(), nil)
	for _, target := range again {
		if got := target.query.Encode(); got != "foo=bar" {
			t.Errorf("%s: query %q", target.name, got)
		}
	}
	if job.Params.Encode() != (url.Values{"foo": {"bar"}}).Encode() {
		t.Errorf("the job's parameters became %v", job.Params)
	}
}

// Labels that cannot be a series' are an error of that target alone.
func TestLabelsOverTheLimit(t *testing.T) {
	c := parse(t, "scrape_configs: [{job_name: j}]")
	group := &targetgroup.Group{Targets: []model.LabelSet{{"__address__": "a", "x": model.LabelValue(strings.Repeat("v", 20<<10))}, {"__address__": "b", "x": "\xff"}}}
	for _, target := range c.Jobs[0].targets([]*targetgroup.Group{group}, profile.Labels{}) {
		if bad := target.discovered.Get("__address__") == "a"; bad != (target.err != nil) {
			t.Errorf("%s: %v", target.discovered.Get("__address__"), target.err)
		}
	}
}

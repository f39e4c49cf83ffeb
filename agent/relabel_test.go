package agent

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/coldframe/coldframe/profile"
)

func TestParseRelabel(t *testing.T) {
	known := map[string]string{"comm": "java", "systemd_unit": "api.service", "__meta_process_cmdline": "java -jar api.jar"}
	for name, c := range map[string]struct {
		rules string
		want  string // "" when it is dropped
	}{
		"nothing":           {"", `{comm="java", systemd_unit="api.service"}`},
		"no rules":          {"relabel_configs: []", `{comm="java", systemd_unit="api.service"}`},
		"from a hidden one": {`relabel_configs: [{source_labels: [__meta_process_cmdline], regex: '.* (\w+)\.jar', target_label: jar}]`, `{comm="java", jar="api", systemd_unit="api.service"}`},
		"drop":              {`relabel_configs: [{source_labels: [comm], regex: java, action: drop}]`, ""},
		"keep":              {`relabel_configs: [{source_labels: [comm], regex: go, action: keep}]`, ""},
		"regex is anchored": {`relabel_configs: [{source_labels: [comm], regex: jav, action: drop}]`, `{comm="java", systemd_unit="api.service"}`},
		"labelmap":          {`relabel_configs: [{regex: 'systemd_(.*)', action: labelmap}, {regex: systemd_unit, action: labeldrop}]`, `{comm="java", unit="api.service"}`},
		"hashmod":           {`relabel_configs: [{source_labels: [comm], modulus: 1, target_label: part, action: hashmod}]`, `{comm="java", part="0", systemd_unit="api.service"}`},
		"hidden result":     {`relabel_configs: [{target_label: __tmp, replacement: x}]`, `{comm="java", systemd_unit="api.service"}`},
		"too long a value":  {`relabel_configs: [{target_label: x, replacement: ` + strings.Repeat("x", 17<<10) + `}]`, `{comm="java", systemd_unit="api.service"}`},
	} {
		r, err := ParseRelabel("f", []byte(c.rules))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := ""
		ls, keep, err := r(maps.Clone(known))
		if keep {
			got = ls.String()
		}
		if failed := name == "too long a value"; failed != (err != nil) {
			t.Errorf("%s: error %v", name, err)
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
	for _, bad := range []string{
		"relabel_configs: [{action: nonsense}]", "relabel_config: []", "relabel_configs: [{regex: '('}]",
		"relabel_configs: [null]", "relabel_configs: [{source_labels: [a]}]", "[", "relabel_configs: [{action: hashmod, target_label: a}]",
	} {
		if _, err := ParseRelabel("agent.yaml", []byte(bad)); !errors.Is(err, profile.ErrInvalid) || !strings.Contains(err.Error(), "agent.yaml") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// Any file is an error or rules that make a label set of any labels.
func FuzzParseRelabel(f *testing.F) {
	f.Add([]byte("relabel_configs: [{source_labels: [comm], regex: '(.*)', target_label: x}]"))
	f.Add([]byte("relabel_configs: [{regex: 'c(.*)', action: labelmap, replacement: '${1}'}]"))
	known := map[string]string{"comm": "x", "__meta_process_pid": "1"}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := ParseRelabel("f", text)
		if err != nil {
			return
		}
		ls, _, _ := r(maps.Clone(known))
		if again, err := profile.NewLabels(ls...); err != nil || !again.Equal(ls) {
			t.Errorf("%v is no label set: %v", ls, err)
		}
		for _, l := range ls {
			if strings.HasPrefix(l.Name, "__") {
				t.Errorf("%s is shown", l.Name)
			}
		}
	})
}

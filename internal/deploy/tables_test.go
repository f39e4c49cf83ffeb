package deploy

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The READMEs tell what the modules need, make, take and give, in the format of terraform-docs' markdown tables.
func TestModuleTables(t *testing.T) {
	for _, cloud := range clouds {
		path := filepath.Join("terraform", cloud, "README.md")
		text := read(t, path)
		before, rest, ok := strings.Cut(text, "<!-- BEGIN_TF_DOCS -->\n")
		_, after, ok2 := strings.Cut(rest, "<!-- END_TF_DOCS -->")
		if !ok || !ok2 {
			t.Fatalf("%s has no place for tables", path)
		}
		want := before + "<!-- BEGIN_TF_DOCS -->\n" + tables(t, cloud) + "<!-- END_TF_DOCS -->" + after
		if *update {
			if err := os.WriteFile(filepath.Join(root, path), []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if text != want {
			t.Errorf("%s is not what the module says: go test ./internal/deploy -run TestModuleTables -update", path)
		}
	}
}

var (
	requiredPattern    = regexp.MustCompile(`(?m)^  required_version = "(.*)"$`)
	providerPattern    = regexp.MustCompile(`(?s)\n    (\w+) = \{\n      source  = "(\S+)"\n      version = "([^"]+)"`)
	resourcePattern    = regexp.MustCompile(`(?m)^(resource|data) "((\w+?)_\w+)" "(\w+)" \{$`)
	blockPattern       = regexp.MustCompile(`(?ms)^(variable|output) "(\w+)" \{\n(.*?)^\}`)
	descriptionPattern = regexp.MustCompile(`(?m)^  description = "(.*)"$`)
	typePattern        = regexp.MustCompile(`(?ms)^  type +\= (\w+\(\{.*?^  \}\)|[^\n]+)$`)
	defaultPattern     = regexp.MustCompile(`(?m)^  default +\= (.*)$`)
)

// tables are the sections of a module's README.
func tables(t *testing.T, cloud string) string {
	t.Helper()
	versions := read(t, filepath.Join("terraform", cloud, "versions.tf"))
	provider, terraform := providerPattern.FindStringSubmatch(versions), requiredPattern.FindStringSubmatch(versions)
	if provider == nil || terraform == nil {
		t.Fatalf("%s: versions.tf requires no provider, or no version of Terraform", cloud)
	}
	name, source, version := provider[1], provider[2], provider[3]
	row := "| <a name=\"%[1]s_%[2]s\"></a> [%[3]s](#%[1]s\\_%[3]s) | %[4]s |\n"
	line := func(kind, name, says string) string { return fmt.Sprintf(row, kind, name, escaped(name), says) }
	inputs, outputs := inputsAndOutputs(t, cloud, line)
	sections := []struct{ title, head, rows string }{
		{"Requirements", "| Name | Version |\n|------|---------|\n", line("requirement", "terraform", terraform[1]) + line("requirement", name, version)},
		{"Providers", "| Name | Version |\n|------|---------|\n", line("provider", name, version)},
		{"Modules", "", "No modules.\n"},
		{"Resources", "| Name | Type |\n|------|------|\n", resources(t, cloud, source)},
		{"Inputs", "| Name | Description | Type | Default | Required |\n|------|-------------|------|---------|:--------:|\n", inputs},
		{"Outputs", "| Name | Description |\n|------|-------------|\n", outputs},
	}
	var all []string
	for _, s := range sections {
		all = append(all, "## "+s.title+"\n\n"+s.head+s.rows)
	}
	return strings.Join(all, "\n")
}

func escaped(name string) string { return strings.ReplaceAll(name, "_", `\_`) }

// resources are what a module makes, and then what it asks for.
func resources(t *testing.T, cloud, source string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "terraform", cloud, "*.tf"))
	if err != nil {
		t.Fatal(err)
	}
	type resource struct{ mode, name, row string }
	var all []resource
	for _, file := range files {
		for _, m := range resourcePattern.FindAllStringSubmatch(read(t, filepath.Join("terraform", cloud, filepath.Base(file))), -1) {
			mode, typ, prefix, name := m[1], m[2], m[3], m[4]
			folder, says := "resources", "resource"
			if mode == "data" {
				folder, says = "data-sources", "data source"
			}
			row := fmt.Sprintf("| [%s.%s](https://registry.terraform.io/providers/%s/latest/docs/%s/%s) | %s |\n", typ, name, source, folder, strings.TrimPrefix(typ, prefix+"_"), says)
			all = append(all, resource{mode, typ + "." + name, row})
		}
	}
	slices.SortFunc(all, func(a, b resource) int { return cmp.Or(-cmp.Compare(a.mode, b.mode), cmp.Compare(a.name, b.name)) })
	var rows strings.Builder
	for _, r := range all {
		rows.WriteString(r.row)
	}
	return rows.String()
}

// inputsAndOutputs are a module's variables and outputs.
func inputsAndOutputs(t *testing.T, cloud string, line func(kind, name, says string) string) (inputs, outputs string) {
	t.Helper()
	rows := map[string][]string{}
	for _, file := range []string{"variables.tf", "outputs.tf"} {
		for _, b := range blockPattern.FindAllStringSubmatch(read(t, filepath.Join("terraform", cloud, file)), -1) {
			kind, name, body := b[1], b[2], b[3]
			description := descriptionPattern.FindStringSubmatch(body)
			if description == nil {
				t.Fatalf("%s: %s has no description", cloud, name)
			}
			says := strings.ReplaceAll(strings.ReplaceAll(description[1], `\"`, `"`), "|", `\|`)
			if kind == "output" {
				rows[kind] = append(rows[kind], line("output", name, says))
				continue
			}
			typ := typePattern.FindStringSubmatch(body)
			if typ == nil {
				t.Fatalf("%s: %s has no type", cloud, name)
			}
			form := "`" + typ[1] + "`"
			if strings.Contains(typ[1], "\n") {
				form = "<pre>" + strings.ReplaceAll(typ[1], "\n", "<br/>") + "</pre>"
			}
			def, required := "n/a", "yes"
			if d := defaultPattern.FindStringSubmatch(body); d != nil {
				def, required = "`"+d[1]+"`", "no"
			}
			rows[kind] = append(rows[kind], line("input", name, says+" | "+form+" | "+def+" | "+required))
		}
	}
	for _, r := range rows {
		slices.Sort(r)
	}
	return strings.Join(rows["variable"], ""), strings.Join(rows["output"], "")
}

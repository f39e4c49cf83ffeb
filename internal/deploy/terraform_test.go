package deploy

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
)

const root = "../.."

var update = flag.Bool("update", false, "write the tables of the modules' READMEs")

var clouds = []string{"aws", "gcp"}

// terraform runs Terraform. COLDFRAME_TERRAFORM names one that has providers of its own, so that
// no registry is asked; else it is the one in PATH, and init has to reach a registry.
type terraform struct {
	binary string
	init   bool
}

func findTerraform(t *testing.T) terraform {
	t.Helper()
	if testing.Short() {
		t.Skip("runs Terraform for a minute")
	}
	if binary := os.Getenv("COLDFRAME_TERRAFORM"); binary != "" {
		return terraform{binary, false}
	}
	binary, err := exec.LookPath("terraform")
	if err != nil {
		t.Skip("terraform is not in PATH, and COLDFRAME_TERRAFORM names none")
	}
	return terraform{binary, true}
}

// in makes a copy of a cloud's module, so that nothing is written into the repository, and
// prepares a folder of it.
func (tf terraform) in(t *testing.T, cloud, folder string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "terraform", cloud))); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, folder)
	if !tf.init {
		if _, err := os.Stat(filepath.Join(dir, "variables.tf")); err != nil {
			tf.must(t, dir, "get")
		}
		return dir
	}
	if out, err := tf.run(t, dir, "init", "-backend=false", "-input=false", "-no-color"); err != nil {
		t.Skip("terraform init reaches no registry: " + out)
	}
	return dir
}

func (tf terraform) run(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tf.binary, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "AWS_REGION=eu-central-1", "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (tf terraform) must(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := tf.run(t, dir, args...)
	if err != nil {
		t.Fatalf("terraform %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func TestTerraformFormat(t *testing.T) {
	tf := findTerraform(t)
	if out, err := tf.run(t, filepath.Join(root, "terraform"), "fmt", "-check", "-diff", "-recursive", "-no-color"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// needed are the variables without which modules and examples make no plan.
var needed = map[string][]string{
	"aws/.":                {"package_dir=tests/package"},
	"aws/examples/minimal": {"package_dir=../../tests/package"},
	"aws/examples/complete": {
		"package_dir=../../tests/package", "image=example.org/coldframe:1", "token_sha256=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		`network={vpc_id="vpc-1",subnet_ids=["subnet-1"],route_table_ids=["rtb-1"]}`,
	},
	"gcp/.":                 {"project=example", "image=example.org/coldframe:1"},
	"gcp/examples/minimal":  {"project=example", "image=example.org/coldframe:1"},
	"gcp/examples/complete": {"project=example", "image=example.org/coldframe:1"},
}

// Every module and example is valid and can be planned, and the modules' own tests pass: the rights
// are what they should be, and what is wrong is refused with a sentence.
func TestTerraformModules(t *testing.T) {
	tf := findTerraform(t)
	for _, cloud := range clouds {
		for _, folder := range []string{".", "examples/minimal", "examples/complete"} {
			t.Run(cloud+"/"+folder, func(t *testing.T) {
				dir := tf.in(t, cloud, folder)
				tf.must(t, dir, "validate", "-no-color")
				if tf.init {
					return // a plan asks the cloud who one is
				}
				args := []string{"plan", "-input=false", "-no-color"}
				for _, v := range needed[cloud+"/"+folder] {
					args = append(args, "-var="+v)
				}
				if out := tf.must(t, dir, args...); !regexp.MustCompile(`Plan: [1-9][0-9]* to add, 0 to change`).MatchString(out) {
					t.Errorf("nothing is planned:\n%s", out)
				}
			})
		}
		t.Run(cloud+"/test", func(t *testing.T) {
			if out := tf.must(t, tf.in(t, cloud, "."), "test", "-no-color"); !strings.Contains(out, " passed, 0 failed") {
				t.Errorf("no tests ran:\n%s", out)
			}
		})
	}
}

// planned is as much of a plan as the tests look at.
type planned struct {
	Values struct {
		Root struct {
			Resources []struct {
				Type   string          `json:"type"`
				Name   string          `json:"name"`
				Values json.RawMessage `json:"values"`
			} `json:"resources"`
		} `json:"root_module"`
		Outputs map[string]struct {
			Value json.RawMessage `json:"value"`
		} `json:"outputs"`
	} `json:"planned_values"`
}

func (tf terraform) plan(t *testing.T, cloud string, variables ...string) planned {
	t.Helper()
	if tf.init {
		t.Skip("a plan asks the cloud who one is")
	}
	dir := tf.in(t, cloud, ".")
	args := []string{"plan", "-out=plan", "-input=false", "-no-color"}
	for _, v := range variables {
		args = append(args, "-var="+v)
	}
	tf.must(t, dir, args...)
	text, err := exec.CommandContext(t.Context(), tf.binary, "-chdir="+dir, "show", "-json", "plan").Output()
	if err != nil {
		t.Fatal(err)
	}
	var p planned
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p planned) resource(t *testing.T, typ string, into any) {
	t.Helper()
	for _, r := range p.Values.Root.Resources {
		if r.Type == typ {
			if err := json.Unmarshal(r.Values, into); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("the plan has no %s", typ)
}

// The rules that Terraform gives a bucket are those that coldframe lifecycle print tells.
func TestLifecycleRules(t *testing.T) {
	tf := findTerraform(t)
	const day = 24 * time.Hour
	want := catalog.Lifecycle(catalog.Retentions{Raw: catalog.Retention(14 * day), Rollups: catalog.Retention(365 * day)})
	retention := []string{"retention_days=14", "rollup_retention_days=365"}

	t.Run("aws", func(t *testing.T) {
		var got struct {
			Rule []struct {
				Filter     []struct{ Prefix string }
				Expiration []struct{ Days int }
				Abort      []struct {
					Days int `json:"days_after_initiation"`
				} `json:"abort_incomplete_multipart_upload"`
			}
		}
		tf.plan(t, "aws", append(retention, "package_dir=tests/package")...).resource(t, "aws_s3_bucket_lifecycle_configuration", &got)
		rules, aborts := map[string]int{}, 0
		for _, r := range got.Rule {
			if len(r.Expiration) > 0 {
				rules[r.Filter[0].Prefix] = r.Expiration[0].Days
			} else {
				aborts += r.Abort[0].Days
			}
		}
		compareRules(t, rules, aborts, want)
	})
	t.Run("gcp", func(t *testing.T) {
		var got struct {
			Rule []struct {
				Action    []struct{ Type string }
				Condition []struct {
					Age    int
					Prefix []string `json:"matches_prefix"`
				}
			} `json:"lifecycle_rule"`
		}
		tf.plan(t, "gcp", append(retention, "project=example", "image=example.org/coldframe:1")...).resource(t, "google_storage_bucket", &got)
		rules, aborts := map[string]int{}, 0
		for _, r := range got.Rule {
			if r.Action[0].Type == "Delete" {
				rules[r.Condition[0].Prefix[0]] = r.Condition[0].Age
			} else {
				aborts += r.Condition[0].Age
			}
		}
		compareRules(t, rules, aborts, want)
	})
}

func compareRules(t *testing.T, got map[string]int, aborts int, want bucket.Lifecycle) {
	t.Helper()
	if len(got) != len(want.Rules) || aborts != int(want.AbortUploadsAfter/(24*time.Hour)) {
		t.Errorf("%d rules and %d days for uploads, want %d and %s", len(got), aborts, len(want.Rules), want.AbortUploadsAfter)
	}
	for _, r := range want.Rules {
		if got[r.Prefix] != r.Days() {
			t.Errorf("%s: %d days, want %d", r.Prefix, got[r.Prefix], r.Days())
		}
	}
}

// Alarms look at metrics that the functions tell.
func TestAlarmMetricsExist(t *testing.T) {
	alarms := read(t, "terraform/aws/alarms.tf")
	told := read(t, "cmd/coldframe-lambda/report.go")
	found := regexp.MustCompile(`namespace\s+= "coldframe", metric = "(\w+)"`).FindAllStringSubmatch(alarms, -1)
	if len(found) == 0 {
		t.Fatal("no alarm looks at a metric of coldframe's")
	}
	for _, m := range found {
		if !regexp.MustCompile(`(?m)^\t"` + m[1] + `":\s+"`).MatchString(told) {
			t.Errorf("no function tells %s", m[1])
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

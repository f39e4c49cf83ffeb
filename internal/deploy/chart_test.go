package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

const chart = "infra/helm/coldframe"

// tool is a program that internal/deploy/install.sh has installed.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, ".bin", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		const how = "%v: make test-tools"
		if os.Getenv("CI") != "" {
			t.Fatalf(how, err)
		}
		t.Skipf(how, err)
	}
	return path
}

func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool(t, "helm"), args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, stderr.String())
	}
	return string(out), nil
}

func template(t *testing.T, values string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	return helm(t, "template", "try", filepath.Join(root, chart), "--namespace", "profiling", "--values", file)
}

// Whatever values are set, the chart's objects are what Kubernetes takes, and give no container more than it needs.
func TestChart(t *testing.T) {
	schemas := kubernetesSchemas(t)
	for name, values := range map[string]string{
		"minimal": `bucket: {existingSecret: bucket}`,
		"everything": `
image: {repository: registry.example/coldframe, tag: v1.2.3}
imagePullSecrets: [{name: registry}]
bucket: {config: {type: S3, config: {bucket: profiles, endpoint: s3.example}, prefix: a}}
access: {tokensSecret: tokens, limits: {default: {profiles_per_second: 100}}}
networkPolicy: {enabled: true, from: [{namespaceSelector: {matchLabels: {team: a}}}], fromAddresses: true}
agent: {bucketSecret: agents, shards: 4, extraArgs: [--off-cpu-threshold=0.1], extraEnv: [{name: A, value: b}], priorityClassName: high, config: {relabel_configs: [{action: keep, source_labels: [comm], regex: x}]}}
query:
  replicas: 3
  clusterKeySecret: gossip
  ingress: {enabled: true, className: nginx, host: profiles.example, tlsSecret: tls}
  service: {type: LoadBalancer, port: 80}
  affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: zone}}]}}
compact: {replicas: 2, delete: true, serviceAccount: {annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::1:role/x"}}}
podMonitor: {enabled: true, interval: 15s, labels: {release: prometheus}}
ingest:
  discovery: true
  spool: {persistent: true, size: 10Gi, storageClass: fast}
  ingress: {enabled: true, host: push.example}
  config: {scrape_configs: [{job_name: a, static_configs: [{targets: ["a:1"]}]}]}
`,
		"pushes alone":    `{bucket: {config: {type: GCS, config: {bucket: profiles}}}, agent: {enabled: false}, query: {enabled: false}, compact: {enabled: false}, ingest: {replicas: 3}}`,
		"agents alone":    `{agent: {bucketSecret: x, kubernetes: false, serviceAccount: {create: false, name: mine}}, query: {enabled: false}, compact: {enabled: false}, ingest: {enabled: false}}`,
		"one query alone": `{bucket: {existingSecret: x}, access: {tokensSecret: tokens}, networkPolicy: {enabled: true}, agent: {enabled: false}, query: {replicas: 1}, compact: {enabled: false}, ingest: {enabled: false}}`,
	} {
		t.Run(name, func(t *testing.T) {
			text, err := template(t, values)
			if err != nil {
				t.Fatal(err)
			}
			for _, object := range objectsOf(t, name, text) {
				checkWorkload(t, name, object)
			}
			conform(t, schemas, text)
		})
	}
	if out, err := helm(t, "lint", "--strict", "--set", "bucket.existingSecret=x", filepath.Join(root, chart)); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// What cannot work is refused, with what to do.
func TestChartRefuses(t *testing.T) {
	for values, says := range map[string]string{
		`{}`: "has no bucket: set bucket.config, bucket.existingSecret or",
		`{bucket: {existingSecret: x}, access: {tokensSecret: tokens}}`:                                   "set query.clusterKeySecret, or query.replicas to 1",
		`{bucket: {existingSecret: x}, ingest: {replicas: 2, config: {scrape_configs: [{job_name: a}]}}}`: "each replica scrapes every target",
		`{bucket: {existingSecret: x}, query: {ingress: {enabled: true}}}`:                                "query.ingress.host is wanted",
		`{bucket: {existingSecret: x}, querry: {}}`:                                                       "querry",
		`{bucket: {existingSecret: x}, query: {replicas: 0}}`:                                             "minimum",
		`{bucket: {existingSecret: x}, tenant: "../x"}`:                                                   "tenant",
		`{bucket: {config: {type: FILESYSTEM, config: {directory: /data}}}}`:                              "bucket/config/type",
		`{bucket: {existingSecret: x}, compact: {extraArgs: ["delete"]}}`:                                 "extraArgs",
		`{bucket: {existingSecret: x}, ingest: {spool: {size: much}}}`:                                    "spool/size",
		`{bucket: {existingSecret: x}, networkPolicy: {enabled: yes please}}`:                             "networkPolicy/enabled",
		`{bucket: {existingSecret: x}, agent: {serviceAccount: {annotation: {}}}}`:                        "annotation",
	} {
		if _, err := template(t, values); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", values, err, says)
		}
	}
}

// The chart and the plain manifests give roles the same rights and ports.
func TestChartIsTheManifests(t *testing.T) {
	text, err := template(t, `bucket: {existingSecret: bucket}`)
	if err != nil {
		t.Fatal(err)
	}
	charted := containers(objectsOf(t, chart, text))
	files, err := filepath.Glob(filepath.Join(root, "infra/kubernetes/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for role, plain := range containers(objectsOf(t, file, string(text))) {
			compared++
			c := charted[role]
			c.SecurityContext.RunAsGroup = nil
			if !reflect.DeepEqual(c.SecurityContext, plain.SecurityContext) {
				t.Errorf("%s: the chart gives %+v, the manifest %+v", role, c.SecurityContext, plain.SecurityContext)
			}
			if !reflect.DeepEqual(c.Ports, plain.Ports) || !reflect.DeepEqual(c.Resources, plain.Resources) {
				t.Errorf("%s: the chart has %+v %+v, the manifest %+v %+v", role, c.Ports, c.Resources, plain.Ports, plain.Resources)
			}
		}
	}
	if compared != 4 || len(charted) != 4 {
		t.Errorf("%d roles of %d compared, want 4", compared, len(charted))
	}
}

// containers are those of workloads, by name, which is the role.
func containers(objects []any) map[string]corev1.Container {
	all := map[string]corev1.Container{}
	for _, object := range objects {
		var pod corev1.PodTemplateSpec
		switch w := object.(type) {
		case *appsv1.DaemonSet:
			pod = w.Spec.Template
		case *appsv1.Deployment:
			pod = w.Spec.Template
		case *appsv1.StatefulSet:
			pod = w.Spec.Template
		}
		for _, c := range pod.Spec.Containers {
			all[c.Name] = c
		}
	}
	return all
}

// The plain manifests conform too.
func TestManifestsConform(t *testing.T) {
	schemas := kubernetesSchemas(t)
	files, err := filepath.Glob(filepath.Join(root, "infra/kubernetes/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		conform(t, schemas, string(text))
	}
	if err := conforms(t, schemas, "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {port: 1}\n"); err == nil {
		t.Error("a field that does not exist is not noticed")
	}
	const monitor = "apiVersion: monitoring.coreos.com/v1\nkind: PodMonitor\nmetadata: {name: x}\nspec: {selector: {}, podMetricsEndpoints: [{port: http, %s: 30s}]}\n"
	if err := conforms(t, schemas, fmt.Sprintf(monitor, "interval")); err != nil {
		t.Error(err)
	}
	if err := conforms(t, schemas, fmt.Sprintf(monitor, "every")); err == nil {
		t.Error("a field that a custom resource does not have is not noticed")
	}
	if err := conforms(t, schemas, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: 1}\n"); err == nil {
		t.Error("a field that is missing is not noticed")
	}
}

func conform(t *testing.T, schemas, text string) {
	t.Helper()
	if err := conforms(t, schemas, text); err != nil {
		t.Error(err)
	}
}

func conforms(t *testing.T, schemas, text string) error {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool(t, "kubeconform"), "-strict", "-schema-location", schemas+"/{{.ResourceKind}}{{.KindSuffix}}.json", "-")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kubeconform: %w\n%s", err, out)
	}
	return nil
}

// kubernetesSchemas makes JSON Schemas of the OpenAPI documents of Kubernetes 1.30, the oldest that the chart
// takes, in a folder: a file a kind, in which an object has no field that its type does not have.
func kubernetesSchemas(t *testing.T) string {
	t.Helper()
	builtins := filepath.Join(downloaded(t, "sigs.k8s.io/kubectl-validate@v0.0.4"), "pkg/openapiclient/builtins/1.30")
	dir := t.TempDir()
	for _, document := range []string{"api/v1", "apis/apps/v1", "apis/rbac.authorization.k8s.io/v1", "apis/networking.k8s.io/v1", "apis/policy/v1"} {
		text, err := os.ReadFile(filepath.Join(builtins, document+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var openAPI struct {
			Components struct {
				Schemas map[string]map[string]any `json:"schemas"`
			} `json:"components"`
		}
		if err := json.Unmarshal(text, &openAPI); err != nil {
			t.Fatal(err)
		}
		for _, schema := range openAPI.Components.Schemas {
			if schema["properties"] != nil && schema["additionalProperties"] == nil {
				schema["additionalProperties"] = false
			}
		}
		for name, schema := range openAPI.Components.Schemas {
			kinds, _ := schema["x-kubernetes-group-version-kind"].([]any)
			if len(kinds) != 1 || !strings.HasPrefix(name, "io.k8s.api.") {
				continue
			}
			kind := kinds[0].(map[string]any)
			suffix := strings.ToLower(fmt.Sprint(kind["version"]))
			if group := fmt.Sprint(kind["group"]); group != "" {
				group, _, _ = strings.Cut(group, ".")
				suffix = strings.ToLower(group) + "-" + suffix
			}
			text, err := json.Marshal(map[string]any{"$ref": "#/components/schemas/" + name, "components": openAPI.Components})
			if err != nil {
				t.Fatal(err)
			}
			file := strings.ToLower(fmt.Sprint(kind["kind"])) + "-" + suffix + ".json"
			if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	customResourceSchema(t, dir, "podmonitor")
	return dir
}

// customResourceSchema adds the schema of a kind of Prometheus' operator, as its definition for clusters has it.
func customResourceSchema(t *testing.T, dir, kind string) {
	t.Helper()
	operator := downloaded(t, "github.com/prometheus-operator/prometheus-operator@v0.80.1")
	text, err := os.ReadFile(filepath.Join(operator, "example/prometheus-operator-crd/monitoring.coreos.com_"+kind+"s.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var definition struct {
		Spec struct {
			Versions []struct {
				Name   string `yaml:"name"`
				Schema struct {
					OpenAPI map[string]any `yaml:"openAPIV3Schema"`
				} `yaml:"schema"`
			} `yaml:"versions"`
		} `yaml:"spec"`
	}
	if err := yaml.Unmarshal(text, &definition); err != nil {
		t.Fatal(err)
	}
	version := definition.Spec.Versions[0]
	closeObjects(version.Schema.OpenAPI)
	schema, err := json.Marshal(version.Schema.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, kind+"-monitoring-"+version.Name+".json"), schema, 0o600); err != nil {
		t.Fatal(err)
	}
}

// closeObjects has objects whose fields are told take no others.
func closeObjects(schema any) {
	switch s := schema.(type) {
	case map[string]any:
		if s["properties"] != nil && s["additionalProperties"] == nil && s["x-kubernetes-preserve-unknown-fields"] == nil {
			s["additionalProperties"] = false
		}
		for _, inner := range s {
			closeObjects(inner)
		}
	case []any:
		for _, inner := range s {
			closeObjects(inner)
		}
	}
}

// downloaded is the folder of a module's files, which are read and not built.
func downloaded(t *testing.T, module string) string {
	t.Helper()
	download := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module)
	download.Dir = t.TempDir() // outside of this module
	out, err := download.Output()
	var found struct{ Dir string }
	if err == nil {
		err = json.Unmarshal(out, &found)
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s: %v\n%s", module, err, out)
		}
		t.Skip("no schemas of Kubernetes: ", err)
	}
	return found.Dir
}

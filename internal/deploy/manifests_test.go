package deploy

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// kinds are the API's own types; a field that they do not have is a mistake.
var kinds = map[string]func() any{
	"v1/ServiceAccount":   func() any { return &corev1.ServiceAccount{} },
	"v1/ConfigMap":        func() any { return &corev1.ConfigMap{} },
	"v1/Secret":           func() any { return &corev1.Secret{} },
	"v1/Service":          func() any { return &corev1.Service{} },
	"apps/v1/DaemonSet":   func() any { return &appsv1.DaemonSet{} },
	"apps/v1/StatefulSet": func() any { return &appsv1.StatefulSet{} },
	"apps/v1/Deployment":  func() any { return &appsv1.Deployment{} },

	"rbac.authorization.k8s.io/v1/ClusterRole":        func() any { return &rbacv1.ClusterRole{} },
	"rbac.authorization.k8s.io/v1/ClusterRoleBinding": func() any { return &rbacv1.ClusterRoleBinding{} },

	"networking.k8s.io/v1/Ingress":       func() any { return &networkingv1.Ingress{} },
	"networking.k8s.io/v1/NetworkPolicy": func() any { return &networkingv1.NetworkPolicy{} },
	"policy/v1/PodDisruptionBudget":      func() any { return &policyv1.PodDisruptionBudget{} },

	// No type of Kubernetes' own; its schema is compared.
	"monitoring.coreos.com/v1/PodMonitor": func() any { return &map[string]any{} },
}

// Every manifest is what Kubernetes' API takes, to the letter.
func TestManifests(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "infra/kubernetes/*.yaml"))
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range objectsOf(t, file, string(text)) {
			checkWorkload(t, file, object)
		}
	}
}

// objectsOf decodes YAML documents into the API's own types. What they do not have is a mistake.
func objectsOf(t *testing.T, file, text string) (objects []any) {
	t.Helper()
	documents := yaml.NewDecoder(strings.NewReader(text))
	for {
		var object map[string]any
		if err := documents.Decode(&object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		apiVersion, _ := object["apiVersion"].(string)
		kind, _ := object["kind"].(string)
		make, known := kinds[apiVersion+"/"+kind]
		if !known {
			t.Errorf("%s: %s/%s is no kind that this test knows", file, apiVersion, kind)
			continue
		}
		asJSON, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		typed := make()
		d := json.NewDecoder(strings.NewReader(string(asJSON)))
		d.DisallowUnknownFields()
		if err := d.Decode(typed); err != nil {
			t.Errorf("%s: %s: %v", file, kind, err)
			continue
		}
		objects = append(objects, typed)
	}
}

// checkWorkload looks at what types do not say: labels that agree, and containers that may do nothing needless.
func checkWorkload(t *testing.T, file string, object any) {
	t.Helper()
	var pod corev1.PodTemplateSpec
	var selected map[string]string
	volumes := map[string]bool{}
	switch w := object.(type) {
	case *appsv1.DaemonSet:
		pod, selected = w.Spec.Template, w.Spec.Selector.MatchLabels
	case *appsv1.Deployment:
		pod, selected = w.Spec.Template, w.Spec.Selector.MatchLabels
	case *appsv1.StatefulSet:
		pod, selected = w.Spec.Template, w.Spec.Selector.MatchLabels
		for _, claim := range w.Spec.VolumeClaimTemplates {
			volumes[claim.Name] = true
		}
	default:
		return
	}
	for name, value := range selected {
		if pod.Labels[name] != value {
			t.Errorf("%s: the selector wants %s=%s, pods have %q", file, name, value, pod.Labels[name])
		}
	}
	for _, c := range pod.Spec.Containers {
		s := c.SecurityContext
		if s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation ||
			s.Capabilities == nil || !slices.Contains(s.Capabilities.Drop, "ALL") || s.SeccompProfile == nil {
			t.Errorf("%s: container %s may do more than it has to", file, c.Name)
		}
		if c.Resources.Limits.Memory().IsZero() || c.ReadinessProbe == nil || c.LivenessProbe == nil {
			t.Errorf("%s: container %s lacks a memory limit or a probe", file, c.Name)
		}
		for _, v := range pod.Spec.Volumes {
			volumes[v.Name] = true
		}
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				t.Errorf("%s: container %s mounts %s, which is no volume", file, c.Name, m.Name)
			}
		}
	}
}

// Flags in manifests, units and the compose file are flags that coldframe has.
func TestFlagsExist(t *testing.T) {
	sources := goSources(t, "cmd/coldframe")
	known := map[string]bool{}
	for _, m := range regexp.MustCompile("name:\"([a-z-]+)\"").FindAllStringSubmatch(sources, -1) {
		known[m[1]] = true
	}
	for _, m := range regexp.MustCompile("(?m)^\t([A-Z]\\w*) +\\S+ +`").FindAllStringSubmatch(sources, -1) {
		known[kebab(m[1])] = true
	}
	for _, pattern := range []string{"infra/kubernetes/*.yaml", "infra/helm/coldframe/templates/*", "infra/systemd/*.service", "infra/compose/compose.yaml", "terraform/*/*.tf"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.SplitSeq(string(text), "\n") {
				if strings.HasPrefix(strings.TrimSpace(line), "#") || strings.Contains(line, "versitygw") {
					continue
				}
				for _, m := range regexp.MustCompile(`(?:^|[\s"\[,])--([a-z][a-z-]+)`).FindAllStringSubmatch(line, -1) {
					if !known[m[1]] {
						t.Errorf("%s: coldframe has no --%s", file, m[1])
					}
				}
			}
		}
	}
}

func kebab(name string) string {
	name = regexp.MustCompile(`([a-z0-9])([A-Z])`).ReplaceAllString(name, "$1-$2")
	return strings.ToLower(regexp.MustCompile(`([A-Z])([A-Z][a-z])`).ReplaceAllString(name, "$1-$2"))
}

func goSources(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var (
	apiID = strings.Repeat("a1", 32)
	newID = strings.Repeat("b2", 32)
	criID = strings.Repeat("c3", 32)
)

func aPod(name, container, id string) *corev1.Pod {
	isController := true
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, UID: "uid-" + "1", ResourceVersion: "7",
			Labels:          map[string]string{"app.kubernetes.io/name": "cart", "pod-template-hash": "6d4f"},
			Annotations:     map[string]string{"big": strings.Repeat("x", maxAnnotation+1), "team": "pay"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "cart-6d4f", Controller: &isController}},
		},
		Spec: corev1.PodSpec{NodeName: "n1"},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.0.0.7", HostIP: "10.1.0.1",
			Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: container, ContainerID: "containerd://" + id, Image: "cart:1"}},
		},
	}
}

// apiServer answers what the Source asks of a cluster: a list and a watch of the node's
// pods, and the node. What is sent to events reaches the watch.
func apiServer(t *testing.T, events <-chan metav1.WatchEvent) (kubeconfig string, lists *atomic.Int32) {
	t.Helper()
	lists = &atomic.Int32{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/nodes/n1", func(w http.ResponseWriter, _ *http.Request) {
		answer(t, w, corev1.Node{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
			ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"topology.kubernetes.io/zone": "z1"}},
		})
	})
	mux.HandleFunc("GET /api/v1/pods", func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query().Get("fieldSelector"); got != "spec.nodeName=n1" {
			t.Errorf("asked for the pods of %q, want the node's alone", got)
		}
		if r.URL.Query().Get("watch") == "" {
			lists.Add(1)
			answer(t, w, corev1.PodList{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"},
				ListMeta: metav1.ListMeta{ResourceVersion: "7"},
				Items:    []corev1.Pod{*aPod("cart-6d4f-x1", "app", apiID)},
			})
			return
		}
		if r.URL.Query().Get("sendInitialEvents") != "" { // as servers before 1.32 do
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnprocessableEntity)
			answer(t, w, metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Reason: metav1.StatusReasonInvalid, Code: 422})
			return
		}
		w.Header().Set("Content-Type", "application/json")
		flush := http.NewResponseController(w)
		_ = flush.Flush()
		for {
			select {
			case <-r.Context().Done():
				return
			case e, open := <-events:
				if !open {
					return // the server ends the watch
				}
				answer(t, w, e)
				_ = flush.Flush()
			}
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: '" + server.URL + "'}}]\n" +
		"contexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\n"
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig, lists
}

func answer(t *testing.T, w http.ResponseWriter, v any) {
	t.Helper()
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	if err := json.NewEncoder(w).Encode(v); err != nil {
		t.Logf("answer: %v", err)
	}
}

// containerRuntime is a CRI socket that knows one container.
type containerRuntime struct {
	cri.UnimplementedRuntimeServiceServer
	asked atomic.Int32
}

func (c *containerRuntime) ListContainers(_ context.Context, r *cri.ListContainersRequest) (*cri.ListContainersResponse, error) {
	c.asked.Add(1)
	if r.GetFilter().GetId() != criID {
		return &cri.ListContainersResponse{}, nil
	}
	return &cri.ListContainersResponse{Containers: []*cri.Container{{
		Id: criID, PodSandboxId: "box", Metadata: &cri.ContainerMetadata{Name: "db"}, Image: &cri.ImageSpec{Image: "pg:16"},
	}}}, nil
}

func (c *containerRuntime) ListPodSandbox(context.Context, *cri.ListPodSandboxRequest) (*cri.ListPodSandboxResponse, error) {
	return &cri.ListPodSandboxResponse{Items: []*cri.PodSandbox{{
		Id: "box", Metadata: &cri.PodSandboxMetadata{Namespace: "data", Name: "pg-0", Uid: "u9"}, Labels: map[string]string{"app": "pg"},
	}}}, nil
}

func runtimeSocket(t *testing.T) (*containerRuntime, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cri.sock")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c, server := &containerRuntime{}, grpc.NewServer()
	cri.RegisterRuntimeServiceServer(server, c)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return c, path
}

func run(t *testing.T, config Config) *Source {
	t.Helper()
	config.Failed = func(err error) { t.Logf("survived: %v", err) }
	s, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
	return s
}

// eventually waits for a container to be known, or not to be.
func eventually(t *testing.T, s *Source, id string, known bool) Labels {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if ls, ok := s.Container(id); ok == known {
			return ls
		}
		if time.Now().After(deadline) {
			t.Fatalf("container %.8s: want known = %v", id, known)
		}
	}
}

func expect(t *testing.T, got Labels, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s = %q, want %q", name, got[name], value)
		}
	}
}

func TestPodsOfTheNodeAreWatched(t *testing.T) {
	events := make(chan metav1.WatchEvent)
	kubeconfig, _ := apiServer(t, events)
	s := run(t, Config{Node: "n1", Kubeconfig: kubeconfig, Sockets: []string{}})
	eventually(t, s, apiID, true)
	for s.nodeLabels() == nil {
		time.Sleep(time.Millisecond)
	}
	ls, _ := s.Container(apiID)
	expect(t, ls, map[string]string{
		"namespace": "shop", "pod": "cart-6d4f-x1", "container": "app", "workload": "cart", "workload_kind": "Deployment",
		"__meta_kubernetes_pod_controller_name":                           "cart-6d4f",
		"__meta_kubernetes_pod_label_app_kubernetes_io_name":              "cart",
		"__meta_kubernetes_pod_labelpresent_app_kubernetes_io_name":       "true",
		"__meta_kubernetes_pod_annotation_team":                           "pay",
		"__meta_kubernetes_pod_annotation_big":                            "",
		"__meta_kubernetes_pod_annotationpresent_big":                     "true",
		"__meta_kubernetes_pod_ready":                                     "true",
		"__meta_kubernetes_pod_phase":                                     "Running",
		"__meta_kubernetes_pod_container_image":                           "cart:1",
		"__meta_kubernetes_pod_container_init":                            "false",
		"__meta_kubernetes_node_label_topology_kubernetes_io_zone":        "z1",
		"__meta_kubernetes_node_labelpresent_topology_kubernetes_io_zone": "true",
	})

	// A container that is started again has another ID; the old one is forgotten.
	again := aPod("cart-6d4f-x1", "app", newID)
	again.ResourceVersion = "8"
	events <- event(t, "MODIFIED", again)
	eventually(t, s, newID, true)
	eventually(t, s, apiID, false)
	again.ResourceVersion = "9"
	events <- event(t, "DELETED", again)
	eventually(t, s, newID, false)
}

func (s *Source) nodeLabels() map[string]string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.node
}

func event(t *testing.T, kind string, pod *corev1.Pod) metav1.WatchEvent {
	t.Helper()
	raw, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	e := metav1.WatchEvent{Type: kind}
	e.Object.Raw = raw
	return e
}

func TestRuntimeIsAskedForWhatIsUnknown(t *testing.T) {
	runtime, socket := runtimeSocket(t)
	s := run(t, Config{Sockets: []string{"/nowhere/cri.sock", socket}})
	expect(t, eventually(t, s, criID, true), map[string]string{
		"namespace": "data", "pod": "pg-0", "container": "db",
		"__meta_kubernetes_pod_uid": "u9", "__meta_kubernetes_pod_label_app": "pg", "__meta_kubernetes_pod_container_image": "pg:16",
	})
	asked := runtime.asked.Load()
	for range 100 { // one that is no pod's is asked for once in a while, not at each sample
		if _, ok := s.Container(newID); ok {
			t.Fatal("a container that nobody knows is known")
		}
		time.Sleep(time.Millisecond)
	}
	if n := runtime.asked.Load() - asked; n != 1 {
		t.Errorf("an unknown container was asked for %d times, want 1", n)
	}
}

func TestAbsent(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := Open(Config{Node: "n1", Sockets: []string{filepath.Join(t.TempDir(), "none")}}); !errors.Is(err, ErrAbsent) {
		t.Errorf("err = %v, want ErrAbsent", err)
	}
}

func TestWorkload(t *testing.T) {
	for _, c := range []struct{ kind, name, hash, wantKind, want string }{
		{"ReplicaSet", "cart-6d4f", "6d4f", "Deployment", "cart"},
		{"ReplicaSet", "bare", "", "ReplicaSet", "bare"},
		{"ReplicaSet", "bare-6d4f", "", "ReplicaSet", "bare-6d4f"},
		{"Job", "backup-29384756", "", "CronJob", "backup"},
		{"Job", "migrate-7", "", "Job", "migrate-7"},
		{"StatefulSet", "pg", "", "StatefulSet", "pg"},
		{"DaemonSet", "agent", "", "DaemonSet", "agent"},
	} {
		if kind, name := workload(c.kind, c.name, c.hash); kind != c.wantKind || name != c.want {
			t.Errorf("workload(%s %s) = %s %s, want %s %s", c.kind, c.name, kind, name, c.wantKind, c.want)
		}
	}
}

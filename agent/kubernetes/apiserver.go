package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// nodeEvery is how often the node's labels are read. Watching them would bring an
// update every ten seconds, of the node's status.
const nodeEvery = 5 * time.Minute

// watch follows the pods of the node. A broken watch begins again by itself.
func (s *Source) watch(ctx context.Context) {
	client, err := kubernetes.NewForConfig(s.api)
	if err != nil {
		s.failed(fmt.Errorf("kubernetes: %s: %w", s.api.Host, err))
		return
	}
	ofNode := fields.OneTermEqualSelector("spec.nodeName", s.config.Node)
	pods := cache.NewListWatchFromClient(client.CoreV1().RESTClient(), "pods", metav1.NamespaceAll, ofNode)
	informer := cache.NewSharedInformer(pods, &corev1.Pod{}, 0)
	err = errors.Join(
		informer.SetTransform(slim),
		informer.SetWatchErrorHandler(func(_ *cache.Reflector, err error) {
			s.failed(fmt.Errorf("kubernetes: pods of node %s: %w", s.config.Node, err))
		}),
	)
	if err == nil {
		_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { s.setPod(o) },
			UpdateFunc: func(_, o any) { s.setPod(o) },
			DeleteFunc: func(o any) { s.deletePod(o) },
		})
	}
	if err != nil {
		s.failed(fmt.Errorf("kubernetes: %w", err))
		return
	}
	go s.followNode(ctx, client)
	informer.RunWithContext(ctx)
}

// slim drops what is large and of no use here, before it is kept.
func slim(o any) (any, error) {
	if pod, ok := o.(*corev1.Pod); ok {
		pod.ManagedFields = nil
		pod.Spec = corev1.PodSpec{NodeName: pod.Spec.NodeName}
	}
	return o, nil
}

func (s *Source) followNode(ctx context.Context, client kubernetes.Interface) {
	for {
		wait := nodeEvery
		node, err := client.CoreV1().Nodes().Get(ctx, s.config.Node, metav1.GetOptions{})
		if err == nil {
			ls := map[string]string{"__meta_kubernetes_node_name": node.Name}
			addPairs(ls, "__meta_kubernetes_node_label", node.Labels)
			s.mu.Lock()
			s.node = ls
			s.mu.Unlock()
		} else if ctx.Err() == nil {
			s.failed(fmt.Errorf("kubernetes: node %s: %w", s.config.Node, err))
			wait = 30 * time.Second
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (s *Source) setPod(o any) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	containers := containersOf(pod)
	ids := make([]string, 0, len(containers))
	for id := range containers {
		ids = append(ids, id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(string(pod.UID))
	s.pods[string(pod.UID)] = ids
	for id, ls := range containers {
		s.byAPI[id] = ls
		delete(s.byCRI, id)
		delete(s.pending, id)
	}
}

func (s *Source) deletePod(o any) {
	if missed, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = missed.Obj
	}
	if pod, ok := o.(*corev1.Pod); ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forget(string(pod.UID))
	}
}

// forget drops a pod's containers; the caller holds the lock.
func (s *Source) forget(uid string) {
	for _, id := range s.pods[uid] {
		delete(s.byAPI, id)
	}
	delete(s.pods, uid)
}

// containersOf are the labels of each of a pod's containers that has run.
func containersOf(pod *corev1.Pod) map[string]Labels {
	all := map[string]Labels{}
	add := func(statuses []corev1.ContainerStatus, initial bool) {
		for _, status := range statuses {
			_, id, _ := strings.Cut(status.ContainerID, "://") // containerd://ID
			if id == "" {
				continue
			}
			ls := podLabels(pod)
			ls["container"] = status.Name
			ls["__meta_kubernetes_pod_container_name"] = status.Name
			ls["__meta_kubernetes_pod_container_id"] = status.ContainerID
			ls["__meta_kubernetes_pod_container_image"] = status.Image
			ls["__meta_kubernetes_pod_container_init"] = strconv.FormatBool(initial)
			all[id] = ls
		}
	}
	add(pod.Status.InitContainerStatuses, true)
	add(pod.Status.ContainerStatuses, false)
	add(pod.Status.EphemeralContainerStatuses, false)
	return all
}

func podLabels(pod *corev1.Pod) Labels {
	ls := Labels{
		"namespace": pod.Namespace, "pod": pod.Name,
		"__meta_kubernetes_namespace":   pod.Namespace,
		"__meta_kubernetes_node_name":   pod.Spec.NodeName,
		"__meta_kubernetes_pod_name":    pod.Name,
		"__meta_kubernetes_pod_uid":     string(pod.UID),
		"__meta_kubernetes_pod_ip":      pod.Status.PodIP,
		"__meta_kubernetes_pod_host_ip": pod.Status.HostIP,
		"__meta_kubernetes_pod_phase":   string(pod.Status.Phase),
		"__meta_kubernetes_pod_ready":   "unknown",
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			ls["__meta_kubernetes_pod_ready"] = strings.ToLower(string(c.Status))
		}
	}
	if owner := metav1.GetControllerOf(pod); owner != nil {
		ls["__meta_kubernetes_pod_controller_kind"] = owner.Kind
		ls["__meta_kubernetes_pod_controller_name"] = owner.Name
		ls["workload_kind"], ls["workload"] = workload(owner.Kind, owner.Name, pod.Labels["pod-template-hash"])
	}
	addPairs(ls, "__meta_kubernetes_pod_label", pod.Labels)
	addPairs(ls, "__meta_kubernetes_pod_annotation", pod.Annotations)
	return ls
}

// atTime is what a CronJob appends to its own name: the scheduled time in minutes.
var atTime = regexp.MustCompile(`^(.+)-[0-9]{8,}$`)

// workload is what a person deployed, of which the pod's controller is a part. A
// ReplicaSet's name is its Deployment's, a dash and the hash of the template; a Job's,
// when a CronJob made it, the CronJob's, a dash and the time.
func workload(kind, name, templateHash string) (_, _ string) {
	switch kind {
	case "ReplicaSet":
		if deployment, ok := strings.CutSuffix(name, "-"+templateHash); ok && templateHash != "" {
			return "Deployment", deployment
		}
	case "Job":
		if m := atTime.FindStringSubmatch(name); m != nil {
			return "CronJob", m[1]
		}
	}
	return kind, name
}

// maxAnnotation is the longest annotation that relabelling sees, in bytes. Longer ones are
// whole manifests, which tools keep there.
const maxAnnotation = 1 << 10

// addPairs adds PREFIX_NAME and PREFIXpresent_NAME, with what no label name may hold as
// an underscore.
func addPairs(ls map[string]string, prefix string, pairs map[string]string) {
	for name, value := range pairs {
		name = unfit.ReplaceAllString(name, "_")
		ls[prefix+"present_"+name] = "true"
		if len(value) <= maxAnnotation {
			ls[prefix+"_"+name] = value
		}
	}
}

var unfit = regexp.MustCompile(`[^a-zA-Z0-9_]`)

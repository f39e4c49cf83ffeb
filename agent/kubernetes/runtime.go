package kubernetes

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	askFor  = 5 * time.Second  // one question to the runtime may take
	askNext = 30 * time.Second // a container that the runtime does not know is asked for again
	maxKept = 10_000           // containers known by the runtime alone
)

// askRuntime answers for containers that are not known, one after the other.
func (s *Source) askRuntime(ctx context.Context) {
	conn, err := grpc.NewClient("unix://"+s.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		s.failed(fmt.Errorf("container runtime %s: %w", s.socket, err))
		return
	}
	defer func() { _ = conn.Close() }()
	runtime := cri.NewRuntimeServiceClient(conn)
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-s.unknown:
			ls, err := container(ctx, runtime, id)
			if err != nil && ctx.Err() == nil {
				s.failed(fmt.Errorf("container runtime %s: %w", s.socket, err))
			}
			s.answered(id, ls)
		}
	}
}

// answered keeps an answer. One that is not there is not asked for again for a while: most
// are containers that are no pod's.
func (s *Source) answered(id string, ls Labels) {
	if ls == nil {
		time.AfterFunc(askNext, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.pending, id)
		})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, id)
	if len(s.byCRI) >= maxKept {
		clear(s.byCRI) // they are asked for again
	}
	s.byCRI[id] = ls
}

// container asks for a container and the pod that it runs in. nil is for one that the
// runtime does not know, or that is no pod's.
func container(ctx context.Context, runtime cri.RuntimeServiceClient, id string) (Labels, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	found, err := runtime.ListContainers(ctx, &cri.ListContainersRequest{Filter: &cri.ContainerFilter{Id: id}})
	if err != nil || len(found.GetContainers()) == 0 {
		return nil, err
	}
	c := found.GetContainers()[0]
	boxes, err := runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{Filter: &cri.PodSandboxFilter{Id: c.GetPodSandboxId()}})
	if err != nil || len(boxes.GetItems()) == 0 {
		return nil, err
	}
	pod := boxes.GetItems()[0]
	name, in := c.GetMetadata().GetName(), pod.GetMetadata()
	ls := Labels{
		"namespace": in.GetNamespace(), "pod": in.GetName(), "container": name,
		"__meta_kubernetes_namespace":           in.GetNamespace(),
		"__meta_kubernetes_pod_name":            in.GetName(),
		"__meta_kubernetes_pod_uid":             in.GetUid(),
		"__meta_kubernetes_pod_container_name":  name,
		"__meta_kubernetes_pod_container_id":    id,
		"__meta_kubernetes_pod_container_image": c.GetImage().GetImage(),
	}
	addPairs(ls, "__meta_kubernetes_pod_label", pod.GetLabels())
	addPairs(ls, "__meta_kubernetes_pod_annotation", pod.GetAnnotations())
	return ls, nil
}

// Package kubernetes tells which pod a container belongs to.
//
// Two ask, whichever there are: the API server, which is watched for the pods of this
// node alone, knows owners, phases and the node's labels; the container runtime's CRI
// socket knows a container from its first instant, and needs no rights in the cluster.
// What both know is said by the API server.
//
// Lookups never wait: they read what is known, and have the runtime asked for what is not.
// Nothing here is needed for profiling: without Kubernetes, or while it does not answer,
// containers keep their IDs and no more.
package kubernetes

import (
	"context"
	"errors"
	"maps"
	"os"
	"sync"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Config says whom to ask.
type Config struct {
	Node string // the node's name in the cluster; required for the API server

	// Kubeconfig is a file that says how the API server is reached. "" means as a pod reaches
	// it; outside of one it is then not asked.
	Kubeconfig string
	// Sockets of container runtimes, of which the first that exists is asked. nil means
	// [DefaultSockets]; an empty list asks none.
	Sockets []string

	// Failed hears of what went wrong and is tried again. May be nil; must not block.
	Failed func(error)
}

// DefaultSockets are where container runtimes listen for CRI.
func DefaultSockets() []string {
	return []string{
		"/run/containerd/containerd.sock",
		"/run/k3s/containerd/containerd.sock",
		"/run/crio/crio.sock",
		"/run/cri-dockerd.sock",
	}
}

// ErrAbsent says that there is neither an API server nor a container runtime to ask.
var ErrAbsent = errors.New("no Kubernetes here")

// Labels of a container. Those without a leading "__" are for its series:
//
//	namespace, pod, container
//	workload, workload_kind   what made the pod: a Deployment's name, not its ReplicaSet's
//
// The others are for relabelling, with the names that Prometheus gives a pod's:
//
//	__meta_kubernetes_namespace, __meta_kubernetes_node_name, __meta_kubernetes_node_label_NAME
//	__meta_kubernetes_pod_name, _uid, _ip, _phase, _ready, _host_ip, _controller_kind, _controller_name
//	__meta_kubernetes_pod_label_NAME, __meta_kubernetes_pod_annotation_NAME, and …present_NAME
//	__meta_kubernetes_pod_container_name, _id, _image, _init
type Labels map[string]string

// Source knows the containers of a node while Run runs. It may be used concurrently.
type Source struct {
	config  Config
	api     *rest.Config // nil: not asked
	socket  string       // "": not asked
	unknown chan string  // container IDs that the runtime is asked for

	mu      sync.RWMutex
	pods    map[string][]string // pod UID → IDs of its containers in byAPI
	byAPI   map[string]Labels   // container ID →
	byCRI   map[string]Labels   // container ID →
	node    map[string]string   // __meta_kubernetes_node_label_…
	pending map[string]bool     // asked for, not answered
}

// maxUnknown bounds the containers that wait to be asked for. What finds no room is
// asked for by a later lookup.
const maxUnknown = 256

// Open finds out whom to ask; it asks nobody. The error wraps [ErrAbsent] where nobody
// is there.
func Open(config Config) (*Source, error) {
	s := &Source{
		config: config, unknown: make(chan string, maxUnknown), pending: map[string]bool{},
		pods: map[string][]string{}, byAPI: map[string]Labels{}, byCRI: map[string]Labels{},
	}
	var err error
	if config.Kubeconfig != "" {
		if s.api, err = clientcmd.BuildConfigFromFlags("", config.Kubeconfig); err != nil {
			return nil, err
		}
	} else if s.api, err = rest.InClusterConfig(); err != nil && !errors.Is(err, rest.ErrNotInCluster) {
		// A pod without a service account's token may still have the runtime's socket.
		s.failed(err)
	}
	if s.api != nil && config.Node == "" {
		return nil, errors.New("the pods of which node? its name is missing")
	}
	if config.Sockets == nil {
		config.Sockets = DefaultSockets()
	}
	for _, path := range config.Sockets {
		if info, err := os.Stat(path); err == nil && info.Mode().Type() == os.ModeSocket {
			s.socket = path
			break
		}
	}
	if s.api == nil && s.socket == "" {
		return nil, ErrAbsent
	}
	return s, nil
}

// Asks says in words who is asked, for a log.
func (s *Source) Asks() string {
	switch {
	case s.api == nil:
		return s.socket
	case s.socket == "":
		return s.api.Host
	}
	return s.api.Host + " and " + s.socket
}

// Run keeps what is known true until ctx is done. It returns at once where it has nothing
// to watch.
func (s *Source) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	if s.api != nil {
		wg.Go(func() { s.watch(ctx) })
	}
	if s.socket != "" {
		wg.Go(func() { s.askRuntime(ctx) })
	}
	wg.Wait()
	return nil
}

// Container is what is known of a container by its ID, 64 hexadecimal digits. ok is false
// when nothing is; then, where there is a runtime, it is being asked, and a later lookup
// may know.
func (s *Source) Container(id string) (_ Labels, ok bool) {
	s.mu.RLock()
	ls, ok := s.byAPI[id]
	if !ok {
		ls, ok = s.byCRI[id]
	}
	node := s.node
	asked := s.pending[id]
	s.mu.RUnlock()
	if !ok {
		if !asked && s.socket != "" {
			s.ask(id)
		}
		return nil, false
	}
	all := maps.Clone(ls)
	maps.Copy(all, node)
	return all, true
}

func (s *Source) ask(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending[id] {
		return
	}
	select {
	case s.unknown <- id:
		s.pending[id] = true
	default:
	}
}

func (s *Source) failed(err error) {
	if s.config.Failed != nil && err != nil {
		s.config.Failed(err)
	}
}

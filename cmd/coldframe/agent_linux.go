package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/coldframe/coldframe/agent"
	"github.com/coldframe/coldframe/agent/kubernetes"
	"github.com/coldframe/coldframe/bpf"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/serve"
	"github.com/coldframe/coldframe/upload"
)

type agentCmd struct {
	Node       string `help:"This host's name, the label node; in Kubernetes the node's. The host name when left out."`
	ConfigPath string `placeholder:"FILE" help:"Relabelling of processes: relabel_configs, as Prometheus has them. Read again on SIGHUP and when it changes."`

	ProfilingDuration               time.Duration     `default:"10s" help:"What one profile covers."`
	ProfilingCPUSamplingFrequency   int               `default:"99" name:"profiling-cpu-sampling-frequency" placeholder:"HZ" help:"Samples a second and CPU. Not 100: much periodic work runs every 10 ms and would be seen always or never."`
	ProfilingProbabilisticInterval  time.Duration     `default:"1m" help:"How long it holds what --profiling-probabilistic-threshold has decided."`
	ProfilingProbabilisticThreshold int               `default:"100" placeholder:"PERCENT" help:"In how many of a hundred intervals this host is sampled, in [1, 100]; drawn anew for each. For fleets too large to be sampled all the time."`
	OffCPUThreshold                 float64           `name:"off-cpu-threshold" placeholder:"SHARE" help:"Share of waits that are followed, in [0, 1]; 0: none. Each costs about 15 µs."`
	Unwind                          string            `default:"auto" enum:"auto,fp" help:"How to walk stacks: auto, by unwind tables and else by frame pointers, or fp, by frame pointers alone."`
	UnwindTableBytes                int               `default:"33554432" placeholder:"BYTES" help:"How much locked memory unwind tables may take, at most 32 MiB."`
	IgnoreUnsafeKernelVersion       bool              `help:"Profile on kernels that are known to lock up under it."`
	IncludeEnvVar                   []string          `placeholder:"NAME" help:"Environment variables of processes that become labels."`
	MetadataExternalLabels          map[string]string `mapsep:";" placeholder:"NAME=VALUE;…" help:"Labels for all series of this host."`
	MetadataEnableThreadLabel       bool              `help:"thread_id and thread_name as sample labels. Profiles become larger."`
	MetadataEnableCPULabel          bool              `name:"metadata-enable-cpu-label" help:"cpu as a sample label."`
	MetadataEnablePIDLabel          bool              `name:"metadata-enable-pid-label" help:"pid as a sample label."`

	Kubernetes                         string `default:"auto" enum:"auto,on,off" help:"Name pods: ask the API server and the container runtime where there are any (auto), or fail without (on)."`
	Kubeconfig                         string `placeholder:"FILE" help:"How the API server is reached from outside a cluster."`
	MetadataContainerRuntimeSocketPath string `placeholder:"PATH" help:"The container runtime's CRI socket, where it is not in one of the usual places."`

	RemoteStoreAddress            string            `placeholder:"HOST:PORT" help:"Send profiles to this server, coldframe's or Parca's, beside the bucket or instead of it."`
	RemoteStoreBearerTokenFile    string            `placeholder:"FILE" help:"Token for it, read again for each request."`
	RemoteStoreInsecure           bool              `help:"Reach it without TLS."`
	RemoteStoreInsecureSkipVerify bool              `help:"Do not check its certificate."`
	RemoteStoreClientCert         string            `placeholder:"FILE" help:"Certificate to show it, in PEM, with --remote-store-client-key."`
	RemoteStoreClientKey          string            `placeholder:"FILE" help:"The certificate's private key, in PEM."`
	RemoteStoreGRPCHeaders        map[string]string `name:"remote-store-grpc-headers" mapsep:";" placeholder:"NAME=VALUE;…" help:"Headers of each request, as X-Scope-OrgID."`

	LocalStoreDirectory string        `placeholder:"DIR" help:"Keep profiles as plain pprof files here, beside the bucket or instead of it."`
	Window              time.Duration `default:"60s" help:"How long profiles are gathered into one block. Shorter: seen earlier, and more requests to pay for."`
	Shards              int           `default:"1" help:"How many shards the tenant has; all that ingest must agree. One for about 300 hosts."`
	SpoolDir            string        `placeholder:"DIR" help:"Keep blocks here while the bucket is away; they survive a restart."`
	SpoolBytes          int64         `default:"1073741824" help:"How many bytes the spool may take."`
	MemoryBytes         int64         `default:"67108864" help:"How many bytes of profiles may wait in memory."`

	HTTPAddress          string `default:"127.0.0.1:7071" name:"http-address" placeholder:"HOST:PORT" help:"Where metrics, health and what is known of processes are served."`
	MutexProfileFraction int    `placeholder:"N" help:"Report one of N waits for the agent's own mutexes in /debug/pprof/mutex; 0: none."`
	BlockProfileRate     int    `placeholder:"NANOSECONDS" help:"Report one blocking of so long on average in /debug/pprof/block; 0: none."`
	Preflight            bool   `help:"Say what this machine has of what profiling needs, and exit."`

	webFlags
	bucketFlag
}

// Run is the command.
func (c *agentCmd) Run(ctx context.Context, g *globals) error {
	if c.Preflight {
		return preflight(g)
	}
	cfg, err := c.config()
	if err != nil {
		return err
	}
	if c.BucketConfig == "" && c.LocalStoreDirectory == "" && c.RemoteStoreAddress == "" {
		return usage(errors.New("where to? give --bucket-config FILE, --remote-store-address HOST:PORT or --local-store-directory DIR"))
	}
	limitMemory(c.MemoryBytes)
	runtime.SetMutexProfileFraction(c.MutexProfileFraction)
	runtime.SetBlockProfileRate(c.BlockProfileRate)
	var bkt bucket.Bucket
	if c.BucketConfig != "" {
		if bkt, err = c.open(ctx, g); err != nil {
			return err
		}
	}
	p, err := g.start(ctx, c.HTTPAddress, c.webFlags, bkt)
	if err != nil {
		return err
	}
	var to sinks
	if c.LocalStoreDirectory != "" {
		to = append(to, agent.Directory(c.LocalStoreDirectory))
	}
	if c.RemoteStoreAddress != "" {
		remote, err := p.addRemote(c)
		if err != nil {
			return errors.Join(err, p.close())
		}
		to = append(to, remote)
	}
	if bkt != nil {
		up, err := p.addUpload(upload.Config{
			Agent: cfg.Node, Window: c.Window, Shards: c.Shards,
			SpoolDir: c.SpoolDir, SpoolBytes: c.SpoolBytes, MemoryBytes: c.MemoryBytes,
		})
		if err != nil {
			return err
		}
		to = append(to, uploads{up, g.tenant})
	}
	recent := agent.NewRecent(recentBytes)
	to = append(to, recent)
	err = p.addKubernetes(c, &cfg)
	if err != nil {
		return errors.Join(err, p.close())
	}
	a, err := p.addAgent(cfg, to)
	if err != nil {
		return errors.Join(err, p.close())
	}
	page := a.Page(recent)
	p.server.Handle("GET /processes", page)
	p.server.Handle("GET /profiles/{id}", page)
	p.index = http.RedirectHandler("/processes", http.StatusFound)
	if c.ConfigPath != "" {
		p.roles.Go(func() error { return p.reloadRelabel(a, c.ConfigPath) })
	}
	if err := shedStart(); err != nil {
		g.log.Debug("the agent stays larger than it must", "err", err)
	}
	g.log.Info("profiling this machine", "node", cfg.Node, "frequency", c.ProfilingCPUSamplingFrequency, "unwind", c.Unwind, "address", p.server.Addr().String())
	return p.wait()
}

// recentBytes is what the profiles may take that the agent's own page shows.
const recentBytes = 8 << 20

// config is what the flags say.
func (c *agentCmd) config() (agent.Config, error) {
	external, err := profile.LabelsFromMap(c.MetadataExternalLabels)
	if err != nil {
		return agent.Config{}, usage(fmt.Errorf("--metadata-external-labels: %w", err))
	}
	if c.ProfilingDuration <= 0 {
		return agent.Config{}, usage(fmt.Errorf("--profiling-duration %s: want more than 0", c.ProfilingDuration))
	}
	if t := c.ProfilingProbabilisticThreshold; t < 1 || t > 100 || c.ProfilingProbabilisticInterval <= 0 {
		return agent.Config{}, usage(fmt.Errorf("--profiling-probabilistic-threshold %d of intervals of %s: want a threshold in [1, 100] and an interval of more than 0", t, c.ProfilingProbabilisticInterval))
	}
	cfg := agent.Config{
		Interval: c.ProfilingProbabilisticInterval, Threshold: c.ProfilingProbabilisticThreshold,
		Node: c.Node, Window: c.ProfilingDuration, Unwind: agent.Unwind(c.Unwind),
		Sampler: bpf.Config{
			Frequency: c.ProfilingCPUSamplingFrequency, OffCPU: c.OffCPUThreshold,
			TableBytes: c.UnwindTableBytes, AllowUnsafeKernel: c.IgnoreUnsafeKernelVersion,
		},
		External: external, IncludeEnv: c.IncludeEnvVar,
		Thread: c.MetadataEnableThreadLabel, CPU: c.MetadataEnableCPULabel, PID: c.MetadataEnablePIDLabel,
	}
	if cfg.Node == "" {
		if cfg.Node, err = os.Hostname(); err != nil {
			return cfg, usage(fmt.Errorf("--node is missing, and the host has no name: %w", err))
		}
	}
	if err := cfg.Sampler.Validate(); err != nil {
		return cfg, usage(err)
	}
	if c.ConfigPath != "" {
		if _, cfg.Relabel, err = readRelabel(c.ConfigPath); err != nil {
			return cfg, usage(err)
		}
	}
	return cfg, nil
}

// addRemote makes the way to a server, which is flushed at the end.
func (p *process) addRemote(c *agentCmd) (*agent.Remote, error) {
	header := http.Header{"X-Scope-Orgid": {string(p.g.tenant)}}
	for name, value := range c.RemoteStoreGRPCHeaders {
		header.Set(name, value)
	}
	security := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.RemoteStoreInsecureSkipVerify} //nolint:gosec // who asks for it by name gets it
	if c.RemoteStoreClientCert != "" || c.RemoteStoreClientKey != "" {
		pair, err := tls.LoadX509KeyPair(c.RemoteStoreClientCert, c.RemoteStoreClientKey)
		if err != nil {
			return nil, usage(fmt.Errorf("--remote-store-client-cert, --remote-store-client-key: %w", err))
		}
		security.Certificates = []tls.Certificate{pair}
	}
	remote, err := agent.NewRemote(agent.RemoteConfig{
		Address: c.RemoteStoreAddress, Plaintext: c.RemoteStoreInsecure, TokenFile: c.RemoteStoreBearerTokenFile, Header: header,
		TLS:        security,
		QueueBytes: c.MemoryBytes, Observer: observeRemote(p.metrics, p.g.log),
	})
	if err != nil {
		return nil, usage(fmt.Errorf("--remote-store-address: %w", err))
	}
	p.closing = append(p.closing, remote.Close)
	return remote, nil
}

// addKubernetes has pods named, where there is somebody to ask.
func (p *process) addKubernetes(c *agentCmd, cfg *agent.Config) error {
	if c.Kubernetes == "off" {
		return nil
	}
	ask := kubernetes.Config{Node: cfg.Node, Kubeconfig: c.Kubeconfig, Failed: p.askedKubernetes}
	if c.MetadataContainerRuntimeSocketPath != "" {
		ask.Sockets = []string{c.MetadataContainerRuntimeSocketPath}
	}
	pods, err := kubernetes.Open(ask)
	switch {
	case errors.Is(err, kubernetes.ErrAbsent) && c.Kubernetes == "auto":
		return nil
	case err != nil:
		return fmt.Errorf("--kubernetes=%s: %w", c.Kubernetes, err)
	}
	p.g.log.Info("naming pods", "ask", pods.Asks())
	cfg.Container = func(id string) (map[string]string, bool) { return pods.Container(id) }
	p.roles.Go(func() error { return pods.Run(p.ctx) })
	return nil
}

// askedKubernetes tells what went wrong. Those asked are asked again by themselves, seldom.
func (p *process) askedKubernetes(err error) {
	p.g.log.Warn("cannot name pods now; until it works, containers keep their IDs", "err", err)
}

func readRelabel(file string) ([]byte, agent.Relabel, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, fmt.Errorf("--config-path: %w", err)
	}
	r, err := agent.ParseRelabel(file, text)
	return text, r, err
}

// preflight prints what profiling needs and what there is of it.
func preflight(g *globals) error {
	report := bpf.Inspect()
	w := tabwriter.NewWriter(g.out, 0, 0, 2, ' ', 0)
	for _, c := range report.Checks {
		state, without := "ok", ""
		if !c.OK {
			state, without = "lacks", c.Else
			if c.Needed {
				state = "NEEDED"
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", state, c.Name, c.Found, without)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return cannotProfile(report.Refused)
}

// cannotProfile says what to do about a machine that does not let itself be profiled.
func cannotProfile(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bpf.ErrUnsafeKernel):
		return fmt.Errorf("this machine cannot be profiled: %w; update the kernel, or give --ignore-unsafe-kernel-version at your own risk", err)
	case os.Geteuid() != 0:
		return fmt.Errorf("this machine cannot be profiled: %w; run as root or with the capabilities BPF, PERFMON and SYS_PTRACE, and see coldframe agent --preflight", err)
	}
	return fmt.Errorf("this machine cannot be profiled: %w; see coldframe agent --preflight", err)
}

// addAgent profiles the machine until the end.
func (p *process) addAgent(cfg agent.Config, to agent.Sink) (*agent.Agent, error) {
	cfg.Observer = observeAgent(p.metrics, p.g.log)
	a, err := agent.New(cfg, to)
	if err != nil {
		return nil, cannotProfile(err)
	}
	p.metrics.MustRegister(agentMetrics{a})
	p.server.Handle("GET /api/processes", serveProcesses(a))
	p.roles.Go(func() error { return a.Run(p.ctx) })
	return a, nil
}

// addMachine profiles this machine for dev.
func (p *process) addMachine(up *upload.Uploader) error {
	node, err := os.Hostname()
	if err == nil {
		_, err = p.addAgent(agent.Config{Node: node, Window: devWindow}, uploads{up, p.g.tenant})
	}
	return err
}

func serveProcesses(a *agent.Agent) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all, err := a.Processes(r.Context())
		if err != nil {
			serve.WriteError(w, err)
			return
		}
		serve.WriteJSON(w, http.StatusOK, all)
	})
}

// uploads gives profiles to an uploader.
type uploads struct {
	up     *upload.Uploader
	tenant profile.Tenant
}

// Write implements [agent.Sink].
func (u uploads) Write(ctx context.Context, p agent.Profile) error {
	return u.up.Add(ctx, u.tenant, upload.Profile{Name: p.Name, Labels: p.Labels, Body: p.Pprof})
}

// sinks gives every profile to all of them.
type sinks []agent.Sink

// Write implements [agent.Sink].
func (all sinks) Write(ctx context.Context, p agent.Profile) error {
	var errs []error
	for _, s := range all {
		errs = append(errs, s.Write(ctx, p))
	}
	return errors.Join(errs...)
}

// reloadEvery is how often the relabelling's file is looked at. It is compared by what
// it holds: Kubernetes replaces it by links to links.
const reloadEvery = 5 * time.Second

// reloadRelabel reads a file again on SIGHUP and when it changes. A bad one changes nothing.
func (p *process) reloadRelabel(a *agent.Agent, file string) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	state := newReloads(p.metrics)
	last, _, _ := readRelabel(file) // it was good a moment ago
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for {
		asked := false
		select {
		case <-p.ctx.Done():
			return nil
		case <-hangup:
			asked = true
		case <-tick.C:
		}
		text, relabel, err := readRelabel(file)
		if !asked && bytes.Equal(text, last) {
			continue
		}
		last = text
		if err == nil {
			err = a.SetRelabel(p.ctx, relabel)
		}
		state.tried(err)
		switch {
		case p.ctx.Err() != nil:
			return nil
		case err != nil:
			p.g.log.Error("the relabelling stays as it was", "err", err)
		default:
			p.g.log.Info("relabelling read again", "file", file)
		}
	}
}

package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coldframe/coldframe/agent"
)

// observeAgent counts and logs what the agent survives.
func observeAgent(reg *prometheus.Registry, log *slog.Logger) agent.Observer {
	failed := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "coldframe_agent_failures_total", Help: "What went wrong and cost a name, a table or a profile. The log at level debug says what.",
	})
	reg.MustRegister(failed)
	return agent.Observer{Failed: func(err error) {
		failed.Inc()
		log.Debug("agent", "err", err)
	}}
}

// observeRemote counts what goes to a server, and logs what does not.
func observeRemote(reg *prometheus.Registry, log *slog.Logger) agent.RemoteObserver {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "coldframe_agent_remote_" + name + "_total", Help: help})
		reg.MustRegister(c)
		return c
	}
	sent := counter("profiles", "Profiles that the remote store has taken.")
	bytes := counter("bytes", "Bytes of profiles that the remote store has taken.")
	failures := counter("failed_requests", "Requests that the remote store did not answer, or not well. They are repeated.")
	lost := counter("lost_profiles", "Profiles that the remote store refused, or that waited too long for it.")
	return agent.RemoteObserver{
		Sent: func(n int, b int64) { sent.Add(float64(n)); bytes.Add(float64(b)) },
		Failed: func(err error) {
			failures.Inc()
			log.Warn("the remote store did not take profiles; they wait", "err", err)
		},
		Lost: func(n int, err error) {
			lost.Add(float64(n))
			log.Error("profiles are lost", "profiles", n, "err", err)
		},
	}
}

// agentMetrics asks an agent for its sums whenever somebody asks for metrics.
type agentMetrics struct{ a *agent.Agent }

// agentMetric is one number of the agent's sums.
type agentMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(*agent.Stats) float64
}

func counter(name, help string, of func(*agent.Stats) uint64) agentMetric {
	return agentMetric{
		prometheus.NewDesc("coldframe_agent_"+name+"_total", help, nil, nil), prometheus.CounterValue,
		func(s *agent.Stats) float64 { return float64(of(s)) },
	}
}

func gauge(name, help string, of func(*agent.Stats) int) agentMetric {
	return agentMetric{
		prometheus.NewDesc("coldframe_agent_"+name, help, nil, nil), prometheus.GaugeValue,
		func(s *agent.Stats) float64 { return float64(of(s)) },
	}
}

func agentMetricList() []agentMetric {
	return []agentMetric{
		counter("kernel_samples", "Samples that the kernel took.", func(s *agent.Stats) uint64 { return s.Kernel.Samples }),
		counter("filtered_samples", "Samples that the kernel dropped because relabelling keeps none of their process.", func(s *agent.Stats) uint64 { return s.Kernel.Filtered }),
		counter("dropped_samples", "Samples dropped by relabelling before the kernel knew.", func(s *agent.Stats) uint64 { return s.Dropped }),
		counter("lost_samples", "Samples lost because the ring was full.", func(s *agent.Stats) uint64 { return s.Kernel.RingFull }),
		counter("lost_events", "Process events lost; mappings are read again after each loss.", func(s *agent.Stats) uint64 { return s.EventsLost }),
		counter("samples", "On-CPU samples written into profiles.", func(s *agent.Stats) uint64 { return s.Samples }),
		counter("complete_samples", "On-CPU samples whose stack is whole.", func(s *agent.Stats) uint64 { return s.Complete }),
		counter("unknown_leaf_samples", "Samples whose topmost user address is in no mapping.", func(s *agent.Stats) uint64 { return s.UnknownLeaf }),
		counter("table_steps", "Frames walked by unwind tables.", func(s *agent.Stats) uint64 { return s.Kernel.TableSteps }),
		counter("frame_pointer_steps", "Frames walked by frame pointers.", func(s *agent.Stats) uint64 { return s.Kernel.FPSteps }),
		counter("python_samples", "Samples with a Python stack.", func(s *agent.Stats) uint64 { return s.Kernel.Python }),
		counter("python_unmerged_samples", "Samples whose Python stack does not fit the native one.", func(s *agent.Stats) uint64 { return s.PythonUnmerged }),
		counter("waits", "Off-CPU waits written into profiles.", func(s *agent.Stats) uint64 { return s.Waits }),
		counter("lost_waits", "Off-CPU waits lost because the reader was too slow or too many waited.", func(s *agent.Stats) uint64 { return s.Kernel.OffCPULost + s.WaitsForgotten }),
		counter("profiles", "Profiles handed on.", func(s *agent.Stats) uint64 { return s.Profiles }),
		counter("lost_profiles", "Profiles that neither the bucket's queue nor the local store took.", func(s *agent.Stats) uint64 { return s.ProfilesLost }),
		counter("refused_tables", "Binaries whose unwind table found no room and that are walked by frame pointers.", func(s *agent.Stats) uint64 { return s.TablesRefused }),
		gauge("sampling", "1 while this host is sampled, 0 in intervals that were not drawn.", func(s *agent.Stats) int {
			if s.Sampling {
				return 1
			}
			return 0
		}),
		gauge("processes", "Processes known.", func(s *agent.Stats) int { return s.Processes }),
		gauge("binaries", "Binaries known.", func(s *agent.Stats) int { return s.Binaries }),
		gauge("tables", "Binaries with an unwind table in the kernel.", func(s *agent.Stats) int { return s.Tables }),
		gauge("table_rows", "Rows of unwind tables in the kernel, of 8 bytes.", func(s *agent.Stats) int { return s.TableRows }),
	}
}

var stopDesc = prometheus.NewDesc("coldframe_agent_stacks_total", "On-CPU samples by where the walk of their stack ended.", []string{"stop"}, nil)

// Describe implements [prometheus.Collector].
func (m agentMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, x := range agentMetricList() {
		to <- x.desc
	}
	to <- stopDesc
}

// Collect implements [prometheus.Collector]. An agent that has ended tells nothing.
func (m agentMetrics) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	s, err := m.a.Stats(ctx)
	if err != nil {
		return
	}
	for _, x := range agentMetricList() {
		to <- prometheus.MustNewConstMetric(x.desc, x.kind, x.of(&s))
	}
	for stop, n := range s.ByStop {
		to <- prometheus.MustNewConstMetric(stopDesc, prometheus.CounterValue, float64(n), stop)
	}
}

// reloads tells of a file that is read again.
type reloads struct{ ok, at prometheus.Gauge }

func newReloads(reg *prometheus.Registry) reloads {
	r := reloads{
		ok: prometheus.NewGauge(prometheus.GaugeOpts{Name: "coldframe_agent_config_last_reload_successful", Help: "Whether the configuration was good when it was last read."}),
		at: prometheus.NewGauge(prometheus.GaugeOpts{Name: "coldframe_agent_config_last_reload_success_timestamp_seconds", Help: "When a good configuration was last read."}),
	}
	reg.MustRegister(r.ok, r.at)
	r.tried(nil)
	return r
}

func (r reloads) tried(err error) {
	if err != nil {
		r.ok.Set(0)
		return
	}
	r.ok.Set(1)
	r.at.SetToCurrentTime()
}

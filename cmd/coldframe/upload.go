package main

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/ingest/push"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

// observeUpload turns what an uploader tells into logs and metrics. Whatever is lost
// is counted by reason and logged as an error; that the bucket is away is logged once, and
// once when it is back.
func observeUpload(reg *prometheus.Registry, log *slog.Logger) upload.Observer {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	accepted := counter("coldframe_upload_accepted_profiles_total", "Profiles taken, on their way into a block.", "tenant")
	acceptedBytes := counter("coldframe_upload_accepted_bytes_total", "Bytes of profiles taken.", "tenant")
	written := counter("coldframe_upload_written_profiles_total", "Profiles in blocks that are in the bucket.", "tenant")
	blocks := counter("coldframe_upload_written_blocks_total", "Blocks that are in the bucket.", "tenant")
	bytes := counter("coldframe_upload_written_bytes_total", "Bytes of blocks that are in the bucket.", "tenant")
	retries := counter("coldframe_upload_retries_total", "Failed tries to write a block that were followed by another.")
	refused := counter("coldframe_upload_refused_profiles_total", "Pushed profiles that were answered with an error.", "tenant")
	lost := counter("coldframe_upload_lost_profiles_total", "Profiles that were taken and given up.", "reason")
	ahead := counter("coldframe_upload_clock_ahead_profiles_total", "Profiles from the future, stored at the time of receipt.", "tenant")
	spoolFailures := counter("coldframe_upload_spool_failures_total", "Times the spool could not be written, read or tidied up.")
	seconds := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "coldframe_upload_duration_seconds", Help: "From the first try to write a block until it was in the bucket.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 600},
	})
	reg.MustRegister(seconds)
	for _, reason := range []upload.Reason{upload.Expired, upload.MemoryFull, upload.SpoolFull, upload.SpoolCorrupt, upload.Closed} {
		lost.WithLabelValues(string(reason)) // shown as 0 before the first
	}
	var failing atomic.Bool
	return upload.Observer{
		Accepted: func(t profile.Tenant, profiles int, n int64) {
			accepted.WithLabelValues(string(t)).Add(float64(profiles))
			acceptedBytes.WithLabelValues(string(t)).Add(float64(n))
		},
		Written: func(key block.L0Key, profiles int, n int64, took time.Duration) {
			written.WithLabelValues(string(key.Tenant)).Add(float64(profiles))
			blocks.WithLabelValues(string(key.Tenant)).Inc()
			bytes.WithLabelValues(string(key.Tenant)).Add(float64(n))
			seconds.Observe(took.Seconds())
			if failing.CompareAndSwap(true, false) {
				log.Info("the bucket takes blocks again", "object", key.String())
			}
			log.Debug("block written", "object", key.String(), "profiles", profiles, "bytes", n, "took", took)
		},
		Retry: func(key block.L0Key, err error) {
			retries.WithLabelValues().Inc()
			if failing.CompareAndSwap(false, true) {
				log.Warn("the bucket does not take blocks; they are tried again", "object", key.String(), "err", err)
			}
		},
		Refused: func(t profile.Tenant, profiles int, _ error) {
			refused.WithLabelValues(string(t)).Add(float64(profiles)) // observePush tells why
		},
		Lost: func(l upload.Loss) {
			lost.WithLabelValues(string(l.Reason)).Add(float64(l.Profiles))
			log.Error("profiles lost", "reason", string(l.Reason), "profiles", l.Profiles, "bytes", l.Bytes, "object", l.Key.String(), "err", l.Err)
		},
		ClockAhead: func(t profile.Tenant, by time.Duration) {
			ahead.WithLabelValues(string(t)).Inc()
			log.Debug("profile from the future stored at the time of receipt", "tenant", string(t), "ahead", by)
		},
		SpoolFailed: func(err error) {
			spoolFailures.WithLabelValues().Inc()
			log.Error("spool", "err", err)
		},
	}
}

// measureBacklog shows what waits for the bucket.
func measureBacklog(reg *prometheus.Registry, up *upload.Uploader) {
	for name, g := range map[string]struct {
		help string
		ask  func(upload.Backlog) int64
	}{
		"memory_bytes": {"Bytes of profiles in memory: gathered, being sent, or waiting for the bucket.", func(b upload.Backlog) int64 { return b.MemoryBytes }},
		"spool_bytes":  {"Bytes of blocks that wait on disk for the bucket.", func(b upload.Backlog) int64 { return b.SpoolBytes }},
		"spool_blocks": {"Blocks that wait on disk for the bucket.", func(b upload.Backlog) int64 { return int64(b.SpoolBlocks) }},
	} {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "coldframe_upload_" + name, Help: g.help},
			func() float64 { return float64(g.ask(up.Backlog())) }))
	}
}

// observePush counts what clients push, by the protocol they speak. A log line is written
// when a client's pushes end otherwise than before, not for each push.
func observePush(reg *prometheus.Registry, log *slog.Logger) push.Observer {
	pushes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "coldframe_pushes_total", Help: "Requests to store profiles, by protocol and outcome (stored, refused: the client's fault, limited, unavailable, failed).",
	}, []string{"protocol", "outcome"})
	profiles := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "coldframe_push_stored_profiles_total", Help: "Profiles that were pushed and are durable, by protocol.",
	}, []string{"protocol"})
	bytes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "coldframe_push_stored_bytes_total", Help: "Bytes of profiles that were pushed and are durable, by protocol.",
	}, []string{"protocol"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "coldframe_push_duration_seconds", Help: "From a pushed request that was read until its profiles were durable, by protocol.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"protocol"})
	reg.MustRegister(pushes, profiles, bytes, seconds)
	return push.Observer{Pushed: func(p push.Push) {
		pushes.WithLabelValues(p.Protocol, string(p.Outcome())).Inc()
		seconds.WithLabelValues(p.Protocol).Observe(p.Took.Seconds())
		if p.Err == nil {
			profiles.WithLabelValues(p.Protocol).Add(float64(p.Profiles))
			bytes.WithLabelValues(p.Protocol).Add(float64(p.Bytes))
		}
		switch {
		case !p.Changed:
		case p.Err != nil:
			log.Warn("a client's pushes are not stored", "client", p.Client, "protocol", p.Protocol, "tenant", string(p.Tenant), "outcome", string(p.Outcome()), "err", p.Err)
		default:
			log.Info("a client's pushes are stored", "client", p.Client, "protocol", p.Protocol, "tenant", string(p.Tenant))
		}
	}}
}

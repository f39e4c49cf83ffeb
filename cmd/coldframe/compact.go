package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/bucket"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/compactor"
	"github.com/coldframe/coldframe/profile"
)

// compactOnce does what is due and tells what became of it.
func (g *globals) compactOnce(ctx context.Context, bkt bucket.Bucket, cfg compactor.Config) error {
	cfg.Observer = observeCompact(prometheus.NewRegistry(), g.log)
	jobs, rejected := 0, 0
	logged, reject := cfg.Observer.Committed, cfg.Observer.Rejected
	cfg.Observer.Committed = func(j compactor.Job) { jobs++; logged(j) }
	cfg.Observer.Rejected = func(key, file, reason string) { rejected++; reject(key, file, reason) }
	cfg.Jobs = 1 // so that the counts need no lock
	traces, err := startTracing(ctx, g.log)
	if err != nil {
		return err
	}
	if traces != nil {
		bkt, cfg.Observer.Begin = traces.bucket(bkt), traces.job
	}
	err = compactor.New(catalog.New(bkt, catalog.Config{}), bkt, cfg).RunOnce(ctx)
	if err := errors.Join(err, traces.close(context.WithoutCancel(ctx))); err != nil {
		return err
	}
	fmt.Fprintf(g.out, "%d commits\n", jobs)
	if rejected > 0 {
		return fmt.Errorf("%d damaged profiles or blocks were left out: %w", rejected, errPartial)
	}
	return nil
}

// observeCompact turns what a compactor tells into logs and metrics.
func observeCompact(reg *prometheus.Registry, log *slog.Logger) compactor.Observer {
	shard := []string{"tenant", "shard"}
	commits := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "coldframe_compact_commits_total", Help: "Commits by kind: seal (minutes that have ended), sweep (stragglers), b2, b3 or b4 (blocks merged into one of that level).",
	}, []string{"kind"})
	abandoned := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "coldframe_compact_abandoned_total", Help: "Jobs whose work was in vain because another compactor was first.",
	})
	rejected := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "coldframe_compact_rejected_total", Help: "Damaged pprof blocks, or profiles in them, that were left out.",
	})
	quarantined := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "coldframe_compact_quarantined_total", Help: "Live blocks found damaged or missing, and marked so.",
	})
	unreadable := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "coldframe_compact_unreadable_sources_total", Help: "Blocks whose sources a sweep could not read.",
	})
	failed := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "coldframe_compact_failed_rounds_total", Help: "Rounds that failed in part.",
	})
	bytesIn := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "coldframe_compact_read_bytes_total", Help: "Bytes of pprof blocks and blocks merged.",
	})
	bytesOut := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "coldframe_compact_written_bytes_total", Help: "Bytes of Arrow blocks written.",
	})
	profiles := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "coldframe_compact_profiles_total", Help: "Profiles merged.",
	})
	lag := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "coldframe_compact_sealed_lag_seconds", Help: "How long ago the last sealed minute ended.",
	}, shard)
	levels := newLevelMetrics(reg)
	reg.MustRegister(commits, abandoned, rejected, quarantined, unreadable, failed, bytesIn, bytesOut, profiles, lag)
	return compactor.Observer{
		Committed: func(j compactor.Job) {
			kind := kindOf(j)
			commits.WithLabelValues(kind).Inc()
			bytesIn.Add(float64(j.BytesIn))
			bytesOut.Add(float64(j.BytesOut))
			profiles.Add(float64(j.Profiles))
			level := slog.LevelInfo
			if j.L0s == 0 && j.Merged == 0 {
				level = slog.LevelDebug
			}
			log.Log(context.Background(), level, "compacted", "kind", kind, "tenant", string(j.Tenant), "shard", j.Shard.String(),
				"from", j.From.String(), "to", j.To.String(), "pprof_blocks", j.L0s, "profiles", j.Profiles, "repeated", j.Repeated,
				"merged", j.Merged, "bytes_in", j.BytesIn, "arrow_blocks", j.Blocks, "bytes_out", j.BytesOut, "took", j.Took)
		},
		Abandoned: func(j compactor.Job, err error) {
			abandoned.Inc()
			log.Info("work abandoned: another compactor was first", "tenant", string(j.Tenant), "shard", j.Shard.String(), "err", err)
		},
		Rejected: func(key, file, reason string) {
			rejected.Inc()
			log.Error("damaged: left out of the block", "object", key, "file", file, "reason", reason)
		},
		Quarantined: func(key, reason string) {
			quarantined.Inc()
			log.Error("damaged: the block is left out of merges and answers", "object", key, "reason", reason)
		},
		Unreadable: func(key string, err error) {
			unreadable.Inc()
			log.Error("cannot tell what a block was made of", "object", key, "err", err)
		},
		Sealed: func(t profile.Tenant, s block.Shard, behind time.Duration) {
			lag.WithLabelValues(string(t), s.String()).Set(behind.Seconds())
		},
		Looked:  levels.looked,
		Deleted: levels.deleted(log),
		Audited: levels.audited(log),
		Expired: func(t profile.Tenant, s block.Shard, before block.Day) {
			log.Info("days are past their retention", "tenant", string(t), "shard", s.String(), "before", before.String())
		},
		Failed: func(err error) {
			failed.Inc()
			log.Error("compaction failed in part, will be tried again", "err", err)
		},
	}
}

// kindOf names what a job did, for logs and metrics.
func kindOf(j compactor.Job) string {
	switch {
	case j.Sweep:
		return "sweep"
	case j.Level > 0:
		return string(j.Level.Class())
	}
	return "seal"
}

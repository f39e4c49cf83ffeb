package main

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coldframe/coldframe/block"
	"github.com/coldframe/coldframe/catalog"
	"github.com/coldframe/coldframe/compactor"
	"github.com/coldframe/coldframe/profile"
)

// levelMetrics tell what shards hold, what is due in them, and what is of no use.
type levelMetrics struct {
	blocks, bytes, bad, arch, merges, debt *prometheus.GaugeVec
	orphans, orphanBytes, tooLate          *prometheus.GaugeVec
	deletions                              *prometheus.CounterVec
}

func newLevelMetrics(reg *prometheus.Registry) levelMetrics {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, append([]string{"tenant", "shard"}, labels...))
		reg.MustRegister(g)
		return g
	}
	m := levelMetrics{
		blocks:      gauge("coldframe_compact_live_blocks", "Live blocks in HEAD by level.", "level"),
		bytes:       gauge("coldframe_compact_live_bytes", "Bytes of the live blocks in HEAD by level.", "level"),
		bad:         gauge("coldframe_compact_damaged_blocks", "Live blocks that are damaged or gone, and missing from answers."),
		arch:        gauge("coldframe_compact_archived_entries", "Live blocks whose entries have moved out of HEAD."),
		merges:      gauge("coldframe_compact_debt_merges", "Merges that are due and not done."),
		debt:        gauge("coldframe_compact_debt_bytes", "Bytes that the merges will read that are due and not done."),
		orphans:     gauge("coldframe_compact_orphans", "Blocks that no HEAD names, at the last daily look."),
		orphanBytes: gauge("coldframe_compact_orphan_bytes", "Bytes of blocks that no HEAD names, at the last daily look."),
		tooLate:     gauge("coldframe_compact_too_late_blocks", "Pprof blocks that landed too late to be merged and are in no answer, at the last daily look."),
		deletions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "coldframe_compact_deleted_objects_total", Help: "Objects deleted by what they were: retired (merged away or expired), pprof (pprof blocks that are in others), orphan.",
		}, []string{"what"}),
	}
	reg.MustRegister(m.deletions)
	return m
}

func (m levelMetrics) looked(t profile.Tenant, shard block.Shard, s compactor.State) {
	labels := []string{string(t), shard.String()}
	for level := block.L1; level <= block.L4; level++ {
		of := append(labels[:2:2], string(level.Class()))
		m.blocks.WithLabelValues(of...).Set(float64(s.Blocks[level]))
		m.bytes.WithLabelValues(of...).Set(float64(s.Bytes[level]))
	}
	m.bad.WithLabelValues(labels...).Set(float64(s.Bad))
	m.arch.WithLabelValues(labels...).Set(float64(s.Arch))
	m.merges.WithLabelValues(labels...).Set(float64(s.Merges))
	m.debt.WithLabelValues(labels...).Set(float64(s.MergeBytes))
}

func (m levelMetrics) deleted(log *slog.Logger) func(profile.Tenant, block.Shard, compactor.Deletion) {
	return func(t profile.Tenant, shard block.Shard, d compactor.Deletion) {
		m.deletions.WithLabelValues("retired").Add(float64(d.Retired))
		m.deletions.WithLabelValues("pprof").Add(float64(d.L0s))
		m.deletions.WithLabelValues("orphan").Add(float64(d.Orphans))
		log.Info("deleted what is of no use", "tenant", string(t), "shard", shard.String(), "retired", d.Retired, "pprof_blocks", d.L0s, "orphans", d.Orphans)
	}
}

func (m levelMetrics) audited(log *slog.Logger) func(profile.Tenant, block.Shard, compactor.Audit) {
	return func(t profile.Tenant, shard block.Shard, a compactor.Audit) {
		m.orphans.WithLabelValues(string(t), shard.String()).Set(float64(a.Orphans))
		m.orphanBytes.WithLabelValues(string(t), shard.String()).Set(float64(a.OrphanBytes))
		m.tooLate.WithLabelValues(string(t), shard.String()).Set(float64(a.TooLate))
		level := slog.LevelDebug
		if a.TooLate > 0 {
			level = slog.LevelWarn
		}
		log.Log(context.Background(), level, "looked for what is of no use", "tenant", string(t), "shard", shard.String(), "orphans", a.Orphans, "orphan_bytes", a.OrphanBytes, "too_late", a.TooLate)
	}
}

// observeCatalog counts what commits run into.
func observeCatalog(reg *prometheus.Registry, log *slog.Logger) catalog.Observer {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	conflicts := counter("coldframe_catalog_conflicts_total", "Commits that found HEAD changed since they had read it, and read it again.")
	ambiguous := counter("coldframe_catalog_ambiguous_total", "Writes of HEAD of which nothing was known but an error, until HEAD was read again.")
	spilled := counter("coldframe_catalog_spilled_entries_total", "Entries that have moved out of HEAD.")
	stray := counter("coldframe_catalog_stray_keys_total", "Keys seen among ours that are none of ours.")
	return catalog.Observer{
		Conflict: func(string) { conflicts.Inc() },
		Ambiguous: func(key string, err error) {
			ambiguous.Inc()
			log.Debug("a write of HEAD was not answered, it is read again", "object", key, "err", err)
		},
		Spilled: func(part string, entries int) {
			spilled.Add(float64(entries))
			log.Info("entries have moved out of HEAD", "object", part, "entries", entries)
		},
		Stray: func(key string, err error) {
			stray.Inc()
			log.Debug("a key that is none of ours is left alone", "object", key, "err", err)
		},
	}
}

package main

import (
	"fmt"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coldframe/coldframe/query"
)

// cacheMetrics tells how the caches of queries fare, when they are asked.
type cacheMetrics struct{ q *query.Querier }

func cacheDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("coldframe_query_cache_"+name, help, []string{"cache"}, nil)
}

var (
	cacheHits     = cacheDesc("hits_total", "Reads that a cache answered: indexes and ranges of blocks in memory, ranges on disk, sums of blocks, the decoded tail of uploads.")
	cacheMisses   = cacheDesc("misses_total", "Reads that a cache could not answer.")
	cacheBytes    = cacheDesc("bytes", "Bytes that a cache holds.")
	cacheCapacity = cacheDesc("capacity_bytes", "Bytes that a cache may hold; 0: it is off.")
)

// Describe implements [prometheus.Collector].
func (m cacheMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{cacheHits, cacheMisses, cacheBytes, cacheCapacity} {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (m cacheMetrics) Collect(to chan<- prometheus.Metric) {
	for _, use := range m.q.Caches() {
		to <- prometheus.MustNewConstMetric(cacheHits, prometheus.CounterValue, float64(use.Hits), use.Name)
		to <- prometheus.MustNewConstMetric(cacheMisses, prometheus.CounterValue, float64(use.Misses), use.Name)
		to <- prometheus.MustNewConstMetric(cacheBytes, prometheus.GaugeValue, float64(use.Bytes), use.Name)
		to <- prometheus.MustNewConstMetric(cacheCapacity, prometheus.GaugeValue, float64(use.Capacity), use.Name)
	}
}

// checkCacheDir makes the folder of a cache, so that one which cannot be written is an error at the start.
func checkCacheDir(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return usage(fmt.Errorf("--cache-dir: %w", err))
	}
	f, err := os.CreateTemp(dir, "*.tmp")
	if err != nil {
		return usage(fmt.Errorf("--cache-dir: %w", err))
	}
	_ = f.Close()
	return os.Remove(f.Name())
}

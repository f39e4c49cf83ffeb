package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/coldframe/coldframe/bucket"
)

// newRegistry makes a registry that has what every Go process tells of itself.
func newRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "coldframe_build_info",
			Help:        "Always 1; the labels tell the build.",
			ConstLabels: prometheus.Labels{"version": version},
		}, func() float64 { return 1 }),
	)
	return reg
}

// measureBucket counts every request to the bucket and registers the counters.
func measureBucket(reg *prometheus.Registry, bkt bucket.Bucket) bucket.Bucket {
	total := new(bucket.Account)
	for class, count := range map[string]func(bucket.Usage) int64{
		"put":    func(u bucket.Usage) int64 { return u.Puts },
		"get":    func(u bucket.Usage) int64 { return u.Gets },
		"list":   func(u bucket.Usage) int64 { return u.Lists },
		"delete": func(u bucket.Usage) int64 { return u.Deletes },
	} {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name:        "coldframe_bucket_requests_total",
			Help:        "Requests to the bucket by price class.",
			ConstLabels: prometheus.Labels{"class": class},
		}, func() float64 { return float64(count(total.Usage())) }))
	}
	for direction, count := range map[string]func(bucket.Usage) int64{
		"in":  func(u bucket.Usage) int64 { return u.BytesIn },
		"out": func(u bucket.Usage) int64 { return u.BytesOut },
	} {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name:        "coldframe_bucket_bytes_total",
			Help:        "Bytes read from (in) and written to (out) the bucket.",
			ConstLabels: prometheus.Labels{"direction": direction},
		}, func() float64 { return float64(count(total.Usage())) }))
	}
	return bucket.Counting(bkt, total)
}

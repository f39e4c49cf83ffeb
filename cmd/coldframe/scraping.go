package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coldframe/coldframe/ingest/scrape"
	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/upload"
)

// readScrapeConfig reads a parca.yaml; no file is an empty one.
func readScrapeConfig(file string) (scrape.Config, error) {
	if file == "" {
		return scrape.Config{}, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return scrape.Config{}, usage(fmt.Errorf("--config-path: %w", err))
	}
	cfg, err := scrape.ParseConfig(file, text)
	if err != nil {
		return scrape.Config{}, usage(err)
	}
	return cfg, nil
}

// scraping is what a command scrapes.
type scraping struct {
	file       string // the parca.yaml, "" for none
	config     scrape.Config
	also       []scrape.Job      // whatever the file says
	external   map[string]string // labels that win over the file's external_labels
	maxTargets int
}

// whole is a configuration with what the command adds to it.
func (s scraping) whole(c scrape.Config) (scrape.Config, error) {
	c.Jobs = append(s.also[:len(s.also):len(s.also)], c.Jobs...)
	names := map[string]bool{}
	for _, job := range c.Jobs {
		if names[job.Name] {
			return c, fmt.Errorf("%s: job_name %q is taken by the job by which coldframe scrapes itself: %w", s.file, job.Name, profile.ErrInvalid)
		}
		names[job.Name] = true
	}
	external := c.External.Map()
	for name, value := range s.external {
		external[name] = value
	}
	var err error
	if c.External, err = profile.LabelsFromMap(external); err != nil {
		return c, fmt.Errorf("--external-label: %w", err)
	}
	return c, nil
}

// addScrape scrapes until the end, and follows the changes of the file.
func (p *process) addScrape(up *upload.Uploader, what scraping) error {
	scraper := scrape.New(up, scrape.Settings{
		Tenant: p.g.tenant, MaxTargets: what.maxTargets,
		Logger: p.g.log, Metrics: p.metrics, Observer: observeScrape(p.metrics, p.g.log),
	})
	apply := func(c scrape.Config) error {
		c, err := what.whole(c)
		if err == nil {
			err = scraper.Apply(c)
		}
		return err
	}
	if err := apply(what.config); err != nil {
		return usage(err)
	}
	p.metrics.MustRegister(newTargetMetrics(scraper.Targets))
	scraper.Routes(p.server.Handle)
	p.roles.Go(func() error { return scraper.Run(p.ctx) })
	if what.file == "" {
		return nil
	}
	p.follow("scrape", what.file, func(text []byte) error {
		c, err := scrape.ParseConfig(what.file, text)
		if err != nil {
			return err
		}
		if !bytes.Equal(c.ObjectStorage, what.config.ObjectStorage) {
			p.g.log.Warn("object_storage has changed; the bucket is another only after a restart", "file", what.file)
		}
		return apply(c)
	})
	return nil
}

// observeScrape turns what a scraper tells into logs and metrics. A log line is
// written when a target changes, not for each scrape.
func observeScrape(reg *prometheus.Registry, log *slog.Logger) scrape.Observer {
	scrapes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "coldframe_scrapes_total", Help: "Scrapes by job, profile and outcome (up, down).",
	}, []string{"job", "profile", "health"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "coldframe_scrape_duration_seconds", Help: "How long scrapes took, the seconds of delta profiles included.",
		Buckets: []float64{.01, .05, .1, .5, 1, 5, 10, 15, 30, 60},
	}, []string{"job", "profile"})
	targets := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "coldframe_scrape_targets", Help: "Targets by job, each profile of an address counted: active, or out (dropped by a rule, without an address, or over the limit).",
	}, []string{"job", "state"})
	down := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "coldframe_scrape_targets_down", Help: "Targets whose last scrape failed, by job and profile.",
	}, []string{"job", "profile"})
	reg.MustRegister(scrapes, seconds, targets, down)
	return scrape.Observer{
		Scraped: func(s scrape.Status, changed bool) {
			scrapes.WithLabelValues(s.Job, s.Name, string(s.Health)).Inc()
			seconds.WithLabelValues(s.Job, s.Name).Observe(s.Duration.Seconds())
			switch {
			case !changed:
			case s.Health == scrape.Down:
				down.WithLabelValues(s.Job, s.Name).Inc()
				log.Warn("target is down", "job", s.Job, "profile", s.Name, "err", s.Err)
			case s.Before == scrape.Down:
				down.WithLabelValues(s.Job, s.Name).Dec()
				log.Info("target is up again", "job", s.Job, "profile", s.Name, "url", s.URL)
			}
		},
		Gone: func(s scrape.Status) {
			if s.Health == scrape.Down {
				down.WithLabelValues(s.Job, s.Name).Dec()
			}
		},
		Synced: func(s scrape.Sync) {
			targets.WithLabelValues(s.Job, "active").Set(float64(s.Active))
			targets.WithLabelValues(s.Job, "out").Set(float64(s.Out))
			if s.Added+s.Removed > 0 {
				log.Info("targets changed", "job", s.Job, "active", s.Active, "out", s.Out, "added", s.Added, "removed", s.Removed)
			}
			if s.Err != nil {
				log.Warn("some of what was found cannot be scraped", "job", s.Job, "err", s.Err)
			}
		},
	}
}

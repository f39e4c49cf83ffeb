package main

import (
	"bytes"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// followEvery is how soon a changed file is noticed. Files are compared by content,
// so that a mount that is swapped as a whole, as a ConfigMap, is noticed too.
const followEvery = 2 * time.Second

// follow reads a file again when its content changes and on SIGHUP, and gives it to
// load. What load refuses is logged and shown as a metric, and changes nothing: what
// was loaded before stays. name tells apart the files of a process.
func (p *process) follow(name, file string, load func(text []byte) error) {
	if p.follows == nil {
		p.follows = newFollows(p.metrics)
	}
	good, at := p.follows.good.WithLabelValues(name), p.follows.at.WithLabelValues(name)
	good.Set(1)
	at.SetToCurrentTime()
	seen, err := os.ReadFile(file)
	if err != nil {
		seen = nil // it was there a moment ago; what comes next is news
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	reload := func(asked bool) {
		text, err := os.ReadFile(file)
		if err == nil && bytes.Equal(text, seen) && !asked {
			return
		}
		if err == nil {
			seen = text
			err = load(text)
		} else if seen == nil && !asked {
			return // said already
		} else {
			seen = nil
		}
		if err != nil {
			good.Set(0)
			p.g.log.Error("configuration not reloaded; the one before stays", "file", file, "err", err)
			return
		}
		good.Set(1)
		at.SetToCurrentTime()
		p.g.log.Info("configuration reloaded", "file", file)
	}
	p.roles.Go(func() error {
		defer signal.Stop(hup)
		look := time.NewTicker(followEvery)
		defer look.Stop()
		for {
			select {
			case <-p.ctx.Done():
				return nil
			case <-hup:
				reload(true)
			case <-look.C:
				reload(false)
			}
		}
	})
}

// follows are the metrics of followed files, named as Prometheus and Parca name theirs.
type follows struct{ good, at *prometheus.GaugeVec }

func newFollows(reg *prometheus.Registry) *follows {
	r := &follows{
		good: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "coldframe_config_last_reload_successful", Help: "1 when the last try to load a file succeeded, 0 when the one before it is still used.",
		}, []string{"config"}),
		at: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "coldframe_config_last_reload_success_timestamp_seconds", Help: "When a file was last loaded.",
		}, []string{"config"}),
	}
	reg.MustRegister(r.good, r.at)
	return r
}

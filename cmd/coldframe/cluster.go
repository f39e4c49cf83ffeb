package main

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coldframe/coldframe/query"
	"github.com/coldframe/coldframe/query/cluster"
	"github.com/coldframe/coldframe/serve"
)

// clusterFlags say how query processes share large queries.
type clusterFlags struct {
	ClusterJoin             []string `placeholder:"HOST[:PORT],…" help:"Members to join; a name stands for all its addresses, as a headless service's. Without it and --cluster-bind-address this process answers alone."`
	ClusterBindAddress      string   `placeholder:"HOST:PORT" help:"Where to listen for gossip, UDP and TCP; :7946 with --cluster-join."`
	ClusterAdvertiseAddress string   `placeholder:"HOST:PORT" help:"How the others reach it, where that is another address."`
	ClusterAdvertiseURL     string   `name:"cluster-advertise-url" placeholder:"URL" help:"How the others reach --http-address; http and the address of gossip when left out."`
	ClusterName             string   `placeholder:"NAME" help:"This member's name, unique; host name and port when left out."`
	ClusterLabel            string   `default:"coldframe" help:"Members of a cluster with another label are refused."`
	ClusterKeyFile          string   `placeholder:"FILE" help:"A key of 16, 24 or 32 bytes in base64, the same for all: encrypts gossip and closes the internal call to others. Make one: openssl rand -base64 32"`
	ClusterZone             string   `placeholder:"ZONE" help:"Members of one's own zone are asked before others."`
	ClusterWeight           int      `default:"1" help:"This member's share of blocks, relative to the others, from 1 to 1000."`
	ClusterShareBlocks      int      `default:"8" help:"Queries that read more blocks are shared. Each share costs a call, and finds blocks in its owner's cache."`
}

func (c *clusterFlags) alone() bool { return len(c.ClusterJoin) == 0 && c.ClusterBindAddress == "" }

// config is what the flags say, for a process that serves at httpAddress.
func (c *clusterFlags) config(httpAddress net.Addr) (cluster.Config, error) {
	cfg := cluster.Config{
		Name: c.ClusterName, Label: c.ClusterLabel, Bind: c.ClusterBindAddress, Advertise: c.ClusterAdvertiseAddress,
		URL: c.ClusterAdvertiseURL, Zone: c.ClusterZone, Weight: c.ClusterWeight, Join: c.ClusterJoin,
	}
	host, port, err := net.SplitHostPort(httpAddress.String())
	if err != nil {
		return cfg, err
	}
	if cfg.URL == "" {
		if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
			host = "" // that of gossip
		}
		cfg.URL = "http://" + net.JoinHostPort(host, port)
	}
	if cfg.Name == "" {
		name, err := os.Hostname()
		if err != nil {
			return cfg, usage(fmt.Errorf("--cluster-name is missing, and the host has no name: %w", err))
		}
		cfg.Name = net.JoinHostPort(name, port)
	}
	if c.ClusterKeyFile != "" {
		text, err := os.ReadFile(c.ClusterKeyFile)
		if err != nil {
			return cfg, usage(fmt.Errorf("--cluster-key-file: %w", err))
		}
		if cfg.Key, err = base64.StdEncoding.DecodeString(strings.TrimSpace(string(text))); err != nil {
			return cfg, usage(fmt.Errorf("--cluster-key-file: %s is not base64: %w", c.ClusterKeyFile, err))
		}
	}
	return cfg, nil
}

// addCluster makes the process a member where the flags say so, and has cfg share queries
// with the others. The result lets the others ask the querier that is made of cfg.
func (p *process) addCluster(c *clusterFlags, cfg *query.Config) (admit func(*query.Querier), _ error) {
	config, err := c.config(p.server.Addr())
	if err != nil {
		return nil, err
	}
	if c.alone() {
		self := cluster.Member{Name: config.Name, URL: config.URL, Weight: 1, Version: cluster.Version, Self: true}
		p.serveMembers(func() []cluster.Member { return []cluster.Member{self} })
		return func(*query.Querier) {}, nil
	}
	config.Observer = observeCluster(p.metrics, p.g.log)
	members, err := cluster.Start(config)
	if err != nil {
		return nil, usage(err)
	}
	p.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "coldframe_cluster_members", Help: "Query processes that are believed to live, this one included.",
	}, func() float64 { return float64(len(members.Members())) }))
	cfg.Remote, cfg.ShareBlocks = members, c.ClusterShareBlocks
	p.roles.Go(func() error { return members.Run(p.ctx) })
	p.serveMembers(members.Members)
	p.g.log.Info("member of a cluster", "name", config.Name, "gossip", members.GossipAddress(), "join", strings.Join(config.Join, ","))
	// Who may ask is settled by the cluster's key.
	return func(q *query.Querier) { p.server.HandleOpen("POST "+cluster.Path, members.Handler(q)) }, nil
}

// serveMembers tells who shares queries with this process.
func (p *process) serveMembers(members func() []cluster.Member) {
	p.server.Handle("GET /api/v1/cluster", listMembers(members))
}

// listMembers tells everybody the members' names, and where they are those who may see the process itself:
// tokens are of a tenant, and no tenant has a need to know the network.
func listMembers(members func() []cluster.Member) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all := slices.Clone(members())
		if serve.AccessOf(r.Context()).Allow(serve.Operate) != nil {
			for i := range all {
				all[i].Address, all[i].URL = "", ""
				if all[i].Refused != "" { // it may tell the address that is wrong
					all[i].Refused = "the log says why"
				}
			}
		}
		serve.WriteJSON(w, http.StatusOK, map[string]any{"members": all})
	})
}

func observeCluster(reg *prometheus.Registry, log *slog.Logger) cluster.Observer {
	asked := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "coldframe_cluster_parts_total", Help: "Parts of queries that other members were asked for, by outcome.",
	}, []string{"outcome"})
	seconds := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "coldframe_cluster_part_duration_seconds", Help: "How long members took for a part.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
	})
	hedges := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "coldframe_cluster_hedges_total", Help: "Parts that a second member was asked for because the first was silent.",
	})
	reg.MustRegister(asked, seconds, hedges)
	return cluster.Observer{
		Joined: func(m cluster.Member) {
			if m.Refused != "" {
				log.Warn("a member joined that cannot be asked", "member", m.Name, "url", m.URL, "reason", m.Refused)
				return
			}
			log.Info("a member joined", "member", m.Name, "url", m.URL, "zone", m.Zone)
		},
		Left: func(m cluster.Member) { log.Info("a member left", "member", m.Name, "url", m.URL) },
		Asked: func(member string, d time.Duration, err error) {
			seconds.Observe(d.Seconds())
			if err != nil {
				asked.WithLabelValues("failed").Inc()
				log.Warn("a member did not answer; another one is asked", "member", member, "err", err)
				return
			}
			asked.WithLabelValues("ok").Inc()
		},
		Hedged: func(string, string) { hedges.Inc() },
		Said:   func(line string) { log.Debug("memberlist", "line", strings.TrimSpace(line)) },
	}
}

package scrape

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/discovery"
	_ "github.com/prometheus/prometheus/discovery/aws"          // ec2_sd_configs, lightsail_sd_configs, …
	_ "github.com/prometheus/prometheus/discovery/azure"        // azure_sd_configs
	_ "github.com/prometheus/prometheus/discovery/consul"       // consul_sd_configs
	_ "github.com/prometheus/prometheus/discovery/digitalocean" // digitalocean_sd_configs
	_ "github.com/prometheus/prometheus/discovery/dns"          // dns_sd_configs
	_ "github.com/prometheus/prometheus/discovery/eureka"       // eureka_sd_configs
	_ "github.com/prometheus/prometheus/discovery/file"         // file_sd_configs
	_ "github.com/prometheus/prometheus/discovery/gce"          // gce_sd_configs
	_ "github.com/prometheus/prometheus/discovery/hetzner"      // hetzner_sd_configs
	_ "github.com/prometheus/prometheus/discovery/http"         // http_sd_configs
	_ "github.com/prometheus/prometheus/discovery/ionos"        // ionos_sd_configs
	_ "github.com/prometheus/prometheus/discovery/kubernetes"   // kubernetes_sd_configs
	_ "github.com/prometheus/prometheus/discovery/linode"       // linode_sd_configs
	_ "github.com/prometheus/prometheus/discovery/marathon"     // marathon_sd_configs
	_ "github.com/prometheus/prometheus/discovery/moby"         // docker_sd_configs, dockerswarm_sd_configs
	_ "github.com/prometheus/prometheus/discovery/nomad"        // nomad_sd_configs
	_ "github.com/prometheus/prometheus/discovery/openstack"    // openstack_sd_configs
	_ "github.com/prometheus/prometheus/discovery/ovhcloud"     // ovhcloud_sd_configs
	_ "github.com/prometheus/prometheus/discovery/puppetdb"     // puppetdb_sd_configs
	_ "github.com/prometheus/prometheus/discovery/scaleway"     // scaleway_sd_configs
	_ "github.com/prometheus/prometheus/discovery/stackit"      // stackit_sd_configs
	_ "github.com/prometheus/prometheus/discovery/triton"       // triton_sd_configs
	_ "github.com/prometheus/prometheus/discovery/uyuni"        // uyuni_sd_configs
	_ "github.com/prometheus/prometheus/discovery/vultr"        // vultr_sd_configs
	_ "github.com/prometheus/prometheus/discovery/xds"          // kuma_sd_configs
	_ "github.com/prometheus/prometheus/discovery/zookeeper"    // nerve_sd_configs, serverset_sd_configs
)

// newDiscovery makes what finds the targets of jobs until ctx ends. It tells of
// changes at most every 5 s, of the first at once. metrics must not have seen another.
func newDiscovery(ctx context.Context, log *slog.Logger, metrics prometheus.Registerer) (*discovery.Manager, error) {
	kinds, err := discovery.CreateAndRegisterSDMetrics(metrics)
	if err != nil {
		return nil, fmt.Errorf("service discovery: %w", err)
	}
	found := discovery.NewManager(ctx, log, metrics, kinds, discovery.Name("scrape"))
	if found == nil {
		return nil, fmt.Errorf("service discovery: its metrics are registered twice")
	}
	return found, nil
}

// kindsOf names the kinds of discovery that a job uses.
func (j *Job) kindsOf() []string {
	var kinds []string
	for _, d := range j.Discovery {
		kinds = append(kinds, d.Name())
	}
	return kinds
}

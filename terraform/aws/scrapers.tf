# A task that scrapes what a parca.yaml names, for targets in a VPC that push nothing. One alone:
# each would scrape every target.
locals {
  scrape_tasks = var.scrapers == null ? {} : {
    scrape = {
      image      = var.scrapers.image
      vpc_id     = var.scrapers.vpc_id
      subnet_ids = var.scrapers.subnet_ids
      cpu        = var.scrapers.cpu
      memory_mb  = var.scrapers.memory_mb
      count      = 1
      alone      = true
      policy     = local.scrape_policy
      reached_by = "Scrapers of coldframe, whom nobody needs to reach; let them in where your targets are."
      reaches    = "Targets, S3, the logs"
      volumes    = ["config", "spool"]

      # It writes the configuration, which the other's file system is too closed for, and gives
      # that one, who is nobody, a place for what waits while the bucket is away.
      before = [{
        name        = "config"
        image       = "public.ecr.aws/docker/library/busybox:1.37"
        essential   = false
        command     = ["sh", "-c", "printf '%s' \"$PARCA_YAML\" > /config/parca.yaml && chmod 1777 /spool"]
        environment = [{ name = "PARCA_YAML", value = var.scrapers.config }]
        mountPoints = [{ sourceVolume = "config", containerPath = "/config" }, { sourceVolume = "spool", containerPath = "/spool" }]
      }]
      container = {
        command     = ["ingest", "--http-address=:7070", "--config-path=/config/parca.yaml", "--spool-dir=/spool/coldframe"]
        dependsOn   = [{ containerName = "config", condition = "SUCCESS" }]
        stopTimeout = 90 # a stop writes what was gathered
        mountPoints = [{ sourceVolume = "config", containerPath = "/config", readOnly = true }, { sourceVolume = "spool", containerPath = "/spool" }]
      }
    }
  }

  scrape_policy = {
    Version = "2012-10-17"
    Statement = concat(local.ingest_policy.Statement, try(var.scrapers.discover_ec2, false) ? [{
      Sid      = "Discover"
      Effect   = "Allow"
      Action   = ["ec2:DescribeInstances", "ec2:DescribeAvailabilityZones"]
      Resource = ["*"] # these know no narrower one
    }] : [])
  }
}

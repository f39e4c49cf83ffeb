# A query tier that stays up, for who asks all day. Its tasks hold nothing: they find each
# other by DNS (Cloud Map) and share large queries over memberlist.
locals {
  query_tasks = var.fargate == null ? {} : {
    query = {
      image      = var.fargate.image
      vpc_id     = var.fargate.vpc_id
      subnet_ids = var.fargate.subnet_ids
      cpu        = var.fargate.cpu
      memory_mb  = var.fargate.memory_mb
      count      = var.fargate.tasks
      alone      = false
      policy     = local.query_policy
      reached_by = "Members of coldframe's query tier, who talk to each other and to S3; let your own clients in on port 7070."
      reaches    = "S3, the logs, each other"
      volumes    = []
      before     = []
      container = {
        command      = ["query", "--http-address=:7070", "--cluster-join=query.${var.name}.internal"]
        portMappings = [{ containerPort = 7070 }, { containerPort = 7946 }, { containerPort = 7946, protocol = "udp" }]
      }
    }
  }
}

resource "aws_service_discovery_private_dns_namespace" "this" {
  for_each    = local.query_tasks
  name        = "${var.name}.internal"
  description = "Members of coldframe's query tier."
  vpc         = each.value.vpc_id
  tags        = local.tags
}

resource "aws_service_discovery_service" "query" {
  for_each = local.query_tasks
  name     = each.key
  tags     = local.tags

  dns_config {
    namespace_id   = aws_service_discovery_private_dns_namespace.this[each.key].id
    routing_policy = "MULTIVALUE"

    dns_records {
      type = "A"
      ttl  = 10
    }
  }
}

resource "aws_vpc_security_group_ingress_rule" "members" {
  for_each                     = var.fargate == null ? {} : { http = ["tcp", 7070], gossip-tcp = ["tcp", 7946], gossip-udp = ["udp", 7946] }
  security_group_id            = aws_security_group.task["query"].id
  referenced_security_group_id = aws_security_group.task["query"].id
  description                  = each.key
  ip_protocol                  = each.value[0]
  from_port                    = each.value[1]
  to_port                      = each.value[1]
  tags                         = local.tags
}
